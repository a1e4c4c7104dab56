//! Any octets as the entries of a chunk, of every layout: whatever cannot be read, the samples add up, in
//! the shards that the backlog is counted by, and each ends in one place of a batch.

#![no_main]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use receiver::{
    batch::{Batch, Form, TimeWindow},
    chunk::{Chunk, Entry, EntryFormat},
    definitions::{Decodable, Definitions},
    queue::SHARDS,
};

fuzz_target!(|data: &[u8]| {
    let Some((&[version, samples], octets)) = data.split_first_chunk::<2>() else { return };
    let fingerprint = EntryFormat::current().fingerprint;
    // Versions 1 and 2, and some that no build has; definitions of its own, and others.
    let format = EntryFormat {
        version: u16::from(version % 4),
        fingerprint: if version & 4 == 0 { fingerprint } else { !fingerprint },
    };
    let mut chunk = Chunk::new();
    chunk.fill(0, samples.into(), octets, format);
    for decodable in [Decodable::ALL, Decodable::NONE] {
        let entries = || chunk.entries_as(decodable);
        let all: u64 = entries().map(|entry| entry.samples()).sum();
        assert_eq!(chunk.samples_of(|_| true), all);
        for shard in 0..SHARDS {
            let here = entries().filter(|entry| entry.shard() == shard);
            let here: u64 = here.map(|entry| entry.samples()).sum();
            assert_eq!(chunk.samples_of(|other| other == shard), here);
        }
        let decoded = entries().filter(|entry| matches!(entry, Entry::Sample(_))).count();
        assert!(decoded == 0 || decodable == Decodable::ALL);
    }
    let window = TimeWindow { past: Duration::from_secs(60), future: Duration::from_secs(60) };
    let form = Form { station: "GS-01".into(), window };
    let mut batch = Batch::with_definitions(u64::MAX, Arc::new(Definitions::built_in()));
    batch.push(&chunk, &form, Instant::now(), |_, _| {});
    let (stored, quarantined) = (batch.rows.stored(), batch.rows.quarantined());
    assert_eq!(batch.samples(), stored + quarantined);
    let samples: u64 = batch.entries().map(|entry| entry.samples()).sum();
    assert_eq!(batch.samples(), samples);
});
