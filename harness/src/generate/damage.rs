//! Datagrams that are not as they should be: what readers of the protocol must take apart as
//! `protocol` does, frame by frame and octet by octet.

use protocol::crc16;
use protocol::header::HEADER_OCTETS;

use super::corpus::frames;

/// All of them; the same every time.
#[must_use]
pub fn datagrams() -> Vec<Vec<u8>> {
    [damaged(), wrong(), wrong_twice(), costly()].concat()
}

/// Good frames with every octet of the first changed once, with every length, and junk between.
fn damaged() -> Vec<Vec<u8>> {
    let good = frames(5, 400);
    let mut datagrams = vec![Vec::new()];
    for (index, pair) in good.chunks_exact(2).enumerate() {
        let mut flipped = pair.concat();
        flipped[index % 68] ^= 1 << (index % 8);
        let cut = &pair[0][..index % pair[0].len()];
        let junk: Vec<_> = (0..index).map(|octet| (octet * index) as u8).collect();
        datagrams.push(flipped);
        datagrams.push([cut, &pair[1]].concat());
        datagrams.push([&pair[0], &junk[..], &pair[1]].concat());
    }
    datagrams
}

/// Frames with a right CRC whose sender is wrong: every octet of the headers with other values,
/// times at their limits, idle frames at theirs.
fn wrong() -> Vec<Vec<u8>> {
    let good = frames(17, 0);
    // The corpus begins with one kind and ends with another.
    let [.., last] = &good[..] else { return Vec::new() };
    let mut datagrams = Vec::new();
    let mut add = |frame: &[u8], place: usize, octets: &[u8]| {
        let mut frame = frame.to_vec();
        frame[place..place + octets.len()].copy_from_slice(octets);
        datagrams.push([&sealed(frame), &last[..]].concat());
    };
    for frame in [&good[0], last] {
        for place in (0..HEADER_OCTETS).filter(|place| !(4..6).contains(place)) {
            for bit in 0..8 {
                add(frame, place, &[frame[place] ^ 1 << bit]);
            }
            add(frame, place, &[0]);
        }
        add(frame, 16, &[0, 0]);
        for ms in [86_400_999_u32, 86_401_000] {
            add(frame, 9, &ms.to_be_bytes());
        }
        for us in [999_u16, 1_000] {
            add(frame, 13, &us.to_be_bytes());
        }
    }
    for octets in [8_u16, 9, 1_023, 1_024, 1_025, 2_000] {
        let mut idle = vec![0; usize::from(octets)];
        idle[..4].copy_from_slice(&[0x07, 0xFF, 0xC0, 0x00]);
        add(&idle, 4, &(octets - 7).to_be_bytes());
    }
    datagrams
}

/// Frames with a right CRC and two things wrong with each: the first in the order of the checks names
/// the refusal.
fn wrong_twice() -> Vec<Vec<u8>> {
    let good = frames(23, 0);
    let changes: [fn(&mut Vec<u8>); 7] = [
        |frame| frame[0] |= 0x20,
        |frame| frame[1] = 0x66,
        |frame| frame[6] = 0x42,
        |frame| frame[15] = 2,
        |frame| frame[16..18].fill(0),
        |frame| frame.truncate(20),
        |frame| frame.extend([0; 4]),
    ];
    let mut datagrams = Vec::new();
    for (place, first) in changes.iter().enumerate() {
        for second in &changes[place + 1..] {
            let mut frame = good[0].clone();
            first(&mut frame);
            second(&mut frame);
            let length = (frame.len() as u16 - 7).to_be_bytes();
            frame[4..6].copy_from_slice(&length);
            datagrams.push([&sealed(frame), &good[1][..]].concat());
        }
    }
    datagrams
}

/// Gives a changed frame the CRC it should have.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let end = frame.len() - 2;
    let crc = crc16(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_be_bytes());
    frame
}

/// Lengths that reach to the end and turn out false, again and again: not all of them are followed.
fn costly() -> Vec<Vec<u8>> {
    let good = frames(19, 200);
    let many = |count: usize| {
        let mut datagram = Vec::new();
        for frame in good[..count].iter().rev() {
            let rest = 8 + frame.len() + datagram.len();
            let length = ((rest - 7) as u16).to_be_bytes();
            let bad = [0x08, 0xC8, 0xC0, 0x00, length[0], length[1], 0xA5, 0xA5];
            datagram = [&bad, &frame[..], &datagram].concat();
        }
        datagram
    };
    [1, 2, 3, 10, 200].map(many).to_vec()
}
