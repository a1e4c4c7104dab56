//! Refused frames that are kept for people to look at: a bounded number each second.

use std::net::{IpAddr, Ipv6Addr};

use protocol::header::HEADER_OCTETS;

/// A refused frame, as it goes into `rejected_frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedFrame<'a> {
    /// The reason's place among those of [`crate::ledger::Rejections::by_reason`].
    pub reason: u8,
    /// Who sent it.
    pub source: Option<IpAddr>,
    /// Its octets, or the first of them.
    pub octets: &'a [u8],
}

/// The last frame that was refused for a reason, as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// How long it was.
    pub octets: u32,
    /// Who sent it.
    pub source: Option<IpAddr>,
    head: [u8; HEADER_OCTETS],
}

impl Example {
    /// Notes what a frame begins with.
    #[must_use]
    pub fn new(octets: &[u8], source: Option<IpAddr>) -> Self {
        let mut head = [0; HEADER_OCTETS];
        let kept = octets.len().min(HEADER_OCTETS);
        head[..kept].copy_from_slice(&octets[..kept]);
        Self { octets: octets.len() as u32, source, head }
    }

    /// Its header, or as much of it as there was.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head[..HEADER_OCTETS.min(self.octets as usize)]
    }
}

/// Lets through so many a second.
#[derive(Clone, Copy, Debug)]
pub struct Rationing {
    per_second: u32,
    second: i64,
    taken: u32,
}

/// Octets that are kept of one frame.
pub const RAW_OCTETS_MAX: usize = 2_048;

impl Rationing {
    /// At most `per_second`.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, second: i64::MIN, taken: 0 }
    }

    /// Whether one more may pass at this time (µs since 1970).
    pub fn permits(&mut self, now_us: i64) -> bool {
        let second = now_us.div_euclid(1_000_000);
        // Of two sockets one may have rested longer.
        if second != self.second && second != self.second.saturating_sub(1) {
            (self.second, self.taken) = (second, 0);
        }
        let is_permitted = self.taken < self.per_second;
        self.taken += u32::from(is_permitted);
        is_permitted
    }
}

impl<'a> RejectedFrame<'a> {
    /// As it lies in a chunk: reason (u8), source as IPv6 (16 octets; unspecified when unknown),
    /// and the octets.
    pub(crate) fn to_octets(self) -> Vec<u8> {
        let source = match self.source {
            None => Ipv6Addr::UNSPECIFIED,
            Some(IpAddr::V4(source)) => source.to_ipv6_mapped(),
            Some(IpAddr::V6(source)) => source,
        };
        let kept = &self.octets[..self.octets.len().min(RAW_OCTETS_MAX)];
        [&[self.reason], &source.octets()[..], kept].concat()
    }

    pub(crate) fn from_octets(octets: &'a [u8]) -> Option<Self> {
        let (&reason, rest) = octets.split_first()?;
        let (source, octets) = rest.split_first_chunk::<16>()?;
        let source = Ipv6Addr::from(*source);
        let source = (!source.is_unspecified()).then(|| source.to_canonical());
        Some(Self { reason, source, octets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        for source in [None, "192.0.2.1".parse().ok(), "2001:db8::1".parse().ok()] {
            let frame = RejectedFrame { reason: 3, source, octets: &[9; 100] };
            assert_eq!(RejectedFrame::from_octets(&frame.to_octets()), Some(frame));
        }
        let long = RejectedFrame { reason: 0, source: None, octets: &[1; 5_000] }.to_octets();
        assert_eq!(RejectedFrame::from_octets(&long).unwrap().octets.len(), RAW_OCTETS_MAX);
    }

    #[test]
    fn so_many_a_second() {
        let mut rationing = Rationing::new(2);
        let permitted: Vec<_> = [0, 1, 2, 999_999, 1_000_000, 1_000_001, 1_500_000, 999_999]
            .map(|now| rationing.permits(now))
            .into();
        assert_eq!(permitted, [true, true, false, false, true, true, false, false]);
        assert!(rationing.permits(-5_000_000), "the clock was set back");
        assert!(!Rationing::new(0).permits(0));
    }
}
