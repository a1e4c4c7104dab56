//! The Wireshark dissector shows what was sent: every field of every frame, judged by tshark.

mod dissection;

use anyhow::Result;
use dissection::Bench;
use dissection::checks::{check_headers, check_marks, check_sample, check_values, is_out_of_range};
use harness::generate::reading::Reading;
use harness::generate::samples::{self, Sample};
use harness::generate::{corpus, damage};
use harness::{generate, judges};
use protocol::channel::Meaning;
use protocol::{Datagram, Frame, KINDS};

#[test]
fn samples_are_shown_as_they_were_sent() -> Result<()> {
    let bench = Bench::new()?;
    for sample in samples::all() {
        let path = path_of(&sample);
        let shown = bench.frames(&path, &[])?;
        check_sample(&sample, &shown);
        // Two passes: the second one sees the packets again, and must not count them again.
        let again = bench.frames(&path, &["-2"])?;
        check_sample(&sample, &again);
    }
    Ok(())
}

#[test]
fn random_frames_are_shown_as_they_were_sent() -> Result<()> {
    let bench = Bench::new()?;
    let frames = corpus::frames(7, FRAMES);
    let payloads: Vec<_> = frames.chunks(7).map(<[_]>::concat).collect();
    let shown = bench.frames(&bench.capture(&payloads)?, &[])?;
    let shown: Vec<_> = shown.into_iter().flatten().collect();
    assert_eq!(shown.len(), frames.len());
    for (shown, frame) in shown.iter().zip(&frames) {
        assert_eq!(shown.octets, *frame);
        let reading = Reading::read(frame);
        check_headers(shown, &reading);
        check_values(shown, &reading);
        check_marks(shown, &reading);
        assert_eq!(shown.has_remark("out_of_range"), is_out_of_range(&reading), "{reading:?}");
    }
    Ok(())
}

#[test]
fn damaged_datagrams_are_taken_apart_as_the_station_does() -> Result<()> {
    let bench = Bench::new()?;
    // Without a payload there is nothing to dissect.
    let mut payloads = damage::datagrams();
    payloads.retain(|payload| !payload.is_empty());
    let shown = bench.frames(&bench.capture(&payloads)?, &[])?;
    for (shown, payload) in shown.iter().zip(&payloads) {
        let mut frames = Datagram::new(payload);
        for shown in shown {
            let (octets, refusal) = match frames.next(|_| true).expect("as many frames") {
                Ok(Frame::Telemetry(frame)) => (frame.octets(), None),
                Ok(Frame::Idle(octets)) => (octets, None),
                Err(rejected) => (rejected.octets, Some(rejected.reason.to_string())),
            };
            assert_eq!(shown.octets, octets);
            assert_eq!(shown.text("refusal"), refusal.as_deref());
        }
        assert!(frames.next(|_| true).is_none(), "as few frames");
    }
    assert_eq!(shown.len(), payloads.len());
    Ok(())
}

#[test]
fn the_example_of_the_description() -> Result<()> {
    let bench = Bench::new()?;
    let samples = samples::all();
    let shown = bench.frames(&path_of(&samples[0]), &[])?;
    let frame = shown.last().and_then(|frames| frames.first()).expect("six");
    // Written down by hand, so that no computation stands between them and the frame.
    for (name, text) in [
        ("satellite_id", "SAT-205"),
        ("boot_count", "3"),
        ("sequence", "81922"),
        ("mode", "2"),
        ("in_eclipse", "1"),
        ("charging", "0"),
        ("heater_on", "1"),
        ("cpu_temp", "21.5"),
        ("panel_temp", "-5"),
        ("battery_voltage", "8"),
        ("battery_current", "-0.5"),
        ("battery_charge", "79.99"),
        ("signal_strength", "-100"),
        ("cpu_load", "50"),
        ("storage_used", "3"),
        ("latitude", "-38.7952"),
        ("longitude", "100"),
        ("altitude", "550"),
        ("speed", "7.552888"),
        ("crc", "0x57cf"),
        ("crc.status", "1"),
    ] {
        assert_eq!(frame.text(name), Some(text), "{name}");
    }
    Ok(())
}

#[test]
fn columns_read_well() -> Result<()> {
    let bench = Bench::new()?;
    let lines = |name: &str| {
        let path = generate::root().join(format!("{}/{name}.pcap", generate::SAMPLES));
        bench.columns(&path, &["_ws.col.Protocol", "_ws.col.Info"], &[])
    };
    let several = lines("several")?;
    assert_eq!(
        several[0],
        "OrbitStream\tSAT-01 health #500 boot 7 | SAT-01 attitude #500 boot 7 (+18 more)"
    );
    let corrupt = lines("corrupt")?;
    assert_eq!(corrupt[1], "OrbitStream\tno telemetry [1 bad CRC]");
    assert_eq!(
        corrupt[2],
        "OrbitStream\tSAT-01 health #12 boot 7 | SAT-03 attitude #30 boot 7 \
         [1 bad CRC] [1 missing]"
    );
    let sequence = lines("sequence")?;
    assert_eq!(sequence[2], "OrbitStream\tSAT-01 health #16385 boot 7 [3 missing]");
    assert_eq!(sequence[11], "OrbitStream\tSAT-01 health #0 boot 8");
    assert_eq!(sequence[14], "OrbitStream\tSAT-01 health #2 boot 8 [1 reboot]");
    assert_eq!(lines("idle")?[0], "OrbitStream\tno telemetry [1 idle]");
    Ok(())
}

#[test]
fn values_are_shown_with_their_units() -> Result<()> {
    let bench = Bench::new()?;
    let mut command = judges::tshark_with_dissector(bench.folder.path());
    command.arg("-r").arg(path_of(&samples::all()[0]));
    let tree = judges::run(command.args(["-O", "orbitstream"]))?;
    for line in [
        "SAT-205 health #81922 boot 3, 2026-01-01 00:00:01.002003 UTC",
        "APID: health (100)",
        "Operating mode: payload (2)",
        "Temperature of the processor: 21.50 °C",
        "Current into the battery: -0.500 A",
        "Storage in use: 3.0000 MiB",
        "Longitude, east positive: 100.0000000 °",
        "Speed of reaction wheel 2: -3000 rpm",
        "CRC: 0x57cf [correct]",
    ] {
        assert!(tree.contains(line), "{line:?} is not in\n{tree}");
    }
    for kind in KINDS {
        for field in kind.fields {
            if let Meaning::Channel(channel) = field.meaning {
                let is_shown = tree.lines().any(|line| line.ends_with(channel.unit));
                assert!(is_shown, "{} in {}", field.name, channel.unit);
            }
        }
    }
    Ok(())
}

#[test]
fn ports_can_be_chosen() -> Result<()> {
    let bench = Bench::new()?;
    let path = path_of(&samples::all()[0]);
    let protocols = |options: &[&str]| bench.columns(&path, &["_ws.col.Protocol"], options);
    assert_eq!(protocols(&[])?[0], "OrbitStream");
    assert_eq!(protocols(&["-o", "orbitstream.ports:9,10010-10020"])?[0], "OrbitStream");
    assert_eq!(protocols(&["-o", "orbitstream.ports:9"])?[0], "UDP");
    let elsewhere = ["-o", "orbitstream.ports:9", "-d", "udp.port==10014,orbitstream"];
    assert_eq!(protocols(&elsewhere)?[0], "OrbitStream");
    Ok(())
}

#[test]
fn a_cut_capture_is_not_taken_for_damage() -> Result<()> {
    let bench = Bench::new()?;
    let payload = samples::all()[1].datagrams[0].octets.clone();
    let path = bench.capture(&[payload])?;
    // A packet's length as captured is the third number of its header, after the file's 24 octets.
    let mut file = std::fs::read(&path)?;
    let cut = 42 + 68 + 46 + 30;
    file[32..36].copy_from_slice(&(cut as u32).to_le_bytes());
    file.truncate(24 + 16 + cut);
    std::fs::write(&path, file)?;
    let shown = &bench.frames(&path, &[])?[0];
    assert_eq!(shown.len(), 3);
    assert!(shown[..2].iter().all(|frame| frame.number("crc.status") == Some(1.0)));
    assert!(shown[2].has_remark("cut") && shown[2].text("refusal").is_none());
    Ok(())
}

/// Without anybody to look at it no tree is built, and the remarks are the same.
#[test]
fn remarks_are_counted_with_and_without_a_tree() -> Result<()> {
    let bench = Bench::new()?;
    let mut payloads = corpus::frames(13, 300);
    for sample in samples::all() {
        payloads.extend(sample.datagrams.into_iter().map(|payload| payload.octets));
    }
    let path = bench.capture(&payloads)?;
    let count = |options: &[&str]| -> Result<String> {
        let mut command = judges::tshark_with_dissector(bench.folder.path());
        command.args(["-z", "expert"]).args(options).arg("-r").arg(&path);
        let printed = judges::run(&mut command)?;
        let start = printed.find("\nErrors (").expect("a summary");
        Ok(printed[start..].to_owned())
    };
    let without = count(&["-q"])?;
    assert_eq!(count(&["-V"])?, without);
    for remark in ["CRC is wrong", "is out of its range", "are missing", "has come before"] {
        assert!(without.contains(remark), "{remark:?} is not in {without}");
    }
    Ok(())
}

#[test]
fn filters_of_the_readme_work() -> Result<()> {
    let bench = Bench::new()?;
    let readme = std::fs::read_to_string(generate::root().join("wireshark/README.md"))?;
    let rows: Vec<_> =
        readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    assert!(rows.len() >= 10, "the table of filters is gone");
    let payloads = samples::all().into_iter().flat_map(|sample| sample.datagrams);
    let payloads: Vec<_> = payloads.map(|payload| payload.octets).collect();
    let path = bench.capture(&payloads)?;
    for (filter, _) in rows {
        let packets = bench.columns(&path, &["frame.number"], &["-Y", filter])?.len();
        assert!(
            packets > 0 && packets < payloads.len(),
            "{filter} shows {packets} packets of {}",
            payloads.len()
        );
    }
    Ok(())
}

fn path_of(sample: &Sample) -> std::path::PathBuf {
    let folder = generate::root().join(generate::SAMPLES);
    folder.join(sample.file_name())
}

const FRAMES: usize = 2_000;
