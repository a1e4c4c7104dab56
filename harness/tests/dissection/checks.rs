//! What is shown against what was sent.

use harness::generate::reading::Reading;
use harness::generate::samples::{Item, Place, Sample};
use protocol::channel::Meaning;
use protocol::header::HEADER_OCTETS;
use protocol::{KINDS, Refusal};

use super::Shown;

pub(crate) fn check_sample(sample: &Sample, shown: &[Vec<Shown>]) {
    assert_eq!(shown.len(), sample.datagrams.len(), "{}", sample.name);
    for (payload, shown) in sample.datagrams.iter().zip(shown) {
        assert_eq!(shown.len(), payload.items.len(), "{}", sample.name);
        let octets: Vec<_> = shown.iter().flat_map(|frame| frame.octets.clone()).collect();
        assert_eq!(octets, payload.octets, "{}", sample.name);
        for (item, shown) in payload.items.iter().zip(shown) {
            check_item(item, shown);
        }
    }
}

fn check_item(item: &Item, shown: &Shown) {
    match item {
        Item::Good(reading, place) => {
            check_headers(shown, reading);
            check_values(shown, reading);
            check_marks(shown, reading);
            check_place(shown, *place);
        }
        Item::Idle(count, octets) => {
            assert_eq!(shown.number("apid"), Some(2_047.0));
            assert_eq!(shown.number("sequence.count"), Some(f64::from(*count)));
            assert_eq!(shown.octets.len(), *octets);
            assert_eq!(shown.number("crc.status"), Some(1.0));
            assert_eq!(shown.text("refusal"), None);
        }
        Item::Refused(refusal, octets, sent) => {
            assert_eq!(shown.text("refusal"), Some(refusal.to_string().as_str()));
            assert!(shown.has_remark(&refusal.to_string()), "{shown:?}");
            assert_eq!(shown.octets.len(), *octets);
            assert_eq!(shown.text("sequence.status"), None, "it moves no counter");
            let crc = match refusal {
                Refusal::TooShort | Refusal::LengthMismatch => None,
                Refusal::CrcMismatch if shown.octets.len() < 46 => None,
                Refusal::CrcMismatch => Some(0.0),
                _ => Some(1.0),
            };
            assert_eq!(shown.number("crc.status"), crc, "{refusal}");
            if let Some(sent) = sent {
                check_secondary(shown, sent);
            }
        }
    }
}

pub(crate) fn check_headers(shown: &Shown, reading: &Reading) {
    for (name, expected) in [
        ("version", 0.0),
        ("type", 0.0),
        ("sequence.flags", 3.0),
        ("sequence.count", f64::from(reading.sequence_count)),
        ("length", reading.data_length as f64),
        ("time.p_field", 65.0),
        ("layout", 1.0),
        ("crc", f64::from(reading.crc)),
        ("crc.status", 1.0),
    ] {
        assert_eq!(shown.number(name), Some(expected), "{name}");
    }
    assert_eq!(shown.is("secondary_header"), Some(true));
    assert_eq!(shown.text("refusal"), None);
    check_secondary(shown, reading);
}

fn check_secondary(shown: &Shown, reading: &Reading) {
    for (name, expected) in [
        ("apid", f64::from(reading.apid)),
        ("time.day", f64::from(reading.day)),
        ("time.ms", f64::from(reading.ms)),
        ("time.us", f64::from(reading.us)),
        ("spacecraft", f64::from(reading.spacecraft)),
        ("boot_count", f64::from(reading.boot_count)),
        ("sequence.extension", f64::from(reading.sequence_extension)),
        ("sequence", f64::from(reading.sequence)),
    ] {
        assert_eq!(shown.number(name), Some(expected), "{name}");
    }
    assert_eq!(shown.text("satellite_id"), Some(reading.satellite_id.as_str()));
    // The date is checked where dates are computed; how it is printed depends on the version.
    let seconds = reading.ms / 1_000 % 86_400;
    let clock = format!(
        "{:02}:{:02}:{:02}.{:03}{:03}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        reading.ms % 1_000,
        reading.us
    );
    let time = shown.text("time").unwrap_or_default();
    assert!(time.contains(&clock), "{time} is not at {clock}");
}

pub(crate) fn check_values(shown: &Shown, reading: &Reading) {
    for (name, expected) in &reading.values {
        let value = shown.number(name).unwrap_or(f64::NAN);
        // tshark prints 15 digits.
        let tolerance = expected.abs() * 1e-14;
        assert!((value - expected).abs() <= tolerance, "{name}: {value} is not {expected}");
    }
    for (name, expected) in &reading.flags {
        assert_eq!(shown.is(name), Some(*expected), "{name}");
    }
}

/// Choosing a field marks its octets, and no others.
pub(crate) fn check_marks(shown: &Shown, reading: &Reading) {
    let kind = KINDS.iter().find(|kind| kind.name == reading.kind);
    for field in kind.expect("a declared kind").fields {
        let place = HEADER_OCTETS + field.offset;
        let marked = shown.marked.get(&format!("orbitstream.{}", field.name));
        let expected = &shown.octets[place..place + field.raw.octets()];
        assert_eq!(marked.map(Vec::as_slice), Some(expected), "{}", field.name);
    }
}

fn check_place(shown: &Shown, place: Place) {
    let (status, gap) = match place {
        Place::Next | Place::Reboot => ("next", None),
        Place::Gap(missing) => ("gap", Some(f64::from(missing))),
        Place::Late => ("late", None),
        Place::Duplicate => ("duplicate", None),
        Place::Stale => ("stale", None),
    };
    assert_eq!(shown.text("sequence.status"), Some(status), "{place:?}");
    assert_eq!(shown.number("sequence.gap"), gap, "{place:?}");
    assert_eq!(shown.has_remark(status), status != "next", "{place:?}");
    let rebooted = (place == Place::Reboot).then_some(true);
    assert_eq!(shown.is("reboot"), rebooted, "{place:?}");
}

pub(crate) fn is_out_of_range(reading: &Reading) -> bool {
    let kind = KINDS.iter().find(|kind| kind.name == reading.kind);
    kind.expect("a declared kind").fields.iter().any(|field| {
        let Meaning::Channel(channel) = field.meaning else {
            return false;
        };
        let (low, high) = channel.range;
        !(low..=high).contains(&reading.values[field.name])
    })
}
