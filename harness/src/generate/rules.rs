//! What each channel is held to as shipped: the example of a configuration, and a table in
//! `docs/anomalies.md`.

use std::fmt::Write as _;

use protocol::{KINDS, SpacecraftId, channel::Channel};
use receiver::config::detect::KEYS;
use receiver::detect::{Rulebook, Rules, Settings};

/// The example of a configuration.
pub(super) fn example() -> String {
    let settings = Settings::default();
    let mut text = HEAD.to_owned();
    for key in KEYS {
        _ = writeln!(text, "# {:<20} {}", key.name, key.about);
    }
    _ = write!(
        text,
        "\n[detect]\n\
         # What may be spent on what is learned; satellites beyond it get limits only.\n\
         memory = \"{}MiB\"\n\
         # Events that may be open at a time.\n\
         events = {}\n\
         # A stream that is not heard for so long is an event.\n\
         silence = \"{}\"\n\
         # The orbit's period. Without it, it is learned from the latitude.\n\
         # orbit = \"95m\"\n",
        settings.memory >> 20,
        settings.events_max,
        humantime::format_duration(std::time::Duration::from_micros(
            settings.silence_us.unsigned_abs()
        )),
    );
    for (name, channel, rules) in shipped() {
        _ = write!(text, "\n[detect.channels.{name}]\nunit = \"{}\"\n", channel.unit);
        for key in KEYS.iter().filter(|key| key.is_of_use(&rules)) {
            _ = writeln!(text, "{} = {}", key.name, key.show(&rules));
        }
    }
    text + TAIL
}

/// The table of what ships.
pub(super) fn table() -> String {
    let mut table = String::from(
        "| channel | unit | soft | hard | delta, from | stuck | baseline, from | ewma |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (name, channel, rules) in shipped() {
        let limits = |limits: Option<(f64, f64)>| {
            limits.map_or_else(String::new, |(low, high)| format!("{low} … {high}"))
        };
        let switch = |is_on: bool| if is_on { "on" } else { "" };
        let from = |is_on: bool, least: f32| match (is_on, least > 0.0) {
            (true, true) => format!("on, {least}"),
            (is_on, _) => switch(is_on).to_owned(),
        };
        _ = writeln!(
            table,
            "| `{name}` | {} | {} | {} | {} | {} | {} | {} |",
            channel.unit,
            limits(rules.soft),
            limits(rules.hard),
            from(rules.delta, rules.delta_least),
            switch(rules.stuck),
            from(rules.baseline, rules.baseline_least),
            switch(rules.ewma),
        );
    }
    table
}

/// Every channel and its rules.
fn shipped() -> impl Iterator<Item = (&'static str, Channel, Rules)> {
    let rules = Rulebook::shipped().of(SpacecraftId::FIRST).to_vec();
    let channels = KINDS.iter().flat_map(|kind| kind.channels());
    channels.zip(rules.into_iter().flatten()).map(|((name, channel), rules)| (name, channel, rules))
}

const HEAD: &str = "\
# What the receiver's detectors look for, as shipped: a file for `receiver --config FILE`, to take
# from. What a file does not name keeps the value that stands here. The options of `receiver run` may
# stand in the same file, above the first table; docs/anomalies.md says what each detector sees.
#
# Written by `make generate`. The keys of a channel, of which those of a detector that is off are left
# out below:
#
# unit                 the channel's declared unit; may be left out, and is an error when it is another
";
const TAIL: &str = "
# One satellite's channel, on top of what holds for all:
#
# [detect.satellites.SAT-07.battery_temp]
# soft = [-15.0, 50.0]
# baseline = false
";
