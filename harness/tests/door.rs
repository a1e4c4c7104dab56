//! Who is let in: sources by address and by rate, frames by their date. What is refused is counted
//! in one place, kept for people to look at, and takes nothing from anybody else.

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

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
