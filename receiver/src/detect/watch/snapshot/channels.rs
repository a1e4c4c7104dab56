//! The channels that a snapshot is about, and where they are among this program's: what was learned of
//! a channel is kept when others are added, removed or moved.

use super::super::{Deserialize, Event, KINDS, Monitor, Satellite, Serialize, Settings, Stream};

/// Packet kinds and their channels, in the order of a snapshot's streams and monitors.
#[derive(Serialize, Deserialize)]
pub(super) struct Channels(Vec<KindChannels>);

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct KindChannels {
    name: String,
    /// Name and unit of each: what was learned in one unit says nothing in another.
    channels: Vec<String>,
}

impl Channels {
    /// Those of this program.
    pub(super) fn own() -> Self {
        let kind = |kind: &&protocol::Kind| KindChannels {
            name: kind.name.to_owned(),
            channels: kind
                .channels()
                .map(|(name, channel)| format!("{name} {}", channel.unit))
                .collect(),
        };
        Self(KINDS.iter().map(kind).collect())
    }

    /// Where this program's channels are in a snapshot with these.
    pub(super) fn places(&self) -> Places {
        let own = Self::own();
        let kinds = own.0.iter().map(|kind| {
            let place = self.0.iter().position(|saved| saved.name == kind.name)?;
            let saved = &self.0[place].channels;
            let channel = |name| saved.iter().position(|saved| saved == name);
            Some(KindPlaces { place, channels: kind.channels.iter().map(channel).collect() })
        });
        Places {
            kinds: kinds.collect(),
            shape: self.0.iter().map(|kind| kind.channels.len()).collect(),
            is_own: self.0 == own.0,
        }
    }
}

/// Where this program's channels are in a snapshot.
pub(super) struct Places {
    kinds: Vec<Option<KindPlaces>>,
    /// Channels of each of the snapshot's kinds.
    shape: Vec<usize>,
    /// Whether they are the same.
    is_own: bool,
}

struct KindPlaces {
    place: usize,
    channels: Vec<Option<usize>>,
}

impl Places {
    /// A satellite of the snapshot with this program's channels. Nothing is known of those that the
    /// snapshot does not have, and events of channels that this program does not have are dropped. None
    /// when it does not have the channels that the snapshot says.
    pub(super) fn satellite(&self, saved: Satellite, settings: &Settings) -> Option<Satellite> {
        let is_sound = saved.streams.len() == self.shape.len()
            && saved.streams.iter().zip(&self.shape).all(|(stream, &channels)| {
                stream.monitors.len() == channels && stream.monitors.iter().all(Monitor::is_sound)
            });
        if !is_sound || self.is_own {
            return is_sound.then_some(saved);
        }
        let mut satellite = Satellite::new(saved.spacecraft, settings, saved.first_us, false);
        let mut streams: Vec<_> = saved.streams.into_iter().map(Some).collect();
        for (kind, (stream, places)) in (0..).zip(satellite.streams.iter_mut().zip(&self.kinds)) {
            if let Some(places) = places
                && let Some(saved) = streams.get_mut(places.place).and_then(Option::take)
            {
                places.stream(kind, saved, stream);
            }
        }
        satellite.orbit = saved.orbit;
        satellite.switches = saved.switches;
        satellite.excused = saved.excused;
        satellite.incident = saved.incident;
        Some(satellite)
    }

    /// An event of the snapshot, if it is about something that this program has.
    pub(super) fn event(&self, mut event: Event) -> Option<Event> {
        let (saved_kind, saved_channel) = (event.subject.kind, event.subject.channel);
        let (kind, places) = (0..).zip(&self.kinds).find_map(|(kind, places)| {
            let places = places.as_ref()?;
            (places.place == usize::from(saved_kind)).then_some((kind, places))
        })?;
        event.subject.kind = kind;
        if let Some(saved) = saved_channel {
            let is_it = |place: &Option<usize>| *place == Some(usize::from(saved));
            event.subject.channel = Some(places.channels.iter().position(is_it)? as u8);
        }
        Some(event)
    }
}

impl KindPlaces {
    fn stream(&self, kind: u8, saved: Stream, stream: &mut Stream) {
        let mut monitors: Vec<_> = saved.monitors.into_iter().map(Some).collect();
        for (channel, (monitor, place)) in (0..).zip(stream.monitors.iter_mut().zip(&self.channels))
        {
            let saved = place.and_then(|place| monitors.get_mut(place)).and_then(Option::take);
            let Some(saved) = saved else { continue };
            *monitor = saved;
            for event in monitor.open_events_mut() {
                (event.subject.kind, event.subject.channel) = (kind, Some(channel));
            }
        }
        stream.silence = saved.silence;
        if let Some(event) = &mut stream.silence {
            event.subject.kind = kind;
        }
        stream.boot_count = saved.boot_count;
        stream.generated_us = saved.generated_us;
        stream.received_us = saved.received_us;
        stream.heard_us = saved.heard_us;
        stream.late = saved.late;
    }
}
