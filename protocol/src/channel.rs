//! How a packet kind describes its fields: raw type, scale, unit, range, column.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{I16, I32, U16, U32},
};

/// One field of the user data, in wire order.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in code, SQL, JSON and Wireshark.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// The integer on the wire.
    pub raw: RawType,
    /// Octets from the start of the user data.
    pub offset: usize,
    /// What the integer says.
    pub meaning: Meaning,
}

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// A measured value.
    Channel(Channel),
    /// Single bits, each a boolean column.
    Flags(&'static [Flag]),
    /// Nothing yet: sent as 0, not looked at.
    Reserved,
}

/// A measured value: engineering value = raw × scale, in double precision, then cast to the
/// column's type.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Engineering units in one raw step.
    pub scale: f64,
    /// SI or customary unit; empty for a bare number.
    pub unit: &'static str,
    /// Its column's type.
    pub column: Column,
    /// Smallest and largest engineering value that makes sense.
    pub range: (f64, f64),
    /// Names of the values of an enumeration; empty for a quantity.
    pub labels: &'static [(i16, &'static str)],
}

/// One bit.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name in SQL, JSON and Wireshark.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Its place, 0 the least significant.
    pub bit: u8,
}

/// The type of a channel's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `smallint`
    SmallInt,
    /// `real`
    Real,
    /// `double precision`
    Double,
    /// `boolean`
    Boolean,
}

impl Column {
    /// Its name in SQL.
    #[must_use]
    pub const fn sql(self) -> &'static str {
        match self {
            Self::SmallInt => "smallint",
            Self::Real => "real",
            Self::Double => "double precision",
            Self::Boolean => "boolean",
        }
    }
}

/// The integer types that fields are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawType {
    /// 8 bits, unsigned.
    U8,
    /// 16 bits, unsigned.
    U16,
    /// 32 bits, unsigned.
    U32,
    /// 16 bits, two's complement.
    I16,
    /// 32 bits, two's complement.
    I32,
}

impl RawType {
    /// Its size.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
        }
    }

    /// Whether it is two's complement.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::I16 | Self::I32)
    }

    /// Its name in Rust: `u8`, `i16`, ….
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::I16 => "i16",
            Self::I32 => "i32",
        }
    }

    /// Smallest and largest integer.
    #[must_use]
    pub const fn limits(self) -> (i64, i64) {
        match self {
            Self::U8 => (0, u8::MAX as i64),
            Self::U16 => (0, u16::MAX as i64),
            Self::U32 => (0, u32::MAX as i64),
            Self::I16 => (i16::MIN as i64, i16::MAX as i64),
            Self::I32 => (i32::MIN as i64, i32::MAX as i64),
        }
    }
}

/// A host integer and its big-endian, unaligned form on the wire.
pub trait Raw: Copy {
    /// The form on the wire.
    type Wire: Copy + core::fmt::Debug + FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned;
    /// How it is described.
    const TYPE: RawType;

    /// Reads it.
    fn get(wire: Self::Wire) -> Self;
    /// Writes it.
    fn put(self) -> Self::Wire;
    /// The step nearest to `steps`, at the type's end when it lies beyond; 0 for NaN.
    fn nearest(steps: f64) -> Self;
}

macro_rules! raw {
    ($($host:ident $wire:ty, $type:ident, $get:expr, $put:expr;)+) => {$(
        impl Raw for $host {
            type Wire = $wire;
            const TYPE: RawType = RawType::$type;

            #[inline]
            fn get(wire: $wire) -> $host {
                $get(wire)
            }

            #[inline]
            fn put(self) -> $wire {
                $put(self)
            }

            fn nearest(steps: f64) -> $host {
                steps.round() as $host
            }
        }
    )+};
}

raw! {
    u8 u8, U8, core::convert::identity, core::convert::identity;
    u16 U16, U16, U16::get, U16::new;
    u32 U32, U32, U32::get, U32::new;
    i16 I16, I16, I16::get, I16::new;
    i32 I32, I32, I32::get, I32::new;
}

/// Takes the columns of one row, in table order; each kind's view calls it through `columns`.
pub trait ColumnSink {
    /// A `smallint`.
    fn small_int(&mut self, value: i16);
    /// A `real`.
    fn real(&mut self, value: f32);
    /// A `double precision`.
    fn double(&mut self, value: f64);
    /// A `boolean`.
    fn boolean(&mut self, value: bool);
}

/// How many columns hold `fields`: one for each channel and each flag.
pub(crate) const fn count_columns(fields: &[Field]) -> usize {
    let mut columns = 0;
    let mut index = 0;
    while index < fields.len() {
        columns += match fields[index].meaning {
            Meaning::Channel(_) => 1,
            Meaning::Flags(flags) => flags.len(),
            Meaning::Reserved => 0,
        };
        index += 1;
    }
    columns
}

/// How many of `fields` are channels.
pub(crate) const fn count_channels(fields: &[Field]) -> usize {
    let mut channels = 0;
    let mut index = 0;
    while index < fields.len() {
        if matches!(fields[index].meaning, Meaning::Channel(_)) {
            channels += 1;
        }
        index += 1;
    }
    channels
}
