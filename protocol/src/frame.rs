//! Frames that passed the door: views that cannot fail.

use zerocopy::FromBytes as _;

use crate::{
    crc::CRC_OCTETS,
    header::{HEADER_OCTETS, Header},
    packet::{Apid, Body},
    sequence::Sequence,
    spacecraft::SpacecraftId,
    time::CdsTime,
};

/// A whole, checked frame.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// Telemetry of one spacecraft.
    Telemetry(Telemetry<'a>),
    /// Filling, to keep a link busy: its octets.
    Idle(&'a [u8]),
}

/// A telemetry frame where it lies in the receive buffer. It borrows and never copies.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry<'a> {
    octets: &'a [u8],
    header: &'a Header,
    spacecraft: SpacecraftId,
    body: Body<'a>,
}

/// The longest idle frame that is accepted.
pub const IDLE_OCTETS_MAX: usize = 1_024;

impl<'a> Telemetry<'a> {
    /// Views octets that [`crate::Datagram`] handed out before, without checking them again: for
    /// frames that were set aside in between. None when they are no frame of a declared kind; a
    /// damaged one is not noticed, so untrusted bytes go through the door instead.
    #[must_use]
    pub fn from_checked(octets: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(octets).ok()?;
        let data = rest.get(..rest.len().checked_sub(CRC_OCTETS)?)?;
        let body = Body::view(header.primary().apid(), data)?;
        let spacecraft = SpacecraftId::new(header.spacecraft())?;
        Some(Self { octets, header, spacecraft, body })
    }

    pub(crate) fn new(
        octets: &'a [u8],
        header: &'a Header,
        spacecraft: SpacecraftId,
        body: Body<'a>,
    ) -> Self {
        debug_assert_eq!(octets.len(), HEADER_OCTETS + body.kind().data_octets + CRC_OCTETS);
        Self { octets, header, spacecraft, body }
    }

    /// The frame, headers and checkword included.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Who sent it.
    #[must_use]
    pub fn spacecraft(&self) -> SpacecraftId {
        self.spacecraft
    }

    /// Which kind of packet it is.
    #[must_use]
    pub fn apid(&self) -> Apid {
        self.header.primary().apid()
    }

    /// How often the spacecraft had started.
    #[must_use]
    pub fn boot_count(&self) -> u16 {
        self.header.boot_count()
    }

    /// The full counter of its stream.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.header.sequence()
    }

    /// The generation time.
    #[must_use]
    pub fn time(&self) -> CdsTime {
        self.header.time()
    }

    /// The user data.
    #[must_use]
    pub fn body(&self) -> Body<'a> {
        self.body
    }
}
