use super::Scenario;
use crate::options::Options;
use clap::Parser as _;

fn error(text: &str) -> String {
    let error = Scenario::parse("f.toml".into(), text.into()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn every_option_and_phase_is_read() {
    let text = r#"
        satellites = 7
        rate = 20
        speed = 1.5
        seed = 3
        start = 2026-01-01T00:00:00Z
        boot = 9
        frames_per_datagram = 4
        tle = "orbits.tle"
        anomalies = 0.01
        drop = 0.1

        [[phase]]
        duration = "10s"
        burst_loss = [0.01, 0.2]
        reorder_depth = 3

        [[phase]]
        duration = "1m 30s"
        rate = 5
        anomalies = 0
        drop = 1
        silent = ["SAT-05"]
        reboot = [
            "SAT-03",
        ]
    "#;
    let scenario = Scenario::parse("there/f.toml".into(), text.into()).unwrap();
    let mut options = Options::parse_from(["satsim", "--seed=4"]);
    scenario.complete(&mut options);
    assert_eq!((options.satellites, options.rate, options.speed), (Some(7), Some(20.0), Some(1.5)));
    assert_eq!((options.seed, options.boot), (Some(4), Some(9)));
    let start = options.start.unwrap().at(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(start.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(options.frames_per_datagram, Some(4));
    assert_eq!(options.tle.unwrap().to_str(), Some("there/orbits.tle"));
    assert_eq!(options.faults.drop, "0.1".parse().ok());
    assert_eq!(options.anomalies, "0.01".parse().ok());
    let [first, second] = &scenario.phases[..] else {
        panic!("two phases");
    };
    assert_eq!((first.duration.as_secs(), second.duration.as_secs()), (10, 90));
    assert_eq!(first.faults.burst_loss, "0.01,0.2".parse().ok());
    assert_eq!((first.faults.drop, first.anomalies), (None, None));
    assert_eq!(second.anomalies, "0".parse().ok());
    assert_eq!((second.rate, second.faults.drop), (Some(5.0), "1".parse().ok()));
    assert_eq!(second.silent[0].spacecraft.number(), 5);
    assert_eq!(second.reboot[0].spacecraft.number(), 3);
}

#[test]
fn the_command_line_comes_first() {
    let text = "rate = 5\ndrop = 0.1\ncorrupt = 0.2\n[[phase]]\nduration = '1s'\n";
    let scenario = Scenario::parse("f".into(), text.into()).unwrap();
    let completed = |arguments: &str| {
        let arguments = core::iter::once("satsim").chain(arguments.split_whitespace());
        let mut options = Options::parse_from(arguments);
        scenario.complete(&mut options);
        options
    };
    let options = completed("--drop 0.3 --unlimited");
    assert_eq!(options.faults.drop, "0.3".parse().ok());
    assert_eq!(options.faults.corrupt, "0.2".parse().ok());
    assert_eq!((options.unlimited, options.rate), (true, None));
    assert_eq!(completed("--rate 7").rate, Some(7.0));
    assert_eq!(completed("").rate, Some(5.0));
}

#[test]
fn errors_name_line_and_key() {
    let phase = "[[phase]]\nduration = '1s'\n";
    let cases = [
        (String::new(), "f.toml, line 1, the file: it has no [[phase]]; give at least one"),
        (format!("dorp = 0.1\n{phase}"), "f.toml, line 1, dorp: unknown field `dorp`"),
        (format!("{phase}dorp = 0.1\n"), "f.toml, line 3, dorp: unknown field `dorp`"),
        (format!("anomalies = 2\n{phase}"), "f.toml, line 1, anomalies: expected a chance"),
        (format!("{phase}anomalies = -1\n"), "f.toml, line 3, anomalies: expected a chance"),
        (format!("\ndrop = 1.5\n{phase}"), "f.toml, line 2, drop: expected a chance from 0 to 1"),
        (format!("{phase}corrupt = 'x'\n"), "f.toml, line 3, corrupt: invalid type"),
        (format!("{phase}truncate = nan\n"), "f.toml, line 3, truncate: expected a chance"),
        (format!("{phase}rate = 0\n"), "f.toml, line 3, rate: expected a number above 0"),
        (format!("{phase}burst_loss = [0.1]\n"), "f.toml, line 3, burst_loss: invalid length"),
        (format!("{phase}burst_loss = [0.1, 2]\n"), "f.toml, line 3, burst_loss: expected two"),
        (format!("{phase}reorder_depth = 0\n"), "f.toml, line 3, reorder_depth: expected 1 to"),
        (format!("{phase}reorder_depth = -1\n"), "f.toml, line 3, reorder_depth: invalid value"),
        (format!("{phase}silent = ['SAT-1']\n"), "f.toml, line 3, silent: expected SAT-"),
        (format!("{phase}reboot = [\n\n'x']\n"), "f.toml, line 3, reboot: expected SAT-"),
        (
            format!("{phase}reboot = ['SAT-02']\nsilent = ['SAT-01', 'SAT-02']\n"),
            "f.toml, line 4, silent: SAT-02 starts again in this phase",
        ),
        (format!("{phase}[[phase]]\ndrop = 1\n"), "f.toml, line 3, [[phase]]: missing field"),
        ("[[phase]]\nduration = 10\n".into(), "f.toml, line 2, duration: invalid type"),
        ("[[phase]]\nduration = '0s'\n".into(), "f.toml, line 2, duration: expected more than"),
        (format!("satellites = 0\n{phase}"), "f.toml, line 1, satellites: expected 1 to 65535"),
        (format!("satellites = 65536\n{phase}"), "f.toml, line 1, satellites: expected 1 to"),
        (format!("boot = 65536\n{phase}"), "f.toml, line 1, boot: invalid value"),
        (format!("seed = -1\n{phase}"), "f.toml, line 1, seed: invalid value"),
        (format!("start = 'soon'\n{phase}"), "f.toml, line 1, start: expected an RFC 3339"),
        (format!("start = 2026-01-01\n{phase}"), "f.toml, line 1, start: expected an RFC 3339"),
        (format!("frames_per_datagram = 964\n{phase}"), "f.toml, line 1, frames_per_datagram: "),
        (format!("drop = 0.1\ndrop = 0.1\n{phase}"), "f.toml, line 2, drop: duplicate key"),
        ("# a comment = 1\n\nnot toml\n".into(), "f.toml, line 3, the file: "),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
}

#[test]
fn not_too_many_phases() {
    let error = error(&"[[phase]]\nduration = '1s'\n".repeat(super::PHASES_MAX + 1));
    assert!(error.contains("line 20001, [[phase]]: there are more than 10000 phases"), "{error}");
}
