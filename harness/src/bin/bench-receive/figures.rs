//! What is written to `target/bench/receive.json`, and shown as a table.

use serde::Serialize;

use crate::run::Run;

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) repeat: u32,
    pub(crate) receive_buffer_octets: usize,
    pub(crate) cases: Vec<Case>,
}

/// Runs that took their turns one after another.
pub(crate) struct Turn {
    pub(crate) ours: Run,
    pub(crate) bare: Run,
    pub(crate) bare_crc: Run,
}

/// One combination of knobs, with medians over its runs.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) gro: bool,
    pub(crate) frames_per_datagram: usize,
    pub(crate) satellites: u16,
    pub(crate) ours: Side,
    /// Only counts octets.
    pub(crate) bare: Side,
    /// Sums the CRC of every frame, and no more.
    pub(crate) bare_crc: Side,
    /// Frames a second of ours to those of the bare loop, run by run.
    pub(crate) rate_ratio: f64,
    /// Processor time of the bare loop's thread a frame to that of ours, run by run.
    pub(crate) cpu_ratio: f64,
    /// The same beside the loop that sums CRCs.
    pub(crate) rate_ratio_crc: f64,
    /// The same beside the loop that sums CRCs.
    pub(crate) cpu_ratio_crc: f64,
}

/// One of the two.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    pub(crate) frames_per_second: f64,
    pub(crate) frames_per_second_min: f64,
    pub(crate) frames_per_second_max: f64,
    pub(crate) loss: f64,
    pub(crate) cpu_s_per_million_frames: f64,
    /// Of all runs.
    pub(crate) frames_sent: u64,
    pub(crate) frames_received: u64,
    pub(crate) kernel_dropped: u64,
    /// What tracking found missing, where there is tracking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frames_missed: Option<u64>,
    /// What found no chunk, since the thread that gives them back had no processor, where there are
    /// chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frames_shed: Option<u64>,
}

impl Case {
    /// Of runs side by side.
    pub(crate) fn new(
        (gro, frames_per_datagram, satellites): (bool, usize, u16),
        turns: &[Turn],
    ) -> Self {
        let ratio = |figure: fn(&Run) -> f64, over: fn(&Turn) -> &Run| {
            median(turns.iter().map(|turn| figure(&turn.ours) / figure(over(turn))))
        };
        let rate: fn(&Run) -> f64 = |run| run.frames_per_second;
        let frames_per_cpu: fn(&Run) -> f64 = |run| 1.0 / run.cpu_s_per_million_frames;
        Self {
            gro,
            frames_per_datagram,
            satellites,
            ours: Side::new(turns.iter().map(|turn| turn.ours)),
            bare: Side::new(turns.iter().map(|turn| turn.bare)),
            bare_crc: Side::new(turns.iter().map(|turn| turn.bare_crc)),
            rate_ratio: ratio(rate, |turn| &turn.bare),
            cpu_ratio: ratio(frames_per_cpu, |turn| &turn.bare),
            rate_ratio_crc: ratio(rate, |turn| &turn.bare_crc),
            cpu_ratio_crc: ratio(frames_per_cpu, |turn| &turn.bare_crc),
        }
    }

    /// Its row.
    pub(crate) fn row(&self) -> String {
        let side = |side: &Side| {
            let rate = side.frames_per_second / 1e6;
            format!("{rate:8.2} {:6.1} {:6.3}", side.loss * 100.0, side.cpu_s_per_million_frames)
        };
        format!(
            "{:>3} {:>8} {:>10}   |{}  |{}  |{}  | {:5.2} {:5.2} | {:5.2} {:5.2}",
            if self.gro { "on" } else { "off" },
            self.frames_per_datagram,
            self.satellites,
            side(&self.ours),
            side(&self.bare),
            side(&self.bare_crc),
            self.rate_ratio,
            self.cpu_ratio,
            self.rate_ratio_crc,
            self.cpu_ratio_crc
        )
    }
}

impl Side {
    fn new(runs: impl Iterator<Item = Run>) -> Self {
        let runs: Vec<Run> = runs.collect();
        let rates = || runs.iter().map(|run| run.frames_per_second);
        let sum = |figure: fn(&Run) -> Option<u64>| runs.iter().map(figure).sum();
        Self {
            frames_per_second: median(rates()),
            frames_per_second_min: rates().fold(f64::INFINITY, f64::min),
            frames_per_second_max: rates().fold(0.0, f64::max),
            loss: median(runs.iter().map(Run::loss)),
            cpu_s_per_million_frames: median(runs.iter().map(|run| run.cpu_s_per_million_frames)),
            frames_sent: runs.iter().map(|run| run.sent).sum(),
            frames_received: runs.iter().map(|run| run.received).sum(),
            kernel_dropped: runs.iter().map(|run| run.kernel_dropped).sum(),
            frames_missed: sum(|run| run.missed),
            frames_shed: sum(|run| run.shed),
        }
    }
}

/// What the columns are: frames received and lost, and processor time of the receiving thread.
pub(crate) const HEAD: [&str; 2] = [
    "    frames in             |        station         |       bare loop        |   bare loop with CRC    \
     | / bare loop |  / with CRC",
    "GRO datagram satellites   |     M/s  lost%    s/M  |     M/s  lost%    s/M  |     M/s  lost%    s/M  \
     |  rate   CPU |  rate   CPU",
];

/// The middle one, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        for (values, expected) in
            [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5), (&[7.0], 7.0), (&[], 0.0)]
        {
            assert!((median(values.iter().copied()) - expected).abs() < 1e-12);
        }
    }
}
