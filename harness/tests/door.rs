//! Who is let in: sources by address and by rate, frames by their date. What is refused is counted
//! in one place, kept for people to look at, and takes nothing from anybody else.

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, emit, health::Health,
};
use support::{Ground, Tables, cluster, tables};

const DAY_US: i64 = 86_400_000_000;

/// A socket on an address of this machine of its own.
fn sender(last: u8) -> Result<UdpSocket> {
    Ok(UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0))?)
}

/// A frame of a spacecraft, dated so far from now.
fn frame(spacecraft: u16, count: u32, ahead_us: i64) -> Result<Vec<u8>> {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64;
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(spacecraft).context("0")?,
        boot_count: 1,
        sequence: Sequence::new(count),
        time: CdsTime::from_unix_us(now_us + ahead_us).context("out of range")?,
    };
    Ok(emit(&stamp, &Packet::Health(Health::default()), &mut [0; FRAME_OCTETS_MAX]).to_vec())
}

#[test]
fn a_source_that_sends_too_fast_is_limited_and_no_other() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &["--source-rate=10", "--rejected-per-second=1000"])?;
        let (greedy, again, modest) = (sender(2)?, sender(2)?, sender(3)?);
        // Two frames a datagram: one that is refused is refused as a whole, and is one frame then.
        for count in 0..50 {
            let two = [frame(2, 2 * count, 0)?, frame(2, 2 * count + 1, 0)?].concat();
            // The port does not make another source of it.
            let socket = if count % 2 == 0 { &greedy } else { &again };
            socket.send_to(&two, ground.station.target())?;
        }
        for count in 0..10 {
            modest.send_to(&frame(3, count, 0)?, ground.station.target())?;
        }
        let metrics = ground.station.get("/metrics")?;
        let database = ground.database.clone();
        let counters = ground.stop()?;
        let limited = counters.rejected["rate_limited"];
        // The bucket holds ten, and fills while this runs.
        assert!((1..=40).contains(&limited), "{counters:?}");
        assert_eq!(counters.rejected_total(), limited);
        assert_eq!(counters.accepted, 2 * (50 - limited) + 10);
        assert_eq!(counters.frames, counters.accepted + limited);
        assert!(metrics.contains("orbitstream_rejected_total{reason=\"rate_limited\"}"));

        let sql = |statement: &str| cluster().sql(&database, statement);
        let modest = "SELECT count(*) FROM telemetry WHERE satellite_id = 'SAT-03'";
        assert_eq!(sql(modest)?, "10");
        let kept = "SELECT count(*), min(host(source)), max(host(source)), min(reason),
                           max(reason), min(length(raw)) FROM rejected_frame";
        assert_eq!(
            sql(kept)?,
            format!("{limited}|127.0.0.2|127.0.0.2|rate_limited|rate_limited|136")
        );
        let health = "SELECT sum(rate_limited) FROM station_health";
        assert_eq!(sql(health)?, limited.to_string());
    }
    Ok(())
}

#[test]
fn only_listed_networks_are_let_in() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &["--allow=127.0.0.2/31,192.0.2.0/24"])?;
    for (last, count) in [(1, 0), (2, 0), (3, 1), (4, 1), (2, 2)] {
        let two = [frame(1, 2 * count, 0)?, frame(1, 2 * count + 1, 0)?].concat();
        sender(last)?.send_to(&two, ground.station.target())?;
    }
    let database = ground.database.clone();
    let counters = ground.stop()?;
    assert_eq!((counters.rejected["not_allowed"], counters.rejected_total()), (2, 2));
    assert_eq!((counters.frames, counters.accepted, counters.lost), (8, 6, 0));
    let kept = "SELECT string_agg(host(source) || ' ' || reason, ',' ORDER BY source)
                FROM rejected_frame";
    assert_eq!(cluster().sql(&database, kept)?, "127.0.0.1 not_allowed,127.0.0.4 not_allowed");
    Ok(())
}

#[test]
fn frames_dated_outside_the_window_are_set_aside() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &["--time-past=2d", "--time-future=1h"])?;
        let socket = sender(1)?;
        let dates = [-3 * DAY_US, -DAY_US, 0, DAY_US / 48, DAY_US / 12, 10_000 * DAY_US];
        for (count, ahead_us) in (0..).zip(dates) {
            socket.send_to(&frame(1, count, ahead_us)?, ground.station.target())?;
        }
        let database = ground.database.clone();
        let counters = ground.stop()?;
        assert_eq!((counters.accepted, counters.committed, counters.quarantined), (6, 3, 3));
        assert_eq!((counters.missed, counters.rejected_total()), (0, 0), "they are tracked");
        let sql = |statement: &str| cluster().sql(&database, statement);
        assert_eq!(
            sql("SELECT string_agg(sequence::text, ',' ORDER BY sequence) FROM telemetry")?,
            "1,2,3"
        );
        // The counter of each stands in its primary header.
        let aside = "SELECT string_agg(get_byte(raw, 3)::text, ',' ORDER BY get_byte(raw, 3)),
                            count(DISTINCT reason), min(length(raw)) FROM quarantine";
        assert_eq!(sql(aside)?, "0,4,5|2|68");
    }
    Ok(())
}

/// Frames in each datagram of a flood.
const FLOOD_FRAMES: u32 = 20;

/// Sends so many datagrams of frames of one spacecraft that are dated 200 days back, from each of these
/// addresses in turn, and a frame of another one of now beside every tenth: how many of those.
fn flood(ground: &Ground, sources: &[UdpSocket], datagrams: u32, first: u32) -> Result<u32> {
    let beside = sender(1)?;
    let mut sent = 0;
    for number in 0..datagrams {
        let counts = (first + number) * FLOOD_FRAMES..(first + number + 1) * FLOOD_FRAMES;
        let frames = counts.map(|count| frame(2, count, -200 * DAY_US));
        let frames = frames.collect::<Result<Vec<_>>>()?.concat();
        sources[number as usize % sources.len()].send_to(&frames, ground.station.target())?;
        if number % 10 == 0 {
            beside.send_to(&frame(3, first / 10 + sent, 0)?, ground.station.target())?;
            sent += 1;
            // The kernel's buffer may be small.
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(sent)
}

#[test]
fn a_flood_of_old_frames_is_quarantined_up_to_a_bound_and_counted() -> Result<()> {
    for tables in tables() {
        let mut ground = Ground::start(tables, &[])?;
        // 20,000 frames of one source, then 20,000 of 50 sources.
        let begun = Instant::now();
        let mut beside = flood(&ground, &[sender(2)?], 1_000, 0)?;
        ground.station.wait_until_quiet()?;
        let one = ground.station.counters()?;
        let seconds = begun.elapsed().as_secs() + 2;
        assert_eq!(one.kernel_dropped, 0, "this machine was too busy: {one:?}");
        assert!((100..=100 * seconds).contains(&one.quarantined), "{seconds} s: {one:?}");
        assert_eq!(one.quarantined + one.quarantine_dropped, 20_000, "{one:?}");

        let begun = Instant::now();
        let sources = (10..60).map(sender).collect::<Result<Vec<_>>>()?;
        beside += flood(&ground, &sources, 1_000, 1_000)?;
        ground.station.wait_until_quiet()?;
        let metrics = ground.station.get("/metrics")?;
        let database = ground.database.clone();
        let counters = ground.stop()?;
        let quarantined = counters.quarantined - one.quarantined;
        let seconds = begun.elapsed().as_secs() + 2;
        // Some of the first second may have been used up already.
        assert!((500..=1_000 * seconds).contains(&quarantined), "{seconds} s: {counters:?}");
        assert_eq!(counters.kernel_dropped, 0, "this machine was too busy: {counters:?}");
        assert_eq!(counters.quarantined + counters.quarantine_dropped, 40_000, "{counters:?}");
        assert_eq!((counters.committed, counters.accepted), (u64::from(beside), 40_000 + 200));
        assert_eq!((counters.missed, counters.resets), (0, 0), "they are tracked");
        assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0));
        assert_eq!(counters.rejected_total() + counters.pending + counters.queue_dropped, 0);
        let dropped = counters.quarantine_dropped;
        assert!(metrics.contains(&format!("orbitstream_quarantine_dropped_total {dropped}")));

        let sql = |statement: &str| cluster().sql(&database, statement);
        let rows = sql("SELECT count(*), count(DISTINCT reason), min(reason) FROM quarantine")?;
        assert_eq!(rows, format!("{}|1|time_past", counters.quarantined));
        assert_eq!(sql("SELECT count(*) FROM telemetry WHERE satellite_id = 'SAT-03'")?, "200");
        assert_eq!(sql("SELECT sum(quarantine_dropped) FROM station_health")?, dropped.to_string());
        let residual = "SELECT sum(accepted + json + recovered - quarantined - quarantine_dropped
                                   - committed - queue_dropped) FROM station_health";
        assert!(sql(residual)?.parse::<i64>()? >= 0);
    }
    Ok(())
}
