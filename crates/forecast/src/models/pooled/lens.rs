//! How a series is looked at so that one linear model can serve many: through blocks, on a logarithmic scale where values
//! cannot be negative, and in windows that are centred and scaled by what lies in them.
//!
//! Blocks keep the model small on fine grids: a day is 24 to 48 blocks whatever the step. The logarithm makes seasons that
//! grow with the level look alike. Centring by the last season and scaling by the mean change from season to season
//! makes a window of any workload about one in size, and makes the squared loss a relative of MASE.

use serde::{Deserialize, Serialize};

/// The sizes of a window. All in blocks unless the name says steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lens {
    /// Steps in a block.
    pub(super) block_steps: usize,
    /// Shortest season, against which a window is scaled.
    pub(super) season: usize,
    /// Blocks at the end of the window whose mean is its centre: the longest season that fits into it.
    pub(super) centre: usize,
    /// Blocks of the past that the model is given.
    pub(super) past: usize,
    /// Blocks ahead that it answers for.
    pub(super) ahead: usize,
}

/// How values of one series are turned into the scale that is modelled, and back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    shape: Shape,
    /// Least spread of a window: what is usual for the series bounds how much a quiet stretch is blown up.
    spread_min: f32,
}

/// The curve between values and the modelled scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    /// As they are: they may be negative.
    Plain,
    /// Logarithm of the value plus `lift`, which keeps zeros finite.
    Log {
        /// What is added before.
        lift: f32,
    },
}

/// Centre and spread of one window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) centre: f32,
    pub(super) spread: f32,
}

impl Scale {
    /// The scale that suits these values.
    pub(super) fn of(values: &[f32], non_negative: bool, lens: Lens) -> Scale {
        let present = || values.iter().copied().filter(|value| value.is_finite());
        let n = present().count().max(1) as f64;
        let mean = present().map(|value| f64::from(value.abs())).sum::<f64>() / n;
        let least = present().fold(f32::INFINITY, f32::min);
        let plain_floor = (SPREAD_MIN * mean).max(f64::from(f32::MIN_POSITIVE)) as f32;
        let plain = Scale { shape: Shape::Plain, spread_min: plain_floor };
        let scale = if non_negative && least >= 0.0 {
            let share = lift_share(&lens.blocks(values, plain), lens.season, mean);
            let lift = (share * mean - f64::from(least)).max(f64::from(f32::MIN_POSITIVE) * 1e6);
            Scale {
                shape: Shape::Log { lift: lift.min(f64::from(f32::MAX)) as f32 },
                spread_min: SPREAD_MIN as f32,
            }
        } else {
            plain
        };
        let mut blocks = lens.blocks(values, scale);
        lens.fill(&mut blocks);
        let usual = mean_change(&blocks, lens.season);
        Scale { spread_min: (SPREAD_SHARE * usual).max(scale.spread_min), ..scale }
    }

    pub(super) fn enter(self, value: f32) -> f32 {
        match self.shape {
            Shape::Plain => value,
            Shape::Log { .. } if value.is_nan() => value,
            // A value below zero where none can be is taken for zero.
            Shape::Log { lift } => (f64::from(value.max(0.0)) + f64::from(lift)).ln() as f32,
        }
    }

    pub(super) fn leave(self, value: f64) -> f64 {
        match self.shape {
            Shape::Plain => value,
            Shape::Log { lift } => (value.exp() - f64::from(lift)).max(0.0),
        }
    }
}

impl Lens {
    /// Width of a row of inputs: the past and a constant.
    pub(super) fn inputs(self) -> usize {
        self.past + 1
    }

    /// How many windows lie in so many blocks.
    pub(super) fn windows(self, blocks: usize) -> usize {
        (blocks + 1).saturating_sub(self.past + self.ahead)
    }

    /// Blocks of one origin: whole blocks of `values` counted back from its end, oldest first, on the modelled scale.
    /// Missing ones are NaN.
    pub(super) fn blocks(self, values: &[f32], scale: Scale) -> Vec<f32> {
        let size = self.block_steps.max(1);
        let mut blocks: Vec<f32> = values
            .rchunks_exact(size)
            .map(|block| {
                let (sum, n) = block
                    .iter()
                    .filter(|value| value.is_finite())
                    .fold((0.0, 0u32), |(sum, n), &value| (sum + f64::from(value), n + 1));
                if n == 0 { f32::NAN } else { scale.enter((sum / f64::from(n)) as f32) }
            })
            .collect();
        blocks.reverse();
        blocks
    }

    /// Closes gaps with the value one season before, or the last one known, or the first that comes, or zero.
    pub(super) fn fill(self, blocks: &mut [f32]) {
        let mut last = blocks.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
        for i in 0..blocks.len() {
            if !blocks[i].is_finite() {
                blocks[i] = i.checked_sub(self.season.max(1)).map_or(last, |before| blocks[before]);
            }
            last = blocks[i];
        }
    }

    /// Centre and spread of a window of the past.
    pub(super) fn frame(self, past: &[f32], scale: Scale) -> Frame {
        let recent = &past[past.len().saturating_sub(self.centre.max(1))..];
        let centre = mean(recent.iter().copied());
        Frame { centre, spread: mean_change(past, self.season).max(scale.spread_min) }
    }

    /// Writes the inputs for a filled window of `past` blocks into `row`.
    pub(super) fn inputs_of(self, past: &[f32], frame: Frame, row: &mut Vec<f32>) {
        row.extend(past.iter().map(|value| (value - frame.centre) / frame.spread));
        row.push(1.0);
    }

    /// Training rows of a series, every `stride`-th window: inputs, then the outputs at `wanted` (blocks ahead, from 0).
    /// Windows with a missing output, or with less than half of their past, are left out.
    pub(super) fn rows(self, blocks: &[f32], scale: Scale, stride: usize, wanted: &[usize]) -> Vec<f32> {
        let mut filled = blocks.to_vec();
        self.fill(&mut filled);
        let mut rows = Vec::new();
        let windows = self.windows(blocks.len());
        // Counted back from the end, so that the newest window is among them whatever the stride.
        for begin in (0..windows).rev().step_by(stride.max(1)) {
            let now = begin + self.past;
            let known = blocks[begin..now].iter().filter(|value| value.is_finite()).count();
            if 2 * known < self.past || blocks[now..now + self.ahead].iter().any(|value| !value.is_finite()) {
                continue;
            }
            let past = &filled[begin..now];
            let frame = self.frame(past, scale);
            self.inputs_of(past, frame, &mut rows);
            rows.extend(wanted.iter().map(|&h| (blocks[now + h] - frame.centre) / frame.spread));
        }
        rows
    }
}

/// Mean absolute change from one season to the next.
fn mean_change(blocks: &[f32], season: usize) -> f32 {
    let lag = season.clamp(1, blocks.len().saturating_sub(1).max(1));
    mean(blocks.iter().skip(lag).zip(blocks).map(|(later, earlier)| (later - earlier).abs()))
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, n) = values.fold((0.0f64, 0u32), |(sum, n), value| (sum + f64::from(value), n + 1));
    (sum / f64::from(n.max(1))) as f32
}

/// Where the lowest value is lifted to before the logarithm, as a share of the mean: the one of [`LIFTS`] after which
/// seasonal changes are as large on low stretches as on high ones (the criterion of Guerrero 1993). A series that stays
/// clear of zero is taken to be relative.
fn lift_share(blocks: &[f32], season: usize, mean: f64) -> f64 {
    let least = blocks.iter().copied().fold(f32::INFINITY, f32::min);
    if f64::from(least) >= CLEAR_OF_ZERO * mean {
        return LIFTS[0];
    }
    let season = season.clamp(1, blocks.len().max(1));
    let size = (season / 4).max(2);
    // Level and change of each stretch.
    let stretches: Vec<(f64, f64)> = blocks[season.min(blocks.len())..]
        .chunks_exact(size)
        .zip(blocks.chunks_exact(size))
        .map(|(now, before)| {
            let change =
                now.iter().zip(before).map(|(now, before)| f64::from((now - before).abs())).sum::<f64>();
            (now.iter().copied().map(f64::from).sum::<f64>() / size as f64, change / size as f64)
        })
        .filter(|(level, change)| level.is_finite() && change.is_finite())
        .collect();
    let unevenness = |share: f64| {
        let lift = (share * mean - f64::from(least)).max(0.0);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (level, change) in &stretches {
            let ratio = change / (level + lift).max(f64::MIN_POSITIVE);
            sum += ratio;
            squares += ratio * ratio;
        }
        // A monotone stand-in for the coefficient of variation.
        if sum > 0.0 { squares * stretches.len() as f64 / (sum * sum) } else { 1.0 }
    };
    let best = LIFTS.iter().map(|&share| (unevenness(share), share)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(LIFTS[0], |(_, share)| share)
}

/// Shares of the mean to choose from. The last is nearly no logarithm at all; the first keeps a single zero from outweighing
/// everything.
const LIFTS: [f64; 3] = [0.03, 0.3, 3.0];
/// Share of the mean that a series must stay above to be taken for relative.
const CLEAR_OF_ZERO: f64 = 0.01;
/// Least spread of a window as a share of the usual one.
const SPREAD_SHARE: f32 = 0.3;
/// Least mean change from season to season, as a share of the mean: below it a series is flat.
const SPREAD_MIN: f64 = 0.003;
