//! Where the series stands: fading means of it, of what it is compared with, and how a comparison dies out ahead.

use serde::{Deserialize, Serialize};

/// Fading means of several paces, and their ratios to references taken at the same steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Levels {
    pub(crate) last: f64,
    /// The last value less what the profile says of its step.
    pub(crate) last_above: f64,
    pub(crate) fast: Pair,
    pub(crate) brisk: Pair,
    pub(crate) middle: Pair,
    pub(crate) slow: Pair,
    /// Against the value a day before.
    day_before: Pair,
    /// Against the value a week before, over hours and over a day.
    week_hours: Pair,
    week_days: Pair,
    pub(crate) slope: f64,
    /// A value that as many are above as below, and how far they are from it.
    pub(crate) typical: f64,
    deviation: f64,
    pub(crate) ratios: Ratios,
    begun: bool,
    /// Whether a value was below zero: a multiple of a reference near zero says nothing then.
    signed: bool,
}

/// How the series compares with each reference lately; one where nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratios {
    pub(crate) brisk: f64,
    pub(crate) middle: f64,
    pub(crate) slow: f64,
    pub(crate) day_before: f64,
    pub(crate) week_hours: f64,
    pub(crate) week_days: f64,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct References {
    pub(crate) profile: f64,
    pub(crate) day_before: f64,
    pub(crate) week_before: f64,
}

impl Levels {
    /// For a season of `span` steps.
    pub(crate) fn new(span: f64) -> Levels {
        let pace = |steps: f64| Pair { pace: 2.0 / (steps.max(1.0) + 1.0), ..Pair::default() };
        Levels {
            fast: pace(3.0),
            brisk: pace(12.0),
            middle: pace(span / 12.0),
            slow: pace(span),
            day_before: pace(span / 12.0),
            week_hours: pace(span / 12.0),
            week_days: pace(span),
            ..Levels::default()
        }
    }

    pub(crate) fn learn(&mut self, value: f64, references: References) {
        let References { profile, day_before, week_before } = references;
        let fast_before = if self.begun { self.fast.own } else { value };
        for (pair, reference) in [
            (&mut self.fast, profile),
            (&mut self.brisk, profile),
            (&mut self.middle, profile),
            (&mut self.slow, profile),
            (&mut self.day_before, day_before),
            (&mut self.week_hours, week_before),
            (&mut self.week_days, week_before),
        ] {
            if self.begun {
                pair.learn(value, reference);
            } else {
                (pair.own, pair.reference) = (value, value);
            }
        }
        if !self.begun {
            self.typical = value;
        }
        self.begun = true;
        self.signed |= value < 0.0;
        let off = value - self.typical;
        self.deviation += TYPICAL_PACE * (off.abs() - self.deviation);
        self.typical += TYPICAL_PACE * off.clamp(-self.deviation, self.deviation);
        self.slope += SLOPE_PACE * (self.fast.own - fast_before - self.slope);
        self.last = value;
        self.compare();
        self.last_above = value - profile * self.ratios.slow;
    }

    /// Takes the level of the last few steps for the level of the season.
    pub(crate) fn accept(&mut self) {
        let ratio = self.brisk.ratio(0.1, 10.0);
        self.slow.own = self.slow.reference * ratio;
        self.middle.own = self.middle.reference * ratio;
        self.compare();
    }

    fn compare(&mut self) {
        if self.signed {
            self.ratios = Ratios::default();
            return;
        }
        self.ratios = Ratios {
            brisk: self.brisk.ratio(0.1, 10.0),
            middle: self.middle.ratio(0.1, 10.0),
            slow: self.slow.ratio(0.2, 5.0),
            day_before: self.day_before.ratio(0.2, 5.0),
            week_hours: self.week_hours.ratio(0.2, 5.0),
            week_days: self.week_days.ratio(0.25, 4.0),
        };
    }
}

impl Default for Ratios {
    fn default() -> Ratios {
        Ratios { brisk: 1.0, middle: 1.0, slow: 1.0, day_before: 1.0, week_hours: 1.0, week_days: 1.0 }
    }
}

/// Fading means of the series (`own`) and of a reference taken at the same steps.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) own: f64,
    pub(crate) reference: f64,
    pace: f64,
}

impl Pair {
    fn learn(&mut self, own: f64, reference: f64) {
        self.own += self.pace * (own - self.own);
        self.reference += self.pace * (reference - self.reference);
    }

    fn ratio(&self, least: f64, most: f64) -> f64 {
        if self.reference > 1e-9 && self.own >= 0.0 {
            (self.own / self.reference).clamp(least, most)
        } else {
            1.0
        }
    }
}

/// How fast corrections die out with the horizon.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fade {
    /// What one more step leaves of each.
    quick: f32,
    gentle: f32,
    damped: f32,
}

/// What is left of corrections at one horizon.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Faded {
    pub(crate) quick: f32,
    pub(crate) gentle: f32,
    /// Sum of a damped slope of one so far.
    pub(crate) trend: f32,
}

impl Fade {
    /// For a season of `span` steps.
    pub(crate) fn new(span: f64) -> Fade {
        let halved = |half_life: f64| 0.5f64.powf(1.0 / half_life) as f32;
        Fade {
            quick: halved((span / 10.0).max(1.0)),
            gentle: halved((span / 4.0).max(2.0)),
            damped: (1.0 - 1.0 / (span / 24.0).max(3.0)) as f32,
        }
    }

    /// At a distance of so many steps.
    pub(crate) fn at(&self, ahead: usize) -> Faded {
        let times = i32::try_from(ahead).unwrap_or(i32::MAX);
        let power = |rate: f32| f64::from(rate).powi(times) as f32;
        let damped = self.damped;
        Faded {
            quick: power(self.quick),
            gentle: power(self.gentle),
            trend: damped * (1.0 - power(damped)) / (1.0 - damped),
        }
    }

    /// One step farther.
    #[inline]
    pub(crate) fn next(&self, faded: Faded) -> Faded {
        Faded {
            quick: faded.quick * self.quick,
            gentle: faded.gentle * self.gentle,
            trend: (faded.trend + 1.0) * self.damped,
        }
    }
}

const SLOPE_PACE: f64 = 0.3;
const TYPICAL_PACE: f64 = 0.005;
