//! The `satsim` command from outside: how it ends, what it refuses, orbits from a file.
#![allow(missing_docs, reason = "tests")]

mod support;

use std::{net::UdpSocket, process::Stdio, sync::Arc, thread, time::Duration};

use protocol::{Body, Datagram, Frame};
use support::{datagrams, receive, report, run, satsim, succeed};

#[test]
fn unlimited_sends_the_count_with_nobody_listening() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = socket.local_addr().unwrap();
    drop(socket);
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("r");
    let options = format!("--target {target} --unlimited --count 100003");
    let output = succeed(&format!("{options} --report {}", truth.display()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("WARN: nothing listens on").count(), 1, "{said}");
    assert!(said.contains(&target.to_string()) && said.contains("--target"), "{said}");
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("100,003 sent") && summary.contains("; refused "), "{summary}");
    assert_eq!(report(&truth)["generated"], 100_003);
    assert_eq!(report(&truth)["sent"], 100_003);
}

#[test]
fn a_signal_ends_it_with_a_report() {
    use nix::{sys::signal, unistd::Pid};

    // What is ignored here would be ignored there, and what is handled is not.
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default()).unwrap();
    for signal in [signal::SIGINT, signal::SIGTERM, signal::SIGHUP] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = socket.local_addr().unwrap();
        let station = receive(socket);
        let folder = tempfile::tempdir().unwrap();
        let truth = folder.path().join("r");
        let options = "--satellites 3 --rate 10 --frames-per-datagram 4";
        let child = satsim(&format!("--target {target} {options} --report {}", truth.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_secs(1));
        signal::kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("frames generated"));
        let report = report(&truth);
        assert_eq!(report["generated"], report["sent"]);
        let received: usize = station
            .join()
            .unwrap()
            .iter()
            .map(|datagram| {
                let mut datagram = Datagram::new(datagram);
                core::iter::from_fn(|| datagram.next(|_| true)).count()
            })
            .sum();
        assert_eq!(report["sent"], received, "also the datagram that was not full");
        assert!(received > 10);
    }
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let tle = folder.path().join("bad.tle");
    std::fs::write(&tle, "ISS\n1 25544U 98067A   20194.88612269 -.00002218  00000-0 -31515-4 0  9993\n2 25544  51.6461 221.2784 0001413  89.1723 280.4612 15.49507896236008\n").unwrap();
    let tle = tle.display();
    let cases = [
        ("--rate 0".to_owned(), "above 0"),
        ("--rate NaN".to_owned(), "above 0"),
        ("--satellites 0".to_owned(), "1..=65535"),
        ("--target nowhere".to_owned(), "host:port"),
        ("--target no.such.host.invalid:1".to_owned(), "no.such.host.invalid"),
        ("--frobnicate".to_owned(), "--frobnicate"),
        ("--count 1 --duration 1s".to_owned(), "cannot be used with"),
        ("--unlimited --rate 5".to_owned(), "cannot be used with"),
        ("--pcap /dev/null".to_owned(), "--count or --duration"),
        ("--pcap /dev/null --unlimited --count 5".to_owned(), "--target"),
        ("--pcap /no/such/place --count 5".to_owned(), "/no/such/place"),
        ("--pcap /dev/full --count 5".to_owned(), "/dev/full"),
        ("--report /no/such/place --count 5".to_owned(), "--report"),
        ("--tle /no/such/file".to_owned(), "/no/such/file"),
        (format!("--tle {tle}"), "line 2: the checksum is 3 and should be 2"),
        ("--tle /dev/zero".to_owned(), "64 MiB"),
        ("--start 1969-01-01T00:00:00Z --count 1".to_owned(), "1970"),
        ("--count 1000000 --speed 1e9".to_owned(), "--speed"),
        ("--pcap /dev/null --count 18446744073709551615".to_owned(), "--count"),
    ];
    for (options, what) in cases {
        let output = run(&options);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{options}: {error}");
        let last = error.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains(what), "{options}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn orbits_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (tle, pcap) = (folder.path().join("t"), folder.path().join("p"));
    std::fs::write(&tle, "ISS (ZARYA)\n1 25544U 98067A   20194.88612269 -.00002218  00000-0 -31515-4 0  9992\n2 25544  51.6461 221.2784 0001413  89.1723 280.4612 15.49507896236008\n").unwrap();
    let options = "--start 2020-07-13T00:00:00Z --count 50 --rate 1";
    succeed(&format!("--tle {} --pcap {} {options}", tle.display(), pcap.display()));
    for (_, datagram) in datagrams(&pcap) {
        let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(&datagram).next(|_| true) else {
            panic!("refused");
        };
        assert_eq!(frame.spacecraft().number(), 1);
        if let Body::Health(health) = frame.body() {
            assert!((410_000..440_000).contains(&health.altitude()), "the height of the ISS");
        }
    }
    let output = run(&format!("--tle {} --satellites 2 --count 1", tle.display()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("holds 1 satellites"), "{error}");
}
