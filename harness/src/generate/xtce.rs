//! The XTCE 1.2 document: the same frames for ground systems that read XTCE.
//!
//! One abstract root container holds the primary header, one below it the secondary header, and
//! one for each kind, chosen by APID, holds its user data and the checkword. A parameter is named as
//! its column is; bits without a name are called `spare`.

use std::fmt::{self, Write as _};

use protocol::channel::{Channel, Field, Flag, Meaning, RawType};
use protocol::header::LAYOUT_VERSION;
use protocol::{Apid, KINDS, Kind};

use super::number::{exact, is_narrower};

/// The whole document.
pub(super) fn document() -> String {
    let mut document = Document::default();
    for kind in KINDS {
        document.add_kind(kind).expect("a string takes everything");
    }
    TEMPLATE
        .replace("{version}", &LAYOUT_VERSION.to_string())
        .replace("{idle}", &Apid::IDLE.to_string())
        .replace("{types}\n", &document.types)
        .replace("{parameters}\n", &document.parameters)
        .replace("{containers}\n", &document.containers)
}

const TEMPLATE: &str = include_str!("xtce/template.xml");

/// What the declarations add to the template.
#[derive(Default)]
struct Document {
    types: String,
    parameters: String,
    containers: String,
}

impl Document {
    fn add_kind(&mut self, kind: &Kind) -> fmt::Result {
        write!(
            self.containers,
            r#"
      <SequenceContainer name="{}" shortDescription="{}">
        <EntryList>
"#,
            kind.name,
            escaped(kind.description),
        )?;
        for field in kind.fields {
            self.add_field(field)?;
        }
        self.add_entry("crc")?;
        write!(
            self.containers,
            r#"        </EntryList>
        <BaseContainer containerRef="telemetry">
          <RestrictionCriteria>
            <ComparisonList>
              <Comparison parameterRef="layout_version" value="{LAYOUT_VERSION}"/>
              <Comparison parameterRef="apid" value="{}"/>
            </ComparisonList>
          </RestrictionCriteria>
        </BaseContainer>
      </SequenceContainer>
"#,
            kind.apid
        )
    }

    fn add_field(&mut self, field: &Field) -> fmt::Result {
        match &field.meaning {
            Meaning::Channel(channel) if channel.labels.is_empty() => {
                self.add_quantity(field, channel)?;
            }
            Meaning::Channel(channel) => self.add_enumeration(field, channel)?,
            Meaning::Flags(flags) => return self.add_flags(field, flags),
            Meaning::Reserved => self.add_spare_type(field.name, field.raw.octets() * 8)?,
        }
        self.add_parameter(field.name, field.description)
    }

    fn add_quantity(&mut self, field: &Field, channel: &Channel) -> fmt::Result {
        let name = field.name;
        writeln!(self.types, r#"      <FloatParameterType name="{name}_type" sizeInBits="64">"#)?;
        if channel.unit.is_empty() {
            writeln!(self.types, "        <UnitSet/>")?;
        } else {
            writeln!(
                self.types,
                "        <UnitSet><Unit>{}</Unit></UnitSet>",
                escaped(channel.unit)
            )?;
        }
        writeln!(
            self.types,
            r#"        <IntegerDataEncoding{}>
          <DefaultCalibrator>
            <PolynomialCalibrator><Term coefficient="{}" exponent="1"/></PolynomialCalibrator>
          </DefaultCalibrator>
        </IntegerDataEncoding>"#,
            encoding(field.raw),
            exact(channel.scale),
        )?;
        // Ends of the raw type are no limits: a reader whose product with the scale lies beside them
        // would find fault with what is whole.
        if is_narrower(field, channel) {
            let (low, high) = channel.range;
            writeln!(
                self.types,
                r#"        <ValidRange minInclusive="{}" maxInclusive="{}"/>"#,
                exact(low),
                exact(high),
            )?;
        }
        writeln!(self.types, "      </FloatParameterType>")
    }

    fn add_enumeration(&mut self, field: &Field, channel: &Channel) -> fmt::Result {
        write!(
            self.types,
            r#"      <EnumeratedParameterType name="{}_type">
        <IntegerDataEncoding{}/>
        <EnumerationList>
"#,
            field.name,
            encoding(field.raw),
        )?;
        for (value, label) in channel.labels {
            writeln!(
                self.types,
                r#"          <Enumeration value="{value}" label="{}"/>"#,
                escaped(label)
            )?;
        }
        writeln!(self.types, "        </EnumerationList>\n      </EnumeratedParameterType>")
    }

    /// One boolean for each named bit, from the most significant one down as they lie on the wire,
    /// and one spare number for each stretch of bits between them.
    fn add_flags(&mut self, field: &Field, flags: &[Flag]) -> fmt::Result {
        let mut flags: Vec<_> = flags.iter().collect();
        flags.sort_by_key(|flag| std::cmp::Reverse(flag.bit));
        let mut unread = field.raw.octets() * 8;
        for flag in flags {
            let place = usize::from(flag.bit);
            self.add_spare_bits(field, unread - place - 1, place + 1)?;
            unread = place;
            writeln!(
                self.types,
                r#"      <BooleanParameterType name="{}_type">
        <IntegerDataEncoding sizeInBits="1" encoding="unsigned"/>
      </BooleanParameterType>"#,
                flag.name
            )?;
            self.add_parameter(flag.name, flag.description)?;
        }
        self.add_spare_bits(field, unread, 0)
    }

    fn add_spare_bits(&mut self, field: &Field, bits: usize, lowest: usize) -> fmt::Result {
        if bits == 0 {
            return Ok(());
        }
        let name = format!("{}_spare_{lowest}", field.name);
        self.add_spare_type(&name, bits)?;
        self.add_parameter(&name, "Bits without a meaning.")
    }

    fn add_spare_type(&mut self, name: &str, bits: usize) -> fmt::Result {
        writeln!(
            self.types,
            r#"      <IntegerParameterType name="{name}_type" signed="false">
        <IntegerDataEncoding sizeInBits="{bits}" encoding="unsigned"/>
      </IntegerParameterType>"#
        )
    }

    fn add_parameter(&mut self, name: &str, description: &str) -> fmt::Result {
        writeln!(
            self.parameters,
            r#"      <Parameter name="{name}" parameterTypeRef="{name}_type" shortDescription="{}"/>"#,
            escaped(description)
        )?;
        self.add_entry(name)
    }

    fn add_entry(&mut self, name: &str) -> fmt::Result {
        writeln!(self.containers, r#"          <ParameterRefEntry parameterRef="{name}"/>"#)
    }
}

fn encoding(raw: RawType) -> String {
    let sign = if raw.is_signed() { "twosComplement" } else { "unsigned" };
    format!(r#" sizeInBits="{}" encoding="{sign}""#, raw.octets() * 8)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let document = document();
        let mut names = HashSet::new();
        for part in document.split("<Parameter name=\"").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(names.insert(name), "{name} is declared twice");
        }
        assert!(names.contains("cpu_temp") && names.contains("crc"));
        assert!(!document.contains('{'), "a placeholder is left");
    }

    #[test]
    fn flags_lie_from_the_most_significant_bit_down() {
        const FLAGS: [Flag; 2] = [
            Flag { name: "low", description: "", bit: 1 },
            Flag { name: "high", description: "", bit: 6 },
        ];
        let field = Field {
            name: "bits",
            description: "",
            raw: RawType::U8,
            offset: 0,
            meaning: Meaning::Flags(&FLAGS),
        };
        let mut document = Document::default();
        document.add_field(&field).unwrap();
        let entries: Vec<_> = document.containers.split('"').skip(1).step_by(2).collect();
        assert_eq!(entries, ["bits_spare_7", "high", "bits_spare_2", "low", "bits_spare_0"]);
    }
}
