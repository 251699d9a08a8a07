//! How long to keep an idle application loaded, and when to load it ahead of its next use.
//!
//! [`Keeper`] is ours; [`Fixed`] and [`Hybrid`] are what clouds do and what "Serverless in the Wild" (Shahrad et al., ATC
//! 2020) proposes, as rivals to measure against and as simple choices.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::occurrence::Occurrence;
use super::pool::Pool;

/// Steps after the last use during which an application is to be loaded; 1 is the step right after it.
pub type Window = RangeInclusive<u32>;

/// Keeps an application loaded for the same time after every use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Steps.
    pub keep: u32,
}

impl Fixed {
    /// When to have it loaded.
    pub fn window(&self) -> Window {
        1..=self.keep
    }
}

/// The hybrid histogram policy: a histogram of idle times up to a range; from its head to its tail the application is
/// loaded. While the histogram says nothing, the application is kept for the whole range; when most idle times are
/// longer than the range, they are forecast instead (the paper fits ARIMA; here the mean of the latest ones).
#[derive(Clone, Debug, PartialEq)]
pub struct Hybrid {
    /// Longest idle time with a bin; 240 minutes in the paper.
    pub range: u32,
    /// Share of the idle times before the head; 0.05 in the paper.
    pub head: f64,
    /// Share before the tail; 0.99 in the paper.
    pub tail: f64,
    /// By how much the head is brought forward and the tail put off; 0.1 in the paper.
    pub margin: f64,
    counts: Vec<u32>,
    total: u32,
    beyond: u32,
    /// The latest idle times, for those beyond.
    latest: Vec<u32>,
}

impl Hybrid {
    /// As published, with histograms of `range` steps.
    pub fn new(range: u32) -> Hybrid {
        Hybrid {
            range,
            head: 0.05,
            tail: 0.99,
            margin: 0.1,
            counts: vec![0; range as usize + 1],
            total: 0,
            beyond: 0,
            latest: Vec::new(),
        }
    }

    /// Learns from an idle time: steps from one use to the next.
    pub fn learn(&mut self, idle: u32) {
        match self.counts.get_mut(idle as usize) {
            Some(count) => {
                *count += 1;
                self.total += 1;
            }
            None => self.beyond += 1,
        }
        if self.latest.len() == LATEST {
            self.latest.remove(0);
        }
        self.latest.push(idle);
    }

    /// When to have it loaded.
    pub fn window(&self) -> Window {
        let all = self.total + self.beyond;
        if all > 0 && 2 * self.beyond > all && all >= FORECAST_MIN {
            let sum: f64 = self.latest.iter().map(|&idle| f64::from(idle)).sum();
            let mean = sum / self.latest.len() as f64;
            return (mean * (1.0 - FORECAST_MARGIN)) as u32 + 1
                ..=(mean * (1.0 + FORECAST_MARGIN)).ceil() as u32;
        }
        if self.total == 0 || self.variation() < VARIATION_MIN {
            return 1..=self.range;
        }
        let head = (f64::from(self.percentile(self.head)) * (1.0 - self.margin)).floor() as u32;
        let tail = (f64::from(self.percentile(self.tail)) * (1.0 + self.margin)).ceil() as u32;
        head + 1..=tail.min(self.range)
    }

    /// Coefficient of variation of the bins' counts: high when the idle times fall into few of them.
    fn variation(&self) -> f64 {
        let n = f64::from(self.range);
        let mean = f64::from(self.total) / n;
        let squares: f64 = self.counts[1..].iter().map(|&count| (f64::from(count) - mean).powi(2)).sum();
        (squares / n).sqrt() / mean
    }

    fn percentile(&self, share: f64) -> u32 {
        let wanted = (share * f64::from(self.total)).ceil().max(1.0) as u32;
        let mut below = 0;
        for (idle, &count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return idle as u32;
            }
        }
        self.range
    }
}

/// Keeps an application loaded through exactly those steps at which a use is likely enough to be worth it.
///
/// Loading costs nothing in itself here, so deciding each step alone is the best there is: loaded at a step if and only
/// if the probability of a use at it, times what a cold start costs, is more than what a loaded idle step costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keeper {
    occurrence: Occurrence,
}

/// What is dear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Loaded idle steps that a cold start is worth, of an application that was started ten times. Raise it for fewer cold
    /// starts.
    pub cold_start: f64,
    /// 0: every cold start is worth the same. 1: each application's cold starts are worth the same in total, so that rarely
    /// used ones are not served worst. Between them as it says.
    pub fairness: f64,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper::new()
    }
}

impl Keeper {
    /// Of an application that was never used.
    pub fn new() -> Keeper {
        Keeper { occurrence: Occurrence::new() }
    }

    /// Takes the next step; teaches the pool when the application was idle before it.
    pub fn observe(&mut self, busy: bool, pool: &mut Pool) {
        if self.occurrence.since() > 1 {
            pool.learn(&self.occurrence, busy);
        }
        self.occurrence.observe(busy);
    }

    /// Whether to have it loaded at the next step.
    pub fn loaded(&self, price: &Price, pool: &Pool) -> bool {
        self.loaded_ahead(1, price, pool)
    }

    /// When to have it loaded within the next `horizon` steps if no use comes, as steps ahead: the next one is 1.
    pub fn windows(&self, horizon: u32, price: &Price, pool: &Pool) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        for ahead in (1..=horizon).filter(|&ahead| self.loaded_ahead(ahead, price, pool)) {
            match windows.last_mut() {
                Some(last) if *last.end() + 1 == ahead => *last = *last.start()..=ahead,
                Some(_) | None => windows.push(ahead..=ahead),
            }
        }
        windows
    }

    /// Probability of a use at the step `ahead` steps ahead (1 is the next) if none comes before.
    pub fn probability(&self, ahead: u32, pool: &Pool) -> f64 {
        pool.probability(&self.occurrence, ahead)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        size_of::<Keeper>() + self.occurrence.bytes()
    }

    fn loaded_ahead(&self, ahead: u32, price: &Price, pool: &Pool) -> bool {
        if self.occurrence.since() == 0 {
            return false;
        }
        let often = f64::from(self.occurrence.starts().max(1)) / STARTS_OF_PRICE;
        let worth = price.cold_start / often.powf(price.fairness);
        pool.probability(&self.occurrence, ahead) * worth > 1.0
    }
}

const STARTS_OF_PRICE: f64 = 10.0;
const LATEST: usize = 10;
/// The paper's threshold for a histogram that says something.
const VARIATION_MIN: f64 = 2.0;
/// Around the forecast of an idle time beyond the range.
const FORECAST_MARGIN: f64 = 0.15;
/// Idle times before a forecast is tried.
const FORECAST_MIN: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_policy_goes_from_head_to_tail_when_the_histogram_says_something() {
        let mut hybrid = Hybrid::new(240);
        assert_eq!(hybrid.window(), 1..=240);
        for _ in 0..20 {
            hybrid.learn(60);
        }
        // 60 less and more a tenth.
        assert_eq!(hybrid.window(), 55..=66);
        let mut flat = Hybrid::new(240);
        for idle in 1..=240 {
            flat.learn(idle);
        }
        assert_eq!(flat.window(), 1..=240);
        let mut long = Hybrid::new(240);
        for _ in 0..4 {
            long.learn(400);
        }
        assert_eq!(long.window(), 341..=460);
    }

    #[test]
    fn a_timer_is_unloaded_at_once_and_loaded_just_before_it_is_due() {
        let (mut pool, mut keeper) = (Pool::new(), Keeper::new());
        assert!(!keeper.loaded(&Price { cold_start: 1e9, fairness: 0.0 }, &pool));
        for t in 0..1200 {
            keeper.observe(t % 60 == 0, &mut pool);
        }
        // 1200 would be due next; let it come, and ask from there.
        keeper.observe(true, &mut pool);
        let price = Price { cold_start: 10.0, fairness: 0.0 };
        assert_eq!(keeper.windows(100, &price, &pool), [60..=60]);
    }
}
