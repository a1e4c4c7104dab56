//! Decoders of others read what this project writes as it reads it itself.
//!
//! One corpus, every kind, random and extreme values: decoded with `space_packet_parser` from the
//! XTCE document, with ccsdspy from the tables of `docs/protocol.md`, with spacepackets, fastcrc,
//! dpkt and tshark's own `ccsds` dissector. Each comparison is also shown to fail.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::generate::pcap::{PORT, capture};
use harness::generate::reading::Reading;
use harness::generate::{corpus, damage};
use harness::judges;
use protocol::health::Health;
use protocol::{
    CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp, emit,
};
use receiver::track::{Tracker, Verdict};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn space_packet_parser_reads_the_same_from_the_xtce_document() -> Result<()> {
    let corpus = Corpus::new()?;
    corpus.passes("check_xtce.py")?;
    corpus.fails_with("check_xtce.py", "/values/cpu_temp", &json!(21.504))?;
    corpus.fails_with("check_xtce.py", "/flags/charging", &json!(null))?;
    corpus.fails_with("check_xtce.py", "/boot_count", &json!(-1))
}

#[test]
fn ccsdspy_reads_the_same_from_the_description() -> Result<()> {
    let corpus = Corpus::new()?;
    corpus.passes("check_ccsdspy.py")?;
    corpus.fails_with("check_ccsdspy.py", "/values/latitude", &json!(91.000_000_1))?;
    corpus.fails_with("check_ccsdspy.py", "/flags/in_eclipse", &json!(null))?;
    corpus.fails_with("check_ccsdspy.py", "/us", &json!(1_000))
}

#[test]
fn spacepackets_reads_the_same_primary_headers() -> Result<()> {
    let corpus = Corpus::new()?;
    corpus.passes("check_spacepackets.py")?;
    corpus.fails_with("check_spacepackets.py", "/sequence_count", &json!(16_384))
}

#[test]
fn fastcrc_computes_the_same_checkwords() -> Result<()> {
    let corpus = Corpus::new()?;
    corpus.passes("check_crc.py")?;
    corpus.fails_with("check_crc.py", "/crc", &json!(65_536))?;
    // One flipped bit on the wire.
    corpus.change("frames.pcap", |capture| capture[100] ^= 1)?;
    corpus.fails("check_crc.py", "octets")
}

#[test]
fn tsharks_own_dissector_reads_the_same_primary_headers() -> Result<()> {
    let corpus = Corpus::new()?;
    let columns = ["version", "type", "secheader", "apid", "seqflag", "seqnum", "length"];
    let mut command = judges::tshark(corpus.folder.path());
    command
        .args(["-d", &format!("udp.port=={PORT},ccsds"), "-T", "fields"])
        .arg("-r")
        .arg(corpus.path("single.pcap"));
    for column in columns {
        command.args(["-e", &format!("ccsds.{column}")]);
    }
    let printed = judges::run(&mut command)?;
    let rows: Vec<Vec<&str>> = printed.lines().map(|row| row.split('\t').collect()).collect();
    ensure!(rows.len() == corpus.readings.len());
    for (row, reading) in rows.iter().zip(&corpus.readings) {
        let row: Vec<u64> = row.iter().map(|cell| number(cell)).collect::<Result<_>>()?;
        let ours = [
            0,
            0,
            1,
            reading.apid.into(),
            3,
            reading.sequence_count.into(),
            reading.data_length as u64,
        ];
        assert_eq!(row, ours, "of {columns:?}");
    }
    Ok(())
}

#[test]
fn the_dissector_agrees_with_the_station_in_every_lua() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let datagrams: Vec<_> = damage::datagrams().iter().map(|octets| taken_apart(octets)).collect();
    let tracks: Vec<_> = (0..TRACKS).map(track).collect();
    write_lines(&folder.path().join("datagrams.jsonl"), &datagrams)?;
    write_lines(&folder.path().join("tracks.jsonl"), &tracks)?;
    judges::run(judges::oracle("check_lua.py")?.arg(folder.path()))?;

    let mut wrong = tracks;
    wrong[1][3][5] = json!(1_000_000);
    write_lines(&folder.path().join("tracks.jsonl"), &wrong)?;
    let output = judges::output(judges::oracle("check_lua.py")?.arg(folder.path()))?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("track 1, frame 3"));
    Ok(())
}

/// The frames, and the files that the scripts read.
struct Corpus {
    folder: TempDir,
    readings: Vec<Reading>,
}

impl Corpus {
    fn new() -> Result<Self> {
        let frames = corpus::frames(3, FRAMES);
        let corpus = Self {
            folder: tempfile::tempdir()?,
            readings: frames.iter().map(|frame| Reading::read(frame)).collect(),
        };
        let several: Vec<_> = frames.chunks(FRAMES_PER_DATAGRAM).map(<[_]>::concat).collect();
        fs::write(corpus.path("frames.bin"), frames.concat())?;
        fs::write(corpus.path("frames.pcap"), packets(&several))?;
        fs::write(corpus.path("single.pcap"), packets(&frames))?;
        write_lines(&corpus.path("readings.jsonl"), &corpus.readings)?;
        Ok(corpus)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut octets = fs::read(self.path(name))?;
        change(&mut octets);
        Ok(fs::write(self.path(name), octets)?)
    }

    fn passes(&self, script: &str) -> Result<()> {
        judges::run(judges::oracle(script)?.arg(self.folder.path()))?;
        Ok(())
    }

    /// With one value of one reading changed, the script must say so; then all is as before.
    fn fails_with(&self, script: &str, pointer: &str, value: &Value) -> Result<()> {
        let mut readings: Vec<_> =
            self.readings.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let slot = readings
            .iter_mut()
            .skip(FRAMES / 2)
            .find_map(|reading| reading.pointer_mut(pointer))
            .with_context(|| format!("no reading has {pointer}"))?;
        *slot = value.clone();
        write_lines(&self.path("readings.jsonl"), &readings)?;
        let name = pointer.rsplit('/').next().unwrap_or_default();
        let failed = self.fails(script, name);
        write_lines(&self.path("readings.jsonl"), &self.readings)?;
        failed
    }

    fn fails(&self, script: &str, name: &str) -> Result<()> {
        let output = judges::output(judges::oracle(script)?.arg(self.folder.path()))?;
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(
            output.status.code() == Some(1) && said.contains(name) && !said.contains("Traceback"),
            "{script} does not notice a wrong {name}:\n{said}"
        );
        Ok(())
    }
}

fn packets(payloads: &[Vec<u8>]) -> Vec<u8> {
    let times = (1..).map(Duration::from_millis);
    capture(PORT, times.zip(payloads.iter().map(Vec::as_slice)))
}

fn write_lines(path: &Path, values: &[impl serde::Serialize]) -> Result<()> {
    let mut text = String::new();
    for value in values {
        text.push_str(&serde_json::to_string(value)?);
        text.push('\n');
    }
    Ok(fs::write(path, text)?)
}

/// A field of tshark, which prints truth values differently in different versions.
fn number(text: &str) -> Result<u64> {
    match text {
        "True" => Ok(1),
        "False" => Ok(0),
        _ => Ok(text.parse()?),
    }
}

fn taken_apart(octets: &[u8]) -> Value {
    let mut frames = Datagram::new(octets);
    let mut items = Vec::new();
    while let Some(item) = frames.next(|_| true) {
        items.push(match item {
            Ok(Frame::Telemetry(frame)) => json!([frame.octets().len(), null]),
            Ok(Frame::Idle(octets)) => json!([octets.len(), null]),
            Err(rejected) => json!([rejected.octets.len(), rejected.reason.to_string()]),
        });
    }
    let hex: Vec<_> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    json!({ "octets": hex.concat(), "items": items })
}

/// A stream with gaps, repeats, late frames, wraps and reboots, judged by the station's tracker.
fn track(seed: u32) -> Value {
    let mut tracker = Tracker::new(1);
    let mut boot_count = 65_534_u16;
    let mut sequence = Sequence::new((seed * 16_380).wrapping_sub(5));
    let mut random = seed;
    let mut frames = Vec::new();
    for ms in 0..400_u32 {
        // Numerical Recipes' generator; its high bits are good enough to choose by.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let choice = random >> 24;
        let steps: i32 = match choice {
            0..150 => 1,
            150..200 => (random >> 8 & 15) as i32 - 8,
            200..230 => (random >> 8 & 8_191) as i32 - 4_096,
            230..240 => 4_090 + (random >> 8 & 15) as i32,
            240..250 => -4_090 - (random >> 8 & 15) as i32,
            250..253 => -20_000,
            _ => 16_384,
        };
        sequence = Sequence::new(sequence.value().wrapping_add_signed(steps));
        boot_count = match choice {
            100 => boot_count.wrapping_add(1),
            101 => boot_count.wrapping_sub(1),
            _ => boot_count,
        };
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(1).expect("not 0"),
            boot_count,
            sequence,
            time: CdsTime { day: 0, ms, us: 0 },
        };
        let mut out = [0; FRAME_OCTETS_MAX];
        let octets = emit(&stamp, &Packet::Health(Health::default()), &mut out);
        let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(octets).next(|_| true) else {
            unreachable!("an emitted frame is good");
        };
        let found = tracker.track(&frame).expect("there is room for one stream");
        let (verdict, missing) = match found.verdict {
            Verdict::Next => ("next", 0),
            Verdict::Gap { missed } => ("gap", missed),
            Verdict::Late => ("late", 0),
            Verdict::Duplicate => ("duplicate", 0),
            Verdict::Stale => ("stale", 0),
        };
        frames.push(json!([
            "stream",
            boot_count,
            sequence.value(),
            ms,
            verdict,
            missing,
            found.is_reset
        ]));
    }
    Value::Array(frames)
}

const FRAMES: usize = 2_000;
const FRAMES_PER_DATAGRAM: usize = 7;
const TRACKS: u32 = 20;
