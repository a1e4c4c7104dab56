//! A station that hears little wakes seldom, and knows all the same when each datagram came.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::sys::socket::{getsockopt, sockopt};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, emit, health::Health,
};
use receiver::socket::Socket;
use support::{Ground, Tables, cluster, tables};

fn now_us() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64)
}

/// How often each thread of a process has gone to sleep so far.
fn sleeps(process: u32) -> Result<BTreeMap<String, u64>> {
    let mut sleeps = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // It may have ended.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let name = field("Name:").context("no name")?.trim();
        let count = field("voluntary_ctxt_switches:").context("no count")?.trim().parse()?;
        sleeps.insert(name.to_owned(), count);
    }
    Ok(sleeps)
}

/// Whether sockets get the buffer that the station asks for.
fn has_room() -> Result<bool> {
    let socket = Socket::bind("127.0.0.1:0".parse()?, 16 << 20, true)?;
    Ok(getsockopt(&socket, sockopt::RcvBuf)? / 2 >= 16 << 20)
}

#[test]
fn it_wakes_seldom_and_knows_when_each_datagram_came() -> Result<()> {
    for tables in tables() {
        let mut ground = Ground::start(tables, &["--writers", "1", "--detect", "false"])?;
        let process = ground.station.program().id();
        // It is quiet when nothing has come for a while.
        thread::sleep(Duration::from_secs(2));
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let (start, before) = (Instant::now(), sleeps(process)?);
        let mut sent = Vec::new();
        for count in 0..1_500 {
            let stamp = Stamp {
                spacecraft: SpacecraftId::new(1 + count as u16 % 50).context("0")?,
                boot_count: 1,
                sequence: Sequence::new(count / 50),
                time: CdsTime::from_unix_us(now_us()?).context("out of range")?,
            };
            let mut octets = [0; FRAME_OCTETS_MAX];
            let frame = emit(&stamp, &Packet::Health(Health::default()), &mut octets);
            let from_us = now_us()?;
            socket.send_to(frame, ground.station.target())?;
            sent.push((from_us, now_us()?));
            thread::sleep(Duration::from_millis(2));
        }
        let (seconds, after) = (start.elapsed().as_secs_f64(), sleeps(process)?);
        let per_second = |thread: &str| (after[thread] - before[thread]) as f64 / seconds;
        // Some 65: it wakes six times for a batch, ten times a second. Chunk by chunk it was 110.
        assert!(per_second("writer-0") < 90.0, "{} a second", per_second("writer-0"));
        if has_room()? {
            // 31 here, and 195 when it rests as a busy one.
            assert!(per_second("intake") < 60.0, "{} a second", per_second("intake"));
            assert!(per_second("journal") < 60.0, "{} a second", per_second("journal"));
        } else {
            let why = "how seldom the socket is looked at, since it gets a smaller buffer here";
            writeln!(std::io::stderr(), "NOT RUN: {why}")?;
        }
        let database = ground.database.clone();
        assert_eq!(ground.stop()?.committed, 1_500);
        let received = "SELECT (extract(epoch FROM received_at) * 1000000)::bigint FROM telemetry
                        ORDER BY sequence, satellite_id";
        let received = cluster().sql(&database, received)?;
        // Its own clock would say when it woke.
        for (received, (from_us, to_us)) in received.lines().zip(sent) {
            let received_us: i64 = received.parse()?;
            assert!((from_us..=to_us).contains(&received_us), "{from_us} {received_us} {to_us}");
        }
    }
    Ok(())
}

#[test]
fn the_look_at_the_schema_keeps_its_connection_and_makes_a_lost_one_anew() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &["--writers", "1"])?;
    // Nothing comes, so the writer has not connected.
    let sessions = || {
        ground.sql(
            "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'orbitstream receiver'",
        )
    };
    let seconds = |seconds| std::thread::sleep(Duration::from_secs(seconds));
    seconds(4);
    let first = sessions()?;
    seconds(3);
    assert_eq!(sessions()?, first);
    ground.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'orbitstream receiver'",
    )?;
    for _ in 0..40 {
        assert_eq!(ground.station.ask("/readyz")?.0, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    let second = sessions()?;
    assert!(!second.is_empty() && second != first, "{first}, {second}");
    ground.stop()?;
    Ok(())
}
