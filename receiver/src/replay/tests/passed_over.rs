//! Packets that give no datagram, each counted by its reason, and files that end early.

use etherparse::PacketBuilder;

use super::{
    build::{
        Captured, FORMATS, Format, PORT, Writer, captured, ethernet, file, frame, ipv4,
        ipv4_fragments, ipv6_with, sll2,
    },
    read_with,
};
use crate::replay::{Contents, Reading};

const TO_PORT: Reading = Reading { port: Some(PORT), bare_packets: false };

fn tcp() -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
    ip.tcp(1, PORT, 0, 0).write(&mut packet, b"").unwrap();
    packet
}

fn cut(mut packet: Captured, kept: usize) -> Captured {
    packet.octets.truncate(kept);
    packet
}

#[test]
fn each_packet_that_is_passed_over_is_counted_by_its_reason() {
    let good = ethernet(&[], &ipv4(&frame(1), PORT));
    let mut arp = good.clone();
    arp[13] = 6;
    let mut short_udp = good.clone();
    short_udp[38..40].copy_from_slice(&7_u16.to_be_bytes());
    let mut short_ip = good.clone();
    short_ip[16..18].copy_from_slice(&19_u16.to_be_bytes());
    let mut bad_length = good.clone();
    bad_length[38..40].copy_from_slice(&9_999_u16.to_be_bytes());
    let mut no_version = good.clone();
    no_version[14] = 0x15;
    let fragment = ethernet(&[], &ipv4_fragments(&frame(2), 1, 16).remove(1));
    let icmp = ethernet(&[], &ipv6_with(&[], &[128, 0, 0, 0, 0, 0, 0, 0], 58));
    let unused = |change: fn(&mut Contents)| {
        let mut contents = Contents::default();
        change(&mut contents);
        contents
    };
    let mut tried = 0;
    for (packet, expected) in [
        (captured(arp, 0), unused(|it| it.not_ip = 1)),
        (captured(no_version, 0), unused(|it| it.not_ip = 1)),
        (captured(ethernet(&[], &tcp()), 0), unused(|it| it.not_udp = 1)),
        (captured(icmp, 0), unused(|it| it.not_udp = 1)),
        (captured(ethernet(&[], &ipv4(&frame(1), 53)), 0), unused(|it| it.other_port = 1)),
        (captured(fragment, 0), unused(|it| it.fragments = 1)),
        (captured(short_udp, 0), unused(|it| it.malformed = 1)),
        (captured(short_ip, 0), unused(|it| it.malformed = 1)),
        (captured(bad_length, 0), unused(|it| it.malformed = 1)),
        (captured(vec![0; 5], 0), unused(|it| it.malformed = 1)),
        (captured(vec![7; 300 << 10], 0), unused(|it| it.too_long = 1)),
        (cut(captured(good.clone(), 0), 80), unused(|it| it.cut = 1)),
        (cut(captured(good.clone(), 0), 40), unused(|it| it.cut = 1)),
        (cut(captured(good.clone(), 0), 20), unused(|it| it.cut = 1)),
        (cut(captured(good.clone(), 0), 5), unused(|it| it.cut = 1)),
        (cut(captured(good.clone(), 0), 0), unused(|it| it.cut = 1)),
    ] {
        for format in [Format::Pcap, Format::PcapNg(6)] {
            let packets = [captured(good.clone(), 0), packet.clone(), captured(good.clone(), 0)];
            let read = read_with(&file(format, false, 1, &packets), TO_PORT).unwrap();
            let expected = Contents { packets: 3, used: 2, ..expected.clone() };
            assert_eq!((read.all.len(), read.error, read.contents), (2, None, expected));
            tried += 1;
        }
    }
    assert!(tried > 30);
}

#[test]
fn a_packet_of_which_only_the_filling_was_cut_is_whole() {
    let mut packet = captured(ethernet(&[], &ipv4(&frame(1), PORT)), 0);
    packet.original += 18;
    let read = read_with(&file(Format::Pcap, false, 1, &[packet]), TO_PORT).unwrap();
    assert_eq!((read.all.len(), read.contents.used), (1, 1));
}

#[test]
fn the_snap_length_of_the_header_ends_nothing() {
    let packets: Vec<_> =
        (0..3).map(|n| captured(ethernet(&[], &ipv4(&frame(n).repeat(20), PORT)), 0)).collect();
    for snaplen in [0, 1, 128, u32::MAX] {
        let mut octets = file(Format::Pcap, false, 1, &packets);
        octets[16..20].copy_from_slice(&snaplen.to_le_bytes());
        let read = read_with(&octets, TO_PORT).unwrap();
        assert_eq!((read.all.len(), read.contents.unused()), (3, 0), "{snaplen}");
    }
}

#[test]
fn a_file_that_ends_anywhere_gives_all_that_comes_before() {
    let packets: Vec<_> =
        (0..3).map(|n| captured(ethernet(&[], &ipv4(&frame(n), PORT)), 0)).collect();
    let mut torn = 0;
    for format in FORMATS {
        let ends: Vec<_> = (0..=3).map(|n| file(format, false, 1, &packets[..n]).len()).collect();
        let octets = file(format, false, 1, &packets);
        for end in ends[0]..=octets.len() {
            let read = read_with(&octets[..end], TO_PORT).unwrap();
            let whole = ends.iter().filter(|&&place| place <= end).count() - 1;
            assert_eq!((read.all.len(), read.error), (whole, None), "{format:?} to {end}");
            let at = (!ends.contains(&end)).then_some(ends[whole] as u64);
            assert_eq!(read.contents.torn_at, at, "{format:?} to {end}");
            torn += u32::from(at.is_some());
        }
    }
    assert!(torn > 100);
}

#[test]
fn an_interface_of_an_unsupported_link_type_does_not_spoil_the_others() {
    let mut capture = Writer::new(false);
    capture.section();
    capture.interface(220, 6);
    capture.interface(1, 6);
    let good = captured(ethernet(&[], &ipv4(&frame(1), PORT)), 0);
    for interface in [0, 1, 0, 2] {
        capture.enhanced(interface, 0, &good);
    }
    // A new section has interfaces of its own.
    capture.section();
    capture.enhanced(0, 0, &good);
    capture.interface(276, 6);
    capture.enhanced(0, 0, &captured(sll2(&ipv4(&frame(2), PORT)), 0));
    let read = read_with(&capture.octets, TO_PORT).unwrap();
    let Contents { packets, used, other_link, malformed, .. } = read.contents;
    assert_eq!((packets, used, other_link, malformed, read.all.len()), (6, 2, 2, 2, 2));
    let said = read.contents.to_string();
    assert!(said.ends_with("unsupported link type 220 (USB_LINUX_MMAPPED)"), "{said}");
}

#[test]
fn an_unsupported_link_type_is_an_error_that_names_it() {
    for (link_type, name) in [(105, "105 (IEEE802_11)"), (9_999, "link type 9999,")] {
        let octets = file(Format::Pcap, false, link_type, &[captured(frame(1), 0)]);
        let error = read_with(&octets, TO_PORT).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("not supported"), "{error}");
    }
}
