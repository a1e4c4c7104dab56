//! The HTTP door: who may come in, how many, with how much, and how slowly. Whoever is refused gets a
//! status of the contract or is let go, and everybody else is served meanwhile.

mod support;

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use harness::program::sibling;
use harness::{Constellation, generate, judges};
use support::{Ground, Tables};

const TOKEN: &str = "5d6f0c1e9a7b4823";
const SAMPLE: &str = r#"{"satellite_id": "SAT-01", "temp": 50}"#;
/// A client that waits for longer than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the station gives a head or a body.
const SLOW: Duration = Duration::from_secs(10);
const ALMOST_SLOW: Duration = Duration::from_secs(8);

fn connect(ground: &Ground) -> Result<TcpStream> {
    let stream = TcpStream::connect(ground.station.http_address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request that ends its connection, and gives back the whole answer.
fn ask(
    ground: &Ground,
    method: &str,
    path: &str,
    headers: &str,
    body: impl AsRef<[u8]>,
) -> Result<String> {
    let mut stream = connect(ground)?;
    let (body, length) = (body.as_ref(), body.as_ref().len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}");
    let head = format!("{head}Content-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    rest_of(&mut stream)
}

/// What the station sends until it ends the connection.
fn rest_of(stream: &mut TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // It was let go with something unread: that resets it.
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(String::from_utf8(answer)?),
    }
}

fn status(answer: &str) -> Result<u16> {
    let code = answer.split(' ').nth(1).with_context(|| format!("no status: {answer:?}"))?;
    Ok(code.parse()?)
}

#[test]
fn with_a_token_only_health_is_for_everybody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n"))?;
    let option = format!("--http-token-file={}", file.display());
    let mut ground = Ground::start(Tables::Plain, &[&option])?;
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (method, path, body) in
        [("POST", "/telemetry", SAMPLE), ("GET", "/stats", ""), ("GET", "/metrics", "")]
    {
        for (headers, challenge) in [
            (String::new(), "www-authenticate: Bearer\r\n"),
            (right.replace("23", "24"), "www-authenticate: Bearer error=\"invalid_token\"\r\n"),
            (right.replace("23", "2"), "www-authenticate: Bearer error=\"invalid_token\"\r\n"),
            (
                right.replace("Bearer", "Basic"),
                "www-authenticate: Bearer error=\"invalid_token\"\r\n",
            ),
        ] {
            let answer = ask(&ground, method, path, &headers, body)?;
            assert_eq!(status(&answer)?, 401, "{path} {headers}: {answer}");
            assert!(answer.contains(challenge), "{path} {headers}: {answer}");
            assert!(!answer.contains(TOKEN), "{answer}");
        }
        let answer = ask(&ground, method, path, &right, body)?;
        assert_eq!(status(&answer)?, 200, "{path}: {answer}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(&ask(&ground, "GET", path, "", "")?)?, 200, "{path}");
    }
    // A body that nobody may send is not read: the answer is there before it is.
    let mut stream = connect(&ground)?;
    stream.write_all(b"POST /telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n[")?;
    assert_eq!(status(&rest_of(&mut stream)?)?, 401);

    ground.station.program().interrupt()?;
    ground.station.program().wait_for_success(PATIENCE)?;
    assert_eq!(ground.sql("SELECT count(*) FROM telemetry")?, "1");
    let log = fs::read_to_string(ground.folder.path().join("receiver.log"))?;
    assert!(!log.contains(TOKEN), "{log}");
    Ok(())
}

#[test]
fn the_token_is_never_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    fs::write(&file, "sh0rt-t0ken")?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    let file = file.to_string_lossy();
    let run = |variable: &str, options: &[&str]| {
        Command::new(sibling("receiver")?)
            .args(["run", "--http=127.0.0.1:0", "--listen=127.0.0.1:0"])
            .args(["--database-url", "postgresql://nobody@127.0.0.1:1/x"])
            .args(options)
            .env("ORBITSTREAM_HTTP_TOKEN", variable)
            .output()
            .context("cannot run receiver")
    };
    for (variable, options, part) in [
        (TOKEN, &["--help"][..], "--http-token-file"),
        (TOKEN, &["--http-token-file", &file], "give only one"),
        ("sh0rt-t0ken", &[], "openssl rand"),
        ("", &["--http-token-file", &file], "openssl rand"),
        ("", &["--http-token-file", "/no/such/file"], "/no/such/file"),
    ] {
        let output = run(variable, options)?;
        let shown = String::from_utf8([output.stdout, output.stderr].concat())?;
        assert!(shown.contains(part), "{options:?}: {shown}");
        assert!(!shown.contains(TOKEN) && !shown.contains("sh0rt-t0ken"), "{shown}");
        assert!(options == ["--help"] || shown.trim().lines().count() == 1, "{shown}");
    }
    Ok(())
}

#[test]
fn heads_and_bodies_have_a_size() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &[])?;
    // Three are there besides.
    let many = |count: usize| "X-Filling: x\r\n".repeat(count - 3);
    assert_eq!(status(&ask(&ground, "POST", "/telemetry", &many(64), SAMPLE)?)?, 200);
    assert_eq!(status(&ask(&ground, "POST", "/telemetry", &many(65), SAMPLE)?)?, 431);
    let long = |octets: usize| format!("X-Filling: {}\r\n", "x".repeat(octets));
    assert_eq!(status(&ask(&ground, "POST", "/telemetry", &long(15 << 10), SAMPLE)?)?, 200);
    assert_eq!(status(&ask(&ground, "POST", "/telemetry", &long(40 << 10), SAMPLE)?)?, 431);
    // A body of unstated length is read no further than to the limit.
    let mut stream = connect(&ground)?;
    stream
        .write_all(b"POST /telemetry HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let piece = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
    for _ in 0..17 {
        // The last ones may find the connection closed.
        let _sent = stream.write_all(piece.as_bytes());
    }
    assert_eq!(status(&rest_of(&mut stream)?)?, 413);
    let counters = ground.stop()?;
    assert_eq!(counters.json, 2);
    Ok(())
}

#[test]
fn slow_clients_are_let_go_and_others_served() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &[])?;
    let head = b"POST /telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n";
    let (mut silent, mut in_head, mut in_body) =
        (connect(&ground)?, connect(&ground)?, connect(&ground)?);
    let start = Instant::now();
    in_head.write_all(head)?;
    in_body.write_all(&[head, &b"\r\n["[..]].concat())?;
    // A little now and then does not buy more time.
    while start.elapsed() < ALMOST_SLOW {
        in_head.write_all(b"X: x\r\n")?;
        in_body.write_all(b" ")?;
        assert_eq!(ground.station.post(SAMPLE)?.0, 200);
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(rest_of(&mut silent)?, "");
    assert_eq!(rest_of(&mut in_head)?, "");
    let answer = rest_of(&mut in_body)?;
    assert_eq!(status(&answer)?, 408, "{answer}");
    assert!(start.elapsed() >= SLOW, "{:?}", start.elapsed());
    let counters = ground.stop()?;
    assert_eq!(counters.committed, counters.json);
    Ok(())
}

#[test]
fn so_many_connections_at_a_time() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &[])?;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(connect(&ground)?);
    }
    let mut refused = connect(&ground)?;
    let answer = rest_of(&mut refused)?;
    assert_eq!(status(&answer)?, 503, "{answer}");
    assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    assert_eq!(body, r#"{"error":"too many connections"}"#);
    // Those that were there are served, and make room when they end.
    let first = open.first_mut().context("none")?;
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    assert_eq!(status(&rest_of(first)?)?, 200);
    open.clear();
    let patience = Instant::now() + PATIENCE;
    while ground.station.get("/healthz").is_err() {
        assert!(Instant::now() < patience, "no connection is free again");
    }
    assert!(ground.station.get("/metrics")?.contains("orbitstream_http_refused_total "));
    assert!(!ground.station.get("/metrics")?.contains("orbitstream_http_refused_total 0"));
    ground.stop()?;
    Ok(())
}

fn gzip(text: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text)?;
    Ok(encoder.finish()?)
}

#[test]
fn bodies_may_be_compressed_within_the_limit() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &[])?;
    let samples = format!("[{SAMPLE},{SAMPLE}]");
    let padded = |octets: usize| format!("{}{SAMPLE}", " ".repeat(octets - SAMPLE.len()));
    let post = |encoding: &str, body: &[u8]| {
        ask(&ground, "POST", "/telemetry", &format!("Content-Encoding: {encoding}\r\n"), body)
    };
    let mut stored = 0;
    for (encoding, body, accepted) in [
        ("gzip", gzip(samples.as_bytes())?, 2),
        ("GZIP", gzip(SAMPLE.as_bytes())?, 1),
        ("x-gzip", gzip(format!("\u{feff}{SAMPLE}").as_bytes())?, 1),
        ("identity", SAMPLE.into(), 1),
        ("gzip", gzip(padded(1 << 20).as_bytes())?, 1),
    ] {
        let answer = post(encoding, &body)?;
        assert_eq!(status(&answer)?, 200, "{encoding}: {answer}");
        assert!(answer.ends_with(&format!("{{\"accepted\":{accepted}}}")), "{answer}");
        stored += accepted;
    }
    let packed = gzip(SAMPLE.as_bytes())?;
    for (encoding, body, expected, part) in [
        ("br", &packed[..], 415, "br\\\" is not supported"),
        ("deflate", &packed, 415, "is not supported"),
        ("gzip, br", &packed, 415, "is not supported"),
        ("gzip", SAMPLE.as_bytes(), 400, "is not the gzip"),
        ("gzip", &packed[..packed.len() / 2], 400, "is not the gzip"),
        ("gzip", &gzip(padded((1 << 20) + 1).as_bytes())?, 413, "larger than 1048576"),
        ("gzip", &gzip(&vec![b' '; 64 << 20])?, 413, "larger than 1048576"),
        ("identity", &packed, 400, "Content-Encoding: gzip"),
    ] {
        let answer = post(encoding, body)?;
        assert_eq!(status(&answer)?, expected, "{encoding}: {answer}");
        assert!(answer.contains(part), "{encoding}: {answer}");
        let offers = answer.contains("accept-encoding: gzip, identity\r\n");
        assert_eq!(offers, expected == 415, "{encoding}: {answer}");
    }
    let counters = ground.stop()?;
    assert_eq!((counters.json, counters.committed), (stored, stored));
    Ok(())
}

#[test]
fn prometheus_reads_the_metrics_and_its_rules_ask_for_no_others() -> Result<()> {
    let mut ground = Ground::start(Tables::Plain, &[])?;
    let flight = ["--satellites", "3", "--rate", "50", "--count", "60"];
    Constellation::fly(ground.station.target(), ground.folder.path(), &flight)?;
    ground.station.wait_until_quiet()?;
    let text = ground.station.get("/metrics")?;
    ground.stop()?;
    let files = tempfile::tempdir()?;
    let (file, classic) = (files.path().join("metrics"), files.path().join("classic"));
    fs::write(&file, &text)?;
    let mut check = judges::oracle("check_metrics.py")?;
    let names = judges::run(check.arg(&file).arg(&classic))?;
    let names: Vec<&str> = names.lines().collect();

    let value = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
    };
    let version = format!("orbitstream_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{text}");
    assert_eq!((value("orbitstream_database_up")?, value("orbitstream_ready")?), (1.0, 1.0));
    assert!(text.contains("orbitstream_commit_latency_seconds_count 60\n"), "{text}");
    // Batches without a sample, of link health alone, are transactions too.
    assert!(value("orbitstream_transaction_seconds_count")? >= 1.0);
    assert!(value("orbitstream_journal_sync_seconds_count")? >= 1.0);
    let latency = value("orbitstream_commit_latency_seconds_sum")? / 60.0;
    assert!(latency > 0.0 && latency < 600.0, "{latency}");
    for name in [
        "cpu_seconds_total",
        "resident_memory_bytes",
        "virtual_memory_bytes",
        "open_fds",
        "max_fds",
        "start_time_seconds",
        "threads",
    ] {
        assert!(value(&format!("process_{name}"))? > 0.0, "{name}");
    }

    let folder = generate::root().join("docs/prometheus");
    let rules = fs::read_to_string(folder.join("rules.yml"))?;
    let asked: Vec<_> = words(&rules).filter(|word| is_metric(word)).collect();
    assert!(asked.len() > 20, "{asked:?}");
    for name in asked {
        assert!(names.contains(&name), "the rules ask for {name}, which is not on /metrics");
    }
    let operations = fs::read_to_string(generate::root().join("docs/operations.md"))?;
    let described: Vec<_> = words(&operations).collect();
    for name in names {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        let name = family.unwrap_or(name);
        assert!(described.contains(&name), "docs/operations.md does not describe {name}");
    }

    if judges::promtool().is_none() {
        eprintln!("NOT RUN: no promtool (scripts/setup.sh promtool)");
        return Ok(());
    }
    let promtool = |arguments: &[&str]| {
        let mut command = judges::promtool().context("no promtool")?;
        command.args(arguments).current_dir(&folder).stdin(fs::File::open(&classic)?);
        judges::run(&mut command)
    };
    promtool(&["check", "metrics"])?;
    promtool(&["check", "config", "prometheus.yml"])?;
    promtool(&["check", "rules", "rules.yml"])?;
    promtool(&["test", "rules", "rules_test.yml"])?;
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
}

fn is_metric(word: &str) -> bool {
    word.starts_with("orbitstream_") || word.starts_with("process_")
}
