//! One covariate: what its values mean for demand, as inputs of the regression.
//!
//! A covariate acts by its distance from what is usual at that hour: the usual is already in the demand that the
//! forecaster has learned. One with few distinct values has an effect for each of them; one with many has a piecewise
//! linear curve. Both may act differently by part of the day, and on days off.

use serde::{Deserialize, Serialize};

use super::filter::{Filter, Inputs};
use super::moment::{Moment, PARTS};
use super::usual::Usual;
use crate::grid::Local;

/// A covariate and its coefficients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    shape: Shape,
    steps_an_hour: f32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Shape {
    /// Not seen enough of it: distinct values with how often each occurred.
    Unknown { seen: Vec<(f32, u32)>, steps: u32 },
    /// Few distinct values. The most frequent one is what the others are compared with.
    Levels(Vec<Level>),
    /// Many values.
    Curve(Box<Curve>),
}

/// One of few values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Level {
    pub(super) value: f32,
    /// How often it occurs, as a mean of zero and one.
    usual: Usual,
    /// Its first coefficient; none for the value that others are compared with, and when there is no room.
    first: Option<usize>,
    pub(super) steps: u32,
}

/// A piecewise linear curve over a range.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Curve {
    usual: Usual,
    low: f32,
    high: f32,
    first: usize,
    steps: u32,
}

/// What a covariate does to demand, as inputs of the regression.
pub(super) struct Said {
    /// The value compared with the usual, in words.
    pub(super) label: String,
    pub(super) inputs: Inputs,
    pub(super) steps: u32,
}

impl Column {
    pub(super) fn new(name: &str, steps_an_hour: f32) -> Column {
        Column { name: name.to_owned(), shape: Shape::Unknown { seen: Vec::new(), steps: 0 }, steps_an_hour }
    }

    /// Adds the inputs of a value. None when it is missing: then the usual holds.
    pub(super) fn inputs(&self, value: f32, moment: &Moment, inputs: &mut Inputs) {
        if !value.is_finite() {
            return;
        }
        match &self.shape {
            Shape::Unknown { .. } => {}
            Shape::Levels(levels) => {
                for level in levels {
                    let usual = level.usual.overall_or_weekly(&moment.local).unwrap_or(0.0);
                    let here = f32::from(u8::from(is_near(levels, level, value)));
                    level.inputs(f64::from(here - usual), moment, inputs);
                }
            }
            Shape::Curve(curve) => {
                if let Some(usual) = curve.usual.by_hour(&moment.local) {
                    curve.inputs(value, usual, moment, inputs);
                }
            }
        }
    }

    /// Takes in the value of a step.
    pub(super) fn learn(&mut self, value: f32, at: &Local, filter: &mut Filter) {
        if !value.is_finite() {
            return;
        }
        let fresh = |value: f32, filter: &mut Filter, steps: u32, name: &str, reference: bool| Level {
            value,
            usual: Usual::new(self.steps_an_hour),
            first: if reference { None } else { Level::grow(filter, name) },
            steps,
        };
        match &mut self.shape {
            Shape::Unknown { seen, steps } => {
                *steps += 1;
                match seen.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, count)) => *count += 1,
                    None => seen.push((value, 1)),
                }
                let is_decided = *steps as f32 >= DECIDED_HOURS * self.steps_an_hour && seen.len() > 1;
                if seen.len() > SEEN_MAX {
                    // Only the ends matter of many values, and one between them to know that there are many.
                    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
                    seen.drain(LEVELS_MAX..seen.len() - 1);
                }
                if is_decided && seen.len() > LEVELS_MAX {
                    let low = seen.iter().map(|&(value, _)| value).fold(f32::INFINITY, f32::min);
                    let high = seen.iter().map(|&(value, _)| value).fold(f32::NEG_INFINITY, f32::max);
                    let usual = Usual::new(self.steps_an_hour);
                    self.shape = match Curve::grow(filter) {
                        Some(first) => Shape::Curve(Box::new(Curve { usual, low, high, first, steps: 0 })),
                        None => Shape::Levels(Vec::new()),
                    };
                } else if is_decided {
                    let (seen, steps) = (std::mem::take(seen), *steps);
                    let most = seen.iter().map(|&(_, count)| count).max().unwrap_or(0);
                    let reference = seen.iter().position(|&(_, count)| count == most);
                    let levels = seen.iter().enumerate().map(|(place, &(value, count))| {
                        let mut level = fresh(value, filter, count, &self.name, Some(place) == reference);
                        level.usual.learn(at, count as f32 / steps as f32);
                        level
                    });
                    self.shape = Shape::Levels(levels.collect());
                }
            }
            Shape::Levels(levels) => {
                let known = levels.iter().any(|level| level.value == value);
                if !known && !levels.is_empty() && levels.len() < LEVELS_MAX {
                    let mut level = fresh(value, filter, 0, &self.name, false);
                    level.usual.learn(at, 0.0);
                    levels.push(level);
                }
                for place in 0..levels.len() {
                    let here = is_near(levels, &levels[place], value);
                    levels[place].usual.learn(at, f32::from(u8::from(here)));
                    levels[place].steps += u32::from(here);
                }
            }
            Shape::Curve(curve) => curve.learn(value, at, filter),
        }
    }

    /// What the values of this covariate do at a moment, compared with the reference value or the mean.
    pub(super) fn said(&self, moment: &Moment) -> Vec<Said> {
        match &self.shape {
            Shape::Unknown { .. } => Vec::new(),
            Shape::Levels(levels) => levels
                .iter()
                .filter(|level| level.first.is_some())
                .map(|level| {
                    let mut inputs = Inputs::new();
                    level.inputs(1.0, moment, &mut inputs);
                    Said { label: format!("{} {}", self.name, level.value), inputs, steps: level.steps }
                })
                .collect(),
            Shape::Curve(curve) => {
                let middle = curve.usual.overall().unwrap_or(curve.low);
                [0.1, 0.9]
                    .into_iter()
                    .map(|share| {
                        let value = curve.low + share * (curve.high - curve.low);
                        let mut inputs = Inputs::new();
                        curve.inputs(value, middle, moment, &mut inputs);
                        Said {
                            label: format!("{} {value:.3} (beside {middle:.3})", self.name),
                            inputs,
                            steps: curve.steps,
                        }
                    })
                    .collect()
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let held = match &self.shape {
            Shape::Unknown { seen, .. } => seen.capacity() * 8,
            Shape::Levels(levels) => levels.iter().map(|level| level.usual.bytes() + 32).sum(),
            Shape::Curve(curve) => curve.usual.bytes() + 32,
        };
        size_of::<Column>() + held
    }
}

/// Whether a value is this level, or this is the level nearest to a value that is none.
fn is_near(levels: &[Level], level: &Level, value: f32) -> bool {
    let far = (level.value - value).abs();
    levels.iter().all(|other| {
        let its = (other.value - value).abs();
        its > far || (its == far && other.value >= level.value)
    })
}

impl Level {
    fn grow(filter: &mut Filter, name: &str) -> Option<usize> {
        let is_holiday = name.to_lowercase().contains("holiday");
        let (part, free_day) = if is_holiday { (0.25, HOLIDAY_SUNDAY) } else { (0.15, (0.0, 0.3)) };
        let mut priors = vec![(0.0, 0.3)];
        priors.extend([(0.0, part); PARTS]);
        priors.extend([(0.0, 0.15), free_day]);
        room(filter, &priors)
    }

    fn inputs(&self, distance: f64, moment: &Moment, inputs: &mut Inputs) {
        let Some(first) = self.first.filter(|_| distance != 0.0) else { return };
        inputs.push((first, distance));
        inputs.push((first + 1 + moment.part, distance));
        if moment.is_free {
            inputs.push((first + 1 + PARTS, distance));
        }
        if moment.to_sunday != 0.0 {
            inputs.push((first + 2 + PARTS, distance * moment.to_sunday));
        }
    }
}

impl Curve {
    fn grow(filter: &mut Filter) -> Option<usize> {
        let mut priors = vec![(0.0, 0.5)];
        priors.extend([(0.0, KNOT_SD); KNOTS]);
        priors.extend([(0.0, 0.3); PARTS]);
        priors.push((0.0, 0.3));
        room(filter, &priors)
    }

    fn place(&self, value: f32) -> f64 {
        f64::from((value - self.low) / (self.high - self.low).max(f32::MIN_POSITIVE)).clamp(-0.2, 1.2)
    }

    fn inputs(&self, value: f32, usual: f32, moment: &Moment, inputs: &mut Inputs) {
        let (here, there) = (self.place(value), self.place(usual));
        let distance = here - there;
        if distance == 0.0 {
            return;
        }
        inputs.push((self.first, distance));
        let (at, before) = (hats(here), hats(there));
        for knot in 0..KNOTS {
            let change = at[knot] - before[knot];
            if change != 0.0 {
                inputs.push((self.first + 1 + knot, change));
            }
        }
        inputs.push((self.first + 1 + KNOTS + moment.part, distance));
        if moment.is_free {
            inputs.push((self.first + 1 + KNOTS + PARTS, distance));
        }
    }

    fn learn(&mut self, value: f32, at: &Local, filter: &mut Filter) {
        self.steps += 1;
        let span = self.high - self.low;
        // A value far outside everything seen is a broken sensor until it is seen again.
        let value = value.clamp(self.low - span, self.high + span).clamp(f32::MIN / 8.0, f32::MAX / 8.0);
        self.usual.learn(at, value);
        if value < self.low - 0.05 * span || value > self.high + 0.05 * span {
            let low = if value < self.low { value - 0.1 * span } else { self.low };
            let high = if value > self.high { value + 0.1 * span } else { self.high };
            self.stretch(low, high, filter);
        }
    }

    /// Moves the knots to a wider range; the curve stays the same where it was known.
    fn stretch(&mut self, low: f32, high: f32, filter: &mut Filter) {
        let (old_low, old_span) = (f64::from(self.low), f64::from(self.high - self.low).max(1e-30));
        let scale = f64::from(high - low) / old_span;
        let size = 2 + KNOTS + PARTS;
        let mut map = vec![vec![0.0; size]; size];
        let mut fresh = vec![0.0; size];
        for (k, row) in map.iter_mut().enumerate() {
            if (1..=KNOTS).contains(&k) {
                let share = (k - 1) as f64 / (KNOTS - 1) as f64;
                let place = (f64::from(low) + share * f64::from(high - low) - old_low) / old_span;
                for (knot, weight) in hats(place).into_iter().enumerate() {
                    row[1 + knot] = weight;
                }
                if !(0.0..=1.0).contains(&place) {
                    fresh[k] = KNOT_SD * KNOT_SD;
                }
            } else {
                row[k] = scale;
            }
        }
        filter.map(self.first, &map, &fresh);
        // A slope over a wider range is a steeper one; it must not be less certain than nothing known at all.
        (self.first..self.first + size).for_each(|at| filter.confine(at));
        (self.low, self.high) = (low, high);
    }
}

/// How much each knot counts at a place of the range.
fn hats(place: f64) -> [f64; KNOTS] {
    let at = place.clamp(0.0, 1.0) * (KNOTS - 1) as f64;
    let left = (at.floor() as usize).min(KNOTS - 2);
    let mut weights = [0.0; KNOTS];
    weights[left + 1] = at - left as f64;
    weights[left] = 1.0 - weights[left + 1];
    weights
}

/// Coefficients, unless there are too many already.
pub(super) fn room(filter: &mut Filter, priors: &[(f64, f64)]) -> Option<usize> {
    (filter.len() + priors.len() <= COEFFICIENTS_MAX).then(|| filter.grow(priors))
}

/// How much of a Sunday a holiday is, before any was seen.
pub(super) const HOLIDAY_SUNDAY: (f64, f64) = (0.8, 0.3);
/// Most coefficients of one workload: with them the filter holds 170 kB.
const COEFFICIENTS_MAX: usize = 144;
/// With more distinct values a covariate has a curve.
const LEVELS_MAX: usize = 8;
/// A covariate that had few values for so long has few.
const DECIDED_HOURS: f32 = 168.0;
/// Distinct values remembered until then.
const SEEN_MAX: usize = 64;
const KNOTS: usize = 6;
const KNOT_SD: f64 = 0.2;
