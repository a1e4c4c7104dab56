//! What the `satsim` command makes: the same bytes each time, as many as asked for, and the same on
//! the network as in the file.
#![allow(missing_docs, reason = "tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
};

use protocol::{Datagram, Frame};
use support::{datagrams, receive, report, succeed};

const FIXED: &str = "--start 2026-01-01T00:00:00Z --boot 7 --seed 3";

#[test]
fn the_same_options_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, options: &str| {
        let path = folder.path().join(name);
        succeed(&format!("--pcap {} {options}", path.display()));
        std::fs::read(path).unwrap()
    };
    let options = "--satellites 7 --rate 20 --duration 30s --frames-per-datagram 3";
    let first = write("a", &format!("{options} {FIXED}"));
    assert!(first.len() > 7 * 20 * 30 * 46);
    assert!(first == write("b", &format!("{options} {FIXED}")));
    for other in ["--boot 8", "--seed 4", "--start 2026-01-01T00:00:01Z"] {
        let kept: Vec<&str> = FIXED.split(" --").collect();
        let name = other.split(' ').next().unwrap();
        let rest: Vec<String> = kept
            .iter()
            .map(|part| format!("--{}", part.trim_start_matches("--")))
            .filter(|part| !part.starts_with(name))
            .collect();
        let changed = write("c", &format!("{options} {} {other}", rest.join(" ")));
        assert!(first != changed, "{other}");
    }
}

#[test]
fn counts_and_report_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let (pcap, truth) = (folder.path().join("p"), folder.path().join("r"));
    let files = format!("--pcap {} --report {}", pcap.display(), truth.display());
    let cases = [
        ("--satellites 50 --rate 200 --duration 20s", 200_000, 50),
        ("--satellites 3 --rate 0.1 --duration 60s --speed 600", 18, 3),
        ("--satellites 7 --count 1001 --frames-per-datagram 20", 1_001, 7),
        ("--count 3 --satellites 65535", 3, 3),
    ];
    for (options, count, satellites) in cases {
        succeed(&format!("{files} {FIXED} {options}"));
        let mut streams: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
        for (_, datagram) in datagrams(&pcap) {
            let mut frames = Datagram::new(&datagram);
            while let Some(frame) = frames.next(|_| true) {
                let Ok(Frame::Telemetry(frame)) = frame else {
                    panic!("refused");
                };
                assert_eq!(frame.boot_count(), 7);
                let key = (frame.spacecraft().to_string(), u64::from(frame.apid().number()));
                let (generated, last) = streams.entry(key).or_default();
                assert_eq!(u64::from(frame.sequence().value()), *generated);
                *last = *generated;
                *generated += 1;
            }
        }
        let report = report(&truth);
        assert_eq!(report["generated"], count);
        assert_eq!(report["sent"], count);
        assert_eq!(report["seed"], 3);
        assert_eq!(report["start"], "2026-01-01T00:00:00Z");
        assert_eq!(report["anomalies"].as_array().unwrap().len(), 0);
        for fault in ["dropped", "corrupted", "truncated", "duplicated", "reordered"] {
            assert_eq!(report["faults"][fault], 0);
        }
        let reported: BTreeMap<_, _> = report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stream| {
                assert_eq!((&stream["boot_count"], &stream["first"]), (&7.into(), &0.into()));
                assert_eq!(stream["dropped"], 0);
                let number = |name: &str| stream[name].as_u64().unwrap();
                let satellite = stream["satellite_id"].as_str().unwrap().to_owned();
                ((satellite, number("apid")), (number("generated"), number("last")))
            })
            .collect();
        assert_eq!(reported, streams);
        assert_eq!(streams.values().map(|(generated, _)| generated).sum::<u64>(), count);
        let seen: BTreeSet<_> = streams.keys().map(|(id, _)| id).collect();
        assert_eq!(seen.len(), satellites);
    }
}

#[test]
fn packets_are_dated_in_simulated_time() {
    let folder = tempfile::tempdir().unwrap();
    let pcap = folder.path().join("p");
    let options = "--satellites 2 --rate 0.5 --speed 600 --duration 144s";
    succeed(&format!("--pcap {} {FIXED} {options}", pcap.display()));
    let datagrams = datagrams(&pcap);
    assert_eq!(datagrams.len(), 144);
    for (number, (at, _)) in datagrams.iter().enumerate() {
        assert_eq!(*at, 1_767_225_600_000_000 + number as u64 * 600_000_000);
    }
}

#[test]
fn what_is_sent_is_what_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, besides) = (folder.path().join("alone"), folder.path().join("besides"));
    for frames_per_datagram in [1, 5] {
        let options = format!(
            "{FIXED} --satellites 13 --rate 100 --duration 1s \
             --frames-per-datagram {frames_per_datagram}"
        );
        succeed(&format!("--pcap {} {options}", alone.display()));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let station = receive(socket);
        // By name, and the capture differs only in the port.
        let target = format!("--target localhost:{port}");
        succeed(&format!("{target} --pcap {} {options}", besides.display()));
        let received = station.join().unwrap();
        let written: Vec<Vec<u8>> = datagrams(&alone).into_iter().map(|(_, d)| d).collect();
        assert_eq!(written.len(), 1_300_usize.div_ceil(frames_per_datagram));
        assert!(received == written);
        assert_eq!(
            std::fs::metadata(&alone).unwrap().len(),
            std::fs::metadata(&besides).unwrap().len()
        );
    }
}

/// Where each satellite is depends on the simulated time alone, not on when a flight began.
#[test]
fn a_later_flight_goes_on_where_the_fleet_is_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    let places = |start: &str, rest: &str| {
        let fixed = "--satellites 3 --rate 1 --boot 7 --seed 3";
        succeed(&format!("--pcap {} --start {start} {fixed} {rest}", path.display()));
        let mut places: BTreeMap<(String, i64), [f64; 3]> = BTreeMap::new();
        for (_, datagram) in datagrams(&path) {
            let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(&datagram).next(|_| true) else {
                panic!("refused");
            };
            if let protocol::Body::Health(health) = frame.body() {
                let key = (frame.spacecraft().to_string(), frame.time().unix_us());
                let [latitude, longitude] = [health.latitude(), health.longitude()];
                places.insert(key, [latitude, longitude, 0].map(|raw| f64::from(raw) * 1e-7));
            }
        }
        places
    };
    // A minute, and the same minute's end by itself; then half a year later than the epoch.
    for (start, later) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        ("2026-06-01T12:00:00Z", "2026-06-01T12:01:00Z"),
        ("1999-12-31T23:59:30Z", "2000-01-01T00:00:30Z"),
    ] {
        let (whole, end) = (places(start, "--duration 90s"), places(later, "--duration 30s"));
        let mut compared = 0;
        for (key, place) in &end {
            let Some(before) = whole.get(key) else { continue };
            compared += 1;
            for (a, b) in place.iter().zip(before) {
                // A metre is 1e-5 degrees.
                assert!((a - b).abs() < 2e-5, "{key:?}: {place:?} {before:?}");
            }
        }
        assert!(compared > 60, "{start}: {compared}");
        let first = &whole.iter().next().unwrap().1[..2];
        let later = &end.iter().next().unwrap().1[..2];
        assert!(first.iter().zip(later).any(|(a, b)| (a - b).abs() > 1.0), "it has moved");
    }
}
