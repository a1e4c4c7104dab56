//! Refused frames in the log: one line a minute and reason, with an example and what to do.
//!
//! The intake leaves the last frame that it refused for each reason; what is in it is only looked at
//! here, away from the frames that come.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use protocol::{
    Apid, KINDS, Refusal, SpacecraftId,
    header::{HEADER_OCTETS, LAYOUT_VERSION},
};

use crate::{
    ledger::{Counters, REASONS, Rejections},
    rejected::Example,
};

/// What the log has said of refused frames.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    reasons: [Said; REASONS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// How many frames it has spoken of.
    count: u64,
    at: Option<Instant>,
}

impl RefusalLog {
    /// Logs what is due.
    pub(super) fn log(&mut self, counters: &Counters, now: Instant) {
        for line in self.lines(&counters.ledger().rejected, &counters.refused_examples(), now) {
            tracing::warn!("{line}");
        }
    }

    fn lines(
        &mut self,
        rejected: &Rejections,
        examples: &[Option<Example>; REASONS],
        now: Instant,
    ) -> Vec<String> {
        let reasons = self.reasons.iter_mut().zip(rejected.by_reason()).zip(examples);
        reasons
            .enumerate()
            .filter_map(|(place, ((said, (name, count)), example))| {
                let is_quiet = said.at.is_none_or(|at| now.saturating_duration_since(at) >= PERIOD);
                if count == said.count || !is_quiet {
                    return None;
                }
                let more = count.saturating_sub(said.count);
                *said = Said { count, at: Some(now) };
                Some(line(place as u8, name, more, example.as_ref()))
            })
            .collect()
    }
}

fn line(place: u8, name: &str, count: u64, example: Option<&Example>) -> String {
    let frames = if is_of_datagrams(place) { "datagrams" } else { "frames" };
    let mut line = format!("{count} {frames} refused as {name}");
    if let Some(example) = example {
        // Nothing can fail that writes to a string.
        let _written = write!(line, "; the last: {}", described(place, example));
    }
    let _written = write!(line, ". {}", advice(place));
    line
}

/// Where it came from, its length, and as much of its header as there is and says something.
fn described(place: u8, example: &Example) -> String {
    let mut text = format!("{} octets", example.octets);
    if let Some(source) = example.source {
        let _written = write!(text, " from {source}");
    }
    let head = Head(example.head());
    let trust = if is_damage(place) { " by its header, which may be damaged" } else { "" };
    if let Some(apid) = head.apid().filter(|_| !is_of_datagrams(place)) {
        let _written = write!(text, ", APID {apid}");
        if let Some(spacecraft) = head.spacecraft().filter(|_| apid != Apid::IDLE) {
            match SpacecraftId::new(spacecraft) {
                Some(id) => text.push_str(&format!(", {id}")),
                None => text.push_str(", spacecraft 0"),
            }
        }
        text.push_str(trust);
    }
    if let Some(why) = why(place, &head, example.octets as usize) {
        let _written = write!(text, ": {why}");
    }
    text
}

/// What exactly is wrong, where the header shows it.
fn why(place: u8, head: &Head<'_>, octets: usize) -> Option<String> {
    let of = |refusal| place == Rejections::place(refusal);
    let declared = head.u16(4).map(|length| usize::from(length) + 7);
    if of(Refusal::LengthMismatch) {
        return Some(format!("{} octets declared", declared?));
    }
    if of(Refusal::BadVersion) {
        let (first, sequence) = (head.u16(0)?, head.u16(2)?);
        return Some(format!(
            "version {}, type {}, secondary header flag {}, sequence flags {}",
            first >> 13,
            first >> 12 & 1,
            first >> 11 & 1,
            sequence >> 14
        ));
    }
    if of(Refusal::BadLayout) {
        let apid = head.apid()?;
        let expected = KINDS.iter().find(|kind| kind.apid == apid)?.frame_octets();
        return if octets == expected {
            Some(format!("layout version {} instead of {LAYOUT_VERSION}", head.u8(15)?))
        } else {
            Some(format!("{expected} octets expected"))
        };
    }
    if of(Refusal::BadTime) {
        let (ms, us) = (head.u32(9)?, head.u16(13)?);
        return Some(format!("P-field {:#04x}, {ms} ms of the day, {us} µs", head.u8(6)?));
    }
    None
}

/// What people can do about it.
fn advice(place: u8) -> &'static str {
    const OF_REFUSALS: [(Refusal, &str); 8] = [
        (
            Refusal::TooShort,
            "Something that is no telemetry frame is sent to this port: see the source",
        ),
        (
            Refusal::LengthMismatch,
            "The frame was cut off on its way, or its sender writes a wrong length: see \
             docs/protocol.md",
        ),
        (
            Refusal::CrcMismatch,
            "The frame was damaged on its way, or its sender computes another checksum: see \
             docs/protocol.md",
        ),
        (
            Refusal::BadVersion,
            "The sender's primary header is not that of a telemetry packet: see docs/protocol.md",
        ),
        (
            Refusal::BadLayout,
            "The sender's packets have another layout than this receiver knows: bring both to the \
             same version",
        ),
        (
            Refusal::UnknownApid,
            "This receiver has no packet kind with that APID: is another mission sent to this port?",
        ),
        (
            Refusal::UnknownSpacecraft,
            "If it is one of yours: see --spacecraft, --max-satellites and --max-streams",
        ),
        (Refusal::BadTime, "The sender's time code is no CDS time: see docs/protocol.md"),
    ];
    let found = OF_REFUSALS.iter().find(|(refusal, _)| Rejections::place(*refusal) == place);
    match found {
        Some((_, advice)) => advice,
        None if place == Rejections::NOT_ALLOWED => {
            "If the source is one of yours, add it to --allow"
        }
        None => "If the source may send that much, raise --source-rate",
    }
}

fn is_damage(place: u8) -> bool {
    Refusal::ALL.iter().any(|refusal| refusal.is_damage() && Rejections::place(*refusal) == place)
}

/// Whether a whole datagram was refused, whatever is in it.
fn is_of_datagrams(place: u8) -> bool {
    [Rejections::NOT_ALLOWED, Rejections::RATE_LIMITED].contains(&place)
}

/// The header of a refused frame, as far as it goes.
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.0.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.0.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes)
    }

    fn apid(&self) -> Option<Apid> {
        self.u16(0).map(Apid::new)
    }

    fn spacecraft(&self) -> Option<u16> {
        self.0.get(..HEADER_OCTETS).and_then(|_| self.u16(16))
    }
}

/// How often a reason is spoken of.
const PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn example(octets: &[u8]) -> Example {
        Example::new(octets, "192.0.2.7".parse().ok())
    }

    fn said(log: &mut RefusalLog, rejected: Rejections, octets: &[u8], now: Instant) -> String {
        log.lines(&rejected, &[Some(example(octets)); REASONS], now).join("\n")
    }

    const HEAD: [u8; HEADER_OCTETS] =
        [0x08, 0x66, 0xC0, 0, 0, 61, 0x42, 0x61, 0, 0xFF, 0, 0, 0, 0, 0, 2, 0, 205, 0, 1, 0, 0];

    #[test]
    fn once_a_minute_and_reason() {
        let mut log = RefusalLog::default();
        let start = Instant::now();
        let mut rejected = Rejections { crc_mismatch: 2, ..Rejections::default() };
        let line = said(&mut log, rejected, &[1, 2, 3], start);
        assert!(line.starts_with("2 frames refused as crc_mismatch; the last: 3 octets from"));
        rejected.crc_mismatch = 50;
        rejected.unknown_apid = 1;
        let line = said(&mut log, rejected, &HEAD, start + PERIOD / 2);
        assert!(line.starts_with("1 frames refused as unknown_apid") && !line.contains('\n'));
        let line = said(&mut log, rejected, &HEAD, start + PERIOD);
        assert!(line.starts_with("48 frames refused as crc_mismatch"), "{line}");
        assert_eq!(said(&mut log, rejected, &HEAD, start + 10 * PERIOD), "");
    }

    #[test]
    fn each_reason_has_an_example_and_something_to_do() {
        let frame = [&HEAD[..], &[0; 46]].concat();
        for (name, parts) in [
            ("too_short", &["68 octets from 192.0.2.7", "see the source"][..]),
            ("length_mismatch", &["APID 102", "may be damaged: 68 octets declared"]),
            ("crc_mismatch", &["SAT-205", "may be damaged", "checksum"]),
            ("bad_version", &["version 0, type 0, secondary header flag 1, sequence flags 3"]),
            ("bad_layout", &["another layout"]),
            ("unknown_apid", &["APID 102, SAT-205", "another mission"]),
            ("unknown_spacecraft", &["SAT-205", "--spacecraft"]),
            ("bad_time", &["P-field 0x42, 4278190080 ms of the day, 0 µs"]),
            ("not_allowed", &["1 datagrams", "--allow"]),
            ("rate_limited", &["1 datagrams", "--source-rate"]),
        ] {
            let place = Rejections::default().by_reason().iter().position(|(one, _)| *one == name);
            let line = line(place.unwrap() as u8, name, 1, Some(&example(&frame)));
            for part in parts {
                assert!(line.contains(part), "{name}: {line}");
            }
        }
        let mut frame = frame;
        frame[1] = 100;
        let layout = Rejections::place(Refusal::BadLayout);
        let of = |octets: &[u8]| line(layout, "bad_layout", 1, Some(&example(octets)));
        assert!(of(&frame).contains("layout version 2 instead of 1"), "{}", of(&frame));
        assert!(of(&frame[..60]).contains("68 octets expected"), "{}", of(&frame[..60]));
    }

    #[test]
    fn no_octets_are_a_panic() {
        for length in 0..HEADER_OCTETS + 2 {
            for place in 0..REASONS as u8 {
                let octets = vec![0xFF; length];
                assert!(!line(place, "reason", 1, Some(&example(&octets))).contains('\n'));
            }
        }
        assert!(line(0, "too_short", 1, None).starts_with("1 frames refused as too_short. "));
    }
}
