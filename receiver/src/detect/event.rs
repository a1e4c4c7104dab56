//! An event: one row of `anomaly`, from the first sample that violates to the last.

use core::fmt;

use protocol::SpacecraftId;
use serde::{Deserialize, Serialize};

/// How bad it is. It only rises while an event is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Unusual.
    Watch,
    /// Wants a look.
    Warning,
    /// Wants somebody now.
    Critical,
}

/// What found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is described in the file of its name")]
pub enum Detector {
    Limits,
    Delta,
    Stuck,
    Baseline,
    Ewma,
    Silence,
    /// More openings than the channel has a budget for.
    Chatter,
    /// A sequence counter that has leapt.
    LinkJump,
}

/// Why it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// Enough good samples came.
    Clean,
    /// The new level lasted, and is the rule now.
    Settled,
    /// Nothing came any more.
    Gap,
    /// The silence is over.
    Heard,
    /// The station was stopped and does not know what came then.
    Restart,
    /// The satellite tumbles, and what the channel does then is no sign.
    Tumbling,
    /// It was about one moment.
    Instant,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity, the same whenever the same samples are looked at.
    pub id: i64,
    /// Whose channel.
    #[serde(with = "number")]
    pub spacecraft: SpacecraftId,
    /// APID and place among the channels, or the whole stream.
    pub subject: Subject,
    /// What found it.
    pub detector: Detector,
    /// How bad it has been.
    pub severity: Severity,
    /// First sample that violated, µs since 1970.
    pub opened_us: i64,
    /// Sample that decided.
    pub detected_us: i64,
    /// Last sample that violated.
    pub last_us: i64,
    /// When it was over.
    pub closed: Option<(i64, CloseReason)>,
    /// How many thresholds far the worst sample was.
    pub score: f32,
    /// The threshold at that sample, in the channel's unit; for repetitions, samples.
    pub threshold: f32,
    /// What was expected at the sample that decided.
    pub expected: f32,
    /// What that sample was.
    pub observed: f32,
    /// The value furthest from what was expected.
    pub peak: f32,
    /// Samples that violated.
    pub samples: u32,
    /// The first event of those that began together.
    pub incident: i64,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// Place of the kind among [`protocol::KINDS`].
    pub kind: u8,
    /// Place of the channel among the kind's; none for the stream itself.
    pub channel: Option<u8>,
}

impl Subject {
    /// The column, or the kind's name for a stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        let Some(kind) = protocol::KINDS.get(usize::from(self.kind)) else {
            return "";
        };
        let Some(channel) = self.channel else {
            return kind.name;
        };
        kind.channels().nth(usize::from(channel)).map_or("", |(name, _)| name)
    }
}

impl Event {
    /// The name of the packet kind that it is about.
    #[must_use]
    pub fn packet(&self) -> &'static str {
        Subject { channel: None, ..self.subject }.name()
    }

    /// What of the packet it is about: a column, the counter, or all of it.
    #[must_use]
    pub fn channel(&self) -> &'static str {
        if self.detector == Detector::LinkJump { "sequence" } else { self.subject.name() }
    }

    /// The identity of the event that one detector opened at one moment: FNV-1a (Fowler, Noll, Vo)
    /// of all that names it, so that another look at the same samples gives the same row.
    #[must_use]
    pub fn identity(
        station: &str,
        spacecraft: SpacecraftId,
        subject: Subject,
        detector: Detector,
        opened_us: i64,
    ) -> i64 {
        let channel = subject.channel.unwrap_or(u8::MAX);
        let numbers = [subject.kind, channel, detector as u8];
        let octets = station
            .bytes()
            .chain([0])
            .chain(spacecraft.number().to_be_bytes())
            .chain(numbers)
            .chain(opened_us.to_be_bytes());
        let hash =
            octets.fold(FNV_BASIS, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(FNV_PRIME));
        (hash >> 1).cast_signed()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limits => "limits",
            Self::Delta => "delta",
            Self::Stuck => "stuck",
            Self::Baseline => "baseline",
            Self::Ewma => "ewma",
            Self::Silence => "silence",
            Self::Chatter => "chatter",
            Self::LinkJump => "link_jump",
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Settled => "settled",
            Self::Gap => "gap",
            Self::Heard => "heard",
            Self::Restart => "restart",
            Self::Tumbling => "tumbling",
            Self::Instant => "instant",
        })
    }
}

/// A spacecraft as its number.
pub(super) mod number {
    use protocol::SpacecraftId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::detect) fn serialize<S: Serializer>(
        id: &SpacecraftId,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u16(id.number())
    }

    pub(in crate::detect) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<SpacecraftId, D::Error> {
        let number = u16::deserialize(from)?;
        SpacecraftId::new(number).ok_or_else(|| D::Error::custom("a spacecraft with number 0"))
    }
}

const FNV_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01B3;
