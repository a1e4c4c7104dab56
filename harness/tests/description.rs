//! `docs/protocol.md` is true: its example is a frame, its sender is understood, and its refusals
//! are all there. (Its tables are read by ccsdspy, see `oracles.rs`.)

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use harness::generate::reading::Reading;
use harness::generate::samples::{self, Item};
use harness::{generate, judges};
use protocol::{CdsTime, Refusal};

#[test]
fn the_example_is_the_frame_it_explains() -> Result<()> {
    let digits: String = block("text")?
        .lines()
        .filter_map(|line| line.split("  ").next())
        .flat_map(|hex| hex.chars().filter(|digit| !digit.is_whitespace()))
        .collect();
    let octets = digits.as_bytes().chunks(2);
    let octets = octets.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?));
    let octets = octets.collect::<Result<Vec<u8>>>()?;
    let clean = samples::all().swap_remove(0);
    let sample = clean.datagrams.last().context("a datagram")?;
    assert_eq!(octets, sample.octets, "it is the last of clean.pcap");
    let Some(Item::Good(reading, _)) = sample.items.last() else {
        panic!("the example is no good frame");
    };
    assert_eq!(**reading, Reading::read(&octets));
    let line = format!("Spacecraft {}, boot {}", reading.spacecraft, reading.boot_count);
    assert!(document()?.contains(&line), "{line}");
    Ok(())
}

#[test]
fn the_sender_in_python_is_understood() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let port = socket.local_addr()?.port().to_string();
    let script = block("python")?;
    assert_eq!(script.matches("10015").count(), 1);
    let script = script.replace("10015", &port);
    let before = now_us()?;
    judges::run(judges::python()?.args(["-I", "-S", "-c", &script]))?;
    let mut octets = [0; 1_500];
    let length = socket.recv(&mut octets)?;
    let reading = Reading::read(&octets[..length]);
    assert_eq!((reading.spacecraft, reading.boot_count, reading.sequence), (1, 7, 0));
    let time = CdsTime { day: reading.day, ms: reading.ms, us: reading.us };
    assert!((before..=now_us()?).contains(&time.unix_us()), "{time:?}");
    for (name, expected) in [
        ("mode", 1.0),
        ("cpu_temp", 21.5),
        ("battery_temp", 4.0),
        ("panel_temp", -5.0),
        ("payload_temp", 30.0),
        ("battery_voltage", 8.0),
        ("bus_voltage", 5.0),
        ("battery_current", -0.5),
        ("solar_current", 1.0),
        ("battery_charge", 79.99),
        ("signal_strength", -100.0),
        ("cpu_load", 50.0),
        ("storage_used", 3.0),
        ("latitude", -6.208_8),
        ("longitude", 106.845_6),
        ("altitude", 550.0),
        ("speed", 7.552_888),
    ] {
        let value = reading.values[name];
        assert!((value - expected).abs() < 1e-9, "{name}: {value}");
    }
    let flags: Vec<_> = reading.flags.iter().filter(|(_, is_set)| **is_set).collect();
    assert_eq!(flags, [(&"charging", &true)]);
    Ok(())
}

#[test]
fn every_refusal_is_listed_in_the_order_of_the_checks() -> Result<()> {
    let document = document()?;
    let listed: Vec<_> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let order: usize = cells.next()?.parse().ok()?;
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((order, name.to_owned()))
        })
        .collect();
    let refusals: Vec<_> = (1..).zip(Refusal::ALL.map(|refusal| refusal.to_string())).collect();
    assert_eq!(listed, refusals);
    Ok(())
}

/// The only code block of this language.
fn block(language: &str) -> Result<String> {
    let document = document()?;
    let begin = format!("\n```{language}\n");
    assert_eq!(document.matches(&begin).count(), 1, "{language}");
    let (_, rest) = document.split_once(&begin).context("a block")?;
    let (block, _) = rest.split_once("\n```").context("the block's end")?;
    Ok(block.to_owned())
}

fn document() -> Result<String> {
    let path = generate::root().join(generate::PROTOCOL);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn now_us() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64)
}
