//! Records of builds with other packet definitions, one with a parameter and a counter more and one
//! with fewer: what they mean is read by the description that the folder keeps, or not at all.

use std::{fs, path::PathBuf, sync::Arc, time::Instant};

use super::*;
use crate::{
    batch::{Batch, Form, TimeWindow},
    chunk::EntryFormat,
    definitions::Known,
    journal::{
        file_name, known_definitions,
        record::{Layout, RecordHead, SegmentHead},
    },
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_backlog_of_another_build_ends_in_tables_or_quarantine() {
    for build in ["more", "fewer"] {
        let text = fs::read_to_string(fixture(&format!("{build}.definitions"))).unwrap();
        let entries = fs::read(fixture(&format!("{build}.entries"))).unwrap();
        let known = Known::parse(&text).unwrap();
        let format = EntryFormat { version: 2, fingerprint: known.fingerprint() };
        for (is_described, stored) in [(true, 4), (false, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let head = SegmentHead::new(7, 8, 9, 0, "GS-01");
            let mut segment = head.to_octets().unwrap();
            let Layout::Two(marker) = head.layout else { panic!("of format 2") };
            let record = RecordHead {
                marker,
                offset: segment.len() as u64,
                run: head.run,
                station: "GS-01",
                number: 9,
                shards: 0b11111,
                samples: 8,
                format,
                previous: &[-1; SHARDS],
            };
            record.append_to(&mut segment, &entries);
            segment.extend_from_slice(&entries);
            fs::write(folder.path().join(file_name(9)), segment).unwrap();
            if is_described {
                let name = format!("{:016x}.definitions", known.fingerprint());
                fs::write(folder.path().join(name), &text).unwrap();
            }
            let of = options(folder.path(), 1);
            let mut journal = Journal::open(&of, Arc::new(Disk), Arc::default()).unwrap();
            let definitions = Arc::new(known_definitions(&Disk, folder.path()));
            let mut reader = journal.readers().remove(0);
            reader.seek(0);
            assert_eq!(reader.backlog(|_| NOTHING), 8, "{build}");
            let mut batch = Batch::with_definitions(u64::MAX, definitions);
            let window = TimeWindow::EVERYTHING;
            let form = Form { station: "GS-01".into(), window };
            let mut chunk = Chunk::new();
            while reader.peek().is_some() {
                reader.take(&mut chunk).unwrap();
                batch.push(&chunk, &form, Instant::now(), |_, _| ());
            }
            // Every sample that waited is in one place.
            let places = (batch.rows.stored(), batch.rows.quarantined());
            assert_eq!(places, (stored, 8 - stored), "{build}");
        }
    }
}

#[test]
fn a_record_whose_entries_are_of_a_later_version_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let head = SegmentHead::new(7, 8, 9, 0, "GS-01");
    let mut segment = head.to_octets().unwrap();
    let Layout::Two(marker) = head.layout else { panic!("of format 2") };
    let later = EntryFormat { version: 3, ..EntryFormat::current() };
    let record = RecordHead {
        marker,
        offset: segment.len() as u64,
        run: head.run,
        station: "GS-01",
        number: 9,
        shards: 1,
        samples: 2,
        format: later,
        previous: &[-1; SHARDS],
    };
    record.append_to(&mut segment, b"entries of another layout");
    segment.extend_from_slice(b"entries of another layout");
    fs::write(folder.path().join(file_name(9)), &segment).unwrap();
    let run = Run::of(folder.path(), Arc::new(Disk), 1, &samples(100, 2), 2, &NOTHING);
    assert_eq!(run.numbers(), [100, 101]);
    assert_eq!(run.counters.ledger().pending, 0);
    run.journal.shared.set_stored(0, i64::MAX);
    run.journal.finish();
    let kept = fs::read(folder.path().join(format!("{:016x}.damaged", 9))).unwrap();
    assert!(kept == segment);
}
