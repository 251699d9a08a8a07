//! The fast controller of one limit: keeps the share of throttled periods at a target.
//!
//! After the Captain of Autothrottle (Wang et al., NSDI 2024), with the constants of its publication: far more throttling
//! than the target raises the limit in proportion; otherwise the limit falls to what was used lately and a margin, which
//! grows while there is more throttling than the target and shrinks while there is less.

use std::collections::VecDeque;

/// The controller.
#[derive(Debug, Clone)]
pub(crate) struct Captain {
    limit: f64,
    margin: f64,
    throttled: VecDeque<f64>,
    used: VecDeque<f64>,
    /// The limit before the scale-down a reading ago.
    before_down: Option<f64>,
}

impl Captain {
    pub(crate) fn new(limit: f64) -> Captain {
        Captain {
            limit,
            margin: MARGIN_FIRST,
            throttled: VecDeque::new(),
            used: VecDeque::new(),
            before_down: None,
        }
    }

    /// The limit, in cores.
    pub(crate) fn limit(&self) -> f64 {
        self.limit
    }

    /// The limit is set from elsewhere.
    pub(crate) fn set(&mut self, limit: f64) {
        (self.limit, self.before_down) = (limit, None);
    }

    /// Draws the limit into these bounds.
    pub(crate) fn set_within(&mut self, least: f64, most: f64) {
        self.limit = self.limit.min(most).max(least);
    }

    /// Mean share of throttled periods in the last readings.
    pub(crate) fn throttled(&self) -> f64 {
        self.throttled.iter().sum::<f64>() / self.throttled.len().max(1) as f64
    }

    /// Takes in a reading, in cores and as a share of periods, and moves the limit towards the target.
    pub(crate) fn observe(&mut self, used: f64, throttled: f64, target: f64) {
        push(&mut self.throttled, throttled, THROTTLED_KEPT);
        push(&mut self.used, used, USED_KEPT);
        let ratio = self.throttled();
        self.margin = (self.margin + throttled - target).max(0.0);
        if let Some(before) = self.before_down.take()
            && throttled > FAR * target
        {
            // The step down was wrong: back, and further up by as much.
            self.limit = before + (before - self.limit);
            return;
        }
        if ratio > FAR * target {
            self.limit *= 1.0 + ratio - FAR * target;
            return;
        }
        let proposed = self.used.iter().copied().fold(0.0, f64::max) + self.margin * self.deviation();
        if proposed <= DOWN_FROM * self.limit {
            self.before_down = Some(self.limit);
            self.limit = proposed.max(DOWN_MOST * self.limit);
        }
    }

    fn deviation(&self) -> f64 {
        let n = self.used.len() as f64;
        let mean = self.used.iter().sum::<f64>() / n;
        (self.used.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n).sqrt()
    }
}

fn push(kept: &mut VecDeque<f64>, value: f64, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(value);
}

const MARGIN_FIRST: f64 = 3.0;
const THROTTLED_KEPT: usize = 10;
const USED_KEPT: usize = 50;
/// So many times the target is too much.
const FAR: f64 = 3.0;
const DOWN_FROM: f64 = 0.9;
const DOWN_MOST: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_falls_to_what_is_used_and_rises_when_throttled() {
        let mut captain = Captain::new(4.0);
        for n in 0..200 {
            captain.observe(0.9 + 0.1 * f64::from(n % 2), 0.0, 0.1);
        }
        assert!((1.0..1.2).contains(&captain.limit()), "{}", captain.limit());
        let low = captain.limit();
        (0..10).for_each(|_| captain.observe(low, 0.8, 0.1));
        assert!(captain.limit() > 2.0 * low, "{}", captain.limit());
    }

    #[test]
    fn a_step_down_that_throttles_at_once_is_taken_back() {
        let mut captain = Captain::new(4.0);
        captain.observe(1.0, 0.0, 0.02);
        let down = captain.limit();
        assert!(down < 4.0);
        captain.observe(down, 0.9, 0.02);
        assert!(captain.limit() >= 4.0, "{}", captain.limit());
    }
}
