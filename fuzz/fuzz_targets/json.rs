//! A JSON body of any octets: samples or a fault, and what was accepted survives its way through a
//! chunk.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use receiver::{
    batch::TimeWindow,
    chunk::{Chunk, Sample},
    http::sample::{Rules, read},
    spacecraft::SpacecraftSet,
};

fuzz_target!(|body: &[u8]| {
    let window = TimeWindow { past: Duration::from_secs(3_600), future: Duration::from_secs(300) };
    let spacecraft = SpacecraftSet::all();
    let rules = Rules { spacecraft: &spacecraft, window: &window };
    match read(body, 1_767_225_600_000_000, &rules) {
        Err(fault) => assert!(!fault.to_string().is_empty()),
        Ok(samples) => {
            for sample in samples {
                let mut chunk = Chunk::new();
                assert!(chunk.push_sparse(&sample, 0));
                let record = chunk.records().next();
                let Some(Sample::Sparse(found)) = record.map(|record| record.sample) else {
                    panic!("no sample")
                };
                assert_eq!(*found, sample);
            }
        }
    }
});
