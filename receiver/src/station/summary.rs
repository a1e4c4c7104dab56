//! The last line of a run: what came, what is stored, and everything that is not, by reason.

use std::{fmt::Write as _, path::Path};

use crate::ledger::Ledger;

/// The final state in one line. What did not happen is left out; the names are those of the ledger.
/// `journal` is where what is pending waits for the next start.
#[must_use]
pub fn summary(ledger: &Ledger, journal: Option<&Path>) -> String {
    let mut line = format!("{} frames: {} accepted", ledger.frames, ledger.accepted);
    for (count, what) in [(ledger.late, "of them late"), (ledger.idle, "idle")] {
        if count > 0 {
            push(&mut line, ", ", count, what);
        }
    }
    push(&mut line, "; ", ledger.committed, "samples stored");
    for (count, what) in [(ledger.json, "came by HTTP"), (ledger.recovered, "of an earlier run")] {
        if count > 0 {
            push(&mut line, ", ", count, what);
        }
    }
    let others = [
        ("lost", ledger.lost),
        ("duplicate", ledger.duplicate),
        ("stale", ledger.stale),
        ("quarantined", ledger.quarantined),
        ("quarantine_dropped", ledger.quarantine_dropped),
        ("queue_dropped", ledger.queue_dropped),
        ("kernel_dropped", ledger.kernel_dropped),
        ("pending", ledger.pending),
    ];
    let mut separator = "; not stored: ";
    for (name, count) in ledger.rejected.by_reason().into_iter().chain(others) {
        if count > 0 {
            push(&mut line, separator, count, name);
            separator = ", ";
        }
    }
    if ledger.pending > 0 {
        // Nothing can fail that writes to a string.
        let _written = match journal {
            Some(folder) => {
                write!(line, " (in {}, stored at the next start)", folder.display())
            }
            None => write!(line, " (lost, without a journal)"),
        };
    }
    let (frames, samples) = (ledger.frames_residual(), ledger.samples_residual());
    if (frames, samples) != (0, 0) {
        let _written =
            write!(line, "; unaccounted for, which is a fault: {frames} frames, {samples} samples");
    }
    line
}

fn push(line: &mut String, separator: &str, count: u64, what: &str) {
    let _never_fails = write!(line, "{separator}{count} {what}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Rejections;

    #[test]
    fn what_did_not_happen_is_left_out() {
        let ledger = Ledger { frames: 7, accepted: 7, committed: 7, ..Ledger::default() };
        assert_eq!(summary(&ledger, None), "7 frames: 7 accepted; 7 samples stored");
    }

    #[test]
    fn everything_that_is_not_stored_is_named() {
        let rejected = Rejections { crc_mismatch: 3, bad_time: 1, ..Rejections::default() };
        let ledger = Ledger {
            frames: 30,
            accepted: 20,
            late: 2,
            idle: 1,
            rejected,
            duplicate: 3,
            stale: 2,
            missed: 6,
            lost: 4,
            json: 5,
            recovered: 1,
            committed: 10,
            quarantined: 4,
            quarantine_dropped: 3,
            queue_dropped: 2,
            kernel_dropped: 8,
            pending: 7,
            ..Ledger::default()
        };
        assert_eq!(
            summary(&ledger, Some(Path::new("/journal"))),
            "30 frames: 20 accepted, 2 of them late, 1 idle; 10 samples stored, 5 came by HTTP, \
             1 of an earlier run; not stored: 3 crc_mismatch, 1 bad_time, 4 lost, 3 duplicate, \
             2 stale, 4 quarantined, 3 quarantine_dropped, 2 queue_dropped, 8 kernel_dropped, \
             7 pending (in /journal, stored at the next start)"
        );
        let fault = Ledger { frames: 1, ..Ledger::default() };
        assert!(summary(&fault, None).contains("unaccounted for, which is a fault: 1 frames"));
    }

    /// Each counter that stands for something that is not stored is in the line when it is not 0.
    #[test]
    fn no_counter_is_forgotten() {
        let stored = ["datagrams", "bytes", "frames", "accepted", "committed", "batches", "resets"];
        let fields = serde_json::to_value(Ledger::default()).unwrap();
        let names = Ledger::default().by_name().map(|(name, _)| name);
        for name in names.into_iter().filter(|name| !stored.contains(name)) {
            let mut fields = fields.clone();
            let is_reason = fields["rejected"].get(name).is_some();
            let slot = if is_reason { &mut fields["rejected"][name] } else { &mut fields[name] };
            *slot = 4_711.into();
            let ledger = ledger_of(&fields);
            let line = summary(&ledger, None);
            // A count that was missed is lost, or has come late.
            let is_said = line.contains("4711") || name == "missed";
            assert!(is_said, "{name}: {line}");
        }
    }

    fn ledger_of(fields: &serde_json::Value) -> Ledger {
        let of = |name: &str| fields[name].as_u64().unwrap();
        let reason = |name: &str| fields["rejected"][name].as_u64().unwrap();
        Ledger {
            idle: of("idle"),
            rejected: Rejections {
                too_short: reason("too_short"),
                length_mismatch: reason("length_mismatch"),
                crc_mismatch: reason("crc_mismatch"),
                bad_version: reason("bad_version"),
                bad_layout: reason("bad_layout"),
                unknown_apid: reason("unknown_apid"),
                unknown_spacecraft: reason("unknown_spacecraft"),
                bad_time: reason("bad_time"),
                not_allowed: reason("not_allowed"),
                rate_limited: reason("rate_limited"),
            },
            json: of("json"),
            recovered: of("recovered"),
            duplicate: of("duplicate"),
            stale: of("stale"),
            late: of("late"),
            lost: of("lost"),
            kernel_dropped: of("kernel_dropped"),
            queue_dropped: of("queue_dropped"),
            quarantined: of("quarantined"),
            quarantine_dropped: of("quarantine_dropped"),
            pending: of("pending"),
            ..Ledger::default()
        }
    }
}
