//! pcapng files: blocks, of which some describe interfaces and some are packets.
//!
//! This module finds where blocks begin and end, `pcap_parser` reads what is in them. A block with a
//! wrong inside is one malformed packet, while the way to the next block is known; one with a wrong
//! length ends the reading.

use std::io;

use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, SimplePacketBlock,
    parse_enhancedpacketblock_be, parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_sectionheaderblock, parse_simplepacketblock_be,
    parse_simplepacketblock_le,
};

use super::{
    contents::Unused,
    link_type::Link,
    record::{Item, OCTETS_MAX, PACKET_OCTETS_MAX, Record, damaged, time_us, torn},
    source::Source,
};

/// The packets of a pcapng file.
pub(super) struct PcapNg {
    source: Source,
    is_big_endian: bool,
    /// Of the section that is being read.
    interfaces: Vec<Interface>,
    with_bare: bool,
    /// Octets of the block that was handed out.
    shown: usize,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Link,
    snaplen: u32,
    /// As the option `if_tsresol` has it.
    resolution: u8,
    offset_s: i64,
}

/// The beginning of a block.
struct Head {
    kind: u32,
    octets: u32,
    is_big_endian: bool,
}

impl PcapNg {
    /// Whether a file that begins with these octets is one.
    pub(super) fn is_pcapng(head: &[u8]) -> bool {
        head.starts_with(&SECTION.to_le_bytes())
    }

    pub(super) fn new(source: Source, with_bare: bool) -> Self {
        Self { source, is_big_endian: false, interfaces: Vec::new(), with_bare, shown: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.source.taken()
    }

    /// The next packet.
    pub(super) fn next(&mut self) -> io::Result<Item<'_>> {
        self.source.take(std::mem::take(&mut self.shown));
        loop {
            let Some(head) = self.head()? else {
                let is_whole = self.source.peek(1)?.is_empty() && !self.source.is_torn();
                return if is_whole { Ok(Item::End) } else { torn(&mut self.source) };
            };
            let octets = head.octets as usize;
            if octets > PACKET_OCTETS_MAX {
                if !self.source.skip(octets as u64)? {
                    return torn(&mut self.source);
                }
                if matches!(head.kind, ENHANCED | SIMPLE) {
                    return Ok(Item::Unused(Unused::TooLong));
                }
                continue;
            }
            let at = self.source.taken();
            if self.source.peek(octets)?.len() < octets {
                return torn(&mut self.source);
            }
            let block = self.source.peek(octets)?;
            let length = [&block[4..8], &block[octets - 4..]];
            if length[0] != length[1] {
                return Err(damaged(at, format_args!("the two lengths of a block differ")));
            }
            match head.kind {
                SECTION => {
                    self.section(at, octets)?;
                    self.is_big_endian = head.is_big_endian;
                }
                INTERFACE => self.interface(at, octets)?,
                ENHANCED | SIMPLE => break self.packet(&head),
                // Names, statistics, secrets, and whatever comes to be.
                _ => {}
            }
            self.source.take(octets);
        }
    }

    /// Looks at the next block; none if there is no whole beginning of one.
    fn head(&mut self) -> io::Result<Option<Head>> {
        let at = self.source.taken();
        let &[kind, octets, order] = self.source.peek(BLOCK_OCTETS_MIN)?.as_chunks::<4>().0 else {
            return Ok(None);
        };
        // A section's block has the same type in either byte order, and says in which it is.
        let is_section = kind == SECTION.to_le_bytes();
        let is_big_endian = match order {
            _ if !is_section => self.is_big_endian,
            _ if order == BYTE_ORDER.to_be_bytes() => true,
            _ if order == BYTE_ORDER.to_le_bytes() => false,
            _ => return Err(damaged(at, format_args!("a section without its byte order"))),
        };
        let number = |field| {
            if is_big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
        };
        let (kind, octets) = (number(kind), number(octets));
        let is_possible = octets >= BLOCK_OCTETS_MIN as u32 && octets.is_multiple_of(4);
        if !is_possible || octets > OCTETS_MAX {
            return Err(damaged(at, format_args!("a block of {octets} octets")));
        }
        Ok(Some(Head { kind, octets, is_big_endian }))
    }

    fn section(&mut self, at: u64, octets: usize) -> io::Result<()> {
        let Ok((_, section)) = parse_sectionheaderblock(self.source.peek(octets)?) else {
            return Err(damaged(at, format_args!("no whole section header")));
        };
        if section.major_version != VERSION_MAJOR {
            let (major, minor) = (section.major_version, section.minor_version);
            return Err(io::Error::other(format!(
                "it is a pcapng file of version {major}.{minor}, which is not supported"
            )));
        }
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, at: u64, octets: usize) -> io::Result<()> {
        let block = self.source.peek(octets)?;
        let parsed = if self.is_big_endian {
            parse_interfacedescriptionblock_be(block)
        } else {
            parse_interfacedescriptionblock_le(block)
        };
        let Ok((_, block)) = parsed else {
            return Err(damaged(at, format_args!("no whole description of an interface")));
        };
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(damaged(at, format_args!("more than {INTERFACES_MAX} interfaces")));
        }
        let interface = Interface::of(&block, self.is_big_endian, self.with_bare);
        self.interfaces.push(interface);
        Ok(())
    }

    fn packet(&mut self, head: &Head) -> io::Result<Item<'_>> {
        self.shown = head.octets as usize;
        let block = self.source.peek(self.shown)?;
        let interfaces = &self.interfaces;
        let record = match (head.kind, self.is_big_endian) {
            (ENHANCED, false) => {
                parse_enhancedpacketblock_le(block).ok().map(|(_, it)| enhanced(&it, interfaces))
            }
            (ENHANCED, true) => {
                parse_enhancedpacketblock_be(block).ok().map(|(_, it)| enhanced(&it, interfaces))
            }
            (_, false) => {
                parse_simplepacketblock_le(block).ok().map(|(_, it)| simple(&it, interfaces))
            }
            (_, true) => {
                parse_simplepacketblock_be(block).ok().map(|(_, it)| simple(&it, interfaces))
            }
        };
        Ok(record.flatten().map_or(Item::Unused(Unused::Malformed), Item::Record))
    }
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>, is_big_endian: bool, with_bare: bool) -> Self {
        let fcs = block.options.iter().find(|option| option.code == IF_FCSLEN);
        let fcs = fcs.and_then(|option| option.value.first().copied()).unwrap_or_default();
        // The parser reads this option as little-endian in every section.
        let offset_s =
            if is_big_endian { block.if_tsoffset.swap_bytes() } else { block.if_tsoffset };
        Self {
            link: Link::of_interface(block.linktype.0 as u16, fcs, with_bare),
            snaplen: block.snaplen,
            resolution: block.if_tsresol,
            offset_s,
        }
    }

    /// From the units of `if_tsresol`, whose highest bit tells powers of two from powers of ten.
    fn time_us(&self, units: u64) -> i64 {
        let exponent = u32::from(self.resolution & !BINARY_RESOLUTION);
        let microseconds = u128::from(units) * 1_000_000;
        let microseconds = if self.resolution & BINARY_RESOLUTION == 0 {
            10_u128.checked_pow(exponent).map_or(0, |units| microseconds / units)
        } else {
            microseconds >> exponent
        };
        time_us(self.offset_s, u64::try_from(microseconds).unwrap_or(u64::MAX))
    }
}

fn enhanced<'a>(block: &EnhancedPacketBlock<'a>, interfaces: &[Interface]) -> Option<Record<'a>> {
    let interface = interfaces.get(block.if_id as usize)?;
    let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
    Some(Record {
        time_us: Some(interface.time_us(units)),
        link: interface.link,
        // Without what fills it up to four octets.
        octets: block.data.get(..block.caplen as usize)?,
        is_cut: block.caplen < block.origlen,
    })
}

/// A packet of the first interface, without a time and with one length: how much of it was kept
/// follows from the interface.
fn simple<'a>(block: &SimplePacketBlock<'a>, interfaces: &[Interface]) -> Option<Record<'a>> {
    let interface = interfaces.first()?;
    let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
    let kept = (block.origlen.min(snaplen) as usize).min(block.data.len());
    Some(Record {
        time_us: None,
        link: interface.link,
        octets: &block.data[..kept],
        is_cut: kept < block.origlen as usize,
    })
}

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const VERSION_MAJOR: u16 = 1;
/// Type, length, and the length once more.
const BLOCK_OCTETS_MIN: usize = 12;
/// A section of a real capture has some dozens.
const INTERFACES_MAX: usize = 4_096;
/// The length of the frame check sequence.
const IF_FCSLEN: OptionCode = OptionCode(13);
const BINARY_RESOLUTION: u8 = 0x80;
