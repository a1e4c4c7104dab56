//! What of a batch is left out because the database has it already: samples that were found there,
//! and the rows of other tables that were stored with them.
//!
//! A row of `link_health` has nothing that it could be recognised by. It follows the samples of its
//! spacecraft: when all of the latest ones were stored already, so was their link health. The
//! station's own rows and refused frames follow the latest samples of all spacecraft.

use std::collections::HashSet;

use protocol::SpacecraftId;

use crate::{chunk::Entry, spacecraft::SpacecraftSet};

/// Which samples of a batch are stored already, by number among its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// The numbers.
    pub stored: HashSet<u32>,
}

/// What is left out of a batch.
pub(super) struct Skipped {
    samples: HashSet<u32>,
    /// Spacecraft whose latest samples, here or in an earlier batch, were all stored already.
    spacecraft: SpacecraftSet,
    /// Whether the latest samples of all of them were.
    is_all: bool,
}

impl Skipped {
    pub(super) fn nothing() -> Self {
        Self { samples: HashSet::new(), spacecraft: SpacecraftSet::none(), is_all: false }
    }

    /// Leaves out what is present of these entries, and no more what was left out of them before.
    /// Whether that may change the rows.
    pub(super) fn replace<'a>(
        &mut self,
        presence: &Presence,
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> bool {
        if presence.stored.is_empty() && self.is_empty() {
            return false;
        }
        self.samples.clone_from(&presence.stored);
        let (mut heard, mut new) = (SpacecraftSet::none(), SpacecraftSet::none());
        let mut all = Vec::new();
        for (number, entry) in entries.enumerate() {
            let Entry::Sample(record) = entry else { continue };
            let spacecraft = record.spacecraft();
            if heard.insert(spacecraft) {
                all.push(spacecraft);
            }
            if !self.samples.contains(&(number as u32)) {
                new.insert(spacecraft);
            }
        }
        for &spacecraft in &all {
            if new.contains(spacecraft) {
                self.spacecraft.remove(spacecraft);
            } else {
                self.spacecraft.insert(spacecraft);
            }
        }
        if !all.is_empty() {
            self.is_all = all.iter().all(|&spacecraft| !new.contains(spacecraft));
        }
        true
    }

    /// Whether an entry is left out.
    pub(super) fn has(&self, number: usize, entry: &Entry<'_>) -> bool {
        match entry {
            Entry::Sample(_) => self.samples.contains(&(number as u32)),
            Entry::Link(row) => SpacecraftId::new(row.spacecraft.get())
                .is_some_and(|spacecraft| self.spacecraft.contains(spacecraft)),
            Entry::Station(_) | Entry::Rejected(..) => self.is_all,
            // Events are known by their identity, and nothing is known of the others.
            Entry::Jump(_) | Entry::Unreadable(_) => false,
        }
    }

    /// Samples that are left out.
    pub(super) fn samples(&self) -> u64 {
        self.samples.len() as u64
    }

    /// The next batch begins.
    pub(super) fn advance(&mut self) {
        self.samples.clear();
    }

    fn is_empty(&self) -> bool {
        self.samples.is_empty() && !self.is_all && self.spacecraft == SpacecraftSet::none()
    }
}
