//! Somebody sends frames in the name of every spacecraft there can be, or a few in the name of a true
//! one: the real ones' rows are complete, everything is counted, and memory stays within its bound.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::station::{RECEIVER_REPORT, SATSIM_REPORT};
use harness::{Constellation, Counters, Reports, Station, Verification};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, attitude::Attitude, emit,
    health::Health,
};
use receiver::detect::{Settings, octets_with_limits_only};
use receiver::{link::BYTES_PER_LINK, track::BYTES_PER_STREAM_MAX};
use support::{Ground, Tables, cluster};

const SPACECRAFT: u64 = 65_535;
const KINDS: u64 = 2;
/// Listed as real.
const REAL: u64 = 20;

/// What the station may need beyond what it has when it is ready, besides its streams: the queues
/// (64 MiB), for each of two writers a batch being filled and one being sent (8 MiB each), and what
/// the allocator and the driver hold.
const PIPELINE_OCTETS_MAX: u64 = (64 + 2 * 2 * 8 + 32) << 20;

/// Frames sent before it is asked whether the station has kept up.
const BURST_FRAMES: usize = 4_000;
const FRAMES_PER_DATAGRAM: usize = 20;

/// Sends so many frames of each kind of every spacecraft, as fast as the station takes them.
fn spoof(station: &mut Station, boot_count: u16, counts: u32) -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
    let time = CdsTime::from_unix_us(now_us as i64).context("the clock is wrong")?;
    let packets = [Packet::Health(Health::default()), Packet::Attitude(Attitude::default())];
    let frames = (1..=u16::MAX).filter_map(SpacecraftId::new).flat_map(|spacecraft| {
        packets.into_iter().flat_map(move |packet| {
            (0..counts).map(move |count| {
                let stamp = Stamp { spacecraft, boot_count, sequence: Sequence::new(count), time };
                emit(&stamp, &packet, &mut [0; FRAME_OCTETS_MAX]).to_vec()
            })
        })
    });
    let frames: Vec<_> = frames.collect();
    for burst in frames.chunks(BURST_FRAMES) {
        let before = station.counters()?.frames;
        for datagram in burst.chunks(FRAMES_PER_DATAGRAM) {
            socket.send_to(&datagram.concat(), station.target())?;
        }
        // More may have come from satellites meanwhile; never less.
        while station.counters()?.frames < before + burst.len() as u64 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(frames.len() as u64)
}

/// A size in octets from the station's `/proc/…/status`.
fn memory(station: &mut Station, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", station.program().id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such size")?;
    Ok(kib.parse::<u64>()? << 10)
}

/// The station's greatest memory so far is within the bound for so many streams at a time, of so many
/// spacecraft since the start.
fn assert_within_bound(
    station: &mut Station,
    ready: u64,
    streams: u64,
    spacecraft: u64,
) -> Result<()> {
    let watched = spacecraft * octets_with_limits_only() as u64;
    let bound = ready
        + PIPELINE_OCTETS_MAX
        + streams * (BYTES_PER_STREAM_MAX + BYTES_PER_LINK) as u64
        + Settings::default().memory
        + watched;
    let most = memory(station, "VmHWM")?;
    assert!(most <= bound, "{} MiB used, {} MiB expected at most", most >> 20, bound >> 20);
    Ok(())
}

fn assert_all_counted(counters: &Counters) {
    assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0), "{counters:?}");
    assert_eq!(
        (counters.lost, counters.kernel_dropped, counters.queue_dropped, counters.pending),
        (0, 0, 0, 0),
        "{counters:?}"
    );
    assert_eq!(counters.rejected_total(), counters.rejected["unknown_spacecraft"]);
}

#[test]
fn rows_of_listed_spacecraft_are_complete() -> Result<()> {
    let options = [&*format!("--spacecraft=1-{REAL}"), "--writers=2"];
    let Ground { mut station, database, folder } = Ground::start(Tables::Plain, &options)?;
    let ready = memory(&mut station, "VmHWM")?;
    let flight = [&*format!("--satellites={REAL}"), "--rate=50", "--boot=9"];
    let satellites = Constellation::start(station.target(), folder.path(), &flight)?;
    // The spoofer uses the real ones' names as well: to the station those reboot.
    let spoofed = spoof(&mut station, 8, 1)?;
    let truth = satellites.stop()?;
    station.wait_until_quiet()?;
    assert_within_bound(&mut station, ready, REAL * KINDS, REAL)?;
    let counters = station.stop()?;
    assert_all_counted(&counters);
    assert_eq!(counters.accepted, truth.generated + REAL * KINDS);
    assert_eq!(counters.rejected["unknown_spacecraft"], spoofed - REAL * KINDS);
    let reports = Reports {
        truth: &folder.path().join(SATSIM_REPORT),
        receiver: Some(&folder.path().join(RECEIVER_REPORT)),
    };
    let verification = Verification::run(reports, &cluster().url(&database), &[])?;
    assert!(verification.agrees, "{}", verification.page);
    Ok(())
}

#[test]
fn without_a_list_only_so_many_are_let_in() -> Result<()> {
    let most = 10_000;
    let mut ground = Ground::start(Tables::Plain, &["--writers=2"])?;
    let ready = memory(&mut ground.station, "VmHWM")?;
    let spoofed = spoof(&mut ground.station, 1, 2)?;
    ground.station.wait_until_quiet()?;
    assert_within_bound(&mut ground.station, ready, most * KINDS, most)?;
    let counters = ground.stop()?;
    assert_all_counted(&counters);
    assert_eq!(counters.accepted, most * KINDS * 2);
    assert_eq!(counters.rejected["unknown_spacecraft"], spoofed - most * KINDS * 2);
    Ok(())
}

#[test]
fn every_spacecraft_there_can_be_has_room() -> Result<()> {
    let options = ["--writers=2", "--max-satellites=65535", "--max-streams=131070"];
    let mut ground = Ground::start(Tables::Plain, &options)?;
    let ready = memory(&mut ground.station, "VmHWM")?;
    // One frame of another boot makes no reboot.
    let boots = 2;
    for boot_count in 1..=boots {
        spoof(&mut ground.station, boot_count, 1)?;
    }
    ground.station.wait_until_quiet()?;
    assert_within_bound(&mut ground.station, ready, SPACECRAFT * KINDS, SPACECRAFT)?;
    let counters = ground.stop()?;
    assert_all_counted(&counters);
    assert_eq!(counters.accepted, SPACECRAFT * KINDS * u64::from(boots));
    assert_eq!(counters.resets, 0);
    Ok(())
}

/// Spacecraft that were heard once, before a restart and after it, keep no true one out.
#[test]
fn invented_spacecraft_make_room_also_after_a_restart() -> Result<()> {
    let mut pass = Pass::start(&["--writers=2", "--max-satellites=100", "--max-streams=200"])?;
    spoof(&mut pass.station, 1, 1)?;
    let spoofed = SPACECRAFT * KINDS;
    pass.station.wait_until_quiet()?;
    let counters = pass.restart()?;
    assert_all_counted(&counters);
    assert_eq!(counters.accepted, spoofed, "each makes room for the next");
    // All of these are new, and heard again.
    for count in 0..20 {
        pass.send((1..=100).map(|number| (number, 5, count)))?;
    }
    // Now nobody has room but those.
    pass.send([(101, 5, 0), (1, 5, 20)])?;
    let (counters, station) = pass.stop()?;
    assert_eq!((counters.accepted, counters.rejected["unknown_spacecraft"]), (2_001, 1));
    assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0));
    assert_eq!(station.rows()?, spoofed + 2_001);
    Ok(())
}

#[test]
fn frames_behind_a_forged_one_are_stored_also_after_a_restart() -> Result<()> {
    for tables in support::tables() {
        let mut pass = Pass::start_on(tables, &[])?;
        pass.send((0..100).map(|count| (1, 5, count)))?;
        pass.send([(1, 5, 1_000_000)])?;
        pass.send((100..600).map(|count| (1, 5, count)))?;
        let counters = pass.restart()?;
        assert_eq!((counters.accepted, counters.stale, counters.late), (601, 0, 500));
        let said = fs::read_to_string(pass.folder.path().join("first.log"))?;
        assert!(said.contains("leapt") && said.contains("SAT-01"), "{said}");
        pass.send((600..1_100).map(|count| (1, 5, count)))?;
        let (counters, station) = pass.stop()?;
        assert_eq!((counters.accepted, counters.stale, counters.late), (500, 0, 500));
        assert_eq!(station.rows()?, 1_101);
        let events = "SELECT satellite_id, packet, channel, detector, severity, observed,
                             threshold BETWEEN 59000 AND 61000,
                             samples, closed_at = opened_at, close_reason, station
                      FROM anomaly WHERE detector = 'link_jump'";
        assert_eq!(
            station.sql(events)?,
            "SAT-01|health|sequence|link_jump|warning|999900|t|1|t|instant|GS-01"
        );
    }
    Ok(())
}

#[test]
fn ten_datagrams_silence_none_of_a_hundred_satellites() -> Result<()> {
    let mut pass = Pass::start(&[])?;
    for count in 0..50 {
        pass.send((1..=100).map(|number| (number, 5, count)))?;
    }
    for first in (1..=100).step_by(10) {
        pass.send((first..first + 10).map(|number| (number, 5, 500_000_000)))?;
    }
    for count in 50..100 {
        pass.send((1..=100).map(|number| (number, 5, count)))?;
    }
    let (counters, station) = pass.stop()?;
    assert_eq!((counters.accepted, counters.stale, counters.late), (10_100, 0, 5_000));
    assert_eq!(station.rows()?, 10_100);
    let leapt = "SELECT count(DISTINCT satellite_id) FROM anomaly WHERE detector = 'link_jump'";
    assert_eq!(station.sql(leapt)?, "100");
    Ok(())
}

#[test]
fn the_dump_of_a_recorder_is_stored() -> Result<()> {
    let mut pass = Pass::start(&[])?;
    pass.send((0..10).chain(6_000..6_010).map(|count| (1, 5, count)))?;
    pass.send((10..6_000).map(|count| (1, 5, count)))?;
    let (counters, station) = pass.stop()?;
    assert_eq!((counters.accepted, counters.stale, counters.lost), (6_010, 0, 0));
    assert_eq!((counters.missed, counters.late), (5_990, 5_990));
    assert_eq!(station.rows()?, 6_010);
    Ok(())
}

#[test]
fn two_foreign_boots_displace_no_true_one() -> Result<()> {
    let mut pass = Pass::start(&[])?;
    pass.send((0..50).map(|count| (1, 5, count)))?;
    pass.send((0..50).map(|count| (1, 6, count)))?;
    pass.send([(1, 900, 7), (1, 901, 7)])?;
    // Stragglers and repeats of both true boots are told apart.
    pass.send([(1, 5, 49), (1, 6, 49), (1, 5, 50), (1, 6, 50)])?;
    let (counters, station) = pass.stop()?;
    assert_eq!((counters.accepted, counters.duplicate, counters.resets), (104, 2, 1));
    assert_eq!(station.rows()?, 104);
    Ok(())
}

/// A station to which chosen frames are sent, and which may be restarted.
struct Pass {
    station: Station,
    socket: UdpSocket,
    database: String,
    folder: tempfile::TempDir,
    options: Vec<String>,
    start_us: i64,
}

/// What is left of it when it has been stopped.
struct Stored(String);

impl Pass {
    fn start(options: &[&str]) -> Result<Self> {
        Self::start_on(Tables::Plain, options)
    }

    fn start_on(tables: Tables, options: &[&str]) -> Result<Self> {
        let Ground { station, database, folder } = Ground::start(tables, options)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            station,
            socket: UdpSocket::bind("127.0.0.1:0")?,
            database,
            folder,
            options: options.iter().map(ToString::to_string).collect(),
            // Ten frames a second fit in between this and now.
            start_us: now.as_micros() as i64 - 3_600_000_000,
        })
    }

    /// Sends health frames by spacecraft, boot and count, and waits until they are counted.
    fn send(&mut self, frames: impl IntoIterator<Item = (u16, u16, u32)>) -> Result<()> {
        let before = self.station.counters()?.frames;
        let mut octets = Vec::new();
        for (number, boot_count, count) in frames {
            let at_us = self.start_us + i64::from(count.min(30_000)) * 100_000;
            let stamp = Stamp {
                spacecraft: SpacecraftId::new(number).context("not 0")?,
                boot_count,
                sequence: Sequence::new(count),
                time: CdsTime::from_unix_us(at_us).context("the clock is wrong")?,
            };
            let mut out = [0; FRAME_OCTETS_MAX];
            octets.push(emit(&stamp, &Packet::Health(Health::default()), &mut out).to_vec());
        }
        for datagram in octets.chunks(10) {
            self.socket.send_to(&datagram.concat(), self.station.target())?;
        }
        while self.station.counters()?.frames < before + octets.len() as u64 {
            self.station.program().check_running()?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops the station and starts it again on the same journal; gives what it had counted.
    fn restart(&mut self) -> Result<Counters> {
        self.station.wait_until_quiet()?;
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        let url = support::writer_url(&self.database);
        self.station.program().interrupt()?;
        self.station.program().wait_for_success(Duration::from_secs(60))?;
        let report = self.folder.path().join(RECEIVER_REPORT);
        let counters = harness::ledger::read_report(&report)?;
        fs::copy(self.folder.path().join("receiver.log"), self.folder.path().join("first.log"))?;
        self.station = Station::start(&url, self.folder.path(), support::ports(), &options)?;
        Ok(counters)
    }

    fn stop(mut self) -> Result<(Counters, Stored)> {
        self.station.wait_until_quiet()?;
        Ok((self.station.stop()?, Stored(self.database)))
    }
}

impl Stored {
    fn sql(&self, statement: &str) -> Result<String> {
        cluster().sql(&self.0, statement)
    }

    fn rows(&self) -> Result<u64> {
        let rows = "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM attitude)";
        Ok(self.sql(rows)?.parse()?)
    }
}
