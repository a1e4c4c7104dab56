//! A recording of any octets: it is read to its end or refused, no octet comes out twice, and nothing
//! panics.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use receiver::replay::{Recorded, Recording};

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    // A pcap file's magic is hard to guess.
    let with_magic = [&[0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0][..], data].concat();
    for octets in [data, &with_magic] {
        fs::write(&path, octets).unwrap();
        let Ok(mut recording) = Recording::open(&path, None) else { continue };
        let (mut one, mut read) = (Recorded::default(), 0);
        while let Ok(true) = recording.read(&mut one) {
            read += one.octets.len();
            assert!(read <= octets.len(), "more than there is");
        }
    }
});
