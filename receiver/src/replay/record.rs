//! What the containers of captures have in common: a packet with its time and its link type.

use std::{fmt, io};

use super::{contents::Unused, link_type::Link, source::Source};

/// The next thing in a capture.
pub(super) enum Item<'a> {
    /// A packet.
    Record(Record<'a>),
    /// A packet that is passed over.
    Unused(Unused),
    /// Nothing more.
    End,
    /// The file ends within a packet.
    Torn,
}

/// A captured packet.
pub(super) struct Record<'a> {
    /// When it was captured, in µs since 1970, if the file has it.
    pub(super) time_us: Option<i64>,
    pub(super) link: Link,
    pub(super) octets: &'a [u8],
    /// It was longer than what the capture holds of it.
    pub(super) is_cut: bool,
}

/// The end within a packet, unless the rest of it could not be read.
pub(super) fn torn(source: &mut Source) -> io::Result<Item<'static>> {
    source.check()?;
    Ok(Item::Torn)
}

/// A time since 1970, at most that of the year 10000.
pub(super) fn time_us(seconds: i64, microseconds: u64) -> i64 {
    let microseconds = i64::try_from(microseconds).unwrap_or(i64::MAX);
    seconds.saturating_mul(1_000_000).saturating_add(microseconds).clamp(0, TIME_US_MAX)
}

/// What cannot be read on from.
pub(super) fn damaged(at: u64, what: fmt::Arguments<'_>) -> io::Error {
    let said = format!("it is damaged at octet {at} (unpacked): {what}; what follows is not read");
    io::Error::new(io::ErrorKind::InvalidData, said)
}

/// 9999-12-31T23:59:59Z.
const TIME_US_MAX: i64 = 253_402_300_799_000_000;
/// A longer packet, with its header, is passed over: tcpdump and Wireshark capture at most that much
/// of an IP packet.
pub(super) const PACKET_OCTETS_MAX: usize = 256 << 10;
/// A longer packet or block is damage: no capture of anything has longer ones.
pub(super) const OCTETS_MAX: u32 = 128 << 20;
