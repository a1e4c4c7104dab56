//! The 22 octets that open every telemetry frame: CCSDS primary header (133.0-B-2 §4.1.3) and
//! OrbitStream's secondary header, layout version 1. All integers are big-endian.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32},
};

use crate::{
    crc::CRC_OCTETS,
    packet::Apid,
    sequence::{COUNT_MASK, Sequence},
    time::{CdsTime, P_FIELD},
};

/// The primary header alone, all that an idle frame has.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Primary {
    identification: U16,
    sequence: U16,
    length: U16,
}

/// Primary and secondary header, in place.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    primary: Primary,
    p_field: u8,
    day: U16,
    ms: U32,
    us: U16,
    layout: u8,
    spacecraft: U16,
    boot_count: U16,
    extension: U16,
}

/// Octets of the primary header.
pub const PRIMARY_OCTETS: usize = size_of::<Primary>();
/// Octets of both headers, which is where user data begins.
pub const HEADER_OCTETS: usize = size_of::<Header>();
/// The layout version this crate knows.
pub const LAYOUT_VERSION: u8 = 1;

const _: () = assert!(PRIMARY_OCTETS == 6 && HEADER_OCTETS == 22);
const _: () = assert!(core::mem::offset_of!(Header, layout) == 15);
const _: () = assert!(core::mem::offset_of!(Header, extension) == 20);

impl Primary {
    pub(crate) fn new(apid: Apid, secondary_header: bool, count: u16, octets: usize) -> Self {
        let flag = if secondary_header { SECONDARY_HEADER } else { 0 };
        Self {
            identification: U16::new(flag | apid.number()),
            sequence: U16::new(UNSEGMENTED | (count & COUNT_MASK)),
            length: U16::new((octets - LENGTH_BIAS) as u16),
        }
    }

    /// The application process identifier: which kind of packet this is.
    #[must_use]
    pub fn apid(&self) -> Apid {
        Apid::new(self.identification.get())
    }

    /// Octets of the whole frame as it says itself, 7 to 65,542.
    #[must_use]
    pub fn frame_octets(&self) -> usize {
        usize::from(self.length.get()) + LENGTH_BIAS
    }

    /// Version 0, telemetry, unsegmented, and a secondary header on all but idle frames.
    pub(crate) fn is_ours(self) -> bool {
        let expected = if self.apid() == Apid::IDLE { 0 } else { SECONDARY_HEADER };
        self.identification.get() & !Apid::MASK == expected
            && self.sequence.get() & !COUNT_MASK == UNSEGMENTED
    }
}

impl Header {
    pub(crate) fn new(
        apid: Apid,
        octets: usize,
        time: CdsTime,
        spacecraft: u16,
        boot_count: u16,
        sequence: Sequence,
    ) -> Self {
        Self {
            primary: Primary::new(apid, true, sequence.count(), octets),
            p_field: P_FIELD,
            day: U16::new(time.day),
            ms: U32::new(time.ms),
            us: U16::new(time.us),
            layout: LAYOUT_VERSION,
            spacecraft: U16::new(spacecraft),
            boot_count: U16::new(boot_count),
            extension: U16::new(sequence.extension()),
        }
    }

    /// The CCSDS primary header.
    #[must_use]
    pub fn primary(&self) -> &Primary {
        &self.primary
    }

    /// The generation time.
    #[must_use]
    pub fn time(&self) -> CdsTime {
        CdsTime { day: self.day.get(), ms: self.ms.get(), us: self.us.get() }
    }

    /// The spacecraft's number as it stands there, 0 included.
    #[must_use]
    pub fn spacecraft(&self) -> u16 {
        self.spacecraft.get()
    }

    /// How often the spacecraft has started.
    #[must_use]
    pub fn boot_count(&self) -> u16 {
        self.boot_count.get()
    }

    /// The full sequence counter.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence::from_parts(self.extension.get(), self.primary.sequence.get())
    }

    pub(crate) fn layout(&self) -> u8 {
        self.layout
    }

    pub(crate) fn has_valid_time(&self) -> bool {
        self.p_field == P_FIELD && self.time().is_valid()
    }
}

/// The length field counts the octets after the primary header, less one.
const LENGTH_BIAS: usize = PRIMARY_OCTETS + 1;
const SECONDARY_HEADER: u16 = 1 << 11;
const UNSEGMENTED: u16 = 0b11 << 14;
/// The shortest frame there can be: a primary header and a checkword.
pub(crate) const FRAME_OCTETS_MIN: usize = PRIMARY_OCTETS + CRC_OCTETS;
