//! A journal's file with changes anywhere, or with anything for its records: what is read from it is
//! some of what was written, and nothing panics.

#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use protocol::SpacecraftId;
use receiver::{
    chunk::{Chunk, Entries, EntryFormat},
    definitions::Decodable,
    journal::{Gauges, Journal, Options, files::Disk, look::look},
    ledger::Counters,
    queue::queues,
    shutdown::running,
    sparse::Sparse,
};

fn options(folder: &Path) -> Options {
    Options {
        folder: folder.to_owned(),
        octets_max: 8 << 20,
        sync_period: Duration::from_millis(1),
        station: "GS-01".into(),
        writers: 1,
    }
}

/// A file of ten records, four samples each, and its name.
fn whole() -> &'static (PathBuf, Vec<u8>) {
    static WHOLE: OnceLock<(PathBuf, Vec<u8>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let counters = Counters::new(1);
        let journal =
            Journal::open(&options(folder.path()), Arc::new(Disk), Arc::default()).unwrap();
        let (mut outlets, _inlets) = queues(1, 1 << 20, &counters);
        let (inlet, direct) = outlets.through_one();
        let (_stopper, drain) = running(Duration::ZERO);
        let appender = journal.appender(inlet, outlets.lanes(), direct, drain);
        for record in 0..10 {
            let mut chunk = outlets.take(0).unwrap();
            for sample in 0..4 {
                let id = SpacecraftId::new(1 + sample).unwrap();
                let sample = Sparse::new(&protocol::health::KIND, id, record);
                assert!(chunk.push_sparse(&sample, 0));
            }
            outlets.send(0, chunk).unwrap();
        }
        drop(outlets);
        appender.run();
        let segment = Disk.first_segment(folder.path());
        (segment.file_name().unwrap().into(), fs::read(segment).unwrap())
    })
}

trait FirstSegment {
    fn first_segment(&self, folder: &Path) -> PathBuf;
}

impl FirstSegment for Disk {
    fn first_segment(&self, folder: &Path) -> PathBuf {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.extension().is_some_and(|e| e == "segment"));
        files.next().unwrap()
    }
}

fuzz_target!(|data: &[u8]| {
    // As the entries of a record whose checksum is right.
    let format = EntryFormat::current();
    let _entries = Entries::new(data, format, 0, Decodable::ALL).count();
    let Some((&kind, changes)) = data.split_first() else { return };
    let (name, whole) = whole();
    let mut octets = whole.clone();
    if kind % 2 == 0 {
        octets.truncate(128);
        octets.extend_from_slice(changes);
    } else {
        for change in changes.chunks_exact(3) {
            let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % octets.len();
            octets[place] ^= change[2];
        }
        octets.truncate(octets.len() - changes.len() % 3);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), octets).unwrap();
    let _looked = look(&Disk, folder.path()).unwrap();
    let gauges = Arc::new(Gauges::default());
    let journal = Journal::open(&options(folder.path()), Arc::new(Disk), gauges).unwrap();
    let mut samples = 0;
    journal.replay(0, |chunk: &Chunk| samples += chunk.records().count());
    assert!(samples <= 40, "{samples} samples of 40");
});
