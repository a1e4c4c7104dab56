use super::*;
use protocol::Sequence;

const WIDTH: CounterWidth = CounterWidth::EXTENDED;

fn id(spacecraft: u16) -> SpacecraftId {
    SpacecraftId::new(spacecraft).unwrap()
}

fn arrival(spacecraft: u16, boot_count: u32, count: u32) -> Arrival {
    let apid = Apid::new(100);
    let time_us = i64::from(count) * 100_000;
    Arrival { spacecraft: id(spacecraft), apid, width: WIDTH, boot_count, count, time_us }
}

fn track(tracker: &mut Tracker, spacecraft: u16, boot_count: u32, count: u32) -> Tracked {
    tracker.arrive(&arrival(spacecraft, boot_count, count)).expect("there is room")
}

#[test]
fn a_reboot_keeps_both_windows() {
    let mut tracker = Tracker::new(10);
    let steps = [
        (1, 100, Verdict::Next, false),
        (1, 102, Verdict::Gap { missed: 1 }, false),
        (2, 0, Verdict::Next, false),
        (1, 101, Verdict::Late, false),
        (2, 1, Verdict::Next, false),
        (1, 103, Verdict::Next, false),
        (2, 2, Verdict::Next, true),
        (1, 102, Verdict::Duplicate, false),
        (2, 3, Verdict::Next, false),
        (1, 104, Verdict::Next, false),
        (2, 1, Verdict::Duplicate, false),
    ];
    for (boot, count, verdict, is_reset) in steps {
        let found = track(&mut tracker, 7, boot, count);
        assert_eq!((found.verdict, found.is_reset), (verdict, is_reset), "{boot} {count}");
    }
    let summary = tracker.summary();
    let found: Vec<_> =
        summary.iter().map(|one| (one.boot_count, one.is_reset, one.counts.accepted)).collect();
    assert_eq!(found, [(1, false, 5), (2, true, 4)]);
}

#[test]
fn two_foreign_boots_displace_no_true_one() {
    let mut tracker = Tracker::new(10);
    for (boot, count) in [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)] {
        track(&mut tracker, 7, boot, count);
    }
    for boot in 900..1_000 {
        let found = track(&mut tracker, 7, boot, 70_000);
        assert_eq!((found.verdict, found.is_reset), (Verdict::Next, false));
        // Both true boots go on, and know what came.
        assert_eq!(track(&mut tracker, 7, 1, 1).verdict, Verdict::Duplicate);
        assert_eq!(track(&mut tracker, 7, 2, 2).verdict, Verdict::Duplicate);
        assert_eq!(track(&mut tracker, 7, 1, boot - 898).verdict, Verdict::Next);
        assert_eq!(track(&mut tracker, 7, 2, boot - 897).verdict, Verdict::Next);
    }
    let summary = tracker.summary();
    assert_eq!(summary.iter().map(|one| one.counts.accepted).sum::<u64>(), 5 + 300);
    assert_eq!(summary.iter().filter(|one| one.is_reset).count(), 1);
    assert_eq!(summary.len(), 102);
}

#[test]
fn a_candidate_needs_three_frames_with_rising_times() {
    let mut tracker = Tracker::new(10);
    track(&mut tracker, 7, 1, 0);
    let mut foreign = |count, time_us| {
        let arrival = Arrival { time_us, ..arrival(7, 2, count) };
        tracker.arrive(&arrival).unwrap().is_reset
    };
    let steps = [(0, 5), (1, 5), (2, 4), (3, 6), (3, 9), (4, 6), (5, 7)];
    assert_eq!(
        steps.map(|(count, us)| foreign(count, us)),
        [false, false, false, false, false, false, true]
    );
    // One frame of the next boot that is dated far ahead.
    let mut tracker = Tracker::new(10);
    track(&mut tracker, 7, 1, 0);
    let mut next = |count, time_us| {
        let arrival = Arrival { time_us, ..arrival(7, 2, count) };
        tracker.arrive(&arrival).unwrap().is_reset
    };
    let steps = [(900, i64::MAX), (0, 5), (1, 6), (2, 7)];
    assert_eq!(steps.map(|(count, us)| next(count, us)), [false, false, false, true]);
}

#[test]
fn the_candidate_heard_least_recently_is_displaced() {
    let mut tracker = Tracker::new(10);
    for (boot, count, verdict) in [
        (1, 0, Verdict::Next),
        (2, 0, Verdict::Next),
        (3, 0, Verdict::Next),
        (2, 1, Verdict::Next),
        (4, 0, Verdict::Next),
        (2, 1, Verdict::Duplicate),
        (4, 0, Verdict::Duplicate),
        // Displaced by 4: it begins again.
        (3, 0, Verdict::Next),
        (4, 0, Verdict::Duplicate),
        (2, 1, Verdict::Next),
    ] {
        assert_eq!(track(&mut tracker, 7, boot, count).verdict, verdict, "{boot} {count}");
    }
    let summary = tracker.summary();
    let found: Vec<_> = summary.iter().map(|one| (one.boot_count, one.counts.accepted)).collect();
    assert_eq!(found.len(), 4);
    assert!(found.contains(&(3, 2)) && found.contains(&(2, 3)), "{found:?}");
}

#[test]
fn counts_of_boots_that_are_over_are_listed() {
    let mut tracker = Tracker::new(10);
    for boot in [5, 6, 7, 8] {
        for count in [0, 1, 3] {
            track(&mut tracker, 1, boot, count);
        }
    }
    track(&mut tracker, 2, 5, 9);
    let summary = tracker.summary();
    let one = Counts { accepted: 3, missed: 1, ..Counts::default() };
    let listed: Vec<_> = summary
        .iter()
        .map(|one| (one.spacecraft.number(), one.boot_count, one.is_reset, one.counts.missed))
        .collect();
    assert_eq!(
        listed,
        [(1, 5, false, 1), (1, 6, true, 1), (1, 7, true, 1), (1, 8, true, 1), (2, 5, false, 0)]
    );
    assert!(summary[..4].iter().all(|found| found.counts == one));
}

#[test]
fn a_new_spacecraft_takes_the_room_of_one_heard_once() {
    let mut tracker = Tracker::new(2);
    track(&mut tracker, 5, 0, 0);
    track(&mut tracker, 9, 0, 0);
    track(&mut tracker, 9, 0, 0);
    assert!(track(&mut tracker, 6, 0, 0).is_new);
    assert_eq!(tracker.vacated(), [0], "the oldest, and its number is used again");
    assert_eq!(
        (tracker.find(id(5), Apid::new(100)), tracker.find(id(6), Apid::new(100))),
        (None, Some(0))
    );
    track(&mut tracker, 6, 0, 1);
    // A repeat is no second frame.
    assert!(track(&mut tracker, 7, 0, 0).is_new);
    assert_eq!(tracker.vacated(), [1]);
    track(&mut tracker, 7, 0, 1);
    assert_eq!(tracker.arrive(&arrival(8, 0, 0)), None);
    assert_eq!(track(&mut tracker, 6, 0, 2).verdict, Verdict::Next);
    let accepted: Vec<_> = tracker
        .summary()
        .iter()
        .map(|one| (one.spacecraft.number(), one.counts.accepted, one.counts.duplicate))
        .collect();
    assert_eq!(accepted, [(5, 1, 0), (6, 3, 0), (7, 2, 0), (9, 1, 1)]);
}

#[test]
fn streams_heard_once_make_room_for_streams() {
    let mut tracker = Tracker::with_limits(Limits { satellites_max: 10, streams_max: 2 });
    let other = |spacecraft, count| Arrival { apid: Apid::new(7), ..arrival(spacecraft, 0, count) };
    track(&mut tracker, 1, 0, 0);
    track(&mut tracker, 1, 0, 1);
    assert!(tracker.arrive(&other(1, 0)).unwrap().is_new);
    assert!(track(&mut tracker, 2, 0, 0).is_new);
    assert_eq!((tracker.vacated(), tracker.find(id(1), Apid::new(7))), (&[1][..], None));
    assert_eq!(track(&mut tracker, 1, 0, 2).verdict, Verdict::Next);
    track(&mut tracker, 2, 0, 1);
    assert_eq!(tracker.arrive(&other(1, 1)), None);
}

#[test]
fn streams_heard_once_make_room_after_a_restart() {
    let limits = Limits { satellites_max: 100, streams_max: 100 };
    let mut tracker = Tracker::with_limits(limits);
    for spacecraft in 1..=10 {
        track(&mut tracker, spacecraft, 0, 0);
        track(&mut tracker, spacecraft, 0, 1);
    }
    for forged in 1_000..2_000 {
        track(&mut tracker, forged, 0, 0);
    }
    let mut restored = Tracker::with_limits(limits);
    assert!(restored.restore(&tracker.state(), |_| true));
    assert_eq!(restored.state(), tracker.state());
    for spacecraft in 11..=100 {
        assert!(track(&mut restored, spacecraft, 0, 0).is_new);
        assert_eq!(track(&mut restored, spacecraft, 0, 1).verdict, Verdict::Next);
    }
    for spacecraft in 1..=10 {
        assert_eq!(track(&mut restored, spacecraft, 0, 1).verdict, Verdict::Duplicate);
    }
    // What is not accepted any more is not remembered.
    let mut restored = Tracker::with_limits(limits);
    assert!(restored.restore(&tracker.state(), |spacecraft| spacecraft.number() < 6));
    assert_eq!(restored.streams().count(), 5);
}

#[test]
fn what_it_remembers_is_remembered_after_a_restart() {
    let mut tracker = Tracker::new(10);
    for (boot, missing) in [(1, 2), (2, 3)] {
        for count in (0..=71).filter(|&count| count != missing && count != 70) {
            track(&mut tracker, 7, boot, count);
        }
    }
    track(&mut tracker, 8, 5, 1_000);
    track(&mut tracker, 8, 6, 0);
    track(&mut tracker, 8, 6, 1);
    let mut restored = Tracker::new(10);
    assert!(restored.restore(&tracker.state(), |_| true));
    assert_eq!(restored.state(), tracker.state());
    assert_eq!(restored.summary(), []);
    for (spacecraft, boot, count, verdict, is_reset) in [
        (7, 1, 2, Verdict::Late, false),
        (7, 1, 70, Verdict::Late, false),
        (7, 1, 71, Verdict::Duplicate, false),
        (7, 1, 72, Verdict::Next, false),
        (7, 2, 70, Verdict::Late, false),
        (7, 2, 3, Verdict::Late, false),
        (7, 2, 2, Verdict::Duplicate, false),
        (7, 2, 72, Verdict::Next, false),
        (8, 5, 1_001, Verdict::Next, false),
        (8, 6, 0, Verdict::Duplicate, false),
        (8, 6, 2, Verdict::Next, true),
    ] {
        let found = track(&mut restored, spacecraft, boot, count);
        assert_eq!((found.verdict, found.is_reset), (verdict, is_reset), "{boot} {count}");
    }
}

#[test]
fn a_state_of_layout_1_is_read() {
    // Behind the head of its file. SAT-07: health of boots 1 and 2, 0 to 71 without 2 and 70; attitude, 10
    // to 20. SAT-08: 1,000 alone. SAT-09: 0 to 6,000 without 3,000 to 3,099. SAT-10: the last two counts
    // before the wrap, 0, 1, 5, and the fourth last.
    let state = &include_bytes!("../../tests/fixtures/tracker-v1.state")[32..];
    let mut tracker = Tracker::new(4);
    assert!(tracker.restore(state, |_| true));
    assert_eq!(tracker.streams().count(), 5);
    assert!(tracker.find(id(7), Apid::new(101)).is_some());
    let last = Sequence::MODULUS - 1;
    for (spacecraft, boot, count, verdict) in [
        (7, 1, 2, Verdict::Late),
        (7, 1, 71, Verdict::Duplicate),
        (7, 2, 70, Verdict::Late),
        (7, 2, 72, Verdict::Next),
        // Also what lies before the first, but now as far back as there are counts.
        (7, 2, last, Verdict::Next),
        (8, 5, 999, Verdict::Next),
        (8, 5, 1_000, Verdict::Duplicate),
        (9, 3, 6_000, Verdict::Duplicate),
        (9, 3, 3_050, Verdict::Late),
        (9, 3, 3_050, Verdict::Duplicate),
        (9, 3, 1_000, Verdict::Stale),
        (10, 1, last - 4, Verdict::Duplicate),
        (10, 1, last - 3, Verdict::Next),
        (10, 1, last, Verdict::Duplicate),
        (10, 1, 3, Verdict::Late),
        (10, 1, last - 100_000, Verdict::Next),
        (10, 1, 5_000, Verdict::Gap { missed: 4_994 }),
    ] {
        let found = track(&mut tracker, spacecraft, boot, count);
        assert_eq!((found.verdict, found.plausible), (verdict, None), "{spacecraft} {count}");
    }
    // Its ranges move out of the window.
    track(&mut tracker, 9, 3, 20_000);
    assert_eq!(track(&mut tracker, 9, 3, 3_051).verdict, Verdict::Late);
    // A lone one makes room.
    let mut full = Tracker::new(4);
    assert!(full.restore(state, |_| true));
    assert!(full.arrive(&arrival(11, 0, 0)).unwrap().is_new);
    assert_eq!(full.find(id(8), Apid::new(100)), None);
    let read = |length: &usize| Tracker::new(4).restore(&state[..*length], |_| true);
    assert_eq!((0..=state.len()).filter(read).count(), 6, "only where a stream ends");
    assert!(!Tracker::new(4).restore(&state[1..], |_| true));
    assert!(!Tracker::new(4).restore(&state[..state.len() - 1], |_| true));
}

#[test]
fn a_leap_that_the_rate_does_not_explain() {
    let mut tracker = Tracker::new(10);
    for count in 0..100 {
        assert_eq!(track(&mut tracker, 7, 1, count).plausible, None);
    }
    let forged = Arrival { count: 1_000_000, ..arrival(7, 1, 100) };
    let found = tracker.arrive(&forged).unwrap();
    assert_eq!(found.verdict, Verdict::Gap { missed: 1_000_000 - 100 });
    assert!((found.plausible.unwrap() - 66.0).abs() < 0.1, "{found:?}");
    // Ten seconds of silence at ten a second.
    for count in 0..50 {
        track(&mut tracker, 8, 1, count);
    }
    let found = track(&mut tracker, 8, 1, 150);
    assert_eq!((found.verdict, found.plausible), (Verdict::Gap { missed: 100 }, None));
    // The rate is that of the stream, also in a candidate.
    for count in [0, 1] {
        assert_eq!(track(&mut tracker, 8, 2, count).plausible, None);
    }
    assert_eq!(track(&mut tracker, 8, 2, 200).plausible, None);
}
