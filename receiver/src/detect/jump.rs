//! The event of a counter that has leapt. The tracker finds it, not a detector of channels.

use protocol::{Apid, KINDS, SpacecraftId};

use super::{CloseReason, Detector, Event, Severity, Subject};
use crate::link::Jump;

impl Event {
    /// The event of a counter that has leapt, which is over as soon as it has begun; none if the jump names
    /// no declared packet. The same jump is always the same event.
    #[must_use]
    pub fn of_jump(jump: &Jump, station: &str) -> Option<Self> {
        let spacecraft = SpacecraftId::new(jump.spacecraft.get())?;
        let apid = Apid::new(jump.apid.get());
        let kind = KINDS.iter().position(|kind| kind.apid == apid)? as u8;
        let subject = Subject { kind, channel: None };
        let (time_us, missed) = (jump.time_us.get(), jump.missed.get() as f32);
        let one = Self::identity(station, spacecraft, subject, Detector::LinkJump, time_us);
        // Datagrams that are received together have one time.
        let distinct = u64::from(jump.boot_count.get()) << 32 | u64::from(jump.count.get());
        let id = (one ^ distinct.wrapping_mul(MIX).cast_signed()) & i64::MAX;
        Some(Self {
            id,
            spacecraft,
            subject,
            detector: Detector::LinkJump,
            severity: Severity::Warning,
            opened_us: time_us,
            detected_us: time_us,
            last_us: time_us,
            closed: Some((time_us, CloseReason::Instant)),
            score: missed / jump.plausible.get().max(1.0),
            threshold: jump.plausible.get(),
            expected: 0.0,
            observed: missed,
            peak: missed,
            samples: 1,
            incident: id,
        })
    }
}

/// 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    fn jump() -> Jump {
        Jump {
            time_us: 5.into(),
            spacecraft: 7.into(),
            apid: 101.into(),
            boot_count: 3.into(),
            count: 1_000.into(),
            missed: 900.into(),
            plausible: 90.0.into(),
        }
    }

    #[test]
    fn the_same_jump_is_the_same_event() {
        let event = Event::of_jump(&jump(), "GS-01").unwrap();
        assert_eq!(Some(&event), Event::of_jump(&jump(), "GS-01").as_ref());
        assert_eq!((event.packet(), event.channel(), event.opened_us), ("attitude", "sequence", 5));
        assert!(event.id >= 0);
        assert_eq!(event.closed, Some((5, CloseReason::Instant)));
        assert!((event.score - 10.0).abs() < 1e-6);
        for other in [
            Jump { count: 1_001.into(), ..jump() },
            Jump { boot_count: 4.into(), ..jump() },
            Jump { time_us: 6.into(), ..jump() },
            Jump { apid: 100.into(), ..jump() },
        ] {
            assert_ne!(Event::of_jump(&other, "GS-01").unwrap().id, event.id);
        }
        assert_ne!(Event::of_jump(&jump(), "GS-02").unwrap().id, event.id);
        assert_eq!(Event::of_jump(&Jump { spacecraft: 0.into(), ..jump() }, "GS-01"), None);
        assert_eq!(Event::of_jump(&Jump { apid: 99.into(), ..jump() }, "GS-01"), None);
    }
}
