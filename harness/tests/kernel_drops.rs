//! A station that hangs: the kernel drops what it has no room for, and the station knows of each
//! datagram as soon as it goes on, whether or not another one comes.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Constellation, Counters, Station};
use support::{Ground, Tables};

/// One datagram a frame and no coalescing, so that datagrams and frames are the same; a buffer that
/// is full in no time.
const STATION: &[&str] = &["--gro=false", "--receive-buffer=64KiB"];
const FLIGHT: &[&str] = &["--satellites=20", "--rate=100", "--duration=9s"];

const HANG_DURATION: Duration = Duration::from_secs(3);
const NOTICE_DURATION_MAX: Duration = Duration::from_secs(1);
/// Until every stream has been heard: the tenth frame of a satellite is its first of the second.
const SETTLE_DURATION: Duration = Duration::from_secs(1);

/// A station that satellites are being heard by.
fn start() -> Result<(Ground, Constellation)> {
    let mut ground = Ground::start(Tables::Plain, STATION)?;
    let satellites = Constellation::start(ground.station.target(), ground.folder.path(), FLIGHT)?;
    while ground.station.counters()?.accepted == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(SETTLE_DURATION);
    assert_eq!(ground.station.counters()?.kernel_dropped, 0);
    Ok((ground, satellites))
}

/// Lets the station go on, and waits until it shows dropped datagrams.
fn resume(station: &mut Station) -> Result<Counters> {
    station.program().resume()?;
    let resumed = Instant::now();
    loop {
        let counters = station.counters()?;
        if counters.kernel_dropped > 0 {
            return Ok(counters);
        }
        assert!(resumed.elapsed() < NOTICE_DURATION_MAX, "not noticed: {counters:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// At the end every frame is accepted or lost, and what is lost the kernel has dropped.
fn settle(ground: Ground, satellites: Constellation) -> Result<()> {
    let truth = satellites.land()?;
    let counters = ground.stop()?;
    assert!(counters.kernel_dropped > 1_000, "{counters:?}");
    assert_eq!(counters.lost, counters.kernel_dropped, "{counters:?}");
    assert_eq!(counters.accepted + counters.lost, truth.generated, "{counters:?}");
    Ok(())
}

#[test]
fn drops_are_counted_to_the_frame_while_traffic_goes_on() -> Result<()> {
    let (mut ground, satellites) = start()?;
    ground.station.program().pause()?;
    thread::sleep(HANG_DURATION);
    resume(&mut ground.station)?;
    settle(ground, satellites)
}

#[test]
fn drops_are_noticed_when_no_further_frame_comes() -> Result<()> {
    let (mut ground, mut satellites) = start()?;
    ground.station.program().pause()?;
    thread::sleep(HANG_DURATION);
    satellites.program().pause()?;
    // What was sent before is with the kernel by now, or gone.
    thread::sleep(Duration::from_millis(100));
    resume(&mut ground.station)?;
    ground.station.wait_until_quiet()?;
    let silent = ground.station.counters()?;
    assert_eq!(silent.missed, 0, "no stream was heard since, so no gap can be known yet");
    assert!(silent.kernel_dropped > 1_000, "{silent:?}");
    satellites.program().resume()?;
    settle(ground, satellites)
}
