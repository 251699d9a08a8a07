//! The Vertical Pod Autoscaler's recommender and updater for processor time, with their published constants.
//!
//! A histogram of use that decays with a half-life of 24 h; the target is its 90th percentile and 15 % more; the updater
//! acts when the target is more than 10 % off. Changes are taken to be free and instant, and its minimum and its
//! limits on evictions to be no hindrance, all of which is in its favour.

use std::time::Duration;

use forecast::Timestamp;
use planner::sizing::DecayingHistogram;

use super::Sizer;

/// The rival.
#[derive(Debug, Clone)]
pub struct Vpa {
    histogram: DecayingHistogram,
    limit: f64,
    percentile: f64,
    margin: f64,
}

impl Vpa {
    /// With its defaults, and a size to begin with, in cores.
    pub fn new(initial: f64) -> Vpa {
        Vpa::tuned(initial, PERCENTILE, MARGIN, HALF_LIFE)
    }

    /// With another percentile, another margin as a share, or another half-life.
    pub fn tuned(initial: f64, percentile: f64, margin: f64, half_life: Duration) -> Vpa {
        let histogram = DecayingHistogram::new(FIRST_BUCKET, GROWTH, CORES_MAX, half_life);
        Vpa { histogram, limit: initial, percentile, margin }
    }
}

impl Sizer for Vpa {
    fn observe(&mut self, step_start: Timestamp, cores: Option<f64>) {
        if let Some(cores) = cores {
            // Weighted by use there too, with a least weight.
            self.histogram.add(step_start, cores, WEIGHT_MIN.max(self.limit));
        }
    }

    fn limit(&mut self, _now: Timestamp) -> f64 {
        if let Some(percentile) = self.histogram.quantile(self.percentile) {
            let target = (percentile * (1.0 + self.margin)).max(CORES_MIN);
            if (target - self.limit).abs() > CHANGE_MIN * self.limit {
                self.limit = target;
            }
        }
        self.limit
    }
}

const PERCENTILE: f64 = 0.9;
const MARGIN: f64 = 0.15;
/// After this time a sample counts half.
pub const HALF_LIFE: Duration = Duration::from_secs(86_400);
const FIRST_BUCKET: f64 = 0.01;
const GROWTH: f64 = 0.05;
const CORES_MAX: f64 = 1000.0;
const CORES_MIN: f64 = 0.025;
const WEIGHT_MIN: f64 = 0.1;
const CHANGE_MIN: f64 = 0.1;
