//! Whether a round that was played has gone well.

use anyhow::{Context, Result};
use protocol::{attitude, health};

use super::field::Field;
use super::flight::{boot, boot_of_twin};
use super::forged::FORGED_FIRST;
use super::judge::{Row, Rules, judge};
use super::scene::{Flown, Scene};
use super::{Kind, Outcome};
use crate::station::{RECEIVER_REPORT, SATSIM_REPORT};
use crate::tap::Stream;
use crate::{Counters, Reports, Verification};

impl Scene<'_> {
    /// Holds the books and the rows against what was sent.
    pub(super) fn examine(self, flown: &Flown, outcome: &mut Outcome) -> Result<()> {
        let plan = self.plan;
        let last_folder = self.folder_of_station();
        let is_one_life = self.starts == 1;
        // Whoever forges frames marks them by their counters.
        let is_forged = |row: &Row| row.sequence >= FORGED_FIRST;
        let (forged, rows): (Vec<_>, Vec<_>) = self.rows()?.into_iter().partition(is_forged);
        let mut passages = self.tap.stop()?;
        passages.extend(flown.twin.iter().flat_map(|twin| &twin.passages));
        let kernel_dropped: u64 = self.reports.iter().map(|counters| counters.kernel_dropped).sum();
        let rules = Rules {
            loss_window: self.field.settings.loss_window,
            record_octets_max: RECORD_OCTETS_MAX,
            kernel_dropped,
            frames_per_datagram: plan.frames_per_datagram,
        };
        let mut findings = judge(&passages, &rows, &self.downs, &rules);
        (findings.forged_sent, findings.forged_rows) = (self.forger.sent(), forged.len() as u64);
        let may_miss = kernel_dropped > 0 || !self.downs.is_empty();
        outcome.wrong.extend(self.forger.violations(&forged, may_miss));
        outcome.wrong.extend(findings.violations());
        let damaged = findings.damaged;
        outcome.findings = Some(findings);
        for counters in &self.reports {
            outcome.wrong.extend(imbalance(counters));
            // Of a damaged record it is counted what it held, where that was known.
            if counters.queue_dropped > damaged {
                let shed = counters.queue_dropped;
                outcome.wrong.push(format!("{shed} samples were dropped for want of room"));
            }
            let refused = counters.rejected_total();
            if refused > self.planted {
                outcome.wrong.push(format!("{refused} frames were refused"));
            }
        }
        let may_be_deaf = plan.kinds.contains(&Kind::Pause) || plan.begins_without_database();
        if kernel_dropped > 0 && !may_be_deaf {
            outcome.wrong.push(format!("the kernel dropped {kernel_dropped} datagrams"));
        }
        let last = self.reports.last().context("the station has left no report")?;
        if last.pending > 0 {
            outcome.wrong.push(format!("{} samples are pending at the end", last.pending));
        }
        if self.memory_mib > self.field.settings.memory_mib_max {
            let max = self.field.settings.memory_mib_max;
            outcome.wrong.push(format!("{:.0} MiB resident, of {max} at most", self.memory_mib));
        }
        if is_one_life {
            let has_forged = self.forger.sent() > 0;
            if has_forged {
                delete_forged(self.field, self.database)?;
            }
            let report = last_folder.join(RECEIVER_REPORT);
            let reports = Reports {
                truth: &self.folder.join(SATSIM_REPORT),
                // Forged leaps make true frames missed and late: the figures of the link are not
                // comparable, rows and their values are.
                receiver: (!has_forged).then_some(&report),
            };
            let options: &[&str] = if kernel_dropped > 0 { &["--lossy-link"] } else { &[] };
            let url = self.field.cluster.url(self.database);
            let verification = Verification::run(reports, &url, options)?;
            if !verification.agrees {
                outcome.wrong.push(format!("satsim verify: {}", verification.verdict()));
            }
            if last.committed + kernel_dropped < flown.generated {
                outcome.wrong.push(format!("{} samples committed", last.committed));
            }
        }
        Ok(())
    }

    /// What is stored, in the order in which it was.
    fn rows(&self) -> Result<Vec<Row>> {
        let (first, second) = (boot(self.plan), boot_of_twin(self.plan));
        let mut rows = Vec::new();
        for kind in [&health::KIND, &attitude::KIND] {
            let query = format!(
                "SELECT substr(satellite_id, 5), boot_count, sequence FROM {}
                 WHERE boot_count IN ({first}, {second}) OR sequence >= {FORGED_FIRST}
                 ORDER BY stored_by, sequence",
                kind.table
            );
            for line in self.field.sql(self.database, &query)?.lines() {
                let (spacecraft, rest) = line.split_once('|').context("three columns")?;
                let (boot_count, sequence) = rest.split_once('|').context("three columns")?;
                let apid = kind.apid.number();
                let boot_count = boot_count.parse()?;
                let stream = Stream { spacecraft: spacecraft.parse()?, apid, boot_count };
                rows.push(Row { stream, sequence: sequence.parse()? });
            }
        }
        Ok(rows)
    }
}

/// Leaves only what satellites have sent.
fn delete_forged(field: &Field, database: &str) -> Result<()> {
    for kind in [&health::KIND, &attitude::KIND] {
        let delete = format!("DELETE FROM {} WHERE sequence >= {FORGED_FIRST}", kind.table);
        field.sql(database, &delete)?;
    }
    Ok(())
}

/// What is wrong with the books of a station that has ended in order.
pub(super) fn imbalance(counters: &Counters) -> Vec<String> {
    let figures = [
        ("frames without a place", counters.frame_residual()),
        ("samples without a place", counters.sample_residual()),
        ("samples were quarantined", counters.quarantined as i64),
        ("frames were dropped before the quarantine", counters.quarantine_dropped as i64),
    ];
    let wrong = figures.into_iter().filter(|(_, figure)| *figure != 0);
    wrong.map(|(name, figure)| format!("{figure} {name}")).collect()
}

/// A record of the journal holds a chunk at most.
const RECORD_OCTETS_MAX: u64 = 33 * 1_024;
