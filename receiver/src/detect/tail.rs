//! How far a channel goes by nature now and then: jumps when something is switched, residuals when
//! the weather in space changes. What happened once may have been an anomaly; what happened
//! [`RANK`] times is nature.

use serde::{Deserialize, Serialize};

use super::smaller;

/// The largest few of many numbers.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Largest first.
    largest: [f32; RANK],
}

impl Tail {
    /// Nothing yet.
    pub(super) const NONE: Self = Self { largest: [0.0; RANK] };

    /// Takes notice of one.
    pub(super) fn learn(&mut self, size: f32) {
        let place = self.largest.iter().position(|&other| size > other);
        if let Some(place) = place {
            self.largest.copy_within(place..RANK - 1, place + 1);
            self.largest[place] = size;
        }
    }

    /// What has been reached or passed [`RANK`] times; 0 while that is nothing.
    #[inline]
    pub(super) fn size(&self) -> f32 {
        self.largest[RANK - 1]
    }

    /// The largest, unless it towers over the second by more than `factor`: then that many times
    /// the second.
    #[inline]
    pub(super) fn largest_within(&self, factor: f32) -> f32 {
        smaller(self.largest[0], factor * self.largest[1])
    }
}

/// An injected or real step makes two jumps, up and down: three of them may be no nature.
const RANK: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_largest() {
        let mut tail = Tail::default();
        for (size, fourth) in
            [(5.0, 0.0), (9.0, 0.0), (1.0, 0.0), (7.0, 1.0), (2.0, 2.0), (8.0, 5.0)]
        {
            tail.learn(size);
            assert!((tail.size() - fourth).abs() < f32::EPSILON, "{tail:?}");
        }
        assert!((tail.largest_within(4.0) - 9.0).abs() < f32::EPSILON);
        assert!((tail.largest_within(1.0) - 8.0).abs() < f32::EPSILON);
    }
}
