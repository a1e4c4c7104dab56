//! pcap files: a header, then each packet behind a header of its own.
//!
//! The snap length of the header bounds nothing here: files are common in which it is 0, or less
//! than some packets. What a packet's own header says is bounded instead.

use std::io;

use pcap_parser::{PcapHeader, parse_pcap_header};

use super::{
    contents::Unused,
    link_type::Link,
    record::{Item, OCTETS_MAX, PACKET_OCTETS_MAX, Record, damaged, time_us, torn},
    source::Source,
};

/// The packets of a pcap file.
pub(super) struct Pcap {
    source: Source,
    link: Link,
    is_big_endian: bool,
    units_per_us: u64,
    /// Octets of the packet that was handed out.
    shown: usize,
}

impl Pcap {
    /// Whether a file that begins with these octets is one.
    pub(super) fn is_pcap(head: &[u8]) -> bool {
        head.first_chunk().is_some_and(|magic| MAGICS.contains(magic))
    }

    /// Reads the header.
    pub(super) fn open(mut source: Source, with_bare: bool) -> io::Result<Self> {
        let head = source.peek(HEADER_OCTETS)?;
        let Ok((_, header)) = parse_pcap_header(head) else {
            return Err(io::Error::other("it is a pcap file that ends within its header"));
        };
        let PcapHeader { version_major, version_minor, network, .. } = header;
        if version_major != VERSION_MAJOR {
            let said = format!("it is a pcap file of version {version_major}.{version_minor}");
            return Err(io::Error::other(format!("{said}, which is not supported")));
        }
        let is_big_endian = header.is_bigendian();
        let units_per_us = if header.is_nanosecond_precision() { 1_000 } else { 1 };
        let link = Link::of_pcap_header(network.0.cast_unsigned(), with_bare);
        source.take(HEADER_OCTETS);
        Ok(Self { source, link, is_big_endian, units_per_us, shown: 0 })
    }

    pub(super) fn link(&self) -> Link {
        self.link
    }

    pub(super) fn position(&self) -> u64 {
        self.source.taken()
    }

    /// The next packet.
    pub(super) fn next(&mut self) -> io::Result<Item<'_>> {
        self.source.take(std::mem::take(&mut self.shown));
        let head = self.source.peek(RECORD_OCTETS)?;
        let (fields, _) = head.as_chunks::<4>();
        let is_big_endian = self.is_big_endian;
        let number = |field: [u8; 4]| {
            if is_big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
        };
        let &[seconds, fraction, kept, original] = fields else {
            let is_whole = head.is_empty() && !self.source.is_torn();
            return if is_whole { Ok(Item::End) } else { torn(&mut self.source) };
        };
        let [seconds, fraction, kept, original] = [seconds, fraction, kept, original].map(number);
        if kept > OCTETS_MAX {
            return Err(damaged(self.source.taken(), format_args!("a packet of {kept} octets")));
        }
        let octets = RECORD_OCTETS + kept as usize;
        if octets > PACKET_OCTETS_MAX {
            if !self.source.skip(octets as u64)? {
                return torn(&mut self.source);
            }
            return Ok(Item::Unused(Unused::TooLong));
        }
        if self.source.peek(octets)?.len() < octets {
            return torn(&mut self.source);
        }
        self.shown = octets;
        let record = self.source.peek(octets)?;
        Ok(Item::Record(Record {
            time_us: Some(time_us(seconds.into(), u64::from(fraction) / self.units_per_us)),
            link: self.link,
            octets: &record[RECORD_OCTETS..],
            is_cut: kept < original,
        }))
    }
}

/// Little-endian and big-endian, microseconds and nanoseconds.
const MAGICS: [[u8; 4]; 4] = [
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
];
const VERSION_MAJOR: u16 = 2;
const HEADER_OCTETS: usize = 24;
const RECORD_OCTETS: usize = 16;
