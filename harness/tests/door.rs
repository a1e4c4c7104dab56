//! Who is let in: sources by address and by rate, frames by their date. What is refused is counted
//! in one place, kept for people to look at, and takes nothing from anybody else.

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use harness::{Station, network::Network};
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

#[test]
fn every_spelling_of_an_address_means_it_on_a_socket_of_both_families() -> Result<()> {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("there is no IPv6 here: a socket of both families is not tried");
        return Ok(());
    }
    let port = harness::station::free_address(support::ports().0, |address| {
        UdpSocket::bind(address.replace("127.0.0.1", "[::]")).is_ok()
    })?;
    let port = port.rsplit(':').next().context("a port")?.to_owned();
    let listen = format!("--listen=[::]:{port}");
    // A bare address, a mapped one, a mapped network, and one of IPv6.
    let allow = "--allow=127.0.0.2, ::ffff:127.0.0.3,::ffff:127.0.1.0/120,::1";
    let ground = Ground::start(Tables::Plain, &[&listen, allow])?;
    let target = format!("127.0.0.1:{port}");
    for (count, last) in (0..).zip([2, 3, 4, 2]) {
        sender(last)?.send_to(&frame(1, count, 0)?, &target)?;
    }
    let mapped = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, 7), 0))?;
    mapped.send_to(&frame(2, 0, 0)?, &target)?;
    UdpSocket::bind("[::1]:0")?.send_to(&frame(3, 0, 0)?, format!("[::1]:{port}"))?;
    let database = ground.database.clone();
    let counters = ground.stop()?;
    assert_eq!((counters.rejected["not_allowed"], counters.accepted), (1, 5), "{counters:?}");
    let kept = "SELECT string_agg(host(source) || ' ' || reason, ',') FROM rejected_frame";
    assert_eq!(cluster().sql(&database, kept)?, "127.0.0.4 not_allowed");
    Ok(())
}

#[test]
fn a_station_receives_unicast_and_its_group_beside_another_station() -> Result<()> {
    let port = support::ports().0;
    let (group, other) = (format!("239.255.10.15:{port}"), format!("239.255.10.16:{port}"));
    let listen = format!("--listen={group}");
    let interface = "--multicast-interface=lo";
    let first = Ground::start(Tables::Plain, &[&listen, interface])?;
    let second = Ground::start(Tables::Plain, &[&listen, "--multicast-interface=127.0.0.1"])?;
    let sent = fly_to(&group, first.folder.path(), &["--multicast-interface=127.0.0.1"])?;
    // No station has joined this one.
    fly_to(&other, second.folder.path(), &["--multicast-interface=lo", "--multicast-ttl=0"])?;
    for ground in [first, second] {
        sender(2)?.send_to(&frame(9, 0, 0)?, ground.station.target())?;
        let log = std::fs::read_to_string(ground.folder.path().join("receiver.log"))?;
        assert!(log.contains("Joined the multicast group 239.255.10.15 on lo"), "{log}");
        assert!(log.contains(&format!("Receiving frames on UDP {group}")), "{log}");
        let counters = ground.stop()?;
        assert_eq!((counters.accepted, counters.lost), (sent + 1, 0), "{counters:?}");
        assert_eq!((counters.duplicate, counters.rejected_total()), (0, 0), "{counters:?}");
    }
    Ok(())
}

#[test]
fn groups_of_both_families_come_over_a_network() -> Result<()> {
    let network = match Network::make() {
        Ok(network) => network,
        Err(error) => {
            eprintln!("groups over a network are not tried: {error:#}");
            return Ok(());
        }
    };
    let database = support::database(Tables::Plain)?;
    let url = cluster().url_by_socket("orbitstream_writer", &database)?;
    let folder = tempfile::tempdir()?;
    let groups = ["239.255.10.15:10015", "[ff15::1015]:10015", "[ff02::1015%ground0]:10016"];
    let sent = network.on_ground(|| {
        let mut options = groups.map(|group| format!("--listen={group}")).to_vec();
        options.push("--multicast-interface=ground0".into());
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let mut station = Station::start(&url, folder.path(), support::ports(), &options)?;
        let mut sent = 0;
        for target in ["239.255.10.15:10015", "[ff15::1015]:10015", "[ff02::1015]:10016"] {
            // An address of IPv6 is usable a moment after its link is.
            sent += network.in_sky(|| {
                within_patience(|| fly_to(target, folder.path(), &["--multicast-interface=sky0"]))
            })?;
            // None of these was joined.
            network.in_sky(|| {
                let near = target.replace("10.15:", "10.16:").replace("1015]", "1016]");
                fly_to(&near, folder.path(), &["--multicast-interface=sky0"])
            })?;
        }
        station.wait_until_quiet()?;
        let counters = station.stop()?;
        let log = std::fs::read_to_string(folder.path().join("receiver.log"))?;
        for group in ["239.255.10.15", "ff15::1015", "ff02::1015"] {
            let line = format!("Joined the multicast group {group} on ground0");
            assert!(log.contains(&line), "{log}");
        }
        assert_eq!((counters.accepted, counters.lost), (sent, 0), "{counters:?}");
        assert_eq!((counters.duplicate, counters.stale), (0, 0), "{counters:?}");
        Ok(sent)
    })?;
    assert_eq!(sent, 3 * FLIGHT_FRAMES);
    Ok(())
}

#[test]
fn a_group_that_cannot_be_joined_ends_the_station_with_advice() -> Result<()> {
    for (options, part) in [
        (&["--listen=239.255.10.15:0", "--multicast-interface=no-such-one"][..], "no interface"),
        (&["--listen=[ff02::1015]:0"], "cannot join the multicast group [ff02::1015]:0"),
        (&["--listen=10015"], "such as 127.0.0.1:10015"),
        (&["--http=3000"], "such as 127.0.0.1:3000"),
    ] {
        let output = std::process::Command::new(harness::program::sibling("receiver")?)
            .args(["run", "--journal=off"])
            .args((!options.contains(&"--http=3000")).then_some("--http=127.0.0.1:0"))
            .args(["--database-url", "postgresql://nobody@127.0.0.1:1/x"])
            .args(options)
            .output()?;
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && shown.contains(part), "{options:?}: {shown}");
        assert_eq!(shown.trim().lines().count(), 1, "{shown}");
    }
    Ok(())
}

#[test]
fn an_empty_variable_is_none() -> Result<()> {
    let receiver = harness::program::sibling("receiver")?;
    let help = std::process::Command::new(&receiver).args(["run", "--help"]).output()?;
    // Wrapped lines made whole again.
    let help = String::from_utf8(help.stdout)?.split_whitespace().collect::<Vec<_>>().join(" ");
    let variables: std::collections::BTreeSet<_> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(['=', ']']).next())
        .map(str::to_owned)
        .collect();
    assert!(variables.len() > 30, "{variables:?}");
    for command in [&["run"][..], &["migrate"], &["replay", "x"], &["journal", "ls"]] {
        // The journal is of a folder, the rest needs a database: that is all that is missing.
        let part = if command[0] == "journal" { "which journal?" } else { "no database is named" };
        let mut program = std::process::Command::new(&receiver);
        program.args(command).env_remove("ORBITSTREAM_LOG");
        program.envs(variables.iter().map(|variable| (variable, "")));
        let output = program.output()?;
        let shown = String::from_utf8(output.stderr)?;
        assert!(shown.contains(part), "{command:?}: {shown}");
    }
    let output = std::process::Command::new(harness::program::sibling("satsim")?)
        .args(["verify", "--report", "x"])
        .env("DATABASE_URL", "")
        .output()?;
    let shown = String::from_utf8(output.stderr)?;
    assert!(shown.contains("--database-url"), "{shown}");
    // What is set to something is read in every spelling.
    for (word, part) in [("Yes", "no database is named"), ("maybe", "true or false")] {
        let output = std::process::Command::new(&receiver)
            .arg("run")
            .env_remove("DATABASE_URL")
            .envs(
                ["MIGRATE", "GRO", "DETECT", "TIMESCALEDB"]
                    .map(|name| (format!("ORBITSTREAM_{name}"), word)),
            )
            .output()?;
        let shown = String::from_utf8(output.stderr)?;
        assert!(shown.contains(part), "{word}: {shown}");
    }
    Ok(())
}

/// Frames of each flight of [`fly_to`].
const FLIGHT_FRAMES: u64 = 60;

/// Flies to a target, and says how many frames were sent.
fn fly_to(target: &str, folder: &Path, options: &[&str]) -> Result<u64> {
    let boot = format!("--boot={}", rand::random_range(0..u16::MAX));
    let count = format!("--count={FLIGHT_FRAMES}");
    let all = [&["--satellites=2", "--rate=100", &boot, &count], options].concat();
    Ok(harness::Constellation::fly(target, folder, &all)?.sent)
}

/// Tries until it works, for ten seconds.
fn within_patience<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(200)),
            outcome => return outcome,
        }
    }
}
