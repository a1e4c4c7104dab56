//! A ground station that remembers everything: what satsim's truth is compared with.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Datagram, Frame};

/// Satellite, APID and boot.
pub(crate) type Key = (u16, u16, u16);

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) streams: BTreeMap<Key, Heard>,
    pub(crate) rejected: u64,
    /// How far behind the newest of its stream a late frame, and a copy, was at most.
    pub(crate) late_by_max: u32,
    pub(crate) copy_late_by_max: u32,
    /// Each frame as it came first.
    pub(crate) octets: BTreeMap<(Key, u32), Vec<u8>>,
}

#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) seen: BTreeSet<u32>,
    pub(crate) first_come: u32,
    pub(crate) last_come: u32,
    pub(crate) newest: u32,
    pub(crate) missed: u64,
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
}

impl Heard {
    pub(crate) fn lost(&self) -> u64 {
        self.missed - self.late
    }
}

impl Oracle {
    pub(crate) fn of<'a>(datagrams: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        let mut oracle = Self::default();
        for datagram in datagrams {
            oracle.receive(datagram);
        }
        oracle
    }

    fn receive(&mut self, datagram: &[u8]) {
        let mut frames = Datagram::new(datagram);
        while let Some(item) = frames.next(|_| true) {
            let frame = match item {
                Ok(Frame::Telemetry(frame)) => frame,
                Ok(Frame::Idle(_)) => panic!("nobody sends idle frames"),
                Err(rejected) => {
                    assert!(rejected.reason.is_damage(), "{rejected:?}");
                    self.rejected += 1;
                    continue;
                }
            };
            let key = (frame.spacecraft().number(), frame.apid().number(), frame.boot_count());
            let number = frame.sequence().value();
            let is_new = !self.streams.contains_key(&key);
            let heard = self.streams.entry(key).or_default();
            heard.last_come = number;
            if is_new {
                heard.first_come = number;
                heard.newest = number;
            } else if number > heard.newest {
                heard.missed += u64::from(number - heard.newest - 1);
                heard.newest = number;
            } else if heard.seen.contains(&number) {
                heard.duplicate += 1;
                self.copy_late_by_max = self.copy_late_by_max.max(heard.newest - number);
                assert_eq!(self.octets[&(key, number)], frame.octets());
                continue;
            } else {
                heard.late += 1;
                self.late_by_max = self.late_by_max.max(heard.newest - number);
            }
            heard.seen.insert(number);
            self.octets.insert((key, number), frame.octets().to_vec());
        }
    }
}
