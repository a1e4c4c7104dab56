//! Packet kinds: the macro that declares one, and the list of all.

use core::fmt;

use crate::{
    attitude::{Attitude, AttitudeWire},
    channel::{Channel, Column, Field, Meaning},
    crc::CRC_OCTETS,
    header::HEADER_OCTETS,
    health::{Health, HealthWire},
};

/// An application process identifier (CCSDS 133.0-B-2 §4.1.3.3): 11 bits that name a packet kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Apid(u16);

impl Apid {
    /// Idle frames.
    pub const IDLE: Self = Self(Self::MASK);
    pub(crate) const MASK: u16 = (1 << 11) - 1;

    /// The identifier in the low 11 bits of `number`.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number & Self::MASK)
    }

    /// Its number, 0 to 2,047.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Apid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A declared packet kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Its number on the wire.
    pub apid: Apid,
    /// The table its samples are stored in.
    pub table: &'static str,
    /// Its user data, in wire order.
    pub fields: &'static [Field],
    /// How many of the fields are channels.
    pub channels: usize,
    /// How many columns hold its user data.
    pub column_count: usize,
    /// Octets of its user data.
    pub data_octets: usize,
}

impl Kind {
    /// Octets of a whole frame: headers, user data, checkword.
    #[must_use]
    pub const fn frame_octets(&self) -> usize {
        HEADER_OCTETS + self.data_octets + CRC_OCTETS
    }

    /// Name and description of each channel, in wire order.
    pub fn channels(&self) -> impl Iterator<Item = (&'static str, Channel)> {
        self.fields.iter().filter_map(|field| match field.meaning {
            Meaning::Channel(channel) => Some((field.name, channel)),
            Meaning::Flags(_) | Meaning::Reserved => None,
        })
    }

    /// Name and type of each column that holds user data, in table order.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, Column)> {
        self.fields.iter().flat_map(|field| {
            let (channel, flags) = match field.meaning {
                Meaning::Channel(channel) => (Some((field.name, channel.column)), &[][..]),
                Meaning::Flags(flags) => (None, flags),
                Meaning::Reserved => (None, &[][..]),
            };
            channel.into_iter().chain(flags.iter().map(|flag| (flag.name, Column::Boolean)))
        })
    }
}

/// Declares a packet kind. Each line is one field, in wire order:
///
/// * a channel: `name: raw * scale => Column "unit" in low..=high [labels …], "description";`
///   (`in …` and `labels …` may be left out)
/// * single bits: `name: raw flags [bit name "description", …], "description";`
/// * reserved: `name: raw, "description";`
///
/// From it come the host struct of raw integers, the zero-copy view, parse and emit, engineering
/// values, the columns of its table and the description in `KIND`.
macro_rules! packet {
    (
        #[doc = $about:literal]
        $host:ident / $wire:ident = $kind:literal, apid $apid:literal, table $table:literal;
        $(
            $name:ident: $raw:ident
            $( * $scale:literal => $column:ident $unit:literal
               $(in $low:literal ..= $high:literal)?
               $(labels [$($label:literal $text:literal),+])? )?
            $( flags [$($bit:literal $flag:ident $flag_about:literal),+] )?
            , $description:literal;
        )+
    ) => {
        #[doc = $about]
        ///
        /// Raw integers, as they travel.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $host {
            $( #[doc = $description] pub $name: $raw, )+
        }

        #[doc = concat!("A checked [`", stringify!($host), "`] where it lies in the frame.")]
        #[derive(
            Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
            zerocopy::KnownLayout, zerocopy::Unaligned,
        )]
        #[repr(C)]
        pub struct $wire {
            $( $name: <$raw as $crate::channel::Raw>::Wire, )+
        }

        /// The description of this kind.
        pub const KIND: $crate::Kind = $crate::Kind {
            name: $kind,
            description: $about.trim_ascii(),
            apid: $crate::Apid::new($apid),
            table: $table,
            fields: FIELDS,
            channels: CHANNELS,
            column_count: $crate::channel::count_columns(FIELDS),
            data_octets: size_of::<$wire>(),
        };

        /// How many measured values one frame carries.
        pub const CHANNELS: usize = $crate::channel::count_channels(FIELDS);

        const FIELDS: &[$crate::channel::Field] = &[$(
            $crate::channel::Field {
                name: stringify!($name),
                description: $description,
                raw: <$raw as $crate::channel::Raw>::TYPE,
                offset: core::mem::offset_of!($wire, $name),
                meaning: packet!(@meaning $raw
                    $( channel $scale $column $unit [$($low, $high)?] [$($(($label, $text)),+)?] )?
                    $( flags [$($bit $flag $flag_about),+] )?),
            },
        )+];

        impl $wire {
            $(
                #[doc = $description]
                #[doc = " Raw."]
                #[must_use]
                #[inline]
                pub fn $name(&self) -> $raw {
                    <$raw as $crate::channel::Raw>::get(self.$name)
                }
            )+

            /// Hands the row's columns to `sink`, in table order, in engineering units.
            #[inline]
            pub fn columns(&self, sink: &mut impl $crate::channel::ColumnSink) {
                use $crate::channel::engineering;
                $(
                    $( packet!(@column $column sink, engineering(f64::from(self.$name()), $scale)); )?
                    $( $( sink.boolean(self.$name() >> $bit & 1 == 1); )+ )?
                )+
            }

            /// The channels in engineering units, in wire order.
            #[must_use]
            #[inline]
            pub fn values(&self) -> [f64; CHANNELS] {
                use $crate::channel::engineering;
                let mut values = [0.0; CHANNELS];
                let mut slots = values.iter_mut();
                $( $(
                    if let Some(slot) = slots.next() {
                        *slot = engineering(f64::from(self.$name()), $scale);
                    }
                )? )+
                values
            }
        }

        impl From<&$wire> for $host {
            fn from(wire: &$wire) -> Self {
                Self { $( $name: wire.$name(), )+ }
            }
        }

        impl From<&$host> for $wire {
            fn from(host: &$host) -> Self {
                Self { $( $name: <$raw as $crate::channel::Raw>::put(host.$name), )+ }
            }
        }

        /// From engineering units to the nearest raw step, held to the ends of the raw type.
        pub mod quantise {
            $( $(
                #[doc = concat!($description, " From ", $unit, " in steps of ", $scale, ".")]
                #[must_use]
                pub fn $name(value: f64) -> $raw {
                    <$raw as $crate::channel::Raw>::nearest(value / $scale)
                }
            )? )+
        }
    };

    (@meaning $raw:ident) => { $crate::channel::Meaning::Reserved };
    (@meaning $raw:ident flags [$($bit:literal $flag:ident $about:literal),+]) => {
        $crate::channel::Meaning::Flags(&[$(
            $crate::channel::Flag { name: stringify!($flag), description: $about, bit: $bit },
        )+])
    };
    (@meaning $raw:ident channel $scale:literal $column:ident $unit:literal
        [$($low:literal, $high:literal)?] [$($label:tt),*]) => {
        $crate::channel::Meaning::Channel($crate::channel::Channel {
            scale: $scale,
            unit: $unit,
            column: $crate::channel::Column::$column,
            range: packet!(@range $raw $scale $($low, $high)?),
            labels: &[$($label),*],
        })
    };
    (@range $raw:ident $scale:literal $low:literal, $high:literal) => { ($low, $high) };
    (@range $raw:ident $scale:literal) => {
        (
            $crate::channel::engineering($raw::MIN as f64, $scale),
            $crate::channel::engineering($raw::MAX as f64, $scale),
        )
    };
    (@column SmallInt $sink:ident, $value:expr) => { $sink.small_int($value as i16) };
    (@column Real $sink:ident, $value:expr) => { $sink.real($value as f32) };
    (@column Double $sink:ident, $value:expr) => { $sink.double($value) };
}
pub(crate) use packet;

/// Lists the declared kinds and dispatches over them.
macro_rules! kinds {
    ($($host:ident / $wire:ident in $module:ident),+) => {
        /// Every declared kind.
        pub const KINDS: &[&Kind] = &[$(&crate::$module::KIND),+];

        /// A packet's user data as raw integers, of any kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Packet {
            $(#[doc = concat!("See [`", stringify!($host), "`].")] $host($host),)+
        }

        /// A checked packet's user data where it lies, of any kind.
        #[derive(Clone, Copy, Debug)]
        pub enum Body<'a> {
            $(#[doc = concat!("See [`", stringify!($host), "`].")] $host(&'a $wire),)+
        }

        impl Packet {
            /// Its declaration.
            #[must_use]
            pub const fn kind(&self) -> &'static Kind {
                match self { $(Self::$host(_) => &crate::$module::KIND,)+ }
            }

            /// Writes the user data over the first octets of `out`; false when it has no room.
            pub(crate) fn put(&self, out: &mut [u8]) -> bool {
                use zerocopy::IntoBytes as _;
                match self {
                    $(Self::$host(host) => $wire::from(host).write_to_prefix(out).is_ok(),)+
                }
            }
        }

        impl<'a> Body<'a> {
            /// The view of `data` that `apid` names; none for an unknown one or another size.
            #[inline]
            pub(crate) fn view(apid: Apid, data: &'a [u8]) -> Option<Self> {
                use zerocopy::FromBytes as _;
                $(if apid == crate::$module::KIND.apid {
                    return $wire::ref_from_bytes(data).ok().map(Self::$host);
                })+
                None
            }

            /// Its declaration.
            #[must_use]
            pub const fn kind(&self) -> &'static Kind {
                match self { $(Self::$host(_) => &crate::$module::KIND,)+ }
            }

            /// Hands the row's columns to `sink`, in table order.
            #[inline]
            pub fn columns(&self, sink: &mut impl crate::channel::ColumnSink) {
                match self { $(Self::$host(wire) => wire.columns(sink),)+ }
            }
        }

        impl From<Body<'_>> for Packet {
            fn from(body: Body<'_>) -> Self {
                match body { $(Body::$host(wire) => Self::$host(wire.into()),)+ }
            }
        }

        /// The kind of `apid`, if it is declared.
        #[inline]
        pub(crate) fn kind_of(apid: Apid) -> Option<&'static Kind> {
            $(if apid == crate::$module::KIND.apid {
                return Some(&crate::$module::KIND);
            })+
            None
        }
    };
}

kinds!(Health / HealthWire in health, Attitude / AttitudeWire in attitude);
