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

/// A measured value: its engineering value is [`engineering`] of the raw integer and the scale, then
/// cast to the column's type.
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

/// The value of `raw` steps of `scale`, in engineering units.
///
/// A scale that is one over a whole number, as 0.001 is, divides by that number: both are exact, so
/// the quotient is the 64-bit float nearest to the decimal, and prints as the decimal does (550.156).
/// A product with 0.001, which no float is, may be one unit in the last place beside it
/// (550.1560000000001). Any other scale multiplies.
#[must_use]
#[inline]
pub const fn engineering(raw: f64, scale: f64) -> f64 {
    match steps_per_unit(scale) {
        Some(steps) => raw / steps,
        None => raw * scale,
    }
}

/// How many steps of `scale` make one unit, if that is a whole number.
#[must_use]
#[inline]
pub const fn steps_per_unit(scale: f64) -> Option<f64> {
    let steps = (1.0 / scale + 0.5) as u64 as f64;
    // What is too large to be exact is not below the limit either.
    let is_whole = 1.0 <= steps && steps < STEPS_LIMIT;
    if is_whole && (1.0 / steps).to_bits() == scale.to_bits() { Some(steps) } else { None }
}

/// Whole numbers below this are exact in a 64-bit float.
const STEPS_LIMIT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_steps_are_found() {
        for (scale, steps) in [(1.0, 1.0), (0.5, 2.0), (0.001, 1e3), (1e-7, 1e7), (1.0 / 3.0, 3.0)]
        {
            assert_eq!(steps_per_unit(scale), Some(steps), "{scale}");
        }
        for scale in [0.0, -0.001, 2.0, 0.3, 1e-300, 1e300, f64::NAN, f64::INFINITY] {
            assert_eq!(steps_per_unit(scale), None, "{scale}");
        }
        for (raw, scale, printed) in [
            (7.0, 2.5, "17.5"),
            (f64::from(i32::MIN), 1e-7, "-214.7483648"),
            (550_156.0, 0.001, "550.156"),
        ] {
            assert_eq!(engineering(raw, scale).to_string(), printed);
        }
    }
}
