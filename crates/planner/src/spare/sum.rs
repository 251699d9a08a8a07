//! How many instances several workloads may need together, from what each of them may need alone.
//!
//! Each member says what it may need within the refill lead as whole instances with probabilities. If the members were
//! independent, the sum would be their convolution; if they rose together, each quantile of the sum would be the sum of that
//! quantile. The truth is put between the two by the correlation that their forecast errors have shown.

use std::collections::BTreeMap;

/// Whole instances with probabilities that add up to one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Needs(BTreeMap<u32, f64>);

impl Needs {
    /// From a quantile function. Each stretch of probability counts at its upper end, so that nothing is understated.
    pub(crate) fn of(quantile: impl Fn(f64) -> u32) -> Needs {
        let mut needs = BTreeMap::new();
        let mut below = 0.0;
        for edge in EDGES {
            *needs.entry(quantile(edge)).or_default() += edge - below;
            below = edge;
        }
        *needs.entry(quantile(LAST)).or_default() += 1.0 - below;
        Needs(needs)
    }

    /// What is needed beyond so many that are there.
    pub(crate) fn beyond(&self, there: u32) -> Needs {
        let mut needs = BTreeMap::new();
        for (count, p) in &self.0 {
            *needs.entry(count.saturating_sub(there)).or_default() += p;
        }
        Needs(needs)
    }

    /// Surely none.
    pub(crate) fn none() -> Needs {
        Needs(BTreeMap::from([(0, 1.0)]))
    }

    /// What two need together that know nothing of each other.
    pub(crate) fn plus(&self, other: &Needs) -> Needs {
        let mut sum = BTreeMap::new();
        for (a, p) in &self.0 {
            for (b, q) in &other.0 {
                *sum.entry(a.saturating_add(*b)).or_default() += p * q;
            }
        }
        Needs(sum)
    }

    /// The least number that is exceeded with probability `tail` at most.
    pub(crate) fn exceeded(&self, tail: f64) -> u32 {
        let mut above = 0.0;
        let mut last = 0;
        for (count, p) in self.0.iter().rev() {
            above += p;
            last = *count;
            if above > tail + ROUNDING {
                break;
            }
        }
        last
    }
}

/// How strongly the members' errors go together, learned from the error of their sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Together {
    /// Squared error of the sum, beyond what independent members would show, and the most it could be; both faded sums.
    beyond: f64,
    most: f64,
}

impl Together {
    /// What was needed beside what each was expected to need, of all members at one time.
    pub(crate) fn observe(&mut self, members: impl Iterator<Item = (f64, f64)>, fade: f64) {
        let (mut sum, mut squares, mut sizes) = (0.0, 0.0, 0.0);
        for (needed, expected) in members {
            let error = needed - expected;
            sum += error;
            squares += error * error;
            sizes += error.abs();
        }
        self.beyond = self.beyond * fade + (sum * sum - squares);
        self.most = self.most * fade + (sizes * sizes - squares);
    }

    /// From 0, independent, to 1, as one. What is held before anything is known fades with what was seen.
    pub(crate) fn correlation(&self) -> f64 {
        let (beyond, most) = (self.beyond + PRIOR * PRIOR_WEIGHT, self.most + PRIOR_WEIGHT);
        (beyond / most).clamp(0.0, 1.0)
    }
}

/// The number that all members together exceed with probability `tail`.
pub(crate) fn together(members: &[Needs], sum: &Needs, tail: f64, correlation: f64) -> u32 {
    let apart = f64::from(sum.exceeded(tail));
    let as_one: u32 = members.iter().map(|needs| needs.exceeded(tail)).sum();
    (apart + correlation * (f64::from(as_one) - apart).max(0.0) - ROUNDING).ceil().max(0.0) as u32
}

/// Closer where bursts are told from calm.
const EDGES: [f64; 17] =
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999];
const LAST: f64 = 0.99999;
const ROUNDING: f64 = 1e-9;
/// Before anything is known, members are held to rise together this much, ...
const PRIOR: f64 = 0.3;
/// ... as much as that many squared instances of errors would say.
const PRIOR_WEIGHT: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Usually nothing, with probability `p` a burst of `size`.
    fn bursts(p: f64, size: u32) -> Needs {
        Needs::of(|tau| if tau > 1.0 - p { size } else { 0 })
    }

    #[test]
    fn a_sum_of_independent_bursts_needs_less_than_the_sum_of_each() {
        let members: Vec<Needs> = (0..8).map(|_| bursts(0.05, 4)).collect();
        let sum = members.iter().fold(Needs::none(), |sum, needs| sum.plus(needs));
        // The chance of three or more of eight at once is 0.6 %, of two or more 5.7 %.
        assert_eq!(together(&members, &sum, 0.01, 0.0), 8);
        assert_eq!(together(&members, &sum, 0.01, 1.0), 32);
        assert_eq!(together(&members, &sum, 0.01, 0.5), 20);
        assert!((sum.0.values().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn correlation_is_learned_from_the_error_of_the_sum() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut alone, mut as_one) = (Together::default(), Together::default());
        assert!((alone.correlation() - PRIOR).abs() < 1e-9);
        for _ in 0..2_000 {
            let errors: Vec<(f64, f64)> = (0..5).map(|_| (rng.f64() * 4.0, 2.0)).collect();
            let same = errors[0];
            alone.observe(errors.into_iter(), 0.999);
            as_one.observe(std::iter::repeat_n(same, 5), 0.999);
        }
        assert!(alone.correlation() < 0.1, "{}", alone.correlation());
        assert!(as_one.correlation() > 0.95, "{}", as_one.correlation());
    }
}
