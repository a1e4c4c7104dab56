//! Grafana's dashboards and alert rules: their form, and every query on a database with live data,
//! as the role that Grafana has.
//!
//! The rules are in `harness/oracles/check_dashboards.py`. Each is also broken once, in memory, and
//! the check has to say so: a check that cannot fail shows nothing.

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use harness::{Constellation, generate, judges};
use support::{Ground, Tables, cluster, reader_url, tables};

const OVERVIEW: &str = "grafana/dashboards/overview.json";
const SATELLITE: &str = "grafana/dashboards/satellite.json";
const LINKS: &str = "grafana/dashboards/links.json";
const INGEST: &str = "grafana/dashboards/ingest.json";
const ANOMALIES: &str = "grafana/dashboards/anomalies.json";
const ALERTS: &str = "grafana/provisioning/alerting/orbitstream.yaml";

#[test]
fn dashboards_and_alert_rules_keep_every_rule() -> Result<()> {
    let output = check(&[], None)?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(())
}

#[test]
fn every_broken_rule_is_refused() -> Result<()> {
    all_refused(BROKEN_FORM, None)
}

#[test]
fn every_query_runs_for_the_reader_and_gives_what_its_panel_needs() -> Result<()> {
    for tables in tables() {
        let (ground, url) = live(tables)?;
        let output = check(&["--database-url", &url], None)?;
        ensure!(output.status.success(), "{tables:?}:\n{}", text(&output));
        println!("{tables:?}: {}", text(&output).trim_end());

        // With an open anomaly of every severity there is nothing left that may be empty.
        ground.sql(ANOMALIES_OF_EACH_SEVERITY)?;
        let output = check(&["--database-url", &url], None)?;
        ensure!(output.status.success(), "{tables:?}, anomalies:\n{}", text(&output));

        all_refused(BROKEN_QUERIES, Some(&url))?;
        let output = check(&["--database-url", &cluster().url(&ground.database)], None)?;
        ensure!(text(&output).contains("not of orbitstream_reader"), "{}", text(&output));
        ground.stop()?;
    }
    Ok(())
}

/// A station that has heard some seconds of a few satellites, with faults, a sample by hand and a
/// refused frame, and the URL of its database for the reader.
fn live(tables: Tables) -> Result<(Ground, String)> {
    let ground = Ground::start(tables, &[])?;
    let flight = ["--satellites=5", "--rate=20", "--duration=5s", "--drop=0.02", "--corrupt=0.02"];
    Constellation::fly(ground.station.target(), ground.folder.path(), &flight)?;
    let (status, answer) = ground.station.post(r#"{"satellite_id": "SAT-01", "temp": 50}"#)?;
    ensure!(status == 200, "{answer}");

    let url = reader_url(&ground.database);
    Ok((ground, url))
}

/// Breaks one rule after the other; an error names those that the check lets pass.
fn all_refused(breaks: &[Break], url: Option<&str>) -> Result<()> {
    let mut accepted = Vec::new();
    for &Break(file, from, to, complaint) in breaks {
        let original = fs::read_to_string(generate::root().join(file))?;
        ensure!(original.contains(from), "{file} no longer has {from:?}: adapt this test");
        let arguments: Vec<&str> = url
            .map(|url| ["--database-url", url])
            .into_iter()
            .flatten()
            .chain(["--as", file])
            .collect();
        let output = check(&arguments, Some(&original.replacen(from, to, 1)))?;
        let said = text(&output);
        let refused = output.status.code() == Some(1) && !said.contains("Traceback");
        if !refused || !said.contains(complaint) {
            accepted
                .push(format!("{file}: {from:?} -> {to:?}\n  want: {complaint}\n  said: {said}"));
        }
    }
    ensure!(accepted.is_empty(), "not refused as they should be:\n{}", accepted.join("\n"));
    Ok(())
}

/// Runs the check on the repository, with `stdin` for the file that `arguments` name.
fn check(arguments: &[&str], stdin: Option<&str>) -> Result<Output> {
    let mut child = judges::oracle("check_dashboards.py")?
        .arg(generate::root())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Taken and dropped, so that the end of the text is seen.
    let mut input = child.stdin.take().context("a pipe")?;
    if let Some(text) = stdin {
        input.write_all(text.as_bytes())?;
    }
    drop(input);
    Ok(child.wait_with_output()?)
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

const ANOMALIES_OF_EACH_SEVERITY: &str = "
    INSERT INTO anomaly (satellite_id, channel, detector, severity, opened_at, last_at, detected_at)
    SELECT satellite_id, 'cpu_temp', 'limit', severity, now(), now(), now()
    FROM unnest(ARRAY['SAT-01', 'SAT-02']) AS satellite_id,
         unnest(ARRAY['watch', 'warning', 'critical']) AS severity";

/// File, text in it, what replaces the text's first occurrence, what the check must then say.
struct Break(&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const BROKEN_FORM: &[Break] = &[
    // Dashboards.
    Break(OVERVIEW, "\"uid\": \"orbitstream-overview\"", "\"uid\": \"orbitstream-links\"", "uid is not"),
    Break(OVERVIEW, "\"tags\": [\"orbitstream\"]", "\"tags\": []", "without the tag"),
    Break(OVERVIEW, "\"refresh_intervals\": [\"1s\", ", "\"refresh_intervals\": [", "a refresh of 1s"),
    Break(OVERVIEW, "\"type\": \"datasource\"", "\"type\": \"custom\"", "variable for the datasource"),
    Break(OVERVIEW, "/d/orbitstream-links", "/d/orbitstream-link", "which is no dashboard"),
    Break(ANOMALIES, "?var-satellite=", "?var-spacecraft=", "a link sets spacecraft"),
    Break(OVERVIEW, "\"allValue\": \"''\"", "\"allValue\": null", "a list of every value"),
    Break(OVERVIEW, "\"datasource\": \"$datasource\"", "\"datasource\": \"OrbitStream\"", "does not ask $datasource"),
    Break(SATELLITE, "\"rawQuery\": \"SELECT greatest", "\"rawQuery\": \"SELECT least", "ask differently"),
    // Panels.
    Break(OVERVIEW, "\"id\": 2", "\"id\": 1", "the same id"),
    Break(OVERVIEW, "\"Satellites silent\"", "\"Satellites heard\"", "the same title"),
    Break(OVERVIEW, "{\"x\": 3, \"y\": 0, \"w\": 3, \"h\": 4}", "{\"x\": 2, \"y\": 0, \"w\": 3, \"h\": 4}", "overlap"),
    Break(OVERVIEW, "{\"x\": 18, \"y\": 0, \"w\": 6, \"h\": 4}", "{\"x\": 20, \"y\": 0, \"w\": 6, \"h\": 4}", "not on the grid"),
    Break(INGEST, "\"description\": \"Octets", "\"description\": \"\", \"was\": \"Octets", "without a description"),
    Break(INGEST, "\"unit\": \"Bps\"", "\"unit\": \"\"", "without a unit"),
    Break(INGEST, "\"format\": \"table\"", "\"format\": \"time series\"", "raw SQL with a format"),
    Break(SATELLITE, "\"type\": \"timeseries\"", "\"type\": \"state-timeline\"", "wants numbers for"),
    Break(INGEST, "ORDER BY 1\"", "\"", "not in the order of time"),
    Break(LINKS, "${station:sqlstring}", "${station}", "unquoted"),
    Break(LINKS, "${station:sqlstring}", "${station:csv}", "not quoted by sqlstring"),
    Break(LINKS, "${station:sqlstring}", "${stations:sqlstring}", "which is not there"),
    Break(LINKS, "\"uid\":", "\"uid\"", "Expecting"),
    // Alert rules.
    Break(ALERTS, "uid: orbitstream-loss", "uid: orbitstream-silent", "the same uid"),
    Break(ALERTS, "uid: orbitstream-loss", "uid: orbitstream-lost", "the rules are not"),
    Break(ALERTS, "condition: B", "condition: C", "its condition is no query"),
    Break(ALERTS, "expression: A", "expression: Z", "about no query"),
    Break(ALERTS, "datasourceUid: orbitstream", "datasourceUid: other", "asks other"),
    Break(ALERTS, "__panelId__: '6'", "__panelId__: '99'", "not there"),
    Break(ALERTS, "{{ .Labels", "{{ $labels", "dollar sign"),
    Break(ALERTS, "labels: {severity: warning}", "labels: {}", "without a severity"),
    Break(ALERTS, "        for: 1m\n", "", "without for"),
];

#[rustfmt::skip]
const BROKEN_QUERIES: &[Break] = &[
    Break(OVERVIEW, "FROM satellite\\n", "FROM satellites\\n", "does not exist"),
    Break(OVERVIEW, "DISTINCT station FROM ingest_batch", "rolname::text AS station FROM pg_authid", "permission denied"),
    Break(OVERVIEW, "$__timeFilter(time)", "$__timeFiltered(time)", "not one that Grafana has"),
    Break(OVERVIEW, "$__timeFilter(time)", "$__timeFilter(time) AND false", "gave no rows"),
    Break(OVERVIEW, "SELECT count(*) AS", "SELECT count(*)::text AS", "has no numbers"),
    Break(OVERVIEW, "latitude, longitude, battery_charge", "latitude AS lat, longitude, battery_charge", "has no latitude"),
    Break(OVERVIEW, "AS newest\\nORDER BY battery_charge, spacecraft_id\\nLIMIT 10", "AS newest, generate_series(1, 9)\\nLIMIT 20", "bars"),
    Break(LINKS, "satellite_id AS metric", "(random() * 1e9)::int::text AS metric", "lines"),
    Break(LINKS, "AS \\\"received\\\"", "AS \\\"lost\\\"", "the same name"),
    Break(LINKS, "host(source)", "source", "is a inet"),
    Break(SATELLITE, "$__timeGroupAlias(time, $__interval)", "max($__timeGroup(time, $__interval))", "not allowed in GROUP BY"),
    Break(SATELLITE, "AS time,\\n", "AS \\\"begin\\\",\\n", "is not time, timeend"),
    Break(SATELLITE, "AS \\\"light\\\",\\n       CASE WHEN charging", "AS \\\"light\\\",\\n       charging, CASE WHEN charging", "a state that is no text"),
    Break(INGEST, "$__timeGroupAlias(time, $__interval, NULL)", "extract(epoch FROM time) AS \\\"time\\\"", "first column is not the time"),
    Break(INGEST, "SELECT 'shard ' || shard AS shard", "SELECT ingest_batch.shard", "not a name and a number"),
    Break(ANOMALIES, "SELECT name FROM satellite", "SELECT spacecraft_id FROM satellite", "one column of text"),
    Break(ALERTS, "AS seconds", "AS seconds, 1 AS more", "labels and one number"),
];
