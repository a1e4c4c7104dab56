//! Yamcs, a mission control system of others, reads with the XTCE document what satellites send: it
//! has nothing to say against document and packets, and every parameter of every packet is valid and
//! what our decoder says.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::Constellation;
use harness::generate::reading::Reading;
use harness::generate::{self, corpus};
use harness::yamcs::Yamcs;
use protocol::channel::{Channel, Field, Flag, Meaning};
use protocol::header::{HEADER_OCTETS, LAYOUT_VERSION};
use protocol::{KINDS, Kind};
use serde_json::Value;

/// Set, and not empty: it is an error if Yamcs cannot run here.
const DEMAND_VARIABLE: &str = "ORBITSTREAM_YAMCS";
const DOCUMENT: &str = "docs/orbitstream.xtce.xml";

#[test]
fn yamcs_reads_what_satellites_send() -> Result<()> {
    if let Some(missing) = Yamcs::missing() {
        let is_demanded = std::env::var_os(DEMAND_VARIABLE).is_some_and(|value| !value.is_empty());
        ensure!(!is_demanded, "{missing}");
        eprintln!("NOT RUN: {missing}");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut yamcs = Yamcs::start(&generate::root().join(DOCUMENT), folder.path())?;

    // As people use it: live, from satsim.
    let capture = folder.path().join("sent.pcap");
    let capture_path = capture.to_str().context("a path in UTF-8")?;
    let flight = ["--satellites", "1", "--rate", "20", "--count", "150", "--seed", "21"];
    let clock = ["--start", "2026-01-01T23:59:58.123456Z", "--boot", "7", "--pcap", capture_path];
    Constellation::fly(yamcs.target(), folder.path(), &[&flight[..], &clock].concat())?;
    let mut frames = payloads(&capture)?;
    let flown = frames.len();
    ensure!(flown == 150);
    yamcs.wait_for(flown as u64)?;

    // And values that no satellite has: random ones, and the ends of every field.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for frame in corpus::frames(5, CORPUS_FRAMES) {
        socket.send_to(&frame, yamcs.target())?;
        frames.push(frame);
        yamcs.wait_for(frames.len() as u64)?;
        // Packets of one millisecond would share their place in its archive of parameters.
        thread::sleep(Duration::from_millis(2));
    }
    let theirs = Theirs::fetch(&yamcs, frames.len())?;
    let ours: Vec<_> = frames.iter().map(|frame| Ours::read(frame)).collect();
    let compared = compare(&ours, &theirs)?;
    let is_valid = |frame: &Ours| frame.values.iter().all(|(_, value)| value.is_valid);
    ensure!(ours[..flown].iter().all(is_valid), "satsim sends values outside of their range");
    ensure!(!ours[flown..].iter().all(is_valid), "the corpus has none outside of its range");
    ensure!(yamcs.events()?.is_empty(), "{:?}", yamcs.events()?);
    let complaints = yamcs.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    println!("{compared} values of {} packets are equal in Yamcs", frames.len());

    // The comparison sees what it is for: a value, a validity, a packet.
    for (frame, seen) in [(7, "packet 7, cpu_temp"), (7, "live, cpu_temp"), (flown, "packet 150")] {
        let mut wrong: Vec<_> = frames.iter().map(|frame| Ours::read(frame)).collect();
        let temp = wrong[frame].values.iter_mut().find(|(name, _)| name == "cpu_temp");
        match temp.filter(|_| frame < flown) {
            Some((_, temp)) if seen.starts_with("packet") => temp.raw += 1,
            Some((_, temp)) => temp.is_valid = false,
            None => wrong[frame].identity.boot_count += 1,
        }
        let Err(difference) = compare(&wrong, &theirs) else { bail!("not noticed: {seen}") };
        ensure!(format!("{difference:#}").contains(seen), "{difference:#} instead of {seen}");
    }
    Ok(())
}

/// What Yamcs has: every parameter of every packet, as archived and as put out live.
struct Theirs {
    /// The kind's name, and the values in the order of the octets.
    packets: BTreeMap<Identity, (String, Vec<Value>)>,
    /// By parameter: raw values, and whether Yamcs took them for valid.
    live: BTreeMap<String, Vec<(i64, bool)>>,
}

impl Theirs {
    fn fetch(yamcs: &Yamcs, wanted: usize) -> Result<Self> {
        let mut packets = BTreeMap::new();
        let mut counts = BTreeMap::<String, usize>::new();
        for packet in yamcs.packets(wanted)? {
            let values = yamcs.extract(&packet)?;
            for value in &values {
                *counts.entry(name(value)?.to_owned()).or_default() += 1;
            }
            let kind = packet["id"]["name"].as_str().context("a packet has no name")?.to_owned();
            packets.insert(Identity::of(&values)?, (kind, values));
        }
        let mut live = BTreeMap::new();
        for (name, count) in counts {
            let history = yamcs.history(&name, count)?;
            let mut values = history.iter().map(status).collect::<Result<Vec<_>>>()?;
            values.sort_unstable();
            live.insert(name, values);
        }
        Ok(Self { packets, live })
    }
}

/// How many values are equal; an error about the first that is not.
fn compare(ours: &[Ours], theirs: &Theirs) -> Result<usize> {
    let (there, wanted) = (theirs.packets.len(), ours.len());
    ensure!(there == wanted, "{there} of {wanted} packets");
    let mut compared = 0;
    let mut live: BTreeMap<&str, Vec<(i64, bool)>> = BTreeMap::new();
    for (number, frame) in ours.iter().enumerate() {
        let found = theirs.packets.get(&frame.identity);
        let (kind, values) = found.with_context(|| format!("packet {number} is not there"))?;
        ensure!(*kind == format!("/OrbitStream/{}", frame.kind), "packet {number}: {kind}");
        let there = values.iter().map(name).collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = frame.values.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(there == names, "packet {number}: {there:?} instead of {names:?}");
        for (theirs, (name, ours)) in values.iter().zip(&frame.values) {
            ours.check(theirs).with_context(|| format!("packet {number}, {name}"))?;
            compared += 1;
            live.entry(name).or_default().push((ours.raw, ours.is_valid));
        }
    }
    for (name, mut ours) in live {
        ours.sort_unstable();
        let theirs = &theirs.live[name];
        ensure!(*theirs == ours, "live, {name}: {theirs:?} instead of {ours:?}");
    }
    Ok(compared)
}

/// What tells a packet from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    apid: i64,
    spacecraft: i64,
    boot_count: i64,
    sequence_extension: i64,
    sequence_count: i64,
}

impl Identity {
    fn of(values: &[Value]) -> Result<Self> {
        let raw = |wanted: &str| {
            let value = values.iter().find(|value| name(value).is_ok_and(|name| name == wanted));
            value
                .and_then(|value| integer(&value["rawValue"]))
                .with_context(|| format!("a packet has no {wanted}"))
        };
        Ok(Self {
            apid: raw("apid")?,
            spacecraft: raw("spacecraft")?,
            boot_count: raw("boot_count")?,
            sequence_extension: raw("sequence_extension")?,
            sequence_count: raw("sequence_count")?,
        })
    }
}

/// A frame as our decoder has it.
struct Ours {
    identity: Identity,
    kind: &'static str,
    /// Every parameter with its name in the document, in the order of the octets.
    values: Vec<(String, Expected)>,
}

impl Ours {
    fn read(frame: &[u8]) -> Self {
        let reading = Reading::read(frame);
        let identity = Identity {
            apid: reading.apid.into(),
            spacecraft: reading.spacecraft.into(),
            boot_count: reading.boot_count.into(),
            sequence_extension: reading.sequence_extension.into(),
            sequence_count: reading.sequence_count.into(),
        };
        Self { identity, kind: reading.kind, values: expected(frame, &reading) }
    }
}

/// One parameter as our decoder has it.
#[derive(Debug)]
struct Expected {
    raw: i64,
    value: Engineering,
    /// Whether it is in its declared range.
    is_valid: bool,
}

#[derive(Debug)]
enum Engineering {
    Same,
    Quantity(f64),
    Label(&'static str),
    Truth(bool),
    /// In ms since 1970: what Yamcs' clock resolves.
    Time(i64),
}

impl Expected {
    fn plain(raw: impl Into<i64>) -> Self {
        Self { raw: raw.into(), value: Engineering::Same, is_valid: true }
    }

    fn time(raw: impl Into<i64>, unix_ms: i64) -> Self {
        Self { value: Engineering::Time(unix_ms), ..Self::plain(raw) }
    }

    fn check(&self, theirs: &Value) -> Result<()> {
        let (raw, value) = (&theirs["rawValue"], &theirs["engValue"]);
        let is_same = match self.value {
            Engineering::Same => integer(value) == Some(self.raw),
            // XTCE's calibrator multiplies; ours divides where the scale is one over a number.
            Engineering::Quantity(ours) => value["doubleValue"].as_f64().is_some_and(|theirs| {
                let (low, high) = (ours.next_down().next_down(), ours.next_up().next_up());
                (low..=high).contains(&theirs)
            }),
            Engineering::Label(label) => value["stringValue"] == label,
            Engineering::Truth(truth) => value["booleanValue"] == truth,
            Engineering::Time(unix_ms) => {
                let ours = jiff::Timestamp::from_millisecond(unix_ms)?;
                value["type"] == "TIMESTAMP" && value["stringValue"] == format!("{ours:.3}")
            }
        };
        ensure!(integer(raw) == Some(self.raw) && is_same, "{raw} and {value} instead of {self:?}");
        Ok(())
    }
}

fn expected(frame: &[u8], reading: &Reading) -> Vec<(String, Expected)> {
    const UNIX_DAY: i64 = 4_383;
    const DAY_MS: i64 = 86_400_000;
    let midnight_ms = (i64::from(reading.day) - UNIX_DAY) * DAY_MS;
    let time_ms = midnight_ms + i64::from(reading.ms);
    let mut expected: Vec<_> = [
        ("packet_version", Expected::plain(0)),
        ("packet_type", Expected::plain(0)),
        ("secondary_header", Expected::plain(1)),
        ("apid", Expected::plain(reading.apid)),
        ("sequence_flags", Expected::plain(3)),
        ("sequence_count", Expected::plain(reading.sequence_count)),
        ("data_length", Expected::plain(reading.data_length as i64)),
        ("time_p_field", Expected::plain(0x41)),
        ("time_day", Expected::time(reading.day, midnight_ms)),
        ("time_ms", Expected::time(reading.ms, time_ms)),
        ("time_us", Expected::time(reading.us, time_ms)),
        ("layout_version", Expected::plain(LAYOUT_VERSION)),
        ("spacecraft", Expected::plain(reading.spacecraft)),
        ("boot_count", Expected::plain(reading.boot_count)),
        ("sequence_extension", Expected::plain(reading.sequence_extension)),
    ]
    .into_iter()
    .map(|(name, expected)| (name.to_owned(), expected))
    .collect();
    let kind: &Kind = KINDS.iter().find(|kind| kind.name == reading.kind).expect("declared");
    for field in kind.fields {
        let raw = raw(frame, field);
        match &field.meaning {
            Meaning::Channel(channel) => {
                let value = reading.values[field.name];
                expected.push((field.name.to_owned(), quantity(raw, value, channel)));
            }
            Meaning::Flags(flags) => expected.extend(bits(field, raw, flags, reading)),
            Meaning::Reserved => expected.push((field.name.to_owned(), Expected::plain(raw))),
        }
    }
    expected.push(("crc".to_owned(), Expected::plain(reading.crc)));
    expected
}

fn quantity(raw: i64, value: f64, channel: &Channel) -> Expected {
    if let Some((_, label)) = channel.labels.iter().find(|(number, _)| i64::from(*number) == raw) {
        return Expected { raw, value: Engineering::Label(label), is_valid: true };
    }
    let (low, high) = channel.range;
    Expected { raw, value: Engineering::Quantity(value), is_valid: (low..=high).contains(&value) }
}

/// Named bits, and the spare ones between them, from the most significant down.
fn bits(field: &Field, raw: i64, flags: &[Flag], reading: &Reading) -> Vec<(String, Expected)> {
    let mut flags: Vec<_> = flags.iter().collect();
    flags.sort_by_key(|flag| std::cmp::Reverse(flag.bit));
    let mut expected = Vec::new();
    let mut unread = field.raw.octets() * 8;
    let spare = |from: usize, to: usize, expected: &mut Vec<(String, Expected)>| {
        if from > to {
            let value = raw >> to & ((1 << (from - to)) - 1);
            expected.push((format!("{}_spare_{to}", field.name), Expected::plain(value)));
        }
    };
    for flag in flags {
        let bit = usize::from(flag.bit);
        spare(unread, bit + 1, &mut expected);
        let truth = reading.flags[flag.name];
        let value = Engineering::Truth(truth);
        let flag_is = Expected { raw: truth.into(), value, is_valid: true };
        expected.push((flag.name.to_owned(), flag_is));
        unread = bit;
    }
    spare(unread, 0, &mut expected);
    expected
}

/// A field's integer, read by offset.
fn raw(frame: &[u8], field: &Field) -> i64 {
    let octets = &frame[HEADER_OCTETS + field.offset..][..field.raw.octets()];
    let unsigned = octets.iter().fold(0_i64, |raw, octet| raw << 8 | i64::from(*octet));
    let (_, high) = field.raw.limits();
    if unsigned > high { unsigned - (1 << (8 * octets.len())) } else { unsigned }
}

fn name(value: &Value) -> Result<&str> {
    let name = value["parameter"]["qualifiedName"].as_str();
    name.and_then(|name| name.strip_prefix("/OrbitStream/"))
        .context("a parameter of another system")
}

/// Raw value, and whether Yamcs takes it for valid.
fn status(value: &Value) -> Result<(i64, bool)> {
    let raw = integer(&value["rawValue"]).with_context(|| value.to_string())?;
    let is_valid = match value["acquisitionStatus"].as_str() {
        Some("ACQUIRED") => true,
        Some("INVALID") => false,
        _ => bail!("{value}"),
    };
    Ok((raw, is_valid))
}

fn integer(value: &Value) -> Option<i64> {
    ["uint32Value", "sint32Value"].iter().find_map(|kind| value[kind].as_i64())
}

/// The datagrams of a capture as satsim writes them.
fn payloads(capture: &Path) -> Result<Vec<Vec<u8>>> {
    let mut reader = pcap_file::pcap::PcapReader::new(File::open(capture)?)?;
    let mut payloads = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        let sliced = etherparse::SlicedPacket::from_ethernet(&packet.data)?;
        let Some(etherparse::TransportSlice::Udp(udp)) = sliced.transport else {
            bail!("{} holds something else than UDP", capture.display());
        };
        payloads.push(udp.payload().to_vec());
    }
    Ok(payloads)
}

const CORPUS_FRAMES: usize = 250;
