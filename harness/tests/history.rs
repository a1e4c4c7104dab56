//! History: aggregates that are right for late and partial samples, the columnstore, and the
//! periods.

mod support;

use std::process::Command;

use anyhow::Result;
use harness::program::sibling;
use support::{Ground, Tables, cluster, hypertables, tables};

#[test]
fn aggregates_are_right_for_late_and_partial_samples() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &[])?;
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
            "SELECT DISTINCT (config->>'{key}')::interval = interval '10 days',
                    (config->>'{key}')::interval
             FROM timescaledb_information.jobs
             WHERE proc_name = '{job}' AND hypertable_name IN ('telemetry', 'attitude')"
        );
        cluster().sql(&name, &sql)
    };
    assert_eq!(period("policy_retention", "drop_after")?, "f|720:00:00");
    let (is_done, error) = receiver(&cluster().url(&name), &["--retention", "10d"])?;
    assert!(is_done, "{error}");
    assert_eq!(period("policy_retention", "drop_after")?, "t|240:00:00");
    let policies =
        "SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL";
    let before = cluster().sql(&name, policies)?;
    receiver(&cluster().url(&name), &["--retention", "10d"])?;
    assert_eq!(cluster().sql(&name, policies)?, before, "running it again changes nothing");
    // A refresh never reaches to where samples have been dropped.
    let reach = "SELECT bool_and((config->>'start_offset')::interval <= interval '9 days')
                 FROM timescaledb_information.jobs
                 WHERE proc_name = 'policy_refresh_continuous_aggregate'";
    assert_eq!(cluster().sql(&name, reach)?, "t");
    Ok(())
}

/// Lets the policies do their work now.
fn refresh(ground: &Ground) -> Result<()> {
    let jobs = "SELECT job_id FROM timescaledb_information.jobs
                WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY (config->>'end_offset')::interval";
    if ground.sql("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")? == "1" {
        for job in ground.sql(jobs)?.lines() {
            ground.sql(&format!("CALL run_job({job})"))?;
        }
    }
    Ok(())
}
