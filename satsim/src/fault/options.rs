//! Faults as they are asked for, on the command line or in a scenario.

use std::str::FromStr;

use serde::Deserialize;

use super::rates::{Burst, REORDER_DEPTH_DEFAULT, REORDER_DEPTH_MAX, Rates};

/// What was asked for; the rest is decided elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Faults, each a chance per frame from 0 to 1, at most one per frame")]
pub struct FaultOptions {
    /// Do not send the frame
    #[arg(long, value_name = "CHANCE")]
    pub drop: Option<Probability>,

    /// Flip 1 to 8 bits of it
    #[arg(long, value_name = "CHANCE")]
    pub corrupt: Option<Probability>,

    /// Cut off its tail
    #[arg(long, value_name = "CHANCE")]
    pub truncate: Option<Probability>,

    /// Send it a second time, at once or a little later
    #[arg(long, value_name = "CHANCE")]
    pub duplicate: Option<Probability>,

    /// Send it late, after newer frames of its stream
    #[arg(long, value_name = "CHANCE")]
    pub reorder: Option<Probability>,

    /// After how many newer frames at most a late one is sent [default: 8]
    #[arg(long, value_name = "FRAMES")]
    pub reorder_depth: Option<ReorderDepth>,

    /// Lose all frames of a satellite while its link is bad: chance of each frame to make it bad,
    /// and to make it good again. Counts as dropped
    #[arg(long, value_name = "ENTER,LEAVE")]
    pub burst_loss: Option<BurstLoss>,
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

/// How far a frame may be delayed, 1 to [`REORDER_DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct ReorderDepth(u16);

/// The two chances of loss in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "[f64; 2]")]
pub struct BurstLoss(Burst);

/// Faults that add up to more than 1.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "drop, corrupt, truncate, duplicate and reorder add up to {0}; a frame has at most one \
         fault, so give chances that add up to at most 1"
)]
pub struct TooMany(f64);

impl FaultOptions {
    /// What is asked for here, and otherwise there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            drop: self.drop.or(other.drop),
            corrupt: self.corrupt.or(other.corrupt),
            truncate: self.truncate.or(other.truncate),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            reorder_depth: self.reorder_depth.or(other.reorder_depth),
            burst_loss: self.burst_loss.or(other.burst_loss),
        }
    }

    /// The chances; 0 where nothing was asked for.
    pub fn rates(&self) -> Result<Rates, TooMany> {
        let chance = |asked: Option<Probability>| asked.map_or(0.0, Probability::chance);
        let rates = Rates {
            drop: chance(self.drop),
            corrupt: chance(self.corrupt),
            truncate: chance(self.truncate),
            duplicate: chance(self.duplicate),
            reorder: chance(self.reorder),
            reorder_depth: self.reorder_depth.map_or(REORDER_DEPTH_DEFAULT, |depth| depth.0),
            burst: self.burst_loss.map(|BurstLoss(burst)| burst).filter(|burst| burst.enter > 0.0),
        };
        if rates.sum() > 1.0 + ROUNDING {
            // Rounded for people: 0.6 and 0.6 are 1.2.
            return Err(TooMany((rates.sum() * 1e9).round() / 1e9));
        }
        Ok(rates)
    }
}

impl Probability {
    /// The number.
    pub fn chance(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        let is_one = (0.0..=1.0).contains(&value);
        is_one.then_some(Self(value)).ok_or("expected a chance from 0 to 1, such as 0.05")
    }
}

impl FromStr for Probability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().unwrap_or(f64::NAN).try_into()
    }
}

impl TryFrom<u16> for ReorderDepth {
    type Error = String;

    fn try_from(value: u16) -> Result<Self, Self::Error> {
        let fits = (1..=REORDER_DEPTH_MAX).contains(&value);
        fits.then_some(Self(value)).ok_or(format!("expected 1 to {REORDER_DEPTH_MAX} frames"))
    }
}

impl FromStr for ReorderDepth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().unwrap_or(0).try_into()
    }
}

impl TryFrom<[f64; 2]> for BurstLoss {
    type Error = &'static str;

    fn try_from([enter, leave]: [f64; 2]) -> Result<Self, Self::Error> {
        let are_ones = [enter, leave].iter().all(|chance| (0.0..=1.0).contains(chance));
        are_ones.then_some(Self(Burst { enter, leave })).ok_or(BURST_EXPECTED)
    }
}

impl FromStr for BurstLoss {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (enter, leave) = text.split_once(',').ok_or(BURST_EXPECTED)?;
        let chance = |text: &str| text.trim().parse().map_err(|_| BURST_EXPECTED);
        [chance(enter)?, chance(leave)?].try_into()
    }
}

const BURST_EXPECTED: &str = "expected two chances from 0 to 1, such as 0.01,0.2";
/// More than the error of five additions.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::{BurstLoss, FaultOptions, Probability, ReorderDepth};

    #[test]
    fn chances_are_chances() {
        for right in ["0", "1", "0.05", "1e-6"] {
            assert!(right.parse::<Probability>().is_ok(), "{right}");
        }
        for wrong in ["-0.1", "1.1", "NaN", "inf", "x", "", "5%"] {
            assert!(wrong.parse::<Probability>().is_err(), "{wrong}");
        }
        for right in ["0.01,0.2", "1,0", "0.5, 0.5"] {
            assert!(right.parse::<BurstLoss>().is_ok(), "{right}");
        }
        for wrong in ["0.01", "0.01,", ",", "0.1,2", "0.1,0.2,0.3", "a,b"] {
            assert!(wrong.parse::<BurstLoss>().is_err(), "{wrong}");
        }
        for wrong in ["0", "1025", "-1", "8.0"] {
            assert!(wrong.parse::<ReorderDepth>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn they_add_up_to_one_at_most() {
        let fifth: Option<Probability> = "0.2".parse().ok();
        let all = FaultOptions {
            drop: fifth,
            corrupt: fifth,
            truncate: fifth,
            duplicate: fifth,
            reorder: fifth,
            ..FaultOptions::default()
        };
        assert!(all.rates().is_ok());
        let more = FaultOptions { drop: "0.4".parse().ok(), ..all };
        assert!(more.rates().unwrap_err().to_string().contains("add up to 1.2;"));
        let other = FaultOptions { drop: fifth, ..FaultOptions::default() };
        assert_eq!(more.or(other), more);
        assert_eq!(FaultOptions::default().or(other), other);
    }
}
