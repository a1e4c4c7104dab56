//! Octets that strangers wrote look like the journal's own: copies of headers and records, of this
//! segment and of others, in what is kept of refused frames. Whatever is damaged, nothing is read but
//! what the station wrote.

use std::fs;

use super::*;
use crate::{
    chunk::EntryFormat,
    journal::{
        file_name,
        record::{
            FORMAT1_RECORD_HEAD_OCTETS, Layout, RecordHead, SegmentHead, format1_record_head,
            format1_segment,
        },
    },
    rejected::RejectedFrame,
};

/// One record's chunk: samples with these numbers, and refused frames with these octets.
fn chunk(numbers: &[i64], refused: &[Vec<u8>]) -> Chunk {
    let mut chunk = Chunk::new();
    let sample = |number| {
        let id = SpacecraftId::new(64 + number as u16 % 2).unwrap();
        Sparse::new(&protocol::health::KIND, id, number)
    };
    let (last, first) = numbers.split_last().unwrap();
    for &number in first {
        assert!(chunk.push_sparse(&sample(number), 7));
    }
    for octets in refused {
        let frame = RejectedFrame { reason: 8, source: None, octets };
        assert!(chunk.push_rejected(&frame, 7));
    }
    assert!(chunk.push_sparse(&sample(*last), 7));
    chunk
}

/// Appends a record to a segment, and returns its octets.
fn push(segment: &mut Vec<u8>, head: &SegmentHead, number: i64, chunk: &Chunk) -> Vec<u8> {
    let Layout::Two(marker) = head.layout else { panic!("of format 2") };
    let start = segment.len();
    let record = RecordHead {
        marker,
        offset: start as u64,
        run: head.run,
        station: &head.station,
        number,
        shards: chunk.shards(),
        samples: chunk.samples() as u32,
        format: EntryFormat::current(),
        previous: &[-1; SHARDS],
    };
    record.append_to(segment, chunk.octets());
    segment.extend_from_slice(chunk.octets());
    segment[start..].to_vec()
}

/// Headers and records that a stranger could write who had seen everything but this segment's marker,
/// and some who had seen that too.
fn plants(own: &[u8], first: i64) -> Vec<Vec<u8>> {
    let other = SegmentHead::new(1, 2, first, 0, "GS-01");
    let mut segment = other.to_octets().unwrap();
    let forged = chunk(&[999], &[]);
    let of_other: Vec<_> =
        (0..3).map(|number| push(&mut segment, &other, first + number, &forged)).collect();
    let format1 = |number: i64| {
        let head = format1_record_head(number, u64::MAX, 1, forged.octets());
        [head, forged.octets().to_vec()].concat()
    };
    vec![
        own.to_vec(),
        own[..head_octets(own)].to_vec(),
        own.repeat(3),
        of_other.concat(),
        segment,
        [format1(i64::MAX), format1(first), format1(first + 3), format1(-1)].concat(),
        format1_record_head(i64::MAX, u64::MAX, u32::MAX, b""),
        vec![0xFF; 300],
    ]
}

/// A segment of three records, of which the middle one holds what was planted, and its records.
fn planted_segment(first: i64) -> (Vec<u8>, Vec<Range<usize>>) {
    let head = SegmentHead::new(77, 78, first, 5, "GS-01");
    let mut segment = head.to_octets().unwrap();
    let own = push(&mut segment, &head, first, &chunk(&[0, 1], &[]));
    push(&mut segment, &head, first + 1, &chunk(&[2, 3], &plants(&own, first)));
    push(&mut segment, &head, first + 2, &chunk(&[4, 5], &plants(&own, first)[..1]));
    let records = records_of(&segment);
    assert_eq!(records.len(), 3);
    (segment, records)
}

/// What a station reads that finds a file, without the threads of one.
struct Found {
    folder: tempfile::TempDir,
    journal: Journal,
    numbers: Vec<i64>,
    /// Samples that were counted as waiting, and those of them that could not be read.
    waiting: u64,
    unreadable: u64,
    looked: Vec<Looked>,
    gauges: Arc<Gauges>,
}

fn read_back(octets: &[u8], first: i64) -> Found {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(file_name(first)), octets).unwrap();
    let gauges = Arc::<Gauges>::default();
    let of = options(folder.path(), 1);
    let mut journal = Journal::open(&of, Arc::new(Disk), Arc::clone(&gauges)).unwrap();
    let mut reader = journal.readers().remove(0);
    reader.seek(0);
    let waiting = reader.backlog(|_| NOTHING);
    let (mut numbers, mut unreadable) = (Vec::new(), 0);
    let mut chunk = Chunk::new();
    while reader.peek().is_some() {
        match reader.take(&mut chunk) {
            Ok(()) => numbers.extend(chunk.records().map(|record| record.generated_us())),
            Err(samples) => unreadable += samples,
        }
    }
    assert_eq!(waiting, numbers.len() as u64 + unreadable);
    let looked = look(&Disk, folder.path()).unwrap();
    Found { folder, journal, numbers, waiting, unreadable, looked, gauges }
}

impl Found {
    fn gauge(&self, of: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        of(&self.gauges).load(Ordering::Relaxed)
    }
}

const FIRST: i64 = 5 << 26;

#[test]
fn a_record_is_lost_with_its_own_octets_and_never_with_planted_ones() {
    let (segment, records) = planted_segment(FIRST);
    let found = read_back(&segment, FIRST);
    assert_eq!((found.numbers, found.waiting), ((0..6).collect(), 6));
    assert!(found.looked.iter().all(Looked::is_sound));
    for place in SEGMENT_HEAD as usize..segment.len() {
        let mut octets = segment.clone();
        octets[place] ^= 0x04;
        let lost = records.iter().position(|record| record.contains(&place)).unwrap();
        let expected: Vec<_> = (0..6).filter(|number| number / 2 != lost as i64).collect();
        let found = read_back(&octets, FIRST);
        assert_eq!(found.numbers, expected, "octet {place}");
        // The last one is a write that was not finished.
        let is_counted =
            place - records[lost].start >= head_octets(&segment[records[lost].clone()]);
        let unreadable = if is_counted && lost < 2 { 2 } else { 0 };
        assert_eq!(found.unreadable, unreadable, "octet {place}");
        let content = found.looked[0].content.as_ref().unwrap();
        assert_eq!((content.records, content.samples), (2, 4), "octet {place}");
    }
}

#[test]
fn a_tail_that_is_cut_anywhere_costs_only_what_is_cut() {
    let (segment, records) = planted_segment(FIRST);
    for length in SEGMENT_HEAD as usize..segment.len() {
        let kept = records.iter().filter(|record| record.end <= length).count() as i64;
        let found = read_back(&segment[..length], FIRST);
        assert_eq!(found.numbers, (0..2 * kept).collect::<Vec<_>>(), "{length} octets");
    }
}

#[test]
fn a_lost_segment_header_is_replaced_by_records_that_agree() {
    let (segment, records) = planted_segment(FIRST);
    for place in 0..SEGMENT_HEAD as usize - 28 {
        let mut octets = segment.clone();
        octets[place] ^= 0x80;
        let found = read_back(&octets, FIRST);
        // A version that is none of ours may be a later one's: then the file is kept as it is.
        let expected: &[i64] = if place == 8 || place == 9 { &[] } else { &[0, 1, 2, 3, 4, 5] };
        assert_eq!(found.numbers, expected, "octet {place}");
    }
    // Without them it is kept, whatever stands in the records behind.
    for record in &records[..2] {
        let mut octets = segment.clone();
        octets[20] ^= 1;
        octets[record.start + 3] ^= 1;
        let found = read_back(&octets, FIRST);
        assert!(found.numbers.is_empty(), "{record:?}");
        assert_eq!(found.gauge(|g| &g.set_aside), 1);
        let is_damaged = |one: &Looked| one.path.to_string_lossy().ends_with(".damaged");
        assert!(found.looked.iter().any(is_damaged));
    }
}

/// Entries as format 1 has them: time of arrival, length (u16) and kind (u8) in front of each.
fn legacy_entries(entries: &[u8]) -> Vec<u8> {
    let (mut legacy, mut rest) = (Vec::new(), entries);
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes(*head[8..].first_chunk().unwrap()) as usize;
        let kind = match head[14] {
            sample @ 0..0x80 => sample,
            beside => beside - 0x80 + 2,
        };
        legacy.extend_from_slice(&head[..8]);
        legacy.extend_from_slice(&(length as u16).to_le_bytes());
        legacy.push(kind);
        legacy.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    legacy
}

/// A segment of the earlier format with three records, of which the middle one holds what was planted.
fn format1() -> (Vec<u8>, Vec<Range<usize>>) {
    let (own, _) = planted_segment(FIRST);
    let chunks = [chunk(&[0, 1], &[]), chunk(&[2, 3], &plants(&own, FIRST)), chunk(&[4, 5], &[])];
    let records = chunks
        .map(|chunk| (chunk.shards(), chunk.samples() as u32, legacy_entries(chunk.octets())));
    let segment = format1_segment(77, FIRST, "GS-01", &records);
    let mut ranges = Vec::new();
    let mut start = 128;
    for (_, _, entries) in &records {
        let end = start + FORMAT1_RECORD_HEAD_OCTETS + entries.len();
        ranges.push(start..end);
        start = end;
    }
    assert_eq!(start, segment.len());
    (segment, ranges)
}

#[test]
fn a_segment_of_format_1_is_read_up_to_its_first_damage_and_kept() {
    let (segment, records) = format1();
    let found = read_back(&segment, FIRST);
    assert_eq!((&found.numbers, found.waiting), (&(0..6).collect(), 6));
    assert_eq!(found.gauge(|g| &g.damaged), 0);
    for place in 128..segment.len() {
        let mut octets = segment.clone();
        octets[place] ^= 0x04;
        let found = read_back(&octets, FIRST);
        let whole = records.iter().filter(|record| record.end <= place).count() as i64;
        assert_eq!(found.numbers, (0..2 * whole).collect::<Vec<_>>(), "octet {place}");
        assert!(found.gauge(|g| &g.damaged) >= 1, "octet {place}");
        // When all that could be read of it is stored, the file is kept under another name.
        let folder = found.folder;
        found.journal.shared.set_stored(0, i64::MAX);
        found.journal.finish();
        let damaged = fs::read(folder.path().join(format!("{FIRST:016x}.damaged"))).unwrap();
        assert!(damaged == octets, "octet {place}");
    }
}

#[test]
fn numbers_beyond_what_a_segment_can_hold_are_no_records() {
    let head = SegmentHead::new(77, 78, FIRST, 5, "GS-01");
    for number in [i64::MAX, i64::MIN, FIRST - 1, FIRST + 1_000, -1] {
        let mut segment = head.to_octets().unwrap();
        push(&mut segment, &head, FIRST, &chunk(&[0, 1], &[]));
        push(&mut segment, &head, number, &chunk(&[2, 3], &[]));
        push(&mut segment, &head, FIRST + 2, &chunk(&[4, 5], &[]));
        let found = read_back(&segment, FIRST);
        assert_eq!(found.numbers, [0, 1, 4, 5], "{number}");
        assert!(found.journal.next() < i64::MAX >> 1);
    }
}
