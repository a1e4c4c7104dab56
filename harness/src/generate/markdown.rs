//! Tables in hand-written documents, each between two markers: one for each kind in
//! `docs/protocol.md`, one of the shipped rules in `docs/anomalies.md`, one of the sample captures in
//! `wireshark/README.md`.

use std::io;

use protocol::channel::{Channel, Field, Meaning};
use protocol::header::HEADER_OCTETS;
use protocol::{KINDS, Kind};

use super::number::{exact, rounded};
use super::samples::Sample;

/// `document` with the table of every kind put between its markers.
pub(super) fn with_kinds(document: &str) -> io::Result<String> {
    KINDS.iter().try_fold(document.to_owned(), |text, kind| put(&text, kind.name, &table(kind)))
}

/// `document` with the table of the shipped rules put between its markers.
pub(super) fn with_rules(document: &str, table: &str) -> io::Result<String> {
    put(document, "rules", table)
}

/// `document` with a table of the captures put between its markers.
pub(super) fn with_samples(document: &str, samples: &[Sample]) -> io::Result<String> {
    let rows: Vec<_> = samples
        .iter()
        .map(|sample| {
            let (file, about) = (sample.file_name(), sample.about);
            format!("| [`{file}`](samples/{file}) | {about} |\n")
        })
        .collect();
    let table = format!("| file | what is in it |\n|---|---|\n{}", rows.concat());
    put(document, "samples", &table)
}

/// Replaces what stands between the markers of `name`.
fn put(document: &str, name: &str, table: &str) -> io::Result<String> {
    let missing = |marker: &str| io::Error::other(format!("no marker {marker:?} for table {name}"));
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = document.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok([before, &begin, "\n", table, "\n", END, after].concat())
}

const END: &str = "<!-- end of generated -->";

fn table(kind: &Kind) -> String {
    let mut table = String::from(
        "| offset | type | field | step | unit | range | meaning |\n\
         |---:|---|---|---:|---|---|---|\n",
    );
    for field in kind.fields {
        table += &row(field);
    }
    table
}

fn row(field: &Field) -> String {
    let (step, unit, range, meaning) = match &field.meaning {
        Meaning::Channel(channel) => {
            (exact(channel.scale), channel.unit, range(channel), field.description.to_owned())
        }
        Meaning::Flags(flags) => {
            let bits = flags.iter().map(|flag| {
                let clause = flag.description.trim_end_matches('.');
                format!("bit {} `{}`: {clause}", flag.bit, flag.name)
            });
            (String::new(), "", String::new(), sentence(bits))
        }
        Meaning::Reserved => (String::new(), "", String::new(), field.description.to_owned()),
    };
    format!(
        "| {} | {} | `{}` | {step} | {unit} | {range} | {meaning} |\n",
        HEADER_OCTETS + field.offset,
        field.raw.name(),
        field.name,
    )
}

fn range(channel: &Channel) -> String {
    if channel.labels.is_empty() {
        let (low, high) = channel.range;
        return format!("{} … {}", rounded(low, channel.scale), rounded(high, channel.scale));
    }
    let labels: Vec<_> =
        channel.labels.iter().map(|(value, name)| format!("{value} {name}")).collect();
    labels.join(", ")
}

fn sentence(parts: impl Iterator<Item = String>) -> String {
    format!("{}.", parts.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = KINDS.iter().fold(String::from("before\n"), |text, kind| {
            format!("{text}<!-- generated: {} -->\nold\n{END}\nafter\n", kind.name)
        });
        let new = with_kinds(&document).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("after\n"));
        assert!(!new.contains("old") && new.contains("| `cpu_temp` | 0.01 | °C |"));
        assert_eq!(with_kinds(&new).unwrap(), new, "a second time changes nothing");
    }

    #[test]
    fn a_lost_marker_is_an_error() {
        assert!(with_kinds("nothing here").is_err());
    }
}
