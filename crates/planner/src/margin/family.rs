//! The rules that compete: families of ways to turn what is known into demand to provision for, each with a grid of levels.
//!
//! No single family suits every workload. Quantiles of the forecast are best where its width is learned well. A fixed number
//! of instances above the median is best where rare spikes have nothing to do with that width, a multiple of demand or
//! median where they grow with demand. Where bursts are over before anything could have started, a fixed number that does
//! not even follow them is best. What comes at one hour of the week and begins within a step is foreseen best by the week
//! before itself. Which it is shows on paper.

use std::sync::LazyLock;

use forecast::{Quantile, WindowMax};

/// A way to provision; the position on a grid of levels says how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// A quantile of the forecast; beyond the last one, multiples of it.
    Quantile,
    /// The forecast median and a number of instances, at least the demand of now.
    Offset,
    /// A multiple of the forecast median or of the demand of now, whichever is higher.
    Multiple,
    /// A high quantile of the forecast, and never less than a fixed number of instances.
    Static,
    /// A multiple of the demand of now, whatever the forecast says.
    Reactive,
    /// Somewhat more than the demand of now, and never less than a fixed number of instances.
    Floor,
    /// The same, but only demand that has lasted for some steps is followed.
    Lasting,
    /// A multiple of the demand of a week ago or of now, whichever is higher.
    LastWeek,
    /// As [`Family::Quantile`], but nothing is held: what is not needed is given up at once.
    Brief,
}

/// Those of the active tier where standbys stand in. The first is used until the others have proved themselves. What the
/// last gives up is back at once there, and nowhere else.
pub(crate) const FAMILIES_ACTIVE: [Family; 9] = [
    Family::Quantile,
    Family::Offset,
    Family::Multiple,
    Family::Static,
    Family::Reactive,
    Family::Floor,
    Family::Lasting,
    Family::LastWeek,
    Family::Brief,
];

/// Those of every other tier: all that hold.
pub(crate) const FAMILIES: &[Family] = FAMILIES_ACTIVE.split_at(FAMILIES_ACTIVE.len() - 1).0;

/// A family and a position on its grid, from 0 to `LEVELS - 1`. Values between two levels are interpolated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    pub(crate) family: Family,
    pub(crate) at: f64,
}

/// What a rule looks at.
pub(crate) struct Sight {
    /// The largest demand of the steps in question.
    window: WindowMax,
    median: f64,
    high: f64,
    /// Nothing above is provisioned for: far tails are extrapolated and may promise any height.
    limit: f64,
    /// The demand of now.
    demand: f64,
    /// The same, or the largest of late where it is asked what to keep.
    recent: f64,
    /// The least demand of the last steps.
    lasting: f64,
    /// The largest demand of the steps in question a week ago; where it is not remembered, the median.
    week_ago: f64,
    /// Offsets and fixed sizes are whole numbers of this demand: one instance, or more in a large fleet.
    unit: f64,
    /// No quantile below this is provided for.
    least: f64,
}

impl Sight {
    /// `limit`: nothing above is provided for. `demand`: of now. `recent`: the same, or the largest of late where it is asked
    /// what to keep. `lasting`: the least of the last steps. `week_ago`: the largest of the same steps then. `unit`: what
    /// offsets and fixed sizes are whole numbers of.
    pub(crate) fn new(
        window: WindowMax,
        limit: f64,
        (demand, recent, lasting): (f64, f64, f64),
        week_ago: Option<f64>,
        unit: f64,
    ) -> Sight {
        let (median, high) = (window.median(), window.quantile(STATIC_QUANTILE));
        let week_ago = week_ago.unwrap_or(median);
        Sight { window, median, high, limit, demand, recent, lasting, week_ago, unit, least: 0.0 }
    }

    /// The same where nobody knows yet what an event does. How far down quantiles reach says only that: no less is provided for
    /// than what is there now, as far as the median expects it to stay.
    pub(crate) fn before_unknown_event(self) -> Sight {
        Sight { least: self.median.min(self.demand), ..self }
    }

    /// What the levels of [`Family::Quantile`] provide for.
    fn quantiles(&self) -> Levels<f64> {
        let mut levels = [0.0; LEVELS];
        let (first, beyond) = levels.split_at_mut(TAILS.len());
        for (level, quantile) in first.iter_mut().zip(QUANTILES.iter()) {
            *level = self.window.at(*quantile);
        }
        for (level, factor) in beyond.iter_mut().zip(&BEYOND[1..]) {
            *level = first[TAILS.len() - 1] * factor;
        }
        levels.map(|level| level.max(self.least).min(self.limit))
    }

    /// A quantile of the largest demand, as far as it is believed.
    pub(crate) fn quantile(&self, tau: f64) -> f64 {
        self.window.quantile(tau).min(self.limit)
    }
}

/// A rule in the words of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MarginRule {
    /// A quantile of the forecast.
    Quantile,
    /// So much demand above the median, and no less than the demand of now.
    Offset {
        /// In the workload's unit.
        demand: f64,
    },
    /// A multiple of the median or of the demand of now, whichever is higher.
    Multiple {
        /// At least 1.
        factor: f64,
    },
    /// A high quantile, and never less than a fixed demand.
    Static {
        /// In the workload's unit.
        demand: f64,
    },
    /// A multiple of the demand of now.
    Reactive {
        /// At least 1.
        factor: f64,
    },
    /// Somewhat more than the demand of now, and never less than a fixed demand.
    Floor {
        /// In the workload's unit.
        demand: f64,
    },
    /// Somewhat more than the demand that has lasted, and never less than a fixed demand.
    Lasting {
        /// In the workload's unit.
        demand: f64,
    },
    /// A multiple of the demand of a week ago or of now, whichever is higher.
    LastWeek {
        /// At least 1.
        factor: f64,
    },
}

impl Rule {
    /// The rule in the words of a plan; `unit` as in [`Sight`].
    pub(crate) fn name(self, unit: f64) -> MarginRule {
        match self.family {
            Family::Quantile | Family::Brief => MarginRule::Quantile,
            Family::Offset => MarginRule::Offset { demand: self.at * unit },
            Family::Multiple => MarginRule::Multiple { factor: raised(&MULTIPLES, self.at) },
            Family::Static => MarginRule::Static { demand: self.at * unit },
            Family::Reactive => MarginRule::Reactive { factor: self.reactive_factor() },
            Family::Floor => MarginRule::Floor { demand: self.at * unit },
            Family::Lasting => MarginRule::Lasting { demand: self.at * unit },
            Family::LastWeek => MarginRule::LastWeek { factor: raised(&MULTIPLES, self.at) },
        }
    }

    /// The demand to provision for.
    pub(crate) fn of(self, sight: &Sight) -> f64 {
        let demand = match self.family {
            Family::Quantile | Family::Brief => {
                let (tail, factor) = self.quantile();
                (sight.window.quantile(1.0 - tail) * factor).max(sight.least)
            }
            Family::Offset => (sight.median + self.at * sight.unit).max(sight.demand),
            Family::Static => sight.high.max(self.at * sight.unit),
            Family::Multiple => sight.median.max(sight.demand) * raised(&MULTIPLES, self.at),
            Family::LastWeek => sight.week_ago.max(sight.demand) * raised(&MULTIPLES, self.at),
            Family::Reactive => return sight.recent * self.reactive_factor(),
            Family::Floor => return (sight.recent * FLOOR_FACTOR).max(self.at * sight.unit),
            Family::Lasting => return (sight.lasting * FLOOR_FACTOR).max(self.at * sight.unit),
        };
        demand.min(sight.limit)
    }

    /// Tail probability above the quantile, and what it is multiplied by.
    pub(crate) fn quantile(self) -> (f64, f64) {
        let at = self.at.clamp(0.0, (LEVELS - 1) as f64);
        let level = |k: usize| {
            let beyond = (k + 1).saturating_sub(TAILS.len());
            (TAILS[k - beyond], BEYOND[beyond])
        };
        let k = (at as usize).min(LEVELS - 2);
        let part = at - k as f64;
        if part == 0.0 {
            return level(k);
        }
        let mix = |a: f64, b: f64| (a.ln() * (1.0 - part) + b.ln() * part).exp();
        let (low, high) = (level(k), level(k + 1));
        (mix(low.0, high.0), mix(low.1, high.1))
    }

    /// The multiple of demand that a reactive rule provisions for.
    pub(crate) fn reactive_factor(self) -> f64 {
        raised(&REACTIVES, self.at)
    }
}

impl Family {
    /// Whether what is not needed now is held for a while.
    pub(crate) fn holds(self) -> bool {
        self != Family::Brief
    }

    /// The demand that each level provides for.
    pub(crate) fn levels(self, sight: &Sight) -> Levels<f64> {
        match self {
            Family::Quantile | Family::Brief => sight.quantiles(),
            _ => std::array::from_fn(|k| Rule { family: self, at: k as f64 }.of(sight)),
        }
    }

    /// The share of demand that each level is believed to miss before anything is known. For [`Family::Reactive`]:
    /// `utilisation` spends exactly `budget`.
    pub(crate) fn prior(self, utilisation: f64, budget: f64) -> [f64; LEVELS] {
        std::array::from_fn(|k| {
            let rule = Rule { family: self, at: k as f64 };
            match self {
                Family::Reactive => {
                    let pinned = (1.0 / utilisation).max(1.0);
                    budget * (-(rule.reactive_factor() - pinned) * REACTIVE_DECAY).exp()
                }
                _ => {
                    let (tail, factor) = rule.quantile();
                    tail * MISS_OF_TAIL / factor.powi(4)
                }
            }
        })
    }
}

/// A power whose exponent lies on the grid or between two of its levels.
fn raised(powers: &[f64; LEVELS], at: f64) -> f64 {
    let at = at.clamp(0.0, (LEVELS - 1) as f64);
    let k = at as usize;
    let part = at - k as f64;
    if part == 0.0 { powers[k] } else { powers[k] * (powers[k + 1] / powers[k]).powf(part) }
}

/// The powers of a number from zero on.
const fn powers<const N: usize>(base: f64) -> [f64; N] {
    let mut powers = [1.0; N];
    let mut k = 1;
    while k < N {
        powers[k] = powers[k - 1] * base;
        k += 1;
    }
    powers
}

/// Something of each level of a family.
pub(crate) type Levels<T> = [T; LEVELS];
/// Levels of each family.
pub(crate) const LEVELS: usize = TAILS.len() + 5;
/// Tail probabilities of the first levels; the further levels are multiples of the last quantile.
const TAILS: [f64; 21] = [
    0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.22, 0.16, 0.12, 0.085, 0.06, 0.04, 0.025, 0.015, 0.008, 0.004, 0.002,
    0.001, 3e-4, 1e-4, 1e-5,
];
static QUANTILES: LazyLock<[Quantile; TAILS.len()]> =
    LazyLock::new(|| TAILS.map(|tail| Quantile::new(1.0 - tail)));
/// What stands above demand where a fixed number is the rule.
const FLOOR_FACTOR: f64 = 1.15;
const STATIC_QUANTILE: f64 = 0.915;
/// What the last quantile is multiplied by.
const BEYOND: [f64; 6] = powers(1.1);
const MULTIPLES: [f64; LEVELS] = powers(1.08);
pub(crate) const REACTIVES: Levels<f64> = powers(1.045);
/// Before anything is known: the share of demand that is missed is this part of the tail probability.
const MISS_OF_TAIL: f64 = 0.1;
/// Before anything is known: a multiple higher by 0.1 misses this much less (exponent per unit).
const REACTIVE_DECAY: f64 = 8.0;
