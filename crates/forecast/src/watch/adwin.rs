//! A window that is as long as its mean stays the same: ADWIN (Bifet and Gavaldà 2007).
//!
//! Values lie in buckets that double in size with age, so that a window of n values takes and costs log n. Where two
//! parts of the window differ by more than chance allows, the older one is dropped.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The adaptive window over numbers from 0 to `scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    risk: f64,
    scale: f64,
    /// `levels[k]` holds buckets of `2^k` values, the oldest first.
    levels: Vec<VecDeque<Bucket>>,
    total: Bucket,
    since_check: u32,
}

/// Count, sum and sum of squared deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bucket {
    count: f64,
    sum: f64,
    squares: f64,
}

/// The mean has changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Mean of what was dropped.
    pub before: f64,
    /// Mean of what is left.
    pub after: f64,
    /// How many values are left: the change was about so many steps ago.
    pub steps: u64,
}

impl Adwin {
    /// `risk`: chance of a false alarm at a check, e.g. 0.002; `scale`: the largest value; smaller and larger ones are drawn in
    /// to 0 and to it. For the indicator of coverage it is 1.
    pub fn new(risk: f64, scale: f64) -> Adwin {
        let risk = if risk.is_finite() { risk.clamp(1e-9, 0.5) } else { 0.002 };
        let scale = if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
        Adwin { risk, scale, levels: vec![VecDeque::new()], total: Bucket::default(), since_check: 0 }
    }

    /// Mean of the window in the unit of the values; `None` while it is empty.
    pub fn mean(&self) -> Option<f64> {
        (self.total.count > 0.0).then(|| self.total.sum / self.total.count * self.scale)
    }

    /// Values in the window.
    pub fn len(&self) -> u64 {
        self.total.count as u64
    }

    /// Whether nothing was observed yet.
    pub fn is_empty(&self) -> bool {
        self.total.count == 0.0
    }

    /// Takes one value; looks for a change at every eighth.
    pub fn observe(&mut self, value: f64) -> Option<Change> {
        if !value.is_finite() {
            return None;
        }
        let one = Bucket { count: 1.0, sum: (value / self.scale).clamp(0.0, 1.0), squares: 0.0 };
        self.total = self.total.join(one);
        self.levels[0].push_back(one);
        self.compress();
        self.since_check += 1;
        if self.since_check < CHECK_EVERY || self.total.count < WINDOW_MIN {
            return None;
        }
        self.since_check = 0;
        let mut dropped = Bucket::default();
        while let Some(old) = self.differs() {
            dropped = dropped.join(old);
        }
        (dropped.count > 0.0).then(|| Change {
            before: dropped.sum / dropped.count * self.scale,
            after: self.total.sum / self.total.count.max(1.0) * self.scale,
            steps: self.len(),
        })
    }

    /// Joins the two oldest buckets of a level that has too many.
    fn compress(&mut self) {
        for level in 0..LEVELS_MAX {
            if self.levels[level].len() <= BUCKETS_MAX {
                return;
            }
            let (Some(first), Some(second)) =
                (self.levels[level].pop_front(), self.levels[level].pop_front())
            else {
                return;
            };
            if level + 1 == LEVELS_MAX {
                // The window is as long as it may be.
                self.recount();
                return;
            }
            if self.levels.len() == level + 1 {
                self.levels.push(VecDeque::new());
            }
            self.levels[level + 1].push_back(first.join(second));
        }
    }

    /// When any older part differs from the rest, drops the oldest bucket and gives it back.
    fn differs(&mut self) -> Option<Bucket> {
        let all = self.total;
        let variance = all.squares / all.count;
        let confidence = (2.0 * all.count.ln().max(1.0) / self.risk).ln();
        let mut old = Bucket::default();
        let mut found = false;
        'parts: for level in self.levels.iter().rev() {
            for bucket in level {
                old = old.join(*bucket);
                let new = all.count - old.count;
                if old.count < PART_MIN {
                    continue;
                }
                if new < PART_MIN {
                    break 'parts;
                }
                let harmonic = 1.0 / (1.0 / old.count + 1.0 / new);
                let bound =
                    (2.0 / harmonic * variance * confidence).sqrt() + 2.0 / (3.0 * harmonic) * confidence;
                if (old.sum / old.count - (all.sum - old.sum) / new).abs() > bound {
                    found = true;
                    break 'parts;
                }
            }
        }
        if !found {
            return None;
        }
        let oldest = self.levels.iter_mut().rev().find_map(VecDeque::pop_front)?;
        while self.levels.len() > 1 && self.levels.last().is_some_and(VecDeque::is_empty) {
            self.levels.pop();
        }
        self.recount();
        Some(oldest)
    }

    /// Sums up the window anew: dropping by subtraction would let rounding pile up.
    fn recount(&mut self) {
        let buckets = self.levels.iter().flatten();
        self.total = buckets.fold(Bucket::default(), |total, &bucket| total.join(bucket));
    }
}

impl Bucket {
    fn join(self, other: Bucket) -> Bucket {
        if self.count == 0.0 {
            return other;
        }
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let apart = self.sum / self.count - other.sum / other.count;
        Bucket {
            count,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
        }
    }
}

/// Buckets of each size.
const BUCKETS_MAX: usize = 5;
/// Sizes of buckets: the window holds at most about ten million values.
const LEVELS_MAX: usize = 21;
/// Values between two checks.
const CHECK_EVERY: u32 = 8;
/// A window shorter than this is not looked at.
const WINDOW_MIN: f64 = 16.0;
/// Nor is a part of it.
const PART_MIN: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_the_mean_and_variance_of_what_it_saw_in_little_memory() {
        let mut adwin = Adwin::new(1e-9, 10.0);
        let mut random = fastrand::Rng::with_seed(1);
        let values: Vec<f64> = (0..10_000).map(|_| 10.0 * random.f64()).collect();
        assert!(values.iter().all(|&value| adwin.observe(value).is_none()));
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 1e4;
        assert!((adwin.mean().unwrap() - mean).abs() < 1e-9 && adwin.len() == 10_000);
        assert!((adwin.total.squares / adwin.total.count * 100.0 - variance).abs() < 1e-9);
        assert!(adwin.levels.iter().map(VecDeque::len).sum::<usize>() < 80);
    }

    #[test]
    fn coverage_that_falls_from_nine_tenths_to_six_is_seen_within_eighty_steps_on_average() {
        let mut random = fastrand::Rng::with_seed(2);
        let (mut slowest, mut sum) = (0, 0);
        for _ in 0..50 {
            let mut adwin = Adwin::new(0.002, 1.0);
            for _ in 0..1000 {
                adwin.observe(f64::from(u8::from(random.f64() < 0.9)));
            }
            let change = (1..1000).find_map(|steps| {
                let change = adwin.observe(f64::from(u8::from(random.f64() < 0.6)))?;
                (change.after < change.before).then_some((steps, change))
            });
            let (steps, change) = change.expect("it is found");
            assert!(change.before > 0.8 && change.steps < 1000, "{change:?}");
            slowest = slowest.max(steps);
            sum += steps;
        }
        assert!(slowest <= 160 && sum <= 50 * 80, "{slowest} steps at most, {} on average", sum / 50);
    }

    #[test]
    fn false_alarms_are_rarer_than_one_in_ten_thousand_steps() {
        let mut adwin = Adwin::new(0.002, 1.0);
        let mut random = fastrand::Rng::with_seed(4);
        let alarms =
            (0..200_000).filter(|_| adwin.observe(f64::from(u8::from(random.f64() < 0.9))).is_some()).count();
        assert!(alarms <= 20, "{alarms} in 200,000 steps");
    }

    #[test]
    fn numbers_that_are_none_or_too_large_do_no_harm() {
        let mut adwin = Adwin::new(f64::NAN, -1.0);
        assert!(adwin.is_empty() && adwin.mean().is_none());
        for value in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
            adwin.observe(value);
        }
        assert_eq!((adwin.len(), adwin.mean()), (2, Some(0.5)));
    }
}
