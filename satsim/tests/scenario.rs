//! Faults and scenarios through the `satsim` command.
#![allow(missing_docs, reason = "tests")]

#[path = "support/oracle.rs"]
mod oracle;
mod support;

use std::{net::UdpSocket, path::Path, process::Stdio, thread, time::Duration};

use oracle::Oracle;
use serde_json::Value;
use support::{datagrams, receive, report, run, satsim, succeed};

const FIXED: &str = "--start 2026-01-01T00:00:00Z --boot 65535 --seed 3";

fn storm() -> String {
    format!("{}/../docs/scenarios/storm.toml", env!("CARGO_MANIFEST_DIR"))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

/// The report says what was heard.
fn agree(oracle: &Oracle, truth: &Value) {
    let streams = truth["streams"].as_array().unwrap();
    assert_eq!(streams.len(), oracle.streams.len());
    for stream in streams {
        let satellite = stream["satellite_id"].as_str().unwrap();
        let satellite = satellite.trim_start_matches("SAT-").parse().unwrap();
        let name = |name| number(stream, name);
        let heard = &oracle.streams[&(satellite, name("apid") as u16, name("boot_count") as u16)];
        assert_eq!(heard.lost(), name("dropped") + name("corrupted") + name("truncated"));
        assert_eq!((heard.duplicate, heard.late), (name("duplicated"), name("reordered")));
        assert_eq!(heard.seen.len() as u64 + heard.lost(), name("generated"));
        assert_eq!(u64::from(heard.last_come), name("last"));
        assert_eq!(heard.first_come, 0);
    }
    let faults = &truth["faults"];
    let sent =
        number(truth, "generated") - number(faults, "dropped") + number(faults, "duplicated");
    assert_eq!(number(truth, "sent"), sent);
}

#[test]
fn the_storm_goes_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let fly = |name: &str, options: &str| {
        let path = folder.path().join(name);
        let files = format!("--pcap {} --report {}.json", path.display(), path.display());
        succeed(&format!("--scenario {} {files} {options}", storm()));
        (std::fs::read(&path).unwrap(), report(Path::new(&format!("{}.json", path.display()))))
    };
    let (first, truth) = fly("a", FIXED);
    let (again, _) = fly("b", FIXED);
    assert!(first == again, "the same options make the same bytes, faults included");
    let (other, _) = fly("c", &FIXED.replace("--seed 3", "--seed 4"));
    assert!(first != other);

    let came: Vec<_> = datagrams(&folder.path().join("a")).into_iter().map(|(_, d)| d).collect();
    agree(&Oracle::of(&came), &truth);
    // 60 s of 20 satellites at 50 frames a second, one of them silent for 10 s.
    assert_eq!(truth["generated"], 60 * 20 * 50 - 10 * 50);
    let of = |satellite: &str| {
        let streams = truth["streams"].as_array().unwrap();
        let of = streams.iter().filter(|s| s["satellite_id"] == satellite);
        of.map(|s| (s["apid"].as_u64(), s["boot_count"].as_u64(), s["generated"].as_u64()))
            .map(|(apid, boot, generated)| (apid.unwrap(), boot.unwrap(), generated.unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("SAT-01"), [(100, 65_535, 2_700), (101, 65_535, 300)]);
    let rebooted = [(100, 65_535, 1_575), (100, 0, 1_125), (101, 65_535, 175), (101, 0, 125)];
    assert_eq!(of("SAT-03"), rebooted);
    assert_eq!(of("SAT-05"), [(100, 65_535, 2_250), (101, 65_535, 250)]);
    let faults = &truth["faults"];
    // The outage alone takes 5 s of everything, but for the last frames before the reboot.
    assert!((5_000..8_000).contains(&number(faults, "dropped")), "{faults}");
    for (fault, from, to) in [
        ("corrupted", 300, 460),
        ("truncated", 130, 260),
        ("duplicated", 300, 460),
        ("reordered", 750, 1_050),
    ] {
        assert!((from..to).contains(&number(faults, fault)), "{faults}");
    }

    // The command line overrides the top of the file.
    let (_, truth) = fly("d", &format!("{FIXED} --satellites 5 --rate 10"));
    assert_eq!(truth["generated"], 60 * 5 * 10 - 10 * 10);
}

#[test]
fn a_signal_leaves_every_stream_with_a_clean_end() {
    use nix::{sys::signal, unistd::Pid};

    let faults = "--drop 0.4 --corrupt 0.1 --reorder 0.3 --duplicate 0.1 --reorder-depth 100";
    for pace in ["--rate 100", "--unlimited"] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &(32 << 20)).ok();
        let target = socket.local_addr().unwrap();
        let station = receive(socket);
        let folder = tempfile::tempdir().unwrap();
        let (truth, pcap) = (folder.path().join("r"), folder.path().join("p"));
        // At full speed the socket may overflow: the file has it all.
        let files = format!("--report {} --pcap {}", truth.display(), pcap.display());
        let options = format!("--satellites 30 --frames-per-datagram 7 {pace} {faults} {files}");
        let child = satsim(&format!("--target {target} {options}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(700));
        signal::kill(Pid::from_raw(child.id() as i32), signal::SIGINT).unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
        let received = station.join().unwrap();
        let came = payloads(&pcap);
        if pace == "--rate 100" {
            assert!(received == came, "the file holds what was sent");
        }
        let oracle = Oracle::of(&came);
        let truth = report(&truth);
        agree(&oracle, &truth);
        assert!(number(&truth["faults"], "dropped") > 100);
    }
}

/// As [`datagrams`], to any port.
fn payloads(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap();
    let mut reader = pcap_file::pcap::PcapReader::new(&file[..]).unwrap();
    let mut payloads = Vec::new();
    while let Some(packet) = reader.next_packet() {
        payloads.push(packet.unwrap().data[ETHERNET_IPV4_UDP..].to_vec());
    }
    payloads
}

const ETHERNET_IPV4_UDP: usize = 14 + 20 + 8;

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("s.toml");
        std::fs::write(&path, text).unwrap();
        format!("--scenario {}", path.display())
    };
    let phase = "[[phase]]\nduration = '1s'\n";
    let cases = [
        ("--drop 0.5 --corrupt 0.6".to_owned(), "", "add up to 1.1"),
        ("--drop 2".to_owned(), "", "a chance from 0 to 1"),
        ("--burst-loss 0.1".to_owned(), "", "two chances"),
        ("--reorder-depth 2000".to_owned(), "", "1 to 1024"),
        ("--scenario /no/such/file".to_owned(), "", "/no/such/file"),
        ("--scenario /dev/zero".to_owned(), "", "4 MiB"),
        (format!("--scenario {} --count 3", storm()), "", "cannot be used with"),
        (String::new(), "colour = 1", "s.toml, line 1, colour: unknown field `colour`"),
        ("--drop 0.7".to_owned(), &format!("{phase}corrupt = 0.6"), "line 1, [[phase]]: drop"),
        ("--satellites 2".to_owned(), &format!("{phase}silent = ['SAT-03']"), "line 3, silent"),
        ("--unlimited".to_owned(), &format!("{phase}rate = 3"), "line 1, [[phase]]: it has a rate"),
        (String::new(), "[[phase]]\nduration = '80y'", "2105"),
    ];
    for (options, text, what) in cases {
        let scenario = if text.is_empty() { String::new() } else { file(text) };
        let output = run(&format!("{scenario} {options}"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{options}: {error}");
        assert!(error.trim_end().lines().count() == 1, "{error}");
        assert!(error.starts_with("error: ") && error.contains(what), "{options}: {error}");
    }
}
