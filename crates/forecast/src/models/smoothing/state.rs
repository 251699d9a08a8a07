//! The moving parts of exponential smoothing: level, damped trend, seasonal states, and an autocorrelated rest.

use serde::{Deserialize, Serialize};

/// How fast the states move. Fixed once fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gains {
    /// Share of an error that the level takes on.
    pub(super) level: f64,
    /// Share of an error that the slope takes on.
    pub(super) trend: f64,
    /// Share of the slope that is left a step later.
    pub(super) damping: f64,
    /// Share of a deviation that is left a step later: the AR(1) coefficient of the rest.
    pub(super) memory: f64,
    /// Share of an error that each season takes on in the long run, shortest season first.
    pub(super) seasonal: Vec<f64>,
    /// How many visits of a place in the first season, and in longer ones, the prior (no season) weighs as much as.
    pub(super) prior: [f64; 2],
}

/// What was learned so far, in standardised units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The next step.
    pub(super) step: u64,
    level: f64,
    slope: f64,
    /// The last deviation from level and seasons, decayed since.
    rest: f64,
    seasons: Vec<Cycle>,
    /// Typical size of one-step errors.
    size: f64,
    /// Values seen, up to a limit.
    seen: f64,
}

/// One season: values at evenly spaced knots of a period, joined by straight lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cycle {
    period: u32,
    knots: Vec<f32>,
    /// Weight of the observations that each knot has taken in.
    visits: Vec<f32>,
}

/// The two knots around a step, and how much of the second.
struct Place {
    left: usize,
    right: usize,
    part: f64,
}

impl State {
    /// Nothing learned. `seasons` gives for each the period and the steps from knot to knot.
    pub(super) fn new(step: u64, seasons: &[(usize, usize)]) -> State {
        let cycle = |&(period, width): &(usize, usize)| {
            let knots = (period / width.max(1)).max(1);
            Cycle { period: period.max(1) as u32, knots: vec![0.0; knots], visits: vec![0.0; knots] }
        };
        let seasons = seasons.iter().map(cycle).collect();
        State { step, level: 0.0, slope: 0.0, rest: 0.0, seasons, size: 0.0, seen: 0.0 }
    }

    /// Takes the value of the next step; NaN when it is missing. Costs a few operations for each season.
    #[inline]
    pub(super) fn observe(&mut self, value: f64, gains: &Gains) {
        let seasonal: f64 = self.seasons.iter().map(|cycle| cycle.at(self.step)).sum();
        let base = self.level + gains.damping * self.slope;
        self.slope *= gains.damping;
        self.level = base;
        self.rest *= gains.memory;
        if value.is_finite() {
            self.learn(value - base - seasonal, gains);
        }
        self.step += 1;
    }

    fn learn(&mut self, raw: f64, gains: &Gains) {
        let error = raw - self.rest;
        let limit = WILD * self.size;
        // A wild value moves the states only as far as a large error would; if it stays, the rest follows within a few
        // steps, and everything else after it.
        let drawn = if self.seen < SEEN_FEW { error } else { error.clamp(-limit, limit) };
        let deviation = self.rest + drawn;
        self.seen = (self.seen + 1.0).min(SEEN_MAX);
        self.size += (drawn.abs().max(SIZE_MIN) - self.size) / self.seen.min(SIZE_STEPS);
        let level = gains.level.max(1.0 / (self.seen + 1.0));
        let mut left = deviation;
        left -= level * deviation;
        self.level += level * deviation;
        self.slope += gains.trend * deviation;
        for (i, (cycle, &gain)) in self.seasons.iter_mut().zip(&gains.seasonal).enumerate() {
            left -= cycle.move_by(self.step, left, gain, gains.prior[i.min(1)]);
        }
        self.rest = left;
    }

    /// What is said about the `ahead`th next step.
    #[inline]
    pub(super) fn at(&self, ahead: usize, gains: &Gains) -> f64 {
        let steps = ahead as f64;
        let seasonal: f64 = self.seasons.iter().map(|cycle| cycle.at(self.step + ahead as u64 - 1)).sum();
        let fade = (steps * gains.memory.max(1e-9).ln()).exp();
        let slid = if gains.trend > 0.0 {
            let damping = gains.damping.clamp(0.0, 1.0 - 1e-9);
            damping * (1.0 - (steps * damping.max(1e-9).ln()).exp()) / (1.0 - damping) * self.slope
        } else {
            0.0
        };
        self.level + slid + seasonal + fade * self.rest
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<State>()
            + self.seasons.iter().map(|cycle| size_of::<Cycle>() + cycle.knots.len() * 8).sum::<usize>()
    }
}

impl Cycle {
    #[inline]
    fn place(&self, step: u64) -> Place {
        let phase = (step % u64::from(self.period)) as u32;
        if self.knots.len() == self.period as usize {
            return Place { left: phase as usize, right: phase as usize, part: 0.0 };
        }
        let at = f64::from(phase) * self.knots.len() as f64 / f64::from(self.period);
        let left = (at as usize).min(self.knots.len() - 1);
        let right = if left + 1 < self.knots.len() { left + 1 } else { 0 };
        Place { left, right, part: at - left as f64 }
    }

    #[inline]
    fn at(&self, step: u64) -> f64 {
        let place = self.place(step);
        let (left, right) = (f64::from(self.knots[place.left]), f64::from(self.knots[place.right]));
        left + (right - left) * place.part
    }

    /// Takes on its share of an error; returns the share.
    #[inline]
    fn move_by(&mut self, step: u64, error: f64, gain: f64, prior: f64) -> f64 {
        let place = self.place(step);
        let (left, right) = (1.0 - place.part, place.part);
        let visits = f64::from(self.visits[place.left]) * left + f64::from(self.visits[place.right]) * right;
        let norm = left * left + right * right;
        let moved = gain.max(1.0 / (visits + 1.0 + prior)) * error;
        for (knot, part) in [(place.left, left), (place.right, right)] {
            if part > 0.0 {
                self.knots[knot] += (moved * part / norm) as f32;
                self.visits[knot] = (self.visits[knot] + part as f32).min(VISITS_MAX);
            }
        }
        moved
    }
}

/// Errors beyond this many typical ones are drawn in.
const WILD: f64 = 5.0;
/// Nothing is drawn in before the typical error is known.
const SEEN_FEW: f64 = 30.0;
/// Beyond this many the first values do not matter.
const SEEN_MAX: f64 = 1e6;
/// Over how many steps the typical error is taken.
const SIZE_STEPS: f64 = 200.0;
/// Smallest typical error, in standardised units: a constant stretch must not make the next change a wild one for ever.
const SIZE_MIN: f64 = 1e-3;
/// Beyond this many the gain is the long-run one anyway.
const VISITS_MAX: f32 = 1e4;

#[cfg(test)]
mod tests {
    use super::*;

    /// The published levels of Holt's linear method on air passengers of Australia, in millions, 1990 to 1999 (Hyndman and
    /// Athanasopoulos, section 7.2).
    #[test]
    fn level_and_slope_follow_holts_recursion() {
        let gains = Gains {
            level: 0.8321,
            trend: 0.0001,
            damping: 1.0,
            memory: 0.0,
            seasonal: vec![],
            prior: [0.0; 2],
        };
        let mut state = State { level: 15.57, slope: 2.102, seen: 1e5, size: 10.0, ..State::new(0, &[]) };
        let values = [17.55, 21.86, 23.89, 26.93, 26.89, 28.83, 30.08, 30.95, 30.19, 31.58];
        let levels = [17.57, 21.49, 23.84, 26.76, 27.22, 28.92, 30.24, 31.19, 30.71, 31.79];
        for (value, level) in values.into_iter().zip(levels) {
            state.observe(value, &gains);
            assert!((state.level - level).abs() < 0.02, "{} instead of {level}", state.level);
        }
        assert!((state.at(1, &gains) - 33.89).abs() < 0.03);
    }

    #[test]
    fn a_season_is_learned_and_a_gap_is_bridged() {
        let gains = Gains {
            level: 0.02,
            trend: 0.0,
            damping: 0.9,
            memory: 0.5,
            seasonal: vec![0.1],
            prior: [0.5; 2],
        };
        let mut state = State::new(0, &[(24, 1)]);
        let wave = |step: u64| 3.0 + (step as f64 * std::f64::consts::TAU / 24.0).sin();
        for step in 0..24 * 20 {
            state.observe(if (100..130).contains(&step) { f64::NAN } else { wave(step) }, &gains);
        }
        for ahead in [1, 7, 30] {
            let (said, came) = (state.at(ahead, &gains), wave(state.step + ahead as u64 - 1));
            assert!((said - came).abs() < 0.1, "{said} {came}");
        }
    }
}
