//! Whole satellites, a frame a second unless said otherwise.

use protocol::{
    CdsTime, FRAME_OCTETS_MAX, KINDS, Packet, Sequence, SpacecraftId, Stamp, Telemetry, emit,
    health::{Health, quantise},
};

use super::{SECOND_US, START_US, noise};
use crate::{
    chunk::{self, Record},
    detect::{CloseReason, Detector, Event, Rules, Settings, Severity, Watch, WatchCounts},
    sparse::Sparse,
};

/// What a satellite says when all is well.
pub(super) fn usual(index: u64) -> Health {
    let mut draws = (0_u64..).map(|channel| noise(index * 16 + channel));
    let mut about = |level: f64, width: f64| level + width * draws.next().unwrap_or_default();
    Health {
        mode: 1,
        cpu_temp: quantise::cpu_temp(about(30.0, 0.2)),
        battery_temp: quantise::battery_temp(about(15.0, 0.1)),
        panel_temp: quantise::panel_temp(about(40.0, 0.4)),
        payload_temp: quantise::payload_temp(about(25.0, 0.2)),
        battery_voltage: quantise::battery_voltage(about(7.8, 0.006)),
        bus_voltage: quantise::bus_voltage(about(5.0, 0.004)),
        battery_current: quantise::battery_current(about(0.5, 0.02)),
        solar_current: quantise::solar_current(about(2.0, 0.02)),
        battery_charge: quantise::battery_charge(about(80.0, 0.05)),
        signal_strength: quantise::signal_strength(about(-95.0, 0.6)),
        cpu_load: quantise::cpu_load(about(20.0, 3.0)),
        ..Health::default()
    }
}

pub(super) fn frame(
    spacecraft: SpacecraftId,
    boot_count: u16,
    time_us: i64,
    health: Health,
) -> [u8; FRAME_OCTETS_MAX] {
    let time = CdsTime::from_unix_us(time_us).unwrap();
    let stamp = Stamp { spacecraft, boot_count, sequence: Sequence::new(0), time };
    let mut octets = [0; FRAME_OCTETS_MAX];
    emit(&stamp, &Packet::Health(health), &mut octets);
    octets
}

struct Fleet {
    watch: Watch,
    time_us: i64,
    index: u64,
    boot_count: u16,
}

impl Fleet {
    fn new(settings: Settings) -> Self {
        Self { watch: Watch::new(settings, "GS-01", 1), time_us: START_US, index: 0, boot_count: 1 }
    }

    /// One whose first satellite is past its warm-up.
    fn warm() -> Self {
        Self::warm_with(|_| {})
    }

    fn warm_with(change: impl Fn(&mut Rules)) -> Self {
        let mut settings = Settings::default();
        for rules in settings.rules.all_mut().iter_mut().flatten() {
            rules.warm_up_orbits = 0;
            change(rules);
        }
        let mut fleet = Self::new(settings);
        fleet.usual(400);
        assert_eq!(fleet.events(), []);
        fleet
    }

    fn take_at(&mut self, time_us: i64, number: u16, health: Health) {
        let spacecraft = SpacecraftId::new(number).unwrap();
        let octets = frame(spacecraft, self.boot_count, time_us, health);
        let sample = chunk::Sample::Frame(Telemetry::from_checked(&octets).unwrap());
        self.watch.take(&Record { received_us: self.time_us, sample });
    }

    /// The next frame of a satellite.
    fn take(&mut self, number: u16, change: impl FnOnce(&mut Health)) {
        self.time_us += SECOND_US;
        self.index += 1;
        let mut health = usual(self.index);
        change(&mut health);
        self.take_at(self.time_us, number, health);
    }

    fn usual(&mut self, frames: u64) {
        for _ in 0..frames {
            self.take(1, |_| {});
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut events: Vec<_> = self.watch.changes().cloned().collect();
        events.sort_by_key(|event| (event.detected_us, event.subject.channel));
        events
    }

    fn tick_after(&mut self, seconds: i64) -> i64 {
        let now_us = self.time_us + seconds * SECOND_US;
        self.watch.tick(now_us);
        now_us
    }
}

#[test]
fn what_one_frame_opens_is_one_incident() {
    let mut fleet = Fleet::warm();
    for _ in 0..2 {
        fleet.take(1, |health| {
            health.battery_temp = quantise::battery_temp(50.0);
            health.bus_voltage = quantise::bus_voltage(4.8);
        });
    }
    fleet.usual(60);
    for _ in 0..2 {
        fleet.take(1, |health| health.cpu_temp = quantise::cpu_temp(75.0));
    }
    let limits: Vec<_> =
        fleet.events().into_iter().filter(|e| e.detector == Detector::Limits).collect();
    let names: Vec<_> = limits.iter().map(|event| event.subject.name()).collect();
    assert_eq!(names, ["battery_temp", "bus_voltage", "cpu_temp"]);
    assert_eq!(limits[0].incident, limits[1].incident);
    assert_ne!(limits[0].incident, limits[2].incident);
    let ids: std::collections::HashSet<_> = fleet.events().iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), fleet.events().len());
}

#[test]
fn silence_opens_and_ends() {
    let mut fleet = Fleet::warm();
    fleet.tick_after(299);
    assert_eq!(fleet.events(), []);
    fleet.tick_after(300);
    fleet.tick_after(301);
    let events = fleet.events();
    assert_eq!(events.len(), 1, "{events:?}");
    let silence = &events[0];
    assert_eq!((silence.detector, silence.severity), (Detector::Silence, Severity::Warning));
    assert_eq!((silence.subject.name(), silence.opened_us), ("health", fleet.time_us));
    fleet.time_us += 400 * SECOND_US;
    fleet.usual(2);
    let closed = fleet.events()[0].closed;
    assert_eq!(closed, Some((fleet.time_us - SECOND_US, CloseReason::Heard)));
}

#[test]
fn a_satellite_that_goes_away_has_its_events_closed() {
    let mut fleet = Fleet::warm();
    fleet.take(1, |health| health.battery_temp = quantise::battery_temp(20.0));
    assert_eq!(fleet.events()[0].closed, None);
    fleet.tick_after(29);
    assert_eq!(fleet.events()[0].closed, None);
    fleet.tick_after(31);
    assert_eq!(fleet.events()[0].closed, Some((fleet.time_us, CloseReason::Gap)));
}

#[test]
fn a_reboot_measures_no_step() {
    let mut fleet = Fleet::warm();
    fleet.boot_count += 1;
    for _ in 0..50 {
        fleet.take(1, |health| health.battery_temp += 1_000);
    }
    assert_eq!(fleet.events(), []);
}

#[test]
fn what_is_switched_excuses_a_jump() {
    for (mode, events) in [(2, 0), (1, 1)] {
        // The new level is news to the average.
        let mut fleet = Fleet::warm_with(|rules| rules.ewma = false);
        for _ in 0..30 {
            fleet.take(1, |health| {
                health.mode = mode;
                health.battery_temp += 300;
            });
        }
        assert_eq!(fleet.events().len(), events, "{mode}: {:?}", fleet.events());
    }
}

/// Frames are late only until there are many of them.
/// What a panel's current does when the satellite turns about itself in half a minute.
fn tumbling(index: u64) -> u16 {
    let turn = std::f64::consts::TAU * index as f64 / 30.0;
    // In the shade of the satellite itself, and now and then in the full sun.
    let sun = turn.sin().max(0.0);
    quantise::solar_current(if index.is_multiple_of(7) { 0.0 } else { 7.0 * sun })
}

#[test]
fn panel_currents_of_a_satellite_that_tumbles_are_only_held_to_limits() {
    let mut fleet = Fleet::warm();
    let of = |events: &[Event], name: &str| {
        events.iter().filter(|event| event.subject.name() == name).cloned().collect::<Vec<_>>()
    };
    // Open as the tumbling begins: closed by it.
    fleet.take(1, |health| health.solar_current = quantise::solar_current(6.0));
    fleet.take(1, |health| health.solar_current = quantise::solar_current(6.0));
    assert_eq!(of(&fleet.events(), "solar_current").len(), 1);
    for index in 0..600 {
        fleet.take(1, |health| {
            health.mode = 3;
            health.solar_current = tumbling(index);
        });
    }
    let events = of(&fleet.events(), "solar_current");
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0].detector, Detector::Delta);
    assert!(matches!(events[0].closed, Some((_, CloseReason::Tumbling))), "{events:#?}");
    // Limits hold, and so do the detectors of what has nothing to do with it.
    for _ in 0..2 {
        fleet.take(1, |health| {
            health.mode = 3;
            health.solar_current = quantise::solar_current(9.5);
            health.cpu_temp = quantise::cpu_temp(60.0);
        });
    }
    let events = fleet.events();
    assert_eq!(of(&events, "solar_current")[1].detector, Detector::Limits);
    assert_eq!(of(&events, "cpu_temp")[0].detector, Detector::Delta);

    // It is steady again: what it begins with is no jump, and what was learned before holds.
    fleet.usual(60);
    assert_eq!(of(&fleet.events(), "solar_current").len(), 2);
    fleet.take(1, |health| health.solar_current = quantise::solar_current(6.0));
    assert_eq!(of(&fleet.events(), "solar_current")[2].detector, Detector::Delta);
}

#[test]
fn a_satellite_that_tumbles_would_raise_alarms_without_that() {
    let mut fleet = Fleet::warm_with(|rules| rules.while_tumbling = true);
    for index in 0..600 {
        fleet.take(1, |health| {
            health.mode = 3;
            health.solar_current = tumbling(index);
        });
    }
    assert!(fleet.events().iter().any(|event| event.subject.name() == "solar_current"));
}

#[test]
fn a_clock_set_back_is_followed() {
    let mut fleet = Fleet::warm_with(|rules| rules.ewma = false);
    fleet.time_us -= 3_600 * SECOND_US;
    fleet.usual(200);
    assert_eq!(fleet.events(), []);
    fleet.take(1, |health| health.battery_temp += 300);
    assert_eq!(fleet.events().len(), 1);
    fleet.usual(100);
    // What is switched is noticed again.
    for _ in 0..30 {
        fleet.take(1, |health| {
            health.mode = 2;
            health.battery_temp += 300;
        });
    }
    assert_eq!(fleet.events().len(), 1, "{:?}", fleet.events());
}

#[test]
fn late_frames_move_nothing() {
    let mut fleet = Fleet::warm();
    for late in 1..50 {
        let mut health = usual(late as u64 + 5_000);
        health.battery_temp = quantise::battery_temp(20.0 + 10.0 * noise(late as u64));
        fleet.take_at(fleet.time_us - late * SECOND_US, 1, health);
        fleet.usual(2);
    }
    assert_eq!(fleet.events(), []);
}

#[test]
fn samples_without_most_channels() {
    let mut fleet = Fleet::warm();
    let place = KINDS[0].columns().position(|(name, _)| name == "cpu_temp").unwrap();
    for _ in 0..100 {
        fleet.usual(1);
        let time_us = fleet.time_us + SECOND_US / 2;
        let mut sparse = Sparse::new(KINDS[0], SpacecraftId::FIRST, time_us);
        sparse.set(place, 30.0 + 0.2 * noise(time_us as u64));
        let sample = chunk::Sample::Sparse(Box::new(sparse));
        fleet.watch.take(&Record { received_us: time_us, sample });
    }
    assert_eq!(fleet.events(), []);
    // And the others go on being looked at.
    fleet.take(1, |health| health.battery_temp = quantise::battery_temp(20.0));
    assert_eq!(fleet.events().len(), 1);
}

/// Two samples beyond a limit.
fn hot(health: &mut Health) {
    health.battery_temp = quantise::battery_temp(50.0);
}

#[test]
fn events_beyond_the_bound_are_refused_and_counted() {
    let mut fleet = Fleet::new(Settings { events_max: 2, ..Settings::default() });
    for _ in 0..180 {
        [1, 2, 3].into_iter().for_each(|number| fleet.take(number, |_| {}));
    }
    for number in [1, 2, 3] {
        fleet.take(number, hot);
        fleet.take(number, hot);
    }
    assert_eq!(fleet.events().len(), 2);
    let WatchCounts { opened, refused, .. } = fleet.watch.counts();
    assert_eq!((opened, refused), (2, 1));
    // Room again.
    fleet.usual(30);
    fleet.take(3, hot);
    assert_eq!(fleet.watch.counts().opened, 3);
}

#[test]
fn half_of_the_events_are_for_satellites_that_have_proven_themselves() {
    let mut fleet = Fleet::new(Settings { events_max: 4, ..Settings::default() });
    fleet.usual(180);
    for number in 2..=5 {
        fleet.take(number, hot);
        fleet.take(number, hot);
    }
    let WatchCounts { opened, refused, .. } = fleet.watch.counts();
    assert_eq!((opened, refused), (2, 2));
    fleet.take(1, hot);
    fleet.take(1, hot);
    assert_eq!(fleet.watch.counts().opened, 3);
}

#[test]
fn satellites_beyond_the_memory_get_limits_only_and_are_counted() {
    let mut fleet = Fleet::new(Settings { memory: 0, ..Settings::default() });
    fleet.usual(400);
    fleet.take(2, |_| {});
    assert_eq!(fleet.watch.counts().limits_only, 2);
    fleet.take(1, |health| health.battery_temp = quantise::battery_temp(20.0));
    assert_eq!(fleet.events(), []);
    for _ in 0..2 {
        fleet.take(1, |health| health.battery_temp = quantise::battery_temp(50.0));
    }
    assert_eq!(fleet.events().len(), 1);

    // As shipped there is room for a thousand.
    let mut fleet = Fleet::new(Settings::default());
    for number in 1..=1_000 {
        fleet.take(number, |_| {});
    }
    assert_eq!(fleet.watch.counts().limits_only, 0, "{:?}", fleet.watch.counts());
}
