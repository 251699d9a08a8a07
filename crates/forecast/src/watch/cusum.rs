//! Lasting changes of a mean: the two-sided cumulative sum (Page 1954) for numbers whose mean is known to be zero, and the
//! Page-Hinkley test (Hinkley 1971) for those whose mean must be learned.

use serde::{Deserialize, Serialize};

/// Which way a mean has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shift {
    /// Values are larger than before.
    Up,
    /// Values are smaller than before.
    Down,
}

/// Two-sided cumulative sum over standardised errors: mean zero and deviation one as long as all is well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    slack: f64,
    alarm: f64,
    up: f64,
    down: f64,
}

impl Cusum {
    /// Finds shifts of `shift` standard deviations fastest, with a false alarm once in about `steps` steps as long as errors
    /// are independent and normal. Both are drawn in to what makes sense (0.1 to 10; 10 to 1e9).
    pub fn new(shift: f64, steps: f64) -> Cusum {
        let slack = finite(shift, 1.0).clamp(0.1, 10.0) / 2.0;
        let steps = finite(steps, 1e4).clamp(10.0, 1e9);
        // The mean grows with the alarm: halve until it fits.
        let (mut low, mut high) = (0.0, 1000.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if steps_between(slack, middle) < steps { low = middle } else { high = middle }
        }
        Cusum { slack, alarm: high, up: 0.0, down: 0.0 }
    }

    /// The sum that raises an alarm, in standard deviations.
    pub fn alarm(&self) -> f64 {
        self.alarm
    }

    /// Takes one error. An alarm begins the sums anew. Errors beyond eight deviations count as eight, so that no single
    /// value is taken for a shift.
    pub fn observe(&mut self, error: f64) -> Option<Shift> {
        if !error.is_finite() {
            return None;
        }
        let error = error.clamp(-ERROR_MAX, ERROR_MAX);
        self.up = (self.up + error - self.slack).max(0.0);
        self.down = (self.down - error - self.slack).max(0.0);
        let shift = match (self.up >= self.alarm, self.down >= self.alarm) {
            (true, _) => Shift::Up,
            (false, true) => Shift::Down,
            (false, false) => return None,
        };
        (self.up, self.down) = (0.0, 0.0);
        Some(shift)
    }
}

/// Mean steps between false alarms of the two-sided sum on independent standard normal errors (Siegmund 1985).
fn steps_between(slack: f64, alarm: f64) -> f64 {
    let reach = 2.0 * slack * (alarm + 1.166);
    (reach.exp() - reach - 1.0) / (2.0 * slack * slack) / 2.0
}

/// The Page-Hinkley test: how far the sum of deviations from the running mean is from its extreme.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    slack: f64,
    alarm: f64,
    count: f64,
    mean: f64,
    up: f64,
    down: f64,
}

impl PageHinkley {
    /// `slack`: deviations from the mean that are let pass; `alarm`: the sum of what is left that makes a change. Both in
    /// the unit of the values, and at least zero.
    pub fn new(slack: f64, alarm: f64) -> PageHinkley {
        let (slack, alarm) = (finite(slack, 0.0).max(0.0), finite(alarm, 0.0).max(0.0));
        PageHinkley { slack, alarm, count: 0.0, mean: 0.0, up: 0.0, down: 0.0 }
    }

    /// Takes one value. An alarm begins anew, mean and all.
    pub fn observe(&mut self, value: f64) -> Option<Shift> {
        if !value.is_finite() {
            return None;
        }
        self.count += 1.0;
        self.mean += (value - self.mean) / self.count;
        // A sum minus its minimum so far is a sum that never falls below zero.
        self.up = (self.up + value - self.mean - self.slack).max(0.0);
        self.down = (self.down - value + self.mean - self.slack).max(0.0);
        if self.count < COUNT_MIN {
            return None;
        }
        let shift = match (self.up > self.alarm, self.down > self.alarm) {
            (true, _) => Shift::Up,
            (false, true) => Shift::Down,
            (false, false) => return None,
        };
        *self = PageHinkley::new(self.slack, self.alarm);
        Some(shift)
    }
}

fn finite(value: f64, otherwise: f64) -> f64 {
    if value.is_finite() { value } else { otherwise }
}

/// Errors count as at most this many deviations.
const ERROR_MAX: f64 = 8.0;
/// Values before the mean is believed.
const COUNT_MIN: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tail::normal;

    /// Mean steps from the shift to the alarm over many runs, each after 200 quiet steps; alarms before it do not count.
    fn delay(mut fresh: impl FnMut() -> Box<dyn FnMut(f64) -> Option<Shift>>, shift: f64) -> f64 {
        let mut random = fastrand::Rng::with_seed(11);
        let mut total = 0.0;
        for _ in 0..300 {
            let mut observe = fresh();
            (0..200).for_each(|_| {
                observe(normal(&mut random));
            });
            let steps = (1..10_000).find(|_| observe(shift + normal(&mut random)).is_some());
            total += f64::from(steps.expect("it is found"));
        }
        total / 300.0
    }

    #[test]
    fn the_sum_raises_false_alarms_as_often_as_it_was_told() {
        for (shift, steps) in [(1.0, 500.0), (1.0, 5_000.0), (2.0, 2_000.0)] {
            let mut cusum = Cusum::new(shift, steps);
            let mut random = fastrand::Rng::with_seed(3);
            let seen = 400_000;
            let alarms = (0..seen).filter(|_| cusum.observe(normal(&mut random)).is_some()).count();
            let every = f64::from(seen) / alarms as f64;
            assert!(every > 0.8 * steps && every < 1.35 * steps, "once in {every:.0} instead of {steps}");
        }
    }

    #[test]
    fn a_shift_of_one_deviation_is_seen_within_twenty_steps_and_of_three_within_five() {
        let fresh = || {
            let mut cusum = Cusum::new(1.0, 10_000.0);
            Box::new(move |error| cusum.observe(error)) as Box<dyn FnMut(f64) -> Option<Shift>>
        };
        let (one, three) = (delay(fresh, 1.0), delay(fresh, 3.0));
        assert!(one < 20.0 && three < 5.0, "{one:.1} and {three:.1} steps");
        let mut cusum = Cusum::new(1.0, 10_000.0);
        assert_eq!((0..50).find_map(|_| cusum.observe(-2.0)), Some(Shift::Down));
    }

    #[test]
    fn the_mean_need_not_be_known() {
        let fresh = || {
            let mut test = PageHinkley::new(0.5, 10.0);
            Box::new(move |error| test.observe(error + 40.0)) as Box<dyn FnMut(f64) -> Option<Shift>>
        };
        let two = delay(fresh, 2.0);
        assert!(two < 12.0, "{two:.1} steps");
        let mut test = PageHinkley::new(0.5, 10.0);
        let mut random = fastrand::Rng::with_seed(5);
        let alarms = (0..50_000).filter(|_| test.observe(7.0 + normal(&mut random)).is_some()).count();
        assert!(alarms <= 10, "{alarms} false alarms in 50,000 steps");
    }

    #[test]
    fn numbers_that_are_none_change_nothing_and_one_wild_value_is_no_shift() {
        let mut cusum = Cusum::new(f64::NAN, f64::INFINITY);
        let mut test = PageHinkley::new(f64::NAN, f64::NAN);
        let before = (cusum.clone(), test.clone());
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!((cusum.observe(value), test.observe(value)), (None, None));
        }
        assert_eq!((&cusum, &test), (&before.0, &before.1));
        let mut cusum = Cusum::new(1.0, 10_000.0);
        assert_eq!(cusum.observe(1e12), None);
    }
}
