//! Recordings as they are met, and as somebody would make them who wants harm.

mod build;
mod encapsulations;
mod hostile;
mod passed_over;

use std::io;

use proptest::prelude::*;
use protocol::{Datagram, Frame};

use super::{Contents, Reading, Recorded, Recording};
use build::frame;

/// What a file yields.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    all: Vec<Recorded>,
    contents: Contents,
    /// What ended the reading before the end of the file.
    error: Option<String>,
}

fn read_with(octets: &[u8], reading: Reading) -> io::Result<Read> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), octets)?;
    let mut recording = Recording::open(file.path(), reading)?;
    let (mut all, mut one) = (Vec::new(), Recorded::default());
    let error = loop {
        match recording.read(&mut one) {
            Ok(true) => all.push(one.clone()),
            Ok(false) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    let contents = recording.contents().clone();
    assert_eq!(contents.packets, contents.used + contents.unused(), "{contents}");
    Ok(Read { all, contents, error })
}

fn read(octets: &[u8]) -> Vec<Recorded> {
    read_with(octets, Reading::default()).unwrap().all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Rubbish between packets takes none of them along, and no octet is left out or repeated.
    #[test]
    fn every_packet_comes_out_whole(
        rubbish in prop::collection::vec(
            (0..400_usize, prop::collection::vec(any::<u8>(), 0..3_000)), 0..6,
        ),
    ) {
        let mut octets = Vec::new();
        for count in 0..400 {
            octets.extend(frame(count as u32));
            for (_, rubbish) in rubbish.iter().filter(|(place, _)| *place == count) {
                octets.extend(rubbish);
            }
        }
        let pieces = read(&octets);
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.octets.clone()).collect();
        prop_assert!(joined == octets);
        let mut counts = Vec::new();
        for piece in &pieces {
            let mut datagram = Datagram::new(&piece.octets);
            while let Some(item) = datagram.next(|_| true) {
                if let Ok(Frame::Telemetry(frame)) = item {
                    counts.push(frame.sequence().value());
                }
            }
        }
        prop_assert_eq!(counts, (0..400).collect::<Vec<_>>());
    }
}

#[test]
fn a_piece_is_as_old_as_its_first_frame() {
    let pieces = read(&(0..100).flat_map(frame).collect::<Vec<_>>());
    assert!(pieces.len() > 3 && pieces.windows(2).all(|two| two[0].time_us < two[1].time_us));
}

#[test]
fn a_file_without_a_frame_is_said_to_be_what_it_is() {
    let text = "These are the notes of a night at the station.\n".repeat(2_000);
    let mut tried = 0;
    for (octets, said) in [
        (&b""[..], "it is empty"),
        (text.as_bytes(), "none of its 94000 octets are frames"),
        (&[0; 100_000], "none of its 100000 octets are frames"),
        (b"\x28\xB5\x2F\xFD....", "zstd"),
        (b"snoop\0\0\0....", "editcap"),
        (b"\xD4\xC3\xB2\xA1", "ends within its header"),
        (b"\xD4\xC3\xB2\xA1\x01\0\0\0................", "version 1.0"),
        (&text.as_bytes()[..1], "none of its 1 octets"),
    ] {
        let error = read_with(octets, Reading::default()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        tried += 1;
    }
    assert!(tried > 0);
    let folder = tempfile::tempdir().unwrap();
    assert!(Recording::open(&folder.path().join("none"), Reading::default()).is_err());
}
