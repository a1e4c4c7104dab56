//! Anomalies through the `satsim` command.
#![allow(missing_docs, reason = "tests")]

mod support;

use std::{collections::BTreeSet, path::Path};

use protocol::{Body, Datagram, Frame};
use serde_json::Value;
use support::{datagrams, report, run, succeed};

const FIXED: &str = "--start 2026-01-01T00:00:00Z --boot 7 --seed 3";

/// The file and the report of a flight.
fn fly(folder: &Path, options: &str) -> (Vec<u8>, Value) {
    let (pcap, truth) = (folder.join("p"), folder.join("r"));
    let files = format!("--pcap {} --report {}", pcap.display(), truth.display());
    succeed(&format!("{files} {FIXED} {options}"));
    (std::fs::read(&pcap).unwrap(), report(&truth))
}

fn events(truth: &Value) -> &[Value] {
    truth["anomalies"].as_array().unwrap()
}

#[test]
fn the_same_options_send_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let fly = |options: &str| fly(folder.path(), options);
    let flight = "--satellites 3 --duration 300s --speed 10";
    let (plain, truth) = fly(flight);
    assert_eq!(events(&truth).len(), 0);
    let (none, _) = fly(&format!("{flight} --anomalies 0"));
    assert!(plain == none, "no chance changes nothing");
    let (some, truth) = fly(&format!("{flight} --anomalies 0.01"));
    let (again, truth_again) = fly(&format!("{flight} --anomalies 0.01"));
    assert!(some == again && truth == truth_again);
    assert!(some != plain && some.len() == plain.len());
    // 3 satellites, 3,000 simulated seconds, one in a hundred of them.
    assert!((50..130).contains(&events(&truth).len()), "{}", events(&truth).len());
    let (faulty, truth_faulty) =
        fly(&format!("{flight} --anomalies 0.01 --drop 0.3 --corrupt 0.1 --reorder 0.1"));
    assert!(faulty != some);
    let mut unsent = 0;
    for (event, faulty) in events(&truth).iter().zip(events(&truth_faulty)) {
        for name in ["satellite_id", "channel", "kind", "start", "end", "samples"] {
            assert_eq!(event[name], faulty[name], "faults do not move events");
        }
        assert_eq!(event["sent"], event["samples"]);
        unsent += u64::from(faulty["sent"].as_u64() < faulty["samples"].as_u64());
    }
    assert!(unsent > 20, "{unsent}");
}

/// Decodes what was sent: every value of the truth's samples that is told to have left has left.
#[test]
fn what_is_said_to_be_sent_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let flight = "--satellites 2 --duration 200s --speed 10";
    let values = |options: &str| {
        let (_, truth) = fly(folder.path(), &format!("{flight} {options}"));
        let mut values = std::collections::BTreeMap::new();
        for (_, octets) in datagrams(&folder.path().join("p")) {
            let mut datagram = Datagram::new(&octets);
            while let Some(item) = datagram.next(|_| true) {
                if let Ok(Frame::Telemetry(frame)) = item
                    && let Body::Health(health) = frame.body()
                {
                    let name = (frame.spacecraft().to_string(), frame.time().unix_us());
                    values.insert(name, health.cpu_temp());
                }
            }
        }
        (values, truth)
    };
    let (clean, _) = values("--anomalies 0");
    let (lossy, truth) =
        values("--anomalies 0.02 --drop 0.3 --truncate 0.1 --duplicate 0.1 --reorder 0.2");
    let altered = lossy.iter().filter(|(name, value)| clean[*name] != **value).count();
    let sent: u64 = events(&truth)
        .iter()
        .filter(|event| event["channel"] == "cpu_temp")
        .map(|event| event["sent"].as_u64().unwrap())
        .sum();
    assert_eq!(altered as u64, sent);
    assert!(sent > 20, "{sent}");
}

#[test]
fn many_orbits_pass_in_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    for (speed, duration, rate) in [(60, 600, 10), (600, 60, 10)] {
        let options = format!(
            "--satellites 5 --speed {speed} --duration {duration}s --rate {rate} \
             --anomalies 0.001"
        );
        let (_, truth) = fly(folder.path(), &options);
        // Six orbits of five satellites: 180,000 simulated seconds.
        let count = events(&truth).len();
        assert!((60..220).contains(&count), "{count} at {speed}");
        let kinds: BTreeSet<_> =
            events(&truth).iter().map(|event| event["kind"].as_str()).collect();
        assert_eq!(kinds.len(), 5, "{kinds:?}");
        for event in events(&truth) {
            let time = |name: &str| event[name].as_str().unwrap().parse::<jiff::Timestamp>();
            assert!(time("start").unwrap() <= time("end").unwrap());
        }
    }
}

#[test]
fn phases_have_a_chance_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.toml");
    let text = "satellites = 5\nspeed = 10\nanomalies = 0.05\n\
                [[phase]]\nduration = '60s'\nanomalies = 0\n\
                [[phase]]\nduration = '60s'\nreboot = ['SAT-02']\n\
                [[phase]]\nduration = '60s'\nanomalies = 0\n";
    std::fs::write(&path, text).unwrap();
    let (_, truth) = fly(folder.path(), &format!("--scenario {}", path.display()));
    assert!(events(&truth).len() > 50);
    for event in events(&truth) {
        let start: &str = event["start"].as_str().unwrap();
        assert!(("2026-01-01T00:10".."2026-01-01T00:20:30").contains(&start), "{event}");
    }
    std::fs::write(&path, text.replace("0.05", "5")).unwrap();
    let output = run(&format!("--scenario {} --pcap /dev/null", path.display()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("s.toml, line 3, anomalies: expected a chance from 0 to 1"), "{error}");
}

/// The sizes that are documented are those that are drawn.
#[test]
fn sizes_are_documented() {
    use satsim::anomaly::{
        GAP_SAMPLES, Kind,
        instrument::{ATTITUDE, HEALTH, Size},
    };
    let docs = format!("{}/../docs/operations.md", env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(docs).unwrap();
    let size = |size: Size| format!("{} – {}", size.0, size.1);
    for instrument in HEALTH.iter().chain(&ATTITUDE) {
        let row = format!(
            "| `{}` | {} | {} | {} | {} | {} |",
            instrument.channel,
            size(instrument.spike),
            instrument.step.map_or_else(|| "no".into(), size),
            instrument.drift.map_or_else(|| "no".into(), size),
            if instrument.sticks { "yes" } else { "no" },
            size(instrument.noise),
        );
        assert!(docs.contains(&row), "docs/operations.md lacks {row}");
    }
    for kind in Kind::ALL {
        let (least, most) = kind.samples();
        let samples = if least == most { least.to_string() } else { format!("{least} – {most}") };
        let row = format!("| `{kind}` | {samples} |");
        assert!(docs.contains(&row), "docs/operations.md lacks {row}");
    }
    assert!(docs.contains(&format!("at least {GAP_SAMPLES} samples between two")));
}
