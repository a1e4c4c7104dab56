//! History: aggregates that are right for late and partial samples, the columnstore, and the
//! periods.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::Station;
use harness::program::sibling;
use support::{Ground, Tables, cluster, hypertables, tables};

#[test]
fn aggregates_are_right_for_late_and_partial_samples() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &[])?;
        hold_jobs(&ground)?;
        let day_ago = |minutes: i32| {
            let sql = format!(
                "SELECT to_char(date_trunc('hour', now() - interval '26 hours')
                                + {minutes} * interval '20 s', 'YYYY-MM-DD\"T\"HH24:MI:SSOF:00')"
            );
            cluster().sql("postgres", &sql)
        };
        let post = |minutes: i32, channels: &str| -> Result<()> {
            let time = day_ago(minutes)?;
            let body = format!(r#"{{"satellite_id": "SAT-09", "time": "{time}", {channels}}}"#);
            let (status, answer) = ground.station.post(&body)?;
            assert_eq!(status, 200, "{body}: {answer}");
            Ok(())
        };
        post(0, r#""cpu_temp": 10, "bus_voltage": 5"#)?;
        post(1, r#""cpu_temp": 20"#)?;
        let mut waiting = ground;
        waiting.station.wait_until_quiet()?;
        refresh(&waiting)?;
        // Later than anything that was made into aggregates so far.
        let post = |minutes: i32, channels: &str| -> Result<()> {
            let time = day_ago(minutes)?;
            let body = format!(r#"{{"satellite_id": "SAT-09", "time": "{time}", {channels}}}"#);
            assert_eq!(waiting.station.post(&body)?.0, 200);
            Ok(())
        };
        post(2, r#""cpu_temp": 60, "speed": 7.5"#)?;
        post(40, r#""bus_voltage": 6"#)?;
        waiting.station.wait_until_quiet()?;
        refresh(&waiting)?;
        for (level, rows) in
            [("1m", "1|3|30|10|60|3|5|1|7.5\n1|1||||0|6|1|"), ("1h", HOUR), ("1d", HOUR)]
        {
            let sql = format!(
                "SELECT count(*) OVER (PARTITION BY bucket), samples, cpu_temp_avg, cpu_temp_min,
                        cpu_temp_max, cpu_temp_count, bus_voltage_avg, bus_voltage_count, speed_avg
                 FROM telemetry_{level} ORDER BY bucket"
            );
            assert_eq!(waiting.sql(&sql)?, rows, "{tables:?} {level}");
        }
        waiting.stop()?;
    }
    Ok(())
}

const HOUR: &str = "1|4|30|10|60|3|5.5|2|7.5";

#[test]
fn late_samples_reach_a_chunk_in_the_columnstore() -> Result<()> {
    hypertables().into_iter().try_for_each(late_samples)
}

fn late_samples(tables: Tables) -> Result<()> {
    let mut ground = Ground::start(tables, &[])?;
    ground.sql(
        "INSERT INTO telemetry (time, satellite_id, cpu_temp)
         SELECT now() - interval '3 days' + n * interval '1 s', 'SAT-0' || (n % 5 + 1), n
         FROM generate_series(1, 5000) AS n;
         SELECT compress_chunk(chunk) FROM show_chunks('telemetry') AS chunk",
    )?;
    let time = ground
        .sql("SELECT to_char(now() - interval '3 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")?;
    let body = format!(r#"{{"satellite_id": "SAT-01", "time": "{time}", "temp": 50}}"#);
    assert_eq!(ground.station.post(&body)?.0, 200);
    ground.station.wait_until_quiet()?;
    assert_eq!(ground.sql("SELECT count(*) FROM telemetry")?, "5001");
    let sizes = "SELECT before_compression_total_bytes > 3 * after_compression_total_bytes
                 FROM hypertable_columnstore_stats('telemetry')";
    assert_eq!(ground.sql(sizes)?, "t");
    let plan = ground.sql(
        "EXPLAIN SELECT time, cpu_temp FROM telemetry
         WHERE satellite_id = 'SAT-01' AND time < now() - interval '2 days'",
    )?;
    assert!(plan.contains("ColumnarScan") || plan.contains("DecompressChunk"), "{plan}");
    ground.station.stop()?;
    Ok(())
}

#[test]
fn periods_are_changed_by_options() -> Result<()> {
    let (is_done, error) = receiver(&cluster().url("postgres"), &["--retention", "3d"])?;
    assert!(!is_done && error.contains("at least 4d") && error.lines().count() == 1, "{error}");
    hypertables().into_iter().try_for_each(periods)
}

fn receiver(url: &str, options: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(sibling("receiver")?);
    let output = command.arg("migrate").args(options).env("DATABASE_URL", url).output()?;
    Ok((output.status.success(), String::from_utf8(output.stderr)?))
}

fn periods(tables: Tables) -> Result<()> {
    let name = support::database(tables)?;
    let period = |job: &str, key: &str| {
        let sql = format!(
            "SELECT DISTINCT extract(epoch FROM (config->>'{key}')::interval)::int / 86400
             FROM timescaledb_information.jobs
             WHERE proc_name = '{job}' AND hypertable_name IN ('telemetry', 'attitude')"
        );
        cluster().sql(&name, &sql)
    };
    // A day longer than promised: so long a refresh may still reach for it.
    assert_eq!(period("policy_retention", "drop_after")?, "31");
    let (is_done, error) = receiver(&cluster().url(&name), &["--retention", "10d"])?;
    assert!(is_done, "{error}");
    assert_eq!(period("policy_retention", "drop_after")?, "11");
    let policies =
        "SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL";
    let before = cluster().sql(&name, policies)?;
    receiver(&cluster().url(&name), &["--retention", "10d"])?;
    assert_eq!(cluster().sql(&name, policies)?, before, "running it again changes nothing");
    // A refresh never reaches to where samples have been dropped.
    let reach = "SELECT DISTINCT (config->>'start_offset')::interval = interval '10 days 12 hours'
                 FROM timescaledb_information.jobs
                 WHERE proc_name = 'policy_refresh_continuous_aggregate'
                   AND hypertable_name ~ '_1m$'";
    assert_eq!(cluster().sql(&name, reach)?, "t");
    Ok(())
}

/// Aggregates outlive the samples they were made from, through retention, late samples at the far
/// end of what the station accepts, and a retention that is made longer.
#[test]
fn history_outlives_the_samples() -> Result<()> {
    if !tables().contains(&Tables::Hyper) {
        println!("NOT RUN: TimescaleDB is not installed, so nothing is dropped");
        return Ok(());
    }
    let mut ground = Ground::start(Tables::Hyper, &[])?;
    hold_jobs(&ground)?;
    ground.sql(
        "INSERT INTO telemetry (time, satellite_id, cpu_temp)
         SELECT now() - n * interval '12 hours', 'SAT-01', n FROM generate_series(1, 80) AS n;
         INSERT INTO link_health (time, seconds, station, satellite_id, apid, received, missed,
                                  late, duplicate, bytes)
         SELECT now() - n * interval '12 hours', 1, 'GS-01', 'SAT-01', 100, 9, 1, 0, 0, 612
         FROM generate_series(1, 80) AS n",
    )?;
    for (_, view) in LEVELS {
        ground.sql(&format!("CALL refresh_continuous_aggregate('{view}', NULL, NULL)"))?;
    }
    let history = |ground: &Ground| -> Result<Vec<String>> {
        let sum = |(what, view): &(&str, &str)| {
            ground.sql(&format!(
                "SELECT sum({what}) FROM {view} WHERE bucket < now() - interval '1 hour'"
            ))
        };
        LEVELS.iter().map(sum).collect()
    };
    let before = history(&ground)?;
    let retention = "SELECT job_id FROM timescaledb_information.jobs
                     WHERE proc_name = 'policy_retention' ORDER BY 1";
    for job in ground.sql(retention)?.lines() {
        ground.sql(&format!("CALL run_job({job})"))?;
    }
    let left = "SELECT count(*) BETWEEN 61 AND 63, min(time) < now() - interval '30 days'
                FROM telemetry";
    assert_eq!(ground.sql(left)?, "t|t", "a month of samples is left, the rest is gone");

    refresh(&ground)?;
    assert_eq!(history(&ground)?, before, "after retention");

    let time = ground.sql(
        "SELECT to_char(now() - interval '29 days 23 hours', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    )?;
    let body = format!(r#"{{"satellite_id": "SAT-01", "time": "{time}", "temp": 50}}"#);
    assert_eq!(ground.station.post(&body)?.0, 200);
    ground.station.wait_until_quiet()?;
    refresh(&ground)?;
    let one_more = |sum: &String| (sum.parse::<i64>().unwrap_or_default() + 1).to_string();
    let after: Vec<String> =
        [before[..3].iter().map(one_more).collect(), before[3..].to_vec()].concat();
    assert_eq!(history(&ground)?, after, "after a sample that is 30 days late");

    for _ in 0..2 {
        Station::migrate(&cluster().url(&ground.database), &["--retention", "60d"])?;
        hold_jobs(&ground)?;
        refresh(&ground)?;
        assert_eq!(history(&ground)?, after, "after a longer retention");
    }
    // What the policies keep from happening does show here.
    ground.sql("CALL refresh_continuous_aggregate('telemetry_1m', NULL, NULL)")?;
    assert_ne!(history(&ground)?, after);
    ground.station.stop()?;
    Ok(())
}

/// Every aggregate, each made from the one before, and what is summed to count what went into it.
const LEVELS: [(&str, &str); 6] = [
    ("samples", "telemetry_1m"),
    ("samples", "telemetry_1h"),
    ("samples", "telemetry_1d"),
    ("received + missed", "link_health_1m"),
    ("received + missed", "link_health_1h"),
    ("received + missed", "link_health_1d"),
];

/// From here on the policies work when told to: two refreshes at once would be in each other's way.
fn hold_jobs(ground: &Ground) -> Result<()> {
    if has_timescaledb(ground)? {
        ground.sql(
            "SELECT alter_job(job_id, scheduled => false)
             FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL",
        )?;
        // Those that had begun.
        let at_work = "SELECT count(*) FROM timescaledb_information.job_stats
                       WHERE job_status = 'Running'";
        let patience = Instant::now() + Duration::from_secs(30);
        while ground.sql(at_work)? != "0" && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

#[test]
fn links_by_minute_hour_and_day_add_up() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &[])?;
        hold_jobs(&ground)?;
        let rows = |first: u32, last: u32| {
            format!(
                "INSERT INTO link_health
                 SELECT date_trunc('day', now()) - interval '3 days' + n * interval '17 s', 17,
                        'GS-0' || n % 2 + 1, 'SAT-0' || n % 3 + 1, 100 + n % 2, n, n % 5, n % 2, 1,
                        68 * n, CASE WHEN n % 4 > 0 THEN n / 7.0 END, CASE WHEN n % 4 > 0 THEN n END
                 FROM generate_series({first}, {last}) AS n"
            )
        };
        ground.sql(&rows(0, 5_000))?;
        refresh(&ground)?;
        // Later than anything that was made into aggregates so far.
        ground.sql(&rows(2_000, 7_000))?;
        refresh(&ground)?;
        for (level, width) in [("1m", "1 minute"), ("1h", "1 hour"), ("1d", "1 day")] {
            let of_rows = format!(
                "SELECT time_bucket('{width}', time), station, satellite_id, apid, count(*),
                        sum(seconds::float8), sum(received), sum(missed), sum(late),
                        sum(duplicate), sum(bytes), round(avg(latency_ms_p50)::numeric, 6),
                        count(latency_ms_p50), max(latency_ms_max)
                 FROM link_health GROUP BY 1, 2, 3, 4"
            );
            let of_level = format!(
                "SELECT bucket, station, satellite_id, apid, intervals, seconds, received, missed,
                        late, duplicate, bytes, round(latency_ms_p50_avg::numeric, 6),
                        latency_ms_p50_count, latency_ms_max
                 FROM link_health_{level}"
            );
            let differing = format!(
                "SELECT (SELECT count(*) > 10 FROM ({of_level}) AS a),
                        (SELECT count(*) FROM ({of_rows} EXCEPT {of_level}) AS a),
                        (SELECT count(*) FROM ({of_level} EXCEPT {of_rows}) AS a)"
            );
            assert_eq!(ground.sql(&differing)?, "t|0|0", "{tables:?} {level}");
        }
        ground.station.stop()?;
    }
    Ok(())
}

#[test]
fn the_newest_sample_of_every_satellite_is_found_however_old() -> Result<()> {
    for tables in tables() {
        let name = support::database(tables)?;
        // One heard now, one yesterday, one weeks ago, and one that never was.
        cluster().sql(
            &name,
            "INSERT INTO satellite SELECT n, 'SAT-0' || n FROM generate_series(1, 4) AS n;
             INSERT INTO telemetry (time, satellite_id, cpu_temp)
             SELECT now() - age - n * interval '10 h', satellite_id, n
             FROM (VALUES ('SAT-01', interval '0'), ('SAT-02', interval '25 h'),
                          ('SAT-03', interval '20 days')) AS heard (satellite_id, age),
                  generate_series(0, 5) AS n",
        )?;
        let latest = "SELECT satellite_id, cpu_temp, time > now() - interval '21 days'
                      FROM telemetry_latest() ORDER BY 1";
        let url = cluster().url_of_role("orbitstream_reader", &name);
        assert_eq!(cluster().sql_at(&url, latest)?, "SAT-01|0|t\nSAT-02|0|t\nSAT-03|0|t");
    }
    Ok(())
}

fn has_timescaledb(ground: &Ground) -> Result<bool> {
    Ok(ground.sql("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")? == "1")
}

/// Lets the policies do their work now.
fn refresh(ground: &Ground) -> Result<()> {
    let jobs = "SELECT job_id FROM timescaledb_information.jobs
                WHERE proc_name = 'policy_refresh_continuous_aggregate'
                ORDER BY (config->>'end_offset')::interval";
    if has_timescaledb(ground)? {
        for job in ground.sql(jobs)?.lines() {
            ground.sql(&format!("CALL run_job({job})"))?;
        }
    }
    Ok(())
}
