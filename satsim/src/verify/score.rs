//! From what was flown, stored and found to the score of detection.
//!
//! Bound: times of samples are kept of one kind of one satellite at a time, and only when it has
//! events or alarms.

use std::collections::BTreeMap;

use protocol::{KINDS, Kind, channel::Meaning};

use super::{
    alarms,
    database::{Database, DatabaseError},
    detection::Detection,
    stored::Stored,
    truth::{TrueAnomaly, Truth},
};

/// Puts the station's alarms beside the true events, channel by channel.
pub(super) fn read(
    database: &Database,
    truth: &Truth,
    stored: &Stored,
) -> Result<(Detection, Vec<String>), DatabaseError> {
    let mut detection = Detection::default();
    let mut flown: BTreeMap<&str, u64> = BTreeMap::new();
    for stream in &truth.streams {
        let rows = stored.get(&stream.key).map_or(0, |rows| rows.rows);
        let kind = KINDS.iter().find(|kind| kind.apid.number() == stream.key.apid);
        detection.values += rows * kind.map_or(0, |kind| kind.channels as u64);
        *flown.entry(&stream.key.satellite_id).or_default() += rows;
    }
    let mut alarms = alarms::read(database, truth)?;
    let all = alarms.values().map(Vec::len).sum::<usize>();
    let mut events: BTreeMap<(&str, &str), Vec<&TrueAnomaly>> = BTreeMap::new();
    for event in &truth.anomalies {
        events.entry((&event.satellite_id, &event.channel)).or_default().push(event);
    }
    let mut taken = 0;
    for satellite_id in flown.keys() {
        for kind in KINDS {
            // Read when the first channel has anything to place.
            let mut times = None;
            for channel in channels(kind) {
                let events = events.remove(&(*satellite_id, channel)).unwrap_or_default();
                let name = ((*satellite_id).to_owned(), channel.to_owned());
                let alarms = alarms.remove(&name).unwrap_or_default();
                if events.is_empty() && alarms.is_empty() {
                    continue;
                }
                let times = if let Some(times) = &mut times {
                    times
                } else {
                    times.insert(alarms::sample_times(database, truth, satellite_id, kind)?)
                };
                taken += alarms.len();
                detection.add(channel, &events, &alarms, times);
            }
        }
    }
    let others = all - taken;
    let note = format!(
        "{others} alarms about other satellites, or about no measured channel, were left out"
    );
    Ok((detection, (others > 0).then_some(note).into_iter().collect()))
}

fn channels(kind: &Kind) -> impl Iterator<Item = &'static str> {
    let channels = kind.fields.iter().filter(|field| matches!(field.meaning, Meaning::Channel(_)));
    channels.map(|field| field.name)
}
