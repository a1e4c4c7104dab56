use proptest::prelude::*;
use protocol::{
    CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, Stamp, attitude::Attitude, emit,
    health::Health,
};
use zerocopy::IntoBytes as _;

use super::*;
use crate::{chunk::Chunk, ledger::Ledger, queue::SHARDS};

fn frame(spacecraft: u16, packet: &Packet) -> Vec<u8> {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(spacecraft).unwrap(),
        boot_count: 1,
        sequence: Sequence::new(9),
        time: CdsTime { day: 24_837, ms: 5, us: 6 },
    };
    emit(&stamp, packet, &mut [0; FRAME_OCTETS_MAX]).to_vec()
}

fn push_frame(chunk: &mut Chunk, octets: &[u8], received_us: i64) {
    let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(octets).next(|_| true) else {
        panic!("refused");
    };
    assert!(chunk.push_frame(&frame, received_us));
}

/// One entry of each kind, and two frames.
fn chunk() -> Chunk {
    let mut chunk = Chunk::new();
    push_frame(&mut chunk, &frame(3, &Packet::Health(Health::default())), 1);
    push_frame(&mut chunk, &frame(67, &Packet::Attitude(Attitude::default())), 2);
    let mut sparse = Sparse::new(&protocol::attitude::KIND, SpacecraftId::new(4).unwrap(), 77);
    sparse.set(2, -0.5);
    assert!(chunk.push_sparse(&sparse, 3));
    let link = link::Row { time_us: 4.into(), spacecraft: 5.into(), ..link::Row::default() };
    assert!(chunk.push_link(&link));
    assert!(chunk.push_station(&Ledger::default().row_since(&Ledger::default(), 5)));
    let rejected = RejectedFrame { reason: 1, source: None, octets: b"no frame" };
    assert!(chunk.push_rejected(&rejected, 6));
    chunk
}

/// Where each entry of a chunk begins, and where the last one ends.
fn places(octets: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    let mut rest = octets;
    while let Some((_, tail)) = RawEntry::split(rest).filter(|_| !rest.is_empty()) {
        rest = tail;
        places.push(octets.len() - rest.len());
    }
    places
}

fn read(octets: &[u8], samples: u64) -> Vec<Entry<'_>> {
    Entries::new(octets, EntryFormat::current(), samples, Decodable::ALL).collect()
}

fn unreadable(entries: &[Entry<'_>]) -> Vec<(usize, Why, u64)> {
    let unreadable = entries.iter().enumerate().filter_map(|(number, entry)| match entry {
        Entry::Unreadable(entry) => Some((number, entry.why, entry.samples)),
        _ => None,
    });
    unreadable.collect()
}

#[test]
fn every_kind_of_entry_reads_back() {
    let chunk = chunk();
    let entries: Vec<_> = chunk.entries().collect();
    assert_eq!(unreadable(&entries), []);
    let shards: Vec<_> = entries.iter().map(Entry::shard).collect();
    assert_eq!(shards, [3, 3, 4, 5, STATION_SHARD, STATION_SHARD]);
    let shards = shards.into_iter().fold(0_u64, |set, shard| set | 1 << shard);
    assert_eq!((chunk.shards(), chunk.samples()), (shards, 3));
    let samples: u64 = (0..SHARDS).map(|shard| chunk.samples_of(|other| other == shard)).sum();
    assert_eq!(samples, 3);
}

/// The layout of version 1, as earlier builds wrote it.
fn version_1(octets: &[u8]) -> Vec<u8> {
    let mut old = Vec::new();
    for entry in RawEntries::new(octets, EntryFormat::current(), u64::MAX) {
        let kinds = [FRAME, SPARSE, LINK, STATION, REJECTED];
        let kind = kinds.iter().position(|&kind| kind == entry.kind).unwrap();
        old.extend_from_slice(&entry.received_us.to_le_bytes());
        old.extend_from_slice(&(entry.octets.len() as u16).to_le_bytes());
        old.push(kind as u8);
        old.extend_from_slice(entry.octets);
    }
    old
}

#[test]
fn entries_of_version_1_read_as_they_did() {
    let new = chunk();
    let old = version_1(new.octets());
    let mut chunk = Chunk::new();
    chunk.fill(7, new.samples(), &old, EntryFormat::LEGACY);
    let both: Vec<_> = new.entries().zip(chunk.entries()).collect();
    assert_eq!(both.len(), 6);
    for (new, old) in both {
        assert_eq!(new.shard(), old.shard());
        match (new, old) {
            (Entry::Sample(new), Entry::Sample(old)) => {
                let [mut one, mut other] = [Vec::new(), Vec::new()];
                new.append_to(&mut one);
                old.append_to(&mut other);
                assert_eq!(one, other);
            }
            (Entry::Link(new), Entry::Link(old)) => assert_eq!(new.as_bytes(), old.as_bytes()),
            (Entry::Station(new), Entry::Station(old)) => {
                assert_eq!(new.as_bytes(), old.as_bytes());
            }
            (Entry::Rejected(at, new), Entry::Rejected(old_at, old)) => {
                assert_eq!((at, new), (old_at, old));
            }
            _ => panic!("it became another kind"),
        }
    }
    for shard in 0..SHARDS {
        let is_it = |other| other == shard;
        assert_eq!(chunk.samples_of(is_it), new.samples_of(is_it), "{shard}");
    }
}

#[test]
fn an_entry_that_cannot_be_read_takes_no_neighbour_with_it() {
    let chunk = chunk();
    let places = places(chunk.octets());
    let whole: Vec<_> = chunk.entries().map(|entry| entry.shard()).collect();
    for number in 0..whole.len() {
        let at = places[number];
        let is_sample = u64::from(number < 3);
        // Of another kind, of a later version, and about another spacecraft than its octets say.
        for (octet, why) in [(14, Why::Version), (15, Why::Version), (12, Why::Layout)] {
            let mut octets = chunk.octets().to_vec();
            octets[at + octet] ^= 64;
            let entries = read(&octets, chunk.samples());
            assert_eq!(unreadable(&entries), [(number, why, is_sample)], "octet {octet}");
            let shards = entries.iter().map(Entry::shard);
            let others = shards.zip(&whole).enumerate().filter(|&(place, _)| place != number);
            assert!(others.into_iter().all(|(_, (shard, before))| shard == *before));
        }
        // One octet shorter, so that its own layout does not fit.
        let mut octets = chunk.octets().to_vec();
        octets.remove(places[number + 1] - 1);
        octets[at + 8] -= 1;
        let entries = read(&octets, chunk.samples());
        // Of a refused frame any octets may be the last.
        let is_fit = number == 5;
        let expected = if is_fit { vec![] } else { vec![(number, Why::Layout, is_sample)] };
        assert_eq!(unreadable(&entries), expected);
        assert_eq!(entries.len(), whole.len());
    }
}

#[test]
fn what_a_length_beyond_the_end_leaves_is_counted_once() {
    let chunk = chunk();
    let places = places(chunk.octets());
    for number in 0..6 {
        let mut octets = chunk.octets().to_vec();
        octets[places[number] + 11] = 1;
        let entries = read(&octets, chunk.samples());
        let missing = 3_usize.saturating_sub(number) as u64;
        assert_eq!(unreadable(&entries), [(number, Why::Cut, missing)]);
        assert_eq!(entries.iter().map(Entry::samples).sum::<u64>(), chunk.samples());
        let Some(Entry::Unreadable(rest)) = entries.last() else { panic!("not the last") };
        assert_eq!(rest.octets, &octets[places[number]..]);
        let before = number.checked_sub(1).map_or(STATION_SHARD, |number| entries[number].shard());
        assert_eq!(entries[number].shard(), before);
    }
    let later = EntryFormat { version: VERSION + 1, ..EntryFormat::current() };
    assert!(!later.is_readable() && EntryFormat::LEGACY.is_readable());
    let entries: Vec<_> = Entries::new(chunk.octets(), later, 3, Decodable::ALL).collect();
    assert_eq!(unreadable(&entries), [(0, Why::Cut, 3)]);
}

#[test]
fn samples_of_other_definitions_are_not_decoded() {
    let chunk = chunk();
    for decodable in [Decodable::NONE, Decodable::built_in(1)] {
        let entries: Vec<_> = chunk.entries_as(decodable).collect();
        let why = Why::Definitions;
        assert_eq!(unreadable(&entries), [(0, why, 1), (1, why, 1), (2, why, 1)]);
        assert_eq!(entries.iter().map(Entry::shard).collect::<Vec<_>>(), [3, 3, 4, 5, 0, 0]);
    }
}

proptest! {
    /// Whatever the octets are: no octet is left out, the samples add up, and the shards are those that
    /// the backlog is counted by.
    #[test]
    fn any_octets_come_out_whole(
        octets in prop::collection::vec(any::<u8>(), 0..600),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        is_entries: bool,
        version in 1_u16..4,
        samples in 0_u64..9,
    ) {
        let mut octets = octets;
        if is_entries {
            octets = chunk().octets().to_vec();
            if version == 1 {
                octets = version_1(&octets);
            }
            for (place, octet) in changes {
                *place.get_mut(&mut octets) = octet;
            }
        }
        let format = EntryFormat { version, ..EntryFormat::current() };
        let entries = || Entries::new(&octets, format, samples, Decodable::ALL);
        let read: u64 = entries().map(|entry| entry.samples()).sum();
        let is_cut = entries().any(|entry| {
            matches!(entry, Entry::Unreadable(Unreadable { why: Why::Cut, .. }))
        });
        prop_assert!(read >= samples || !is_cut);
        let mut chunk = Chunk::new();
        chunk.fill(0, samples, &octets, format);
        for shard in 0..SHARDS {
            let here = entries().filter(|entry| entry.shard() == shard);
            let here: u64 = here.map(|entry| entry.samples()).sum();
            prop_assert_eq!(chunk.samples_of(|other| other == shard), here);
        }
        let raw = RawEntries::new(&octets, format, samples);
        let head = if version == 1 { HEAD_OCTETS_1 } else { HEAD_OCTETS };
        let sizes = raw.map(|entry| entry.octets.len() + if entry.is_cut { 0 } else { head });
        prop_assert_eq!(sizes.sum::<usize>(), octets.len());
    }
}
