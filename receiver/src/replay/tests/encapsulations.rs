//! Every way in which a capture holds a datagram: what is put in comes out.

use std::io::Write as _;

use super::{
    build::{
        FORMATS, Format, PORT, captured, ethernet, file, frame, ipv4, ipv4_fragments, ipv6,
        ipv6_fragments, ipv6_with, sll, sll2, udp,
    },
    read_with,
};
use crate::replay::Reading;

struct Case {
    name: &'static str,
    link_types: &'static [u32],
    /// The packets of one datagram, the nth.
    packets: fn(&[u8], u32) -> Vec<Vec<u8>>,
}

const ETHERNET: &[u32] = &[1];

fn cases() -> Vec<Case> {
    fn case(
        name: &'static str,
        link_types: &'static [u32],
        packets: fn(&[u8], u32) -> Vec<Vec<u8>>,
    ) -> Case {
        Case { name, link_types, packets }
    }
    vec![
        // Also with the bits for frame check sequences of none, two and four octets, which are there
        // or not.
        case("Ethernet, IPv4", &[1, 0x0400_0001, 0x1400_0001, 0x2400_0001], |it, _| {
            vec![ethernet(&[], &ipv4(it, PORT))]
        }),
        case("a frame check sequence", &[1, 0x2400_0001], |it, _| {
            vec![[ethernet(&[], &ipv4(it, PORT)), vec![0xAB; 4]].concat()]
        }),
        case("Ethernet, IPv6", ETHERNET, |it, _| vec![ethernet(&[], &ipv6(it, PORT))]),
        case("802.1Q", ETHERNET, |it, _| vec![ethernet(&[0x8100], &ipv4(it, PORT))]),
        case("802.1ad", ETHERNET, |it, _| vec![ethernet(&[0x88A8, 0x8100], &ipv6(it, PORT))]),
        case("0x9100", ETHERNET, |it, _| vec![ethernet(&[0x9100, 0x8100], &ipv4(it, PORT))]),
        case("three VLAN tags", ETHERNET, |it, _| vec![ethernet(&[0x8100; 3], &ipv4(it, PORT))]),
        case("eight VLAN tags", ETHERNET, |it, _| vec![ethernet(&[0x88A8; 8], &ipv4(it, PORT))]),
        case("SLL of Ethernet", &[113], |it, _| vec![sll(1, &[], &ipv4(it, PORT))]),
        case("SLL of loopback", &[113], |it, _| vec![sll(772, &[], &ipv6(it, PORT))]),
        case("SLL of a tunnel", &[113], |it, _| vec![sll(65_534, &[], &ipv4(it, PORT))]),
        case("SLL with a VLAN tag", &[113], |it, _| vec![sll(1, &[0x8100], &ipv4(it, PORT))]),
        case("SLL2, IPv4", &[276], |it, _| vec![sll2(&ipv4(it, PORT))]),
        case("SLL2, IPv6", &[276], |it, _| vec![sll2(&ipv6(it, PORT))]),
        case("NULL, IPv4, little-endian", &[0, 108], |it, _| {
            vec![[&[2, 0, 0, 0][..], &ipv4(it, PORT)].concat()]
        }),
        case("NULL, IPv4, big-endian", &[0, 108], |it, _| {
            vec![[&[0, 0, 0, 2][..], &ipv4(it, PORT)].concat()]
        }),
        case("NULL, IPv6 of four systems", &[0, 108], |it, n| {
            let family = [10_u32, 24, 28, 30][n as usize % 4];
            let family = if n < 4 { family.to_le_bytes() } else { family.to_be_bytes() };
            vec![[&family[..], &ipv6(it, PORT)].concat()]
        }),
        case("RAW, IPv4", &[12, 14, 101, 228], |it, _| vec![ipv4(it, PORT)]),
        case("RAW, IPv6", &[12, 14, 101, 229], |it, _| vec![ipv6(it, PORT)]),
        case("PPP as in HDLC", &[9, 50], |it, _| {
            vec![[&[0xFF, 3, 0, 0x21][..], &ipv4(it, PORT)].concat()]
        }),
        case("PPP without address", &[9, 50], |it, _| {
            vec![[&[0, 0x57][..], &ipv6(it, PORT)].concat()]
        }),
        case("PPP with a short protocol", &[9, 50], |it, _| {
            vec![[&[0x21][..], &ipv4(it, PORT)].concat()]
        }),
        case("Cisco HDLC", &[50], |it, _| vec![[&[0x0F, 0, 8, 0][..], &ipv4(it, PORT)].concat()]),
        case("extension headers", ETHERNET, |it, _| {
            // Hop-by-hop, destination, routing, authentication, an atomic fragment, mobility.
            let (short, long) = ([0; 7], [[1].as_slice(), &[0; 14]].concat());
            let authentication = [[4, 0, 0].as_slice(), &[9; 20]].concat();
            let extensions: [(u8, &[u8]); 6] = [
                (0, &short),
                (60, &long),
                (43, &short),
                (51, &authentication),
                (44, &short),
                (135, &short),
            ];
            vec![ethernet(&[], &ipv6_with(&extensions, &udp(it), 17))]
        }),
        case("IPv4 fragments", &[12, 101], |it, n| ipv4_fragments(it, n as u16, 16)),
        case("IPv4 fragments in reverse", ETHERNET, |it, n| {
            let fragments = ipv4_fragments(it, n as u16, 24).into_iter().rev();
            fragments.map(|fragment| ethernet(&[0x8100], &fragment)).collect()
        }),
        case("IPv6 fragments", &[12, 229], |it, n| ipv6_fragments(&udp(it), 17, n, 16)),
        case("IPv6 fragments of extension headers", &[101], |it, n| {
            let options = [[17, 0].as_slice(), &[0; 6], &udp(it)].concat();
            let mut fragments = ipv6_fragments(&options, 60, n, 40);
            fragments.rotate_left(1);
            fragments
        }),
        case("bare packets", &[147, 151, 162], |it, _| vec![it.to_vec()]),
        case("bare packets with a check sequence", &[0x2400_0093], |it, _| {
            vec![[it, &[1, 2, 3, 4]].concat()]
        }),
        case("bare packets, said to have one", &[0x2400_0093], |it, _| vec![it.to_vec()]),
    ]
}

fn zipped(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_encapsulation_gives_back_the_datagrams_in_every_format() {
    // Of one frame and of several, so that some lengths are odd and some need no filling.
    let datagrams: Vec<Vec<u8>> =
        (0..8).map(|n| (0..=n % 3).flat_map(|more| frame(100 * n + more)).collect()).collect();
    let start_us = 1_800_000_000_000_000;
    let mut tried = 0;
    for Case { name, link_types, packets } in cases() {
        for &link_type in link_types {
            let mut all = Vec::new();
            for (n, datagram) in (0..).zip(&datagrams) {
                // Whole seconds, which every resolution can say.
                let time_us = start_us + i64::from(n) * 1_000_000;
                let packets = packets(datagram, n).into_iter();
                all.extend(packets.map(|packet| captured(packet, time_us)));
            }
            let formats = FORMATS.into_iter().filter(|format| {
                let has_upper_bits = link_type > 0xFFFF;
                !has_upper_bits || matches!(format, Format::Pcap | Format::PcapOfNanoseconds)
            });
            for (format, is_big_endian) in formats.flat_map(|it| [(it, false), (it, true)]) {
                let octets = file(format, is_big_endian, link_type, &all);
                let reading = Reading { port: None, bare_packets: true };
                let read = read_with(&octets, reading).unwrap();
                let what = format!("{name}, link type {link_type:#x}, {format:?}");
                let payloads: Vec<_> = read.all.iter().map(|one| one.octets.clone()).collect();
                assert_eq!(payloads, datagrams, "{what}, big-endian {is_big_endian}");
                assert_eq!((read.contents.used, read.contents.unused()), (all.len() as u64, 0));
                assert_eq!(read.contents.torn_at, None, "{what}");
                if format != Format::Simple {
                    let times = (0..).zip(&read.all).map(|(n, one)| (n, one.time_us));
                    for (n, time_us) in times {
                        assert_eq!(time_us, start_us + n * 1_000_000, "{what}");
                    }
                } else if all.len() == datagrams.len() {
                    // As old as their frames.
                    assert!(read.all.windows(2).all(|two| two[0].time_us < two[1].time_us));
                }
                assert_eq!(read_with(&zipped(&octets), reading).unwrap(), read, "{what}, gzip");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn bare_packets_are_taken_only_when_they_are_asked_for() {
    let mut tried = 0;
    for link_type in 147..=162 {
        let octets = file(Format::Pcap, false, link_type, &[captured(frame(1), 0)]);
        let error = read_with(&octets, Reading::default()).unwrap_err().to_string();
        let name = format!("{link_type} (USER{}; with --bare-packets", link_type - 147);
        assert!(error.contains(&name), "{error}");
        tried += 1;
    }
    assert_eq!(tried, 16);
}
