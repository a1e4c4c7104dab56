//! The keys of a channel's table, each declared once: its name is that of the field of [`Rules`]
//! that it sets. A field without a key does not compile.

use toml::Value;

use crate::{config::values, detect::Rules};

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    set: fn(&mut Rules, &Value) -> Result<(), &'static str>,
    show: fn(&Rules) -> String,
}

impl Key {
    /// The value that `rules` have, as it stands in a file.
    #[must_use]
    pub fn show(&self, rules: &Rules) -> String {
        (self.show)(rules)
    }

    /// Sets the value; an error says what is expected.
    pub(super) fn set(&self, rules: &mut Rules, value: &Value) -> Result<(), &'static str> {
        (self.set)(rules, value)
    }

    /// Whether it is of use in `rules`: a detector that is off needs no more than its switch.
    #[must_use]
    pub fn is_of_use(&self, rules: &Rules) -> bool {
        let is_of =
            |detector: &str| self.name.strip_prefix(detector).is_some_and(|n| n.starts_with('_'));
        let is_idle = |(detector, is_on): (&str, bool)| !is_on && is_of(detector);
        let detectors = [
            ("delta", rules.delta),
            ("stuck", rules.stuck),
            ("baseline", rules.baseline),
            ("ewma", rules.ewma),
            ("warm_up", rules.learns()),
            ("while", rules.learns()),
        ];
        !detectors.into_iter().any(is_idle)
    }
}

macro_rules! keys {
    ($($name:ident: $about:literal;)+) => {
        /// All keys, in the order of an example.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            about: $about,
            set: |rules, value| {
                rules.$name = Item::read(value)?;
                Ok(())
            },
            show: |rules| rules.$name.show(),
        }),+];

        /// Every field has a key, but the step, which the packet declarations know.
        const fn _every_field_has_a_key(rules: &Rules) {
            let Rules { step: _, $($name: _),+ } = rules;
        }
    };
}

keys! {
    soft: "lowest and highest value that is well, in the channel's unit, or \"none\"";
    hard: "lowest and highest value that is not dangerous, or \"none\"";
    delta: "look for jumps from one sample to the next";
    delta_factor: "a jump is so many times what steps usually are";
    delta_steps: "and at least so many of the smallest steps that the channel can make";
    delta_least: "the smallest jump that matters, in the channel's unit";
    stuck: "look for a value that repeats itself";
    stuck_samples: "so many repetitions are well at least";
    stuck_samples_max: "a channel that repeats itself more often by nature is not looked at";
    baseline: "learn the channel's course along the orbit, and look for what departs from it";
    baseline_deviations: "so many of the usual deviations from the course are well at least";
    baseline_least: "the smallest distance from it that matters, in the channel's unit";
    ewma: "where there is no orbit to go by, learn the channel's average";
    ewma_factor: "so many times the usual distance from the average is far";
    ewma_steps: "and at least so many of the smallest steps that the channel can make";
    warm_up_samples: "samples before anything but limits is said";
    warm_up_orbits: "orbits before anything is said that takes orbits to learn";
    while_tumbling: "look for more than limits while the satellite's mode is detumble";
}

/// A value of the file.
trait Item: Sized {
    fn read(value: &Value) -> Result<Self, &'static str>;
    fn show(&self) -> String;
}

impl Item for bool {
    fn read(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Boolean(is_on) => Ok(*is_on),
            Value::String(word) => values::boolean(word),
            Value::Integer(number) => values::boolean(&number.to_string()),
            _ => values::boolean(""),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Item for u32 {
    fn read(value: &Value) -> Result<Self, &'static str> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        number.ok_or("expected a whole number from 0 on")
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Item for f32 {
    fn read(value: &Value) -> Result<Self, &'static str> {
        let number = number(value).map(|number| number as Self);
        let is_good = |number: &Self| number.is_finite() && *number >= 0.0;
        number.filter(is_good).ok_or("expected a number from 0 on")
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// Limits, or none.
impl Item for Option<(f64, f64)> {
    fn read(value: &Value) -> Result<Self, &'static str> {
        if value.as_str() == Some(NO_LIMITS) {
            return Ok(None);
        }
        let limits = || {
            let [low, high] = value.as_array()?.as_slice() else { return None };
            let (low, high) = (number(low)?, number(high)?);
            // Not true of NaN either.
            (low < high).then_some((low, high))
        };
        limits().map(Some).ok_or("expected [lowest, highest], the lowest first, or \"none\"")
    }

    fn show(&self) -> String {
        self.map_or_else(|| format!("{NO_LIMITS:?}"), |(low, high)| format!("[{low:?}, {high:?}]"))
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

const NO_LIMITS: &str = "none";
