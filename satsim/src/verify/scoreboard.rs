//! Detection as text, and what was asked of it as terms.

use core::fmt::Write as _;

use super::{
    DetectionOptions,
    compare::Term,
    detection::{AFTER_SAMPLES, Detection, tally::Tally},
};

/// The table: all, by kind, by channel.
pub fn page(detection: &Detection) -> String {
    let mut page = format!(
        "{:<18}{:>8}{:>8}{:>8}{:>8}{:>11}{:>7}{:>10}{:>6}{:>12}{:>8}\n",
        "detection",
        "events",
        "found",
        "recall",
        "false",
        "precision",
        "F1",
        "delay p50",
        "p95",
        "seconds p50",
        "p95",
    );
    page.push_str(&row("all", &detection.all, true));
    for (kind, tally) in &detection.kinds {
        page.push_str(&row(&format!("  {kind}"), tally, false));
    }
    for (channel, tally) in &detection.channels {
        page.push_str(&row(&format!("  {channel}"), tally, true));
    }
    // Writing to a String cannot fail.
    if let Some(per_million) = detection.false_per_million() {
        let values = detection.values;
        let _ =
            writeln!(page, "{per_million:.3} false alarms per million values ({values} values)");
    }
    if detection.neutral > 0 {
        let _ = writeln!(
            page,
            "note: {} alarms count neither way: during an event or within {AFTER_SAMPLES} samples \
             after it, not at its onset",
            detection.neutral
        );
    }
    for (events, why) in [
        (detection.not_received, "nothing of them is stored"),
        (detection.cut_off, "the flight was over too soon after their start"),
    ] {
        if events > 0 {
            let _ = writeln!(page, "note: {events} events were left out: {why}");
        }
    }
    page
}

/// What was asked of it, and whether it is so. Nothing to score fulfils no share.
pub fn terms(detection: &Detection, options: &DetectionOptions) -> Vec<Term> {
    let least = |name: String, wanted: f64, share: Option<f64>| Term {
        name,
        expected: format!("at least {wanted}"),
        found: share.map_or_else(|| "nothing to score".into(), |share| format!("{share:.4}")),
        agrees: share.is_some_and(|share| share >= wanted),
    };
    let f1 = options.min_f1.map(|wanted| least("onset F1".into(), wanted, detection.all.f1()));
    let recalls = options.min_recall.iter().map(|wanted| {
        let tally = detection.kinds.get(&wanted.kind);
        least(format!("{} recall", wanted.kind), wanted.share, tally.and_then(Tally::recall))
    });
    let false_alarms = options.max_false.map(|most| Term {
        name: "false alarms".into(),
        expected: format!("at most {most}"),
        found: detection.all.false_alarms.to_string(),
        agrees: detection.all.false_alarms <= most,
    });
    f1.into_iter().chain(recalls).chain(false_alarms).collect()
}

fn row(name: &str, tally: &Tally, has_false: bool) -> String {
    let share =
        |share: Option<f64>| share.map_or_else(|| "-".into(), |share| format!("{share:.3}"));
    let samples = |percent| {
        tally.delay(percent).map_or_else(|| "-".into(), |delay| delay.samples.to_string())
    };
    let seconds = |percent| {
        let seconds = tally.delay(percent).map(|delay| delay.us as f64 / 1e6);
        seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.1}"))
    };
    let dash = || "-".to_owned();
    let of_alarms = |text: String| if has_false { text } else { dash() };
    format!(
        "{name:<18}{:>8}{:>8}{:>8}{:>8}{:>11}{:>7}{:>10}{:>6}{:>12}{:>8}\n",
        tally.events,
        tally.found(),
        share(tally.recall()),
        of_alarms(tally.false_alarms.to_string()),
        of_alarms(share(tally.precision())),
        of_alarms(share(tally.f1())),
        samples(50),
        samples(95),
        seconds(50),
        seconds(95),
    )
}
