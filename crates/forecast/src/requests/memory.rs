//! How much to reserve for a request whose need is only known as a distribution, and what to do when it was too little.

use super::levels::{Levels, at, probability};
use super::model::CostModel;
use super::parameters::{Parameters, Row};

/// The next reservation after one that was too small: doubled, so that the retries of even the largest request are few and
/// their sum is at most as much again as the last (Tovar et al. 2018 and Witt et al. 2019 measure this against other rules).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// The largest reservation that a machine can give.
    pub limit: f64,
}

impl Retry {
    /// What to reserve after `failed` was too little; `None` when `failed` was the limit already.
    pub fn after(&self, failed: f64) -> Option<f64> {
        let doubled = 2.0 * failed.max(f64::MIN_POSITIVE);
        (failed < self.limit).then(|| doubled.min(self.limit))
    }

    /// Reserved but unused in total when the first reservation is `first` and the need is `need`: all of what each failed
    /// attempt had, and what the last one had too much. Infinite when even the limit is too little.
    pub fn waste(&self, first: f64, need: f64) -> f64 {
        let (mut size, mut wasted) = (first, 0.0);
        while size < need {
            wasted += size.max(0.0);
            match self.after(size) {
                Some(next) => size = next,
                None => return f64::INFINITY,
            }
        }
        wasted + size - need
    }
}

/// Chooses the reservation with the least expected waste, retries included, when a failed attempt costs `price` on top.
///
/// One quantile for all requests wastes most on endpoints whose need is wide: there a lower one is cheaper even with its
/// retries, and the many small and narrow ones can have a higher one for next to nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizing {
    /// What a failed attempt costs on top of its memory, in the unit of the cost.
    pub price: f64,
    /// Doubling after failures.
    pub retry: Retry,
}

impl Sizing {
    /// What to reserve for a request; `None` when the model knows nothing.
    pub fn reserve(&self, model: &CostModel, endpoint: &str, parameters: &Parameters<'_>) -> Option<f64> {
        let (levels, _) = model.levels(endpoint, &Row::new(parameters))?;
        Some(self.choose(&levels))
    }

    fn choose(&self, levels: &Levels) -> f64 {
        let needs: [f64; NEEDS] = std::array::from_fn(|i| {
            at(levels, (i as f64 + 0.5) / NEEDS as f64).clamp(-700.0, 700.0).exp().min(self.retry.limit)
        });
        let mut best = (f64::INFINITY, needs[NEEDS - 1]);
        for tau in CANDIDATES {
            let log = at(levels, tau);
            let size = log.clamp(-700.0, 700.0).exp().min(self.retry.limit);
            // The waste from the middle of each share of the distribution; how often it fails from the curve itself.
            let wasted: f64 =
                needs.iter().map(|&need| self.retry.waste(size, need)).sum::<f64>() / NEEDS as f64;
            let expected = wasted + self.price * (1.0 - probability(levels, log));
            if expected < best.0 {
                best = (expected, size);
            }
        }
        best.1
    }
}

const NEEDS: usize = 48;
const CANDIDATES: [f64; 14] =
    [0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.975, 0.985, 0.99, 0.995, 0.999];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_doubles_up_to_the_limit() {
        let retry = Retry { limit: 10.0 };
        assert_eq!(retry.after(3.0), Some(6.0));
        assert_eq!(retry.after(6.0), Some(10.0));
        assert_eq!(retry.after(10.0), None);
        // 3 and 6 are lost, 10 has one too much.
        assert_eq!(retry.waste(3.0, 9.0), 10.0);
        assert_eq!(retry.waste(9.0, 9.0), 0.0);
        assert_eq!(retry.waste(9.0, 11.0), f64::INFINITY);
    }

    #[test]
    fn a_dearer_failure_reserves_more_and_a_wide_need_reserves_lower_in_it() {
        let narrow = super::super::levels::GRID.map(|tau| 0.01 * (tau / (1.0 - tau)).ln());
        let wide = super::super::levels::GRID.map(|tau| 0.3 * (tau / (1.0 - tau)).ln());
        let retry = Retry { limit: 1e9 };
        let chosen = |price, levels: &Levels| {
            let size = Sizing { price, retry }.choose(levels);
            probability(levels, size.ln())
        };
        assert!(chosen(10.0, &wide) > chosen(0.1, &wide));
        assert!(chosen(0.5, &narrow) > chosen(0.5, &wide));
    }
}
