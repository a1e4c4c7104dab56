//! What other builds have written is read: a journal's entries, the tracker's state and the detectors'.
//! `fixtures/README.md` says how the files were made.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use receiver::{
    batch::{Batch, Form, Poison, Put, TimeWindow},
    chunk::{Chunk, Entry, EntryFormat, Sample, Why},
    copy::side::Side,
    definitions::{Decodable, Definitions, Known},
    detect::{Settings, Watch},
    intake::{Admission, Intake},
    journal::{Gauges, Journal, Options, files::Disk},
    ledger::Counters,
    queue::queues,
    spacecraft::SpacecraftSet,
    state::StateFolder,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The chunk that a build has written, and the definitions that it described.
fn written_by(build: &str) -> (Chunk, Known) {
    let text = std::fs::read_to_string(fixture(&format!("{build}.definitions"))).unwrap();
    let known = Known::parse(&text).unwrap();
    let octets = std::fs::read(fixture(&format!("{build}.entries"))).unwrap();
    let format = EntryFormat { version: 2, fingerprint: known.fingerprint() };
    let mut chunk = Chunk::new();
    chunk.fill(7, 8, &octets, format);
    (chunk, known)
}

fn form() -> Form {
    let window = TimeWindow { past: Duration::MAX, future: Duration::MAX };
    Form { station: "GS-01".into(), window }
}

const BUILDS: [&str; 2] = ["more", "fewer"];

#[test]
fn kinds_that_did_not_change_are_decoded_and_the_others_go_to_quarantine() {
    for build in BUILDS {
        let (chunk, known) = written_by(build);
        let mut definitions = Definitions::built_in();
        definitions.learn(&known);
        let decodable = definitions.of(known.fingerprint());
        let entries: Vec<_> = chunk.entries_as(decodable).collect();
        let shards: Vec<_> = entries.iter().map(Entry::shard).collect();
        assert_eq!(shards, [1, 1, 2, 2, 3, 3, 4, 1, 1, 0, 0], "{build}");
        let mut temperatures = Vec::new();
        let mut others = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Sample(record) => match &record.sample {
                    Sample::Frame(frame) => match frame.body() {
                        protocol::Body::Health(body) => temperatures.push(body.cpu_temp()),
                        protocol::Body::Attitude(_) => panic!("{build}: a value of another field"),
                    },
                    Sample::Sparse(sample) => {
                        let values: Vec<_> =
                            sample.columns().filter_map(|column| column.1).collect();
                        others.push(("sparse", number));
                        assert_eq!(values, [21.5]);
                    }
                },
                Entry::Jump(_) => panic!("{build}: no build of that time had it"),
                Entry::Link(row) => {
                    others.push(("link", number));
                    assert_eq!((row.apid.get(), row.received.get()), (100, 7));
                }
                Entry::Station(row) => {
                    others.push(("station", number));
                    let counter = |place: usize| row.differences[place].get();
                    let pending = if build == "more" { 7 } else { 0 };
                    assert_eq!([0, 3, 15, 27, 28].map(counter), [6, 0, 2, 3, pending]);
                }
                Entry::Rejected(_, frame) => {
                    others.push(("rejected", number));
                    assert_eq!(frame.octets, b"no frame");
                }
                Entry::Unreadable(entry) => {
                    others.push(("unreadable", number));
                    assert_eq!((entry.why, entry.samples), (Why::Definitions, 1));
                }
            }
        }
        assert_eq!(temperatures, [2_500, 2_501, 2_502], "{build}");
        let unreadable = [0, 2, 4, 6].map(|number| ("unreadable", number));
        let read = [("sparse", 7), ("link", 8), ("station", 9), ("rejected", 10)];
        assert_eq!(others, [&unreadable[..], &read].concat(), "{build}");
    }
}

#[test]
fn every_sample_of_another_build_is_in_one_place_of_a_batch() {
    for build in BUILDS {
        let (chunk, known) = written_by(build);
        let mut learned = Definitions::built_in();
        learned.learn(&known);
        // With the description of those definitions, and without.
        for (definitions, stored) in [(learned, 4), (Definitions::built_in(), 0)] {
            let mut batch = Batch::with_definitions(u64::MAX, Arc::new(definitions));
            let mut put = Vec::new();
            batch.push(&chunk, &form(), Instant::now(), |_, what| put.push(what));
            assert_eq!(put.iter().filter(|&&put| put == Put::Row).count() as u64, stored);
            let counts = |batch: &Batch| {
                let side = |side: Side| batch.rows.sides[side as usize].rows();
                let others = [Side::LinkHealth, Side::StationHealth, Side::RejectedFrame].map(side);
                (batch.rows.stored(), batch.rows.quarantined(), others)
            };
            assert_eq!(counts(&batch), (stored, 8 - stored, [1, 1, 1]), "{build}");
            assert_eq!(batch.samples(), 8);
            let in_shards: i64 = batch.ranges().map(|(_, range)| range.samples).sum();
            assert_eq!(in_shards, 8);
            // The database refuses one that is decoded, and one that is not.
            let poison = || Poison { reason: "no".into(), sqlstate: "23514".into() };
            batch.set_aside(&BTreeMap::from([(0, poison()), (1, poison())]), &form());
            let stored = stored - u64::from(stored > 0);
            assert_eq!(counts(&batch), (stored, 8 - stored, [1, 1, 1]), "{build}");
        }
    }
}

#[test]
fn samples_are_counted_by_shard_without_their_definitions() {
    for build in BUILDS {
        let (chunk, _) = written_by(build);
        assert_eq!(Decodable::built_in(chunk.format().fingerprint), Decodable::NONE);
        let by_shard = [0, 1, 2, 3, 4].map(|shard| chunk.samples_of(|other| other == shard));
        assert_eq!(by_shard, [0, 3, 2, 2, 1], "{build}");
        assert_eq!(chunk.samples_of(|_| true), chunk.samples());
    }
}

fn restore(name: &str, settings: Settings) -> (Watch, usize) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(name), folder.path().join("detect-01.state")).unwrap();
    let state = StateFolder::open(folder.path(), 1 << 20).unwrap();
    let mut watch = Watch::new(settings, "GS-01", 1);
    let mut skipped = usize::MAX;
    let since = state.load(1, |octets| {
        skipped = watch.restore(octets, 1, 1_767_230_000_000_000)?;
        Ok::<_, receiver::detect::Damage>(())
    });
    assert_eq!(since.map(|since| (since.journal, since.number)), Some((5, 77)), "{name}");
    (watch, skipped)
}

#[test]
fn detectors_go_on_from_the_file_of_the_first_version() {
    let (watch, skipped) = restore("detect-1.state", Settings::default());
    assert_eq!(skipped, 0);
    let mut known: Vec<_> = watch.known_events().collect();
    known.sort_unstable();
    known.dedup();
    let ids = [3_919_594_592_287_965_854, 4_088_493_106_640_192_203, 7_939_071_634_616_916_526];
    assert_eq!(known, ids);
    // What was learned is there, and is written in today's version.
    let octets = watch.snapshot(1).unwrap().unwrap();
    assert!(octets.len() > 20_000 && octets[8] == 2);
    let mut again = Watch::new(Settings::default(), "GS-01", 1);
    assert_eq!(again.restore(&octets, 1, 1_767_230_000_000_000), Ok(0));
    assert_eq!(again.snapshot(1).unwrap().unwrap(), octets);
}

#[test]
fn detectors_go_on_from_files_of_builds_with_other_channels() {
    for build in BUILDS {
        let (watch, skipped) = restore(&format!("{build}.state"), Settings::default());
        assert_eq!(skipped, 0, "{build}");
        let mut names: Vec<_> = watch.changes().map(|event| event.subject.name()).collect();
        names.sort_unstable();
        assert!(names.contains(&"cpu_temp"), "{build}: {names:?}");
        let octets = watch.snapshot(1).unwrap().unwrap();
        let mut again = Watch::new(Settings::default(), "GS-01", 1);
        assert_eq!(again.restore(&octets, 1, 1_767_230_000_000_000), Ok(0), "{build}");
    }
}

/// A journal of the first version, opened where it may be changed.
fn open_journal(name: &str) -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let options = Options {
        folder: folder.path().to_owned(),
        octets_max: 8 << 20,
        sync_period: Duration::from_secs(1),
        station: "GS-01".into(),
        writers: 1,
    };
    let journal = Journal::open(&options, Arc::new(Disk), Arc::new(Gauges::default())).unwrap();
    (folder, journal)
}

#[test]
fn the_tracker_goes_on_from_the_state_of_the_first_version() {
    let (_folder, journal) = open_journal("stopped-1");
    let (_number, state) = journal.tracker_state().expect("it is read");
    let counters = Counters::new(1);
    let (outlets, _inlets) = queues(1, 1 << 20, &counters);
    let admission = Admission {
        spacecraft: SpacecraftSet::all(),
        satellites_max: 10,
        streams_max: 100,
        sources: Vec::new(),
        source_rate: None,
        rejected_per_second: 0,
        quarantine_per_second: None,
        window: TimeWindow::EVERYTHING,
    };
    let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
    assert!(intake.restore(&state, 0));
    // Every frame that was accepted then has come before.
    journal.replay(0, |chunk| {
        for record in chunk.records() {
            let Sample::Frame(frame) = record.sample else { continue };
            intake.datagram(frame.octets(), None, record.received_us);
        }
    });
    intake.publish();
    let ledger = counters.ledger();
    assert_eq!((ledger.frames, ledger.duplicate, ledger.accepted), (36, 36, 0));
}

#[test]
fn a_journal_of_the_first_version_is_read_whole() {
    let (_folder, journal) = open_journal("journal-1");
    let mut counts = [0; 5];
    journal.replay(0, |chunk| {
        for entry in chunk.entries() {
            let kind = match entry {
                Entry::Sample(_) => 0,
                Entry::Link(_) => 1,
                Entry::Station(_) => 2,
                Entry::Rejected(..) => 3,
                Entry::Unreadable(_) | Entry::Jump(_) => 4,
            };
            counts[kind] += 1;
        }
    });
    let [samples, links, stations, rejected, unreadable] = counts;
    assert_eq!((samples, rejected, unreadable), (30, 4, 0));
    assert!(links > 4 && stations > 2, "{links} and {stations}");
}
