//! How records are numbered, and how the commit ledger tells the numbers of different runs apart.

/// A record's number holds the run that wrote it in its upper bits: what a run numbers is above all
/// that any earlier one did, whatever became of the end of the earlier one's file. A run that gives
/// more numbers goes on in the next one's.
const RUN_BITS: u32 = 26;

/// Runs are 64ths of a second since this moment, 2020-01-01, in µs since 1970.
const RUNS_BEGAN_US: i64 = 1_577_836_800_000_000;
const RUN_US: i64 = 15_625;
/// The clock's last, in 2079: a million are left above it.
const RUNS_MAX: i64 = (NUMBER_MAX >> RUN_BITS) - 1_000_000;
/// Higher numbers are nobody's.
pub(crate) const NUMBER_MAX: i64 = i64::MAX - (1 << 60);

/// No file that begins with this number or a higher one is a journal's: a run after it has to have
/// numbers left below [`NUMBER_MAX`].
pub(crate) const FIRST_MAX: i64 = (RUNS_MAX + 500_000) << RUN_BITS;

/// The first number of a run that begins now (µs since 1970), after others of which the files have
/// numbers up to `highest`.
///
/// It follows the clock, since files do not tell all: while the disk refused them an earlier run has
/// given numbers that only the database knows. A run that fails begins anew once a second at most,
/// which the clock outruns. With a clock that was set back it is at least above what the files have.
pub(crate) fn first_of_run(highest: i64, now_us: i64) -> i64 {
    let runs = (now_us.saturating_sub(RUNS_BEGAN_US) / RUN_US).clamp(0, RUNS_MAX);
    next_run(highest).max(runs << RUN_BITS)
}

/// The first number of the run after the one of `number`.
pub(crate) fn next_run(number: i64) -> i64 {
    ((number >> RUN_BITS) + 1) << RUN_BITS
}

/// Whether two numbers were given by one run.
pub(crate) fn is_same_run(one: i64, other: i64) -> bool {
    one >> RUN_BITS == other >> RUN_BITS
}

/// A new identity for one run of the journal with this identity. The commit ledger knows a record by
/// the run that wrote it, so a copy of a folder never takes what another station has stored for its
/// own. Runs of one journal have its upper bits in common, by which the database is asked whether it
/// knows the journal at all.
pub(crate) fn run_identity(journal: i64) -> i64 {
    let random: u64 = rand::random();
    (journal & !JOURNAL_LOW_BITS) | (random.cast_signed() & JOURNAL_LOW_BITS)
}

/// The bits of a run's identity that are its own.
pub(crate) const JOURNAL_LOW_BITS: i64 = (1 << 40) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_above_the_files_and_above_what_the_clock_knows_of() {
        let now = |s: i64| RUNS_BEGAN_US + s * 1_000_000;
        let first = first_of_run(-1, now(100));
        assert!(!is_same_run(first, first_of_run(-1, now(101))));
        // It has failed each second, and nothing of that is in a file.
        let failed = (0..50).fold(first, |number, _| next_run(number));
        assert!(failed < first_of_run(-1, now(150)));
        // The clock was set back, or is nonsense.
        assert_eq!(first_of_run(first, now(-5)), next_run(first));
        assert_eq!(first_of_run(first, i64::MIN), next_run(first));
        let last = first_of_run(-1, i64::MAX);
        assert!((first..NUMBER_MAX - (500_000 << RUN_BITS)).contains(&last));
    }

    #[test]
    fn a_run_numbers_above_all_before() {
        assert_eq!(next_run(-1), 0);
        let first = next_run((3 << RUN_BITS) + 17);
        assert_eq!(first, 4 << RUN_BITS);
        assert!(is_same_run(first, first + 99) && !is_same_run(first, first - 1));
    }

    #[test]
    fn runs_share_the_upper_bits_of_their_journal() {
        for journal in [0, -1, i64::MIN, i64::MAX, 0x1234_5678_9abc_def0] {
            let (one, other) = (run_identity(journal), run_identity(journal));
            assert_ne!(one, other);
            assert_eq!(one >> 40, journal >> 40);
            assert_eq!(run_identity(one) >> 40, journal >> 40);
        }
    }
}
