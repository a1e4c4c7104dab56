//! A recording of any octets: it is read to its end or refused, no octet comes out twice, and nothing
//! panics.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use receiver::replay::{Reading, Recorded, Recording};

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    // A capture's magic is hard to guess.
    let pcap = [&[0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0][..], data].concat();
    let pcapng = [SECTION, data].concat();
    let reading = Reading { port: None, bare_packets: true };
    for octets in [data, &pcap, &pcapng] {
        fs::write(&path, octets).unwrap();
        let Ok(mut recording) = Recording::open(&path, reading) else { continue };
        let (mut one, mut read) = (Recorded::default(), 0);
        while let Ok(true) = recording.read(&mut one) {
            read += one.octets.len();
            assert!(read <= octets.len() || is_gzip(octets), "more than there is");
        }
        if recording.read(&mut one).is_ok_and(|is_read| !is_read) {
            let contents = recording.contents();
            assert_eq!(contents.packets, contents.used + contents.unused());
        }
    }
});

fn is_gzip(octets: &[u8]) -> bool {
    octets.starts_with(&[0x1F, 0x8B])
}

/// A little-endian section header of pcapng, of unknown length.
const SECTION: &[u8] = b"\x0A\x0D\x0D\x0A\x1C\0\0\0\x4D\x3C\x2B\x1A\x01\0\0\0\
    \xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x1C\0\0\0";
