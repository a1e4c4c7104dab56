//! Frames that somebody forges for satellites that are there: their checksum is right, their counter
//! is far ahead or their boot count a foreign one.
//!
//! A receiver cannot tell them from true ones: it stores them. So they carry a mark by which they are
//! counted apart: counters from [`FORGED_FIRST`] on, which no true satellite of a round comes near.
//! Of a foreign boot a stream gets no more than two frames, fewer than make a reboot.

use std::collections::{HashMap, HashSet};
use std::net::UdpSocket;

use anyhow::{Context, Result};
use jiff::Timestamp;
use protocol::attitude::Attitude;
use protocol::health::Health;
use protocol::{CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, emit};

use super::judge::Row;
use crate::tap::Stream;

/// The first counter of a forged frame.
pub(super) const FORGED_FIRST: u32 = 1 << 27;

/// Somebody who forges frames, and what was sent.
#[derive(Debug)]
pub(super) struct Forger {
    socket: UdpSocket,
    sent: Vec<(Stream, u32)>,
    /// How often frames were forged.
    times: u16,
}

impl Forger {
    pub(super) fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        Ok(Self { socket, sent: Vec::new(), times: 0 })
    }

    /// Forges a leap ahead, and two frames of a foreign boot, for each of the first satellites.
    pub(super) fn send(&mut self, target: &str, satellites: u16, boot_count: u16) -> Result<()> {
        self.times += 1;
        for number in 1..=satellites.min(SATELLITES_MAX) {
            let foreign = boot_count.wrapping_add(self.times);
            for boot_count in [boot_count, foreign, foreign] {
                self.send_one(target, number, boot_count)?;
            }
        }
        Ok(())
    }

    fn send_one(&mut self, target: &str, number: u16, boot_count: u16) -> Result<()> {
        let packet = if self.sent.len().is_multiple_of(2) {
            Packet::Health(Health::default())
        } else {
            Packet::Attitude(Attitude::default())
        };
        let sequence = FORGED_FIRST + self.sent.len() as u32 * LEAP;
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(number).context("satellites count from 1")?,
            boot_count,
            sequence: Sequence::new(sequence),
            time: CdsTime::from_unix_us(Timestamp::now().as_microsecond()).context("a time")?,
        };
        let mut octets = [0; FRAME_OCTETS_MAX];
        self.socket.send_to(emit(&stamp, &packet, &mut octets), target)?;
        let apid = packet.kind().apid.number();
        self.sent.push((Stream { spacecraft: number, apid, boot_count }, sequence));
        Ok(())
    }

    /// Frames that were forged.
    pub(super) fn sent(&self) -> u64 {
        self.sent.len() as u64
    }

    /// What is wrong with the rows that carry the mark. Where frames may be missing, because the
    /// station was killed or its socket ran over, those may be.
    pub(super) fn violations(&self, rows: &[Row], may_miss: bool) -> Vec<String> {
        let mut stored: HashMap<(Stream, u32), u64> = HashMap::new();
        for row in rows {
            *stored.entry((row.stream, row.sequence)).or_default() += 1;
        }
        let sent: HashSet<_> = self.sent.iter().collect();
        let doubled = stored.values().filter(|count| **count > 1).count();
        let unknown = stored.keys().filter(|frame| !sent.contains(frame)).count();
        let missing = sent.iter().filter(|frame| !stored.contains_key(frame)).count();
        let counts = [
            (doubled, "forged frames are stored more than once"),
            (unknown, "rows are marked as forged and were never sent"),
            (if may_miss { 0 } else { missing }, "forged frames are lost"),
        ];
        let wrong = counts.into_iter().filter(|(count, _)| *count > 0);
        wrong.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// How far one forged frame is ahead of the one before it, of whatever satellite: far more than the
/// tracker's window.
const LEAP: u32 = 20_011;
/// Of how many satellites frames are forged at a time: all of them in a round stay within half of the
/// counter's modulus.
const SATELLITES_MAX: u16 = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{Datagram, Frame};

    use super::*;

    #[test]
    fn forged_frames_are_accepted_and_told_from_true_ones() -> Result<()> {
        let station = UdpSocket::bind("127.0.0.1:0")?;
        station.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut forger = Forger::new()?;
        for _ in 0..2 {
            forger.send(&station.local_addr()?.to_string(), 3, 65_534)?;
        }
        assert_eq!(forger.sent(), 18);
        let mut by_boot: HashMap<(u16, u16), usize> = HashMap::new();
        let mut buffer = [0; 200];
        let mut rows = Vec::new();
        for _ in 0..18 {
            let octets = station.recv(&mut buffer)?;
            let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(&buffer[..octets]).next(|_| true)
            else {
                anyhow::bail!("no frame");
            };
            let (spacecraft, boot_count) = (frame.spacecraft().number(), frame.boot_count());
            *by_boot.entry((spacecraft, boot_count)).or_default() += 1;
            let sequence = frame.sequence().value();
            assert!(sequence >= FORGED_FIRST);
            let apid = frame.apid().number();
            rows.push(Row { stream: Stream { spacecraft, apid, boot_count }, sequence });
        }
        assert!(by_boot.iter().all(|((_, boot), count)| *boot == 65_534 || *count <= 2));
        assert_eq!(forger.violations(&rows, false), [""; 0]);
        rows.push(rows[0]);
        rows.remove(1);
        let wrong = forger.violations(&rows, false);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert_eq!(forger.violations(&rows, true).len(), 1);
        Ok(())
    }
}
