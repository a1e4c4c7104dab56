//! Files that no tool writes: no panic, no packet counted twice, bounded memory.

use allocation_counter::measure;
use proptest::prelude::*;

use super::{
    build::{
        FORMATS, Format, PORT, Writer, captured, ethernet, file, frame, ipv4, ipv4_fragments, ipv6,
        ipv6_fragments, ipv6_with, sll2, udp,
    },
    read_with,
};
use crate::replay::Reading;

const READING: Reading = Reading { port: None, bare_packets: true };
/// Windows of two files, packets that are put together, and what the test itself keeps.
const MEMORY_MAX: u64 = 24 << 20;

/// A valid capture, of all formats and some encapsulations in turn.
fn valid(number: usize) -> Vec<u8> {
    let frames = |n| frame(n).repeat(3);
    let (link_type, packets): (_, Vec<Vec<u8>>) = match number % 5 {
        0 => (1, (0..4).map(|n| ethernet(&[0x88A8, 0x8100], &ipv6(&frames(n), PORT))).collect()),
        1 => (101, (0..3).flat_map(|n| ipv4_fragments(&frames(n), n as u16, 64)).collect()),
        2 => (229, (0..3).flat_map(|n| ipv6_fragments(&udp(&frames(n)), 17, n, 64)).collect()),
        3 => (276, (0..4).map(|n| sll2(&ipv4(&frames(n), PORT))).collect()),
        _ => (147, (0..4).map(frames).collect()),
    };
    let packets: Vec<_> = packets.into_iter().map(|it| captured(it, 1)).collect();
    file(FORMATS[number % FORMATS.len()], number.is_multiple_of(2), link_type, &packets)
}

/// Reads whatever it is; the octets that come out are at most those that are there.
fn read_hostile(octets: &[u8]) {
    let mut read = None;
    let used = measure(|| read = read_with(octets, READING).ok());
    assert!(used.bytes_max < MEMORY_MAX, "{} octets of memory", used.bytes_max);
    if let Some(read) = read {
        let all: usize = read.all.iter().map(|one| one.octets.len()).sum();
        assert!(all <= octets.len(), "{all} octets of {}", octets.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_octets_are_read_or_refused(
        magic in 0..5_usize,
        rest in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let magic: &[u8] = [
            &b"\xD4\xC3\xB2\xA1\x02\0\x04\0"[..],
            b"\xA1\xB2\x3C\x4D\0\x02\0\x04",
            b"\x0A\x0D\x0D\x0A\x1C\0\0\0\x4D\x3C\x2B\x1A\x01\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x1C\0\0\0",
            b"\x1F\x8B\x08",
            b"",
        ][magic];
        read_hostile(&[magic, &rest].concat());
    }

    #[test]
    fn a_changed_capture_is_read_or_refused(
        number in 0..70_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        lengths in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..3),
        end in any::<prop::sample::Index>(),
        is_torn in any::<bool>(),
    ) {
        let mut octets = valid(number);
        for (place, octet) in changes {
            *place.get_mut(&mut octets) = octet;
        }
        for (place, length) in lengths {
            let place = place.index(octets.len() / 4 - 1) * 4;
            octets[place..place + 4].copy_from_slice(&length.to_le_bytes());
        }
        if is_torn {
            octets.truncate(end.index(octets.len()));
        }
        read_hostile(&octets);
    }
}

#[test]
fn lengths_that_cannot_be_end_the_reading_after_what_came_before() {
    let good = captured(ethernet(&[], &ipv4(&frame(1), PORT)), 0);
    let pcap = file(Format::Pcap, false, 1, std::slice::from_ref(&good));
    let mut pcapng = Writer::new(false);
    pcapng.section();
    pcapng.interface(1, 6);
    pcapng.enhanced(0, 0, &good);
    let block = |kind: u32, octets: u32| {
        [&pcapng.octets[..], &kind.to_le_bytes(), &octets.to_le_bytes(), &[0; 64]].concat()
    };
    let record = |octets: u32| {
        let lengths = [octets.to_le_bytes(); 2].concat();
        [&pcap[..], &[0; 8], &lengths, &[0; 64]].concat()
    };
    let mut tried = 0;
    for (octets, said) in [
        (record(u32::MAX), "a packet of 4294967295 octets"),
        (record(0x8000_0001), "a packet of"),
        (block(6, 0), "a block of 0 octets"),
        (block(6, 8), "a block of 8 octets"),
        (block(6, 13), "a block of 13 octets"),
        (block(6, u32::MAX - 3), "a block of 4294967292 octets"),
        (block(0x1234, 0), "a block of 0 octets"),
        (block(6, 32), "lengths of a block differ"),
        (block(0x0A0D_0D0A, 28), "byte order"),
        (block(0x0A0D_0D0A, 0), "byte order"),
    ] {
        let mut read = None;
        let used = measure(|| read = Some(read_with(&octets, READING).unwrap()));
        let read = read.unwrap();
        let error = read.error.unwrap_or_default();
        assert!(error.contains(said) && error.contains("damaged at octet"), "{error}");
        assert_eq!(read.all.len(), 1, "{said}");
        assert!(used.bytes_max < MEMORY_MAX);
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn a_block_with_a_wrong_inside_is_one_malformed_packet() {
    let good = captured(ethernet(&[], &ipv4(&frame(1), PORT)), 0);
    let mut capture = Writer::new(false);
    capture.section();
    capture.interface(1, 6);
    // More captured octets than the block has.
    let mut wrong = vec![0; 20];
    wrong[12..16].copy_from_slice(&9_999_u32.to_le_bytes());
    capture.block(6, &wrong);
    capture.block(6, &[0; 4]);
    capture.block(3, &[]);
    // Options without an end, of no length and of too much, in a packet and by themselves.
    let options: Vec<u8> = (0..4_000_u16).flat_map(|n| [n as u8, 0, 0, 0]).collect();
    capture.block(6, &[vec![0; 20], options.clone()].concat());
    capture.block(0xBAD, &[options, vec![0xFF; 8]].concat());
    capture.enhanced(0, 0, &good);
    let read = read_with(&capture.octets, READING).unwrap();
    assert_eq!((read.all.len(), read.contents.malformed, read.error), (1, 4, None));
}

#[test]
fn sections_interfaces_and_fragments_without_end_stay_within_bounds() {
    let mut capture = Writer::new(false);
    (0..20_000).for_each(|_| capture.section());
    (0..10_000).for_each(|_| capture.interface(1, 6));
    let mut read = None;
    let used = measure(|| read = Some(read_with(&capture.octets, READING).unwrap()));
    let error = read.unwrap().error.unwrap_or_default();
    assert!(error.contains("more than 4096 interfaces"), "{error}");
    assert!(used.bytes_max < MEMORY_MAX);

    // The last fragments of datagrams as long as they can be.
    let ends: Vec<_> = (0..2_000_u32)
        .map(|id| {
            let offset = 65_000_u16.to_be_bytes();
            let fragment = [&[0][..], &offset, &id.to_be_bytes()].concat();
            captured(ipv6_with(&[(44, &fragment)], &[0; 64], 17), 0)
        })
        .collect();
    let octets = file(Format::Pcap, false, 101, &ends);
    let mut read = None;
    let used = measure(|| read = Some(read_with(&octets, READING).unwrap()));
    assert_eq!(read.unwrap().contents.fragments, 2_000);
    assert!(used.bytes_max < MEMORY_MAX, "{}", used.bytes_max);
}

#[test]
fn times_beyond_all_calendars_are_the_end_of_the_last() {
    let good = captured(ethernet(&[], &ipv4(&frame(1), PORT)), 0);
    for resolution in [0, 6, 40, 127, 0x80, 0x80 | 63, 0xFF] {
        let mut capture = Writer::new(true);
        capture.section();
        capture.interface(1, resolution);
        capture.enhanced(0, u64::MAX, &good);
        let read = read_with(&capture.octets, READING).unwrap();
        let year_10000_us = 253_402_300_800_000_000;
        assert!((0..year_10000_us).contains(&read.all[0].time_us), "{resolution:#x}");
    }
}
