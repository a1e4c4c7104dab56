//! The journal as a whole: what goes in comes out, whatever happens to the files in between.

mod planted;
mod upgraded;

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::bounded;
use proptest::prelude::*;
use protocol::SpacecraftId;

use super::{
    Gauges, Journal, Options,
    files::{Disk, Files, Octets},
    look::{Looked, look},
};
use crate::{
    chunk::{Chunk, Record},
    feed::{Feed, Next},
    ledger::Counters,
    queue::{SHARDS, queues},
    shutdown::running,
    sparse::Sparse,
};

fn options(folder: &Path, writers: usize) -> Options {
    Options {
        folder: folder.to_owned(),
        octets_max: 8 << 20,
        sync_period: Duration::from_millis(1),
        station: "GS-01".into(),
        writers,
    }
}

/// A run of a station: writes samples, each with a number of its own as its time, and reads.
struct Run {
    journal: Journal,
    counters: Arc<Counters>,
    /// Numbers that each writer has read, with the place of their chunks.
    read: Vec<(usize, i64, i64)>,
}

impl Run {
    /// Writes samples of these spacecraft, `chunk` of them in a chunk, and reads all that the
    /// database, which knows `stored`, does not have.
    fn of(
        folder: &Path,
        files: Arc<dyn Files>,
        writers: usize,
        samples: &[(u16, i64)],
        chunk_samples: usize,
        stored: &[i64; SHARDS],
    ) -> Self {
        let counters = Counters::new(writers);
        let gauges = Arc::clone(counters.journal());
        let mut journal = Journal::open(&options(folder, writers), files, gauges).unwrap();
        let (mut outlets, inlets) = queues(writers, 8 << 20, &counters);
        let readers = journal.readers();
        let feeds: Vec<_> =
            inlets.into_iter().zip(readers).map(|(i, r)| Feed::of_journal(i, r)).collect();
        let (inlet, direct) = outlets.through_one();
        let (stopper, drain) = running(Duration::from_secs(5));
        let appender = journal.appender(inlet, outlets.lanes(), direct, drain);
        let (ends, ended) = bounded(1);
        let keeper = journal.keeper(ended);
        let append = thread::spawn(move || {
            appender.run();
            drop(ends);
        });
        let keep = thread::spawn(move || keeper.run());
        let reading: Vec<_> = feeds
            .into_iter()
            .enumerate()
            .map(|(writer, feed)| {
                let stored = *stored;
                thread::spawn(move || read(feed, writer, writers, &stored))
            })
            .collect();
        let mut open: Vec<Option<Chunk>> = (0..writers).map(|_| None).collect();
        for &(spacecraft, number) in samples {
            let id = SpacecraftId::new(spacecraft).unwrap();
            let writer = outlets.writer_of(id);
            let chunk = open[writer].get_or_insert_with(|| {
                loop {
                    if let Some(chunk) = outlets.take(writer) {
                        break chunk;
                    }
                    thread::yield_now();
                }
            });
            assert!(chunk.push_sparse(&Sparse::new(&protocol::health::KIND, id, number), 7));
            if chunk.samples() as usize >= chunk_samples {
                outlets.send(writer, open[writer].take().unwrap()).unwrap();
            }
        }
        for (writer, chunk) in open.into_iter().enumerate() {
            if let Some(chunk) = chunk {
                outlets.send(writer, chunk).unwrap();
            }
        }
        drop(outlets);
        append.join().unwrap();
        keep.join().unwrap();
        stopper.stop();
        let read = reading.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        Self { journal, counters, read }
    }

    fn numbers(&self) -> Vec<i64> {
        self.read.iter().map(|&(_, number, _)| number).collect()
    }

    /// Numbers by satellite, in the order in which they were read.
    fn in_order(&self, samples: &[(u16, i64)]) -> BTreeMap<u16, Vec<i64>> {
        let of: BTreeMap<i64, u16> = samples.iter().map(|&(id, number)| (number, id)).collect();
        let mut order: BTreeMap<u16, Vec<i64>> = BTreeMap::new();
        for number in self.numbers() {
            order.entry(of[&number]).or_default().push(number);
        }
        order
    }

    fn gauge(&self, of: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        of(self.counters.journal()).load(Ordering::Relaxed)
    }
}

fn read(
    mut feed: Feed,
    writer: usize,
    writers: usize,
    stored: &[i64; SHARDS],
) -> Vec<(usize, i64, i64)> {
    let reader = feed.journal().unwrap();
    reader.learned(i64::MAX);
    reader.seek(0);
    let found = reader.backlog(|_| *stored);
    feed.lane().recovered(found);
    let mut all = Vec::new();
    loop {
        match feed.next(Duration::from_millis(5)) {
            Next::Closed => break,
            Next::Nothing => {}
            Next::Chunk(chunk) => {
                let place = chunk.place();
                let is_mine = |record: &Record<'_>| {
                    let shard = crate::queue::shard_of(record.spacecraft());
                    shard % writers == writer && place >= stored[shard]
                };
                let mine = chunk.records().filter(is_mine);
                let before = all.len();
                all.extend(mine.map(|record| (writer, record.generated_us(), place)));
                feed.lane().dequeued((all.len() - before) as u64);
                feed.done(chunk);
            }
        }
    }
    assert!(feed.is_empty());
    all
}

fn samples(from: i64, count: i64) -> Vec<(u16, i64)> {
    (from..from + count).map(|number| (1 + (number * 7 % 130) as u16, number)).collect()
}

fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}

const NOTHING: [i64; SHARDS] = [0; SHARDS];
const SEGMENT_HEAD: u64 = super::record::SEGMENT_HEAD_OCTETS as u64;

/// Octets of a record's header.
fn head_octets(record: &[u8]) -> usize {
    let shards = u64::from_le_bytes(record[40..48].try_into().unwrap());
    super::record::RECORD_HEAD_OCTETS_MIN + 8 * shards.count_ones() as usize
}

/// Where the records of a segment are, found by their lengths alone.
fn records_of(segment: &[u8]) -> Vec<Range<usize>> {
    let mut records = Vec::new();
    let mut start = SEGMENT_HEAD as usize;
    while start < segment.len() {
        let head = head_octets(&segment[start..]);
        let entries = u32::from_le_bytes(segment[start + 56..start + 60].try_into().unwrap());
        let end = start + head + entries as usize;
        records.push(start..end);
        start = end;
    }
    records
}

/// Removes all files of a folder.
fn empty(folder: &Path) {
    for path in Disk.list(folder).unwrap() {
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Disk.list(folder).unwrap();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    paths.sort();
    paths
}

#[test]
fn what_goes_in_comes_out_in_order_and_again_until_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let first = samples(0, 40_000);
    let run = Run::of(folder.path(), Arc::new(Disk), 2, &first, 100, &NOTHING);
    assert_eq!(sorted(run.numbers()), (0..40_000).collect::<Vec<_>>());
    assert!(run.in_order(&first).values().all(|numbers| numbers.is_sorted()));
    let ledger = run.counters.ledger();
    assert_eq!((ledger.recovered, ledger.pending), (0, 0));
    assert!(segments(folder.path()).len() > 2, "a segment has an end");
    let identity = run.journal.identity();
    drop(run);
    // Nothing was said to be stored; this time there are three writers.
    let second = samples(40_000, 500);
    let run = Run::of(folder.path(), Arc::new(Disk), 3, &second, 7, &NOTHING);
    assert_eq!(run.journal.identity(), identity);
    assert_eq!(sorted(run.numbers()), (0..40_500).collect::<Vec<_>>());
    let all = [first, second].concat();
    assert!(run.in_order(&all).values().all(|numbers| numbers.is_sorted()));
    let ledger = run.counters.ledger();
    assert_eq!((ledger.recovered, ledger.pending), (40_000, 0));
}

#[test]
fn what_is_stored_is_passed_over_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let all = samples(0, 30_000);
    let run = Run::of(folder.path(), Arc::new(Disk), 2, &all, 50, &NOTHING);
    let mut stored = NOTHING;
    let mut wanted = Vec::new();
    // One shard has come far, one not at all, the others as far as half.
    for &(_, number, place) in &run.read {
        let shard = usize::from(1 + (number * 7 % 130) as u16) % SHARDS;
        let is_stored = match shard {
            3 => true,
            4 => false,
            _ => number < 15_000,
        };
        if is_stored {
            stored[shard] = stored[shard].max(place + 1);
        } else {
            wanted.push((shard, number, place));
        }
    }
    // Places are those of whole chunks.
    wanted.retain(|&(shard, _, place)| place >= stored[shard]);
    drop(run);
    let run = Run::of(folder.path(), Arc::new(Disk), 4, &[], 1, &stored);
    let expected = sorted(wanted.into_iter().map(|(_, number, _)| number).collect());
    assert_eq!(sorted(run.numbers()), expected);
    assert_eq!(run.counters.ledger().recovered, expected.len() as u64);
    drop(run);

    let run = Run::of(folder.path(), Arc::new(Disk), 1, &samples(0, 10), 1, &[i64::MAX; SHARDS]);
    run.journal.shared.set_stored(0, i64::MAX);
    run.journal.finish();
    let left = segments(folder.path());
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::metadata(&left[0]).unwrap().len(), SEGMENT_HEAD);
}

#[test]
fn a_torn_end_costs_what_is_torn_at_every_octet() {
    let folder = tempfile::tempdir().unwrap();
    Run::of(folder.path(), Arc::new(Disk), 1, &samples(0, 12), 2, &NOTHING);
    let path = &segments(folder.path())[0];
    let whole = fs::read(path).unwrap();
    let records = records_of(&whole);
    assert_eq!(records.len(), 6);
    for length in 0..whole.len() {
        empty(folder.path());
        fs::write(path, &whole[..length]).unwrap();
        let run = Run::of(folder.path(), Arc::new(Disk), 1, &samples(100, 2), 2, &NOTHING);
        let kept = records.iter().filter(|record| record.end <= length).count();
        let expected: Vec<_> = (0..2 * kept as i64).chain([100, 101]).collect();
        assert_eq!(run.numbers(), expected, "{length} octets");
        let head = SEGMENT_HEAD as usize;
        let end = records.iter().map(|record| record.end).filter(|&end| end <= length).max();
        let torn = if length < head { length } else { length - end.unwrap_or(head) };
        assert_eq!(run.gauge(|g| &g.torn), torn as u64, "{length} octets");
        assert_eq!(run.gauge(|g| &g.damaged), 0, "{length} octets");
    }
}

#[test]
fn a_flipped_octet_costs_one_record_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    Run::of(folder.path(), Arc::new(Disk), 1, &samples(0, 40), 4, &NOTHING);
    let path = &segments(folder.path())[0];
    let whole = fs::read(path).unwrap();
    let records = records_of(&whole);
    assert_eq!(records.len(), 10);
    // The last record is another matter: see torn ends.
    for (lost, record) in records[..9].iter().enumerate() {
        for place in record.clone() {
            empty(folder.path());
            let mut octets = whole.clone();
            octets[place] ^= 0x10;
            fs::write(path, &octets).unwrap();
            let run = Run::of(folder.path(), Arc::new(Disk), 1, &samples(100, 4), 4, &NOTHING);
            let lost = lost as i64 * 4;
            let expected: Vec<_> =
                (0..40).filter(|n| !(lost..lost + 4).contains(n)).chain(100..104).collect();
            assert_eq!(run.numbers(), expected, "octet {place}");
            assert_eq!(run.gauge(|g| &g.damaged), 1, "octet {place}");
            // Behind a good header it is known how many samples there were.
            let ledger = run.counters.ledger();
            let head = head_octets(&whole[record.clone()]);
            let counted = if place - record.start < head { 0 } else { 4 };
            assert_eq!((ledger.recovered, ledger.queue_dropped), (36 + counted, counted));
            assert_eq!(ledger.pending, 0, "octet {place}");
        }
    }
}

#[test]
fn files_that_are_no_part_of_it_are_set_aside_and_a_missing_one_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    Run::of(other.path(), Arc::new(Disk), 1, &samples(0, 100), 10, &NOTHING);
    let foreign = &segments(other.path())[0];
    Run::of(folder.path(), Arc::new(Disk), 1, &samples(0, 90_000), 100, &NOTHING);
    let own = segments(folder.path());
    assert!(own.len() > 4, "{own:?}");
    let before = fs::read(&own[1]).unwrap().len();
    fs::remove_file(&own[1]).unwrap();
    let mut damaged = fs::read(&own[2]).unwrap();
    damaged[20] ^= 1;
    fs::write(&own[2], damaged).unwrap();
    // Older than all of its own, so that those say whose journal it is.
    let mut octets = fs::read(foreign).unwrap();
    octets.truncate(200);
    fs::write(folder.path().join("0000000000000001.segment"), &octets).unwrap();
    fs::copy(foreign, folder.path().join("7fffffffffffffff.segment")).unwrap();
    fs::write(folder.path().join("nonsense.segment"), b"nonsense").unwrap();
    fs::write(folder.path().join("0000000000000002.segment"), vec![7; 1_000]).unwrap();
    let run = Run::of(folder.path(), Arc::new(Disk), 1, &samples(100_000, 10), 10, &NOTHING);
    assert!(run.gauge(|g| &g.missing) > 0 && before > 0);
    // The segment whose header is damaged is read by what its records say.
    assert_eq!((run.gauge(|g| &g.set_aside), run.gauge(|g| &g.damaged)), (3, 1));
    let numbers = run.numbers();
    assert!(numbers.len() > 10_000 && numbers.ends_with(&(100_000..100_010).collect::<Vec<_>>()));
    assert!(numbers.is_sorted());
    let ledger = run.counters.ledger();
    assert_eq!((ledger.recovered, ledger.pending), (numbers.len() as u64 - 10, 0));
}

#[test]
fn one_station_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(&options(folder.path(), 1), Arc::new(Disk), Arc::default()).unwrap();
    let second = Journal::open(&options(folder.path(), 1), Arc::new(Disk), Arc::default());
    let error = second.err().unwrap().to_string();
    assert!(error.contains("--journal"), "{error}");
    drop(first);
    Journal::open(&options(folder.path(), 1), Arc::new(Disk), Arc::default()).unwrap();
}

/// A disk on which the n-th operation that changes something fails, and so many after it.
#[derive(Clone, Debug)]
struct Failing {
    left: Arc<Mutex<(u64, u64)>>,
}

impl Failing {
    fn new(after: u64, times: u64) -> Arc<Self> {
        Arc::new(Self { left: Arc::new(Mutex::new((after, times))) })
    }

    fn turn(&self) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        if left.0 > 0 {
            left.0 -= 1;
        } else if left.1 > 0 {
            left.1 -= 1;
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FailingFile(Arc<dyn Octets>, Failing);

impl Files for Failing {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        // A folder that cannot be made is an error of its own.
        Disk.make_folder(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(folder)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Octets>> {
        self.turn()?;
        Ok(Arc::new(FailingFile(Disk.create(path)?, self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn Octets>> {
        Ok(Arc::new(FailingFile(Disk.open(path)?, self.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turn().and_then(|()| Disk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.turn().and_then(|()| Disk.remove(path))
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.turn().and_then(|()| Disk.sync_folder(folder))
    }
}

impl Octets for FailingFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.1.turn() {
            // A disk that is full takes a part.
            self.0.write_at(&octets[..octets.len() / 2], offset)?;
            return Err(error);
        }
        self.0.write_at(octets, offset)
    }
    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(octets, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.turn().and_then(|()| self.0.sync())
    }
    fn truncate(&self, octets: u64) -> io::Result<()> {
        self.1.turn().and_then(|()| self.0.truncate(octets))
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

#[test]
fn whatever_operation_fails_samples_reach_the_writers_in_order() {
    let all = samples(0, 300);
    for times in [1, 3, u64::MAX] {
        for after in (0..60).chain([100, 1_000]) {
            let folder = tempfile::tempdir().unwrap();
            let disk = Failing::new(after, times);
            let run = Run::of(folder.path(), disk, 2, &all, 3, &NOTHING);
            assert_eq!(sorted(run.numbers()), (0..300).collect::<Vec<_>>(), "{after}, {times}");
            let order = run.in_order(&all);
            assert!(order.values().all(|numbers| numbers.is_sorted()), "{after}, {times}");
            let bypassed = run.gauge(|g| &g.bypassed);
            assert_eq!(run.counters.ledger().pending, 0);
            drop(run);
            // What was written is there at the next start, the rest passed it by.
            let again = Run::of(folder.path(), Arc::new(Disk), 2, &[], 1, &NOTHING);
            assert_eq!(again.numbers().len() as u64 + bypassed, 300, "{after}, {times}");
            assert_eq!(again.gauge(|g| &g.damaged), 0, "{after}, {times}");
        }
    }
}

#[test]
fn what_passed_a_failing_disk_by_hides_nothing_of_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Run::of(folder.path(), Arc::new(Disk), 2, &samples(0, 30), 3, &NOTHING);
    drop(whole);
    let mut stored = NOTHING;
    for from in [30, 60, 90] {
        // Full from the first write of this run to its end: no file tells of these numbers.
        let all = samples(from, 30);
        let run = Run::of(folder.path(), Failing::new(0, u64::MAX), 2, &all, 3, &stored);
        let new: Vec<_> = run.numbers().into_iter().filter(|&number| number >= from).collect();
        assert_eq!(sorted(new), (from..from + 30).collect::<Vec<_>>());
        assert_eq!(run.counters.ledger().pending, 0);
        for &(_, number, place) in &run.read {
            let spacecraft = 1 + (number * 7 % 130) as u16;
            let shard = crate::queue::shard_of(SpacecraftId::new(spacecraft).unwrap());
            stored[shard] = stored[shard].max(place + 1);
        }
        // No station starts twice in so short a time.
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_disk_that_is_full_of_what_is_stored_gets_room_again() {
    for files in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let of = Options { writers: 1, ..options(folder.path(), 1) };
        let gauges: Arc<Gauges> = Arc::default();
        let mut journal = Journal::open(&of, Arc::new(Disk), Arc::clone(&gauges)).unwrap();
        let counters = Counters::new(1);
        let (mut outlets, _inlets) = queues(1, 8 << 20, &counters);
        let mut reader = journal.readers().remove(0);
        let (inlet, direct) = outlets.through_one();
        let (_stopper, drain) = running(Duration::from_secs(5));
        let appender = journal.appender(inlet, outlets.lanes(), direct, drain);
        let append = thread::spawn(move || appender.run());
        for number in 0..files * 40 {
            let mut chunk = loop {
                if let Some(chunk) = outlets.take(0) {
                    break chunk;
                }
                thread::yield_now();
            };
            let id = SpacecraftId::new(1).unwrap();
            while chunk.push_sparse(&Sparse::new(&protocol::health::KIND, id, number), 7) {}
            outlets.send(0, chunk).unwrap();
        }
        drop(outlets);
        append.join().unwrap();
        let octets = || segments(folder.path()).iter().map(|p| p.metadata().unwrap().len()).sum();
        let before: u64 = octets();
        assert!(before > 1 << 20, "{before}");
        // All of it is stored; then the disk takes no more.
        let mut chunk = Chunk::new();
        while reader.peek().is_some() {
            reader.take(&mut chunk).unwrap();
        }
        reader.stored();
        journal.shared.seal();
        gauges.is_failing.store(1, Ordering::Relaxed);
        let (ends, ended) = bounded(1);
        drop(ends);
        journal.keeper(ended).run();
        assert!(octets() <= 2 * SEGMENT_HEAD, "{} of {before}", octets());
        assert_eq!(reader.peek(), None);
        // Whose journal it is is still known.
        let identity = journal.identity();
        drop(journal);
        let again = Journal::open(&of, Arc::new(Disk), Arc::default()).unwrap();
        assert_eq!(again.identity(), identity);
        assert_eq!(gauges.damaged.load(Ordering::Relaxed), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any damage anywhere: what comes out is part of what went in, in order, and nothing panics.
    #[test]
    fn damage_makes_nothing_up(
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..12),
        cut in 0.0..1.0_f64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let all = samples(0, 200);
        Run::of(folder.path(), Arc::new(Disk), 1, &all, 9, &NOTHING);
        let path = &segments(folder.path())[0];
        let mut octets = fs::read(path).unwrap();
        for (place, value) in changes {
            let length = octets.len();
            octets[(place * length as f64) as usize] = value;
        }
        octets.truncate((octets.len() as f64 * (1.0 - cut * cut)) as usize);
        fs::write(path, &octets).unwrap();
        let run = Run::of(folder.path(), Arc::new(Disk), 2, &samples(1_000, 5), 1, &NOTHING);
        let numbers = run.numbers();
        prop_assert!(numbers.iter().all(|number| (0..200).contains(number) || *number >= 1_000));
        prop_assert!(run.in_order(&[all, samples(1_000, 5)].concat())
            .values().all(|numbers| numbers.is_sorted()));
        prop_assert_eq!(numbers.iter().filter(|&&number| number >= 1_000).count(), 5);
        prop_assert_eq!(run.counters.ledger().pending, 0);
    }
}
