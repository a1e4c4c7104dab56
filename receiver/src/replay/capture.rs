//! Captures: the UDP datagrams of a pcap or pcapng file.

use std::io;

use super::{
    Reading, Recorded,
    contents::{Contents, Unused},
    datagram::{self, Payload},
    fragments::Fragments,
    link_layer,
    link_type::{Encapsulation, Link},
    packets,
    pcap::Pcap,
    pcapng::PcapNg,
    record::{Item, Record},
    source::Source,
};

/// The datagrams of a capture.
pub(super) struct Capture {
    file: Container,
    port: Option<u16>,
    fragments: Fragments,
    /// Of the last datagram.
    time_us: i64,
    pub(super) contents: Contents,
}

enum Container {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

impl Capture {
    /// Begins to read a capture; `None` gives back what is none.
    pub(super) fn open(mut source: Source, reading: Reading) -> io::Result<Result<Self, Source>> {
        let head = source.peek(MAGIC_OCTETS)?;
        let file = if Pcap::is_pcap(head) {
            let pcap = Pcap::open(source, reading.bare_packets)?;
            // All of a pcap file is of one link type.
            if let Encapsulation::Other(link_type) = pcap.link().encapsulation {
                return Err(io::Error::other(format!(
                    "its packets are of link type {link_type}, which is not supported"
                )));
            }
            Container::Pcap(pcap)
        } else if PcapNg::is_pcapng(head) {
            Container::PcapNg(PcapNg::new(source, reading.bare_packets))
        } else {
            return Ok(Err(source));
        };
        let (port, fragments) = (reading.port, Fragments::default());
        Ok(Ok(Self { file, port, fragments, time_us: 0, contents: Contents::default() }))
    }

    /// The next datagram; false at the end.
    pub(super) fn read(&mut self, out: &mut Recorded) -> io::Result<bool> {
        let read = self.next_datagram(out);
        if !matches!(read, Ok(true)) {
            self.contents.pass_over(Unused::Fragment, self.fragments.give_up());
        }
        read
    }

    fn next_datagram(&mut self, out: &mut Recorded) -> io::Result<bool> {
        loop {
            let record = match self.file.next()? {
                Item::Record(record) => record,
                Item::Unused(why) => {
                    self.contents.packets += 1;
                    self.contents.pass_over(why, 1);
                    continue;
                }
                Item::End => return Ok(false),
                Item::Torn => {
                    self.contents.torn_at = Some(self.file.position());
                    return Ok(false);
                }
            };
            self.contents.packets += 1;
            let time_us = record.time_us.unwrap_or(self.time_us);
            let given_up = match take(&record, time_us, self.port, &mut self.fragments, out) {
                Taken::Datagram { packets, given_up } => {
                    self.contents.used += packets;
                    self.contents.pass_over(Unused::Fragment, given_up);
                    // A block without a time is as old as its first frame.
                    let time_us = record.time_us.or_else(|| packets::time_us(&out.octets));
                    self.time_us = time_us.unwrap_or(self.time_us);
                    out.time_us = self.time_us;
                    return Ok(true);
                }
                Taken::Fragment { given_up } => given_up,
                Taken::Nothing { why, packets, given_up } => {
                    let why = if why == Unused::Short && record.is_cut { Unused::Cut } else { why };
                    self.contents.pass_over(why, packets);
                    given_up
                }
            };
            self.contents.pass_over(Unused::Fragment, given_up);
        }
    }
}

impl Container {
    fn next(&mut self) -> io::Result<Item<'_>> {
        match self {
            Self::Pcap(pcap) => pcap.next(),
            Self::PcapNg(pcapng) => pcapng.next(),
        }
    }

    fn position(&self) -> u64 {
        match self {
            Self::Pcap(pcap) => pcap.position(),
            Self::PcapNg(pcapng) => pcapng.position(),
        }
    }
}

/// What has become of a packet, and how many fragments were given up besides.
enum Taken {
    /// A datagram, and of how many packets.
    Datagram { packets: u64, given_up: u64 },
    /// A part of a datagram that is not complete.
    Fragment { given_up: u64 },
    /// Packets that are no datagram.
    Nothing { why: Unused, packets: u64, given_up: u64 },
}

/// Takes the datagram out of a packet, or out of those that it completes.
fn take(
    record: &Record<'_>,
    time_us: i64,
    port: Option<u16>,
    fragments: &mut Fragments,
    out: &mut Recorded,
) -> Taken {
    let nothing = |why| Taken::Nothing { why, packets: 1, given_up: 0 };
    let whole = Taken::Datagram { packets: 1, given_up: 0 };
    match record.link.encapsulation {
        Encapsulation::Other(link_type) => return nothing(Unused::OtherLink(link_type)),
        Encapsulation::Bare if record.is_cut => return nothing(Unused::Cut),
        Encapsulation::Bare => {
            put(out, bare(record.octets, record.link), None);
            return whole;
        }
        _ => {}
    }
    let packet = link_layer::ip_packet(record.link.encapsulation, record.octets);
    match packet.and_then(datagram::payload) {
        Err(why) => nothing(why),
        Ok(Payload::Whole { source, protocol, octets, is_short }) => {
            match datagram::udp(protocol, octets, is_short, port) {
                Ok(octets) => {
                    put(out, octets, Some(source));
                    whole
                }
                Err(why) => nothing(why),
            }
        }
        Ok(Payload::Part(fragment)) => match fragments.add(&fragment, time_us) {
            (None, given_up) => Taken::Fragment { given_up },
            (Some(done), given_up) => {
                match datagram::udp(done.protocol, &done.payload, false, port) {
                    Ok(octets) => {
                        put(out, octets, Some(fragment.packet.source));
                        Taken::Datagram { packets: done.fragments, given_up }
                    }
                    Err(why) => Taken::Nothing { why, packets: done.fragments, given_up },
                }
            }
        },
    }
}

/// A packet without a header has no length that would tell a frame check sequence from its octets:
/// where it does not end with a frame, the sequence is taken off.
fn bare(octets: &[u8], link: Link) -> &[u8] {
    let without = octets.len().saturating_sub(link.fcs_octets.into());
    if packets::ends_with_a_frame(octets) { octets } else { &octets[..without] }
}

fn put(out: &mut Recorded, octets: &[u8], source: Option<std::net::IpAddr>) {
    out.octets.clear();
    out.octets.extend_from_slice(octets);
    out.source = source;
}

const MAGIC_OCTETS: usize = 4;
