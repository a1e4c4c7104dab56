//! Somebody sends frames in the name of every spacecraft there can be: the real ones' rows are
//! complete, everything is counted, and memory stays within its bound.

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

/// Sends a frame of each kind of every spacecraft, as fast as the station takes them.
fn spoof(station: &mut Station, boot_count: u16) -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
    let time = CdsTime::from_unix_us(now_us as i64).context("the clock is wrong")?;
    let packets = [Packet::Health(Health::default()), Packet::Attitude(Attitude::default())];
    let frames = (1..=u16::MAX).filter_map(SpacecraftId::new).flat_map(|spacecraft| {
        packets.map(|packet| {
            let stamp = Stamp { spacecraft, boot_count, sequence: Sequence::new(0), time };
            emit(&stamp, &packet, &mut [0; FRAME_OCTETS_MAX]).to_vec()
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

/// The station's greatest memory so far is within the bound for so many streams.
fn assert_within_bound(station: &mut Station, ready: u64, streams: u64) -> Result<()> {
    let watched = streams / KINDS * octets_with_limits_only() as u64;
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
    let spoofed = spoof(&mut station, 8)?;
    let truth = satellites.stop()?;
    station.wait_until_quiet()?;
    assert_within_bound(&mut station, ready, REAL * KINDS)?;
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
    let spoofed = spoof(&mut ground.station, 1)?;
    ground.station.wait_until_quiet()?;
    assert_within_bound(&mut ground.station, ready, most * KINDS)?;
    let counters = ground.stop()?;
    assert_all_counted(&counters);
    assert_eq!(counters.accepted, most * KINDS);
    assert_eq!(counters.rejected["unknown_spacecraft"], spoofed - most * KINDS);
    Ok(())
}

#[test]
fn every_spacecraft_there_can_be_has_room() -> Result<()> {
    let options = ["--writers=2", "--max-satellites=65535"];
    let mut ground = Ground::start(Tables::Plain, &options)?;
    let ready = memory(&mut ground.station, "VmHWM")?;
    // A second boot makes each stream as large as it gets, a third is the first to end one.
    let boots = 3;
    for boot_count in 1..=boots {
        spoof(&mut ground.station, boot_count)?;
    }
    ground.station.wait_until_quiet()?;
    assert_within_bound(&mut ground.station, ready, SPACECRAFT * KINDS)?;
    let counters = ground.stop()?;
    assert_all_counted(&counters);
    assert_eq!(counters.accepted, SPACECRAFT * KINDS * u64::from(boots));
    assert_eq!(counters.resets, SPACECRAFT * KINDS * u64::from(boots - 1));
    Ok(())
}
