//! The knobs of each policy, and the values of them that are tried.
//!
//! Every policy trades cost for misses by what its users turn: the planner and the oracle by their error budget, most rivals by
//! the share of an instance's capacity that they aim at, the warm pool by its size too, PHPA's seasonal model by its gains,
//! the hybrid histogram by the share of idle times that it keeps instances for.

use std::fmt;

use super::{Options, PolicyKind};
use crate::demand::Demand;
use crate::rivals::phpa::Gains;
use crate::rivals::warm_pool::Pool;

/// What is turned; none leaves a knob as the options have it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Setting {
    /// Share of demand that may be missed.
    pub budget: Option<f64>,
    /// Capacity aimed at, as a multiple of the demand that the rule sees.
    pub headroom: Option<f64>,
    /// The warm pool.
    pub pool: Option<Pool>,
    /// Gains of PHPA's seasonal model.
    pub gains: Option<Gains>,
    /// Share of idle times that the hybrid histogram covers.
    pub tail: Option<f64>,
}

impl Setting {
    /// Every setting that is tried of a policy, the one of the options among them.
    pub fn all(kind: PolicyKind, demand: &Demand, options: &Options) -> Vec<Setting> {
        let usual = Setting::default();
        let of_headroom = |headroom: f64| Setting { headroom: Some(headroom), ..usual };
        let mut settings = vec![usual];
        match kind {
            PolicyKind::Foreshadow | PolicyKind::Oracle => {
                settings.extend(BUDGETS.map(|budget| Setting { budget: Some(budget), ..usual }));
            }
            PolicyKind::Hpa
            | PolicyKind::Keda
            | PolicyKind::Kpa
            | PolicyKind::LastWeek
            | PolicyKind::Crane
            | PolicyKind::PhpaLinear
            | PolicyKind::Aws => settings.extend(HEADROOMS.map(of_headroom)),
            PolicyKind::StaticPeak => settings.extend(SHARES_OF_PEAK.map(of_headroom)),
            PolicyKind::HpaWarmPool => {
                for pool in pools(demand.peak() / options.capacity) {
                    settings.extend(
                        HEADROOMS_OF_POOLS
                            .map(|headroom| Setting { pool: Some(pool), ..of_headroom(headroom) }),
                    );
                }
            }
            PolicyKind::PhpaHoltWinters => {
                for gains in [Gains::DOCUMENTED, GAINS_CALM] {
                    settings.extend(
                        HEADROOMS.map(|headroom| Setting { gains: Some(gains), ..of_headroom(headroom) }),
                    );
                }
            }
            PolicyKind::HybridHistogram => {
                for tail in TAILS {
                    settings.extend(
                        HEADROOMS_OF_HYBRID
                            .map(|headroom| Setting { tail: Some(tail), ..of_headroom(headroom) }),
                    );
                }
            }
        }
        settings
    }

    /// The options with these knobs turned.
    pub fn over(&self, options: &Options) -> Options {
        let mut options = options.clone();
        if let Some(budget) = self.budget {
            options.budget = budget;
            if let Some(workload) = &mut options.workload {
                workload.objective.error_budget = budget;
            }
        }
        options.headroom = self.headroom.or(options.headroom);
        options.tuning.pool = self.pool.unwrap_or(options.tuning.pool);
        options.tuning.gains = self.gains.unwrap_or(options.tuning.gains);
        options.tuning.tail = self.tail.unwrap_or(options.tuning.tail);
        options
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.budget.map(|budget| format!("budget {} %", rounded(budget * 100.0))),
            self.headroom.map(|headroom| format!("headroom {headroom:.2}")),
            self.pool.map(|pool| match pool {
                Pool::Count(count) => format!("pool of {count}"),
                Pool::Share(share) => format!("pool of {:.0} %", share * 100.0),
                Pool::Prepared(all) => format!("pool up to {all} in all"),
            }),
            self.gains.map(|gains| format!("gains {}, {}, {}", gains.level, gains.trend, gains.season)),
            self.tail.map(|tail| format!("tail {:.0} %", tail * 100.0)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "as set" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Without the digits that a multiplication by a hundred leaves behind.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A number, a share, or a total in relation to what the peak needs.
fn pools(peak: f64) -> impl Iterator<Item = Pool> {
    let counts = [1, 2, 4, 8].map(Pool::Count);
    let shares = [0.05, 0.1, 0.2, 0.35, 0.5].map(Pool::Share);
    let prepared = [0.6, 0.8, 1.0].map(|part| Pool::Prepared((peak * part).ceil() as u32));
    counts.into_iter().chain(shares).chain(prepared)
}

const BUDGETS: [f64; 10] = [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
/// From a part of the demand to many times as much; closer where steady series have their best setting.
const HEADROOMS: [f64; 20] = [
    0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.16, 1.22, 1.3, 1.45, 1.6, 1.8, 2.1, 2.5, 3.0, 4.0, 5.5, 8.0,
];
const HEADROOMS_OF_POOLS: [f64; 7] = [0.9, 1.0, 1.1, 1.25, 1.43, 1.75, 2.2];
const HEADROOMS_OF_HYBRID: [f64; 7] = [0.7, 0.85, 1.0, 1.15, 1.35, 1.6, 2.0];
const SHARES_OF_PEAK: [f64; 13] = [0.25, 0.35, 0.45, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0];
const TAILS: [f64; 3] = [0.9, 0.99, 1.0];
/// Gains for series of noise and a slow change, beside those of PHPA's documentation.
const GAINS_CALM: Gains = Gains { level: 0.3, trend: 0.05, season: 0.5 };
