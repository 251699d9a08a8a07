//! Whether the forecasts of a series may be relied upon, with the reason when they may not.

use std::fmt;

/// The forecaster's own judgement of its recent work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trust {
    /// Calibration and skill are as they should be.
    Trusted {
        /// Share of recent observations inside their 90 % interval, 0..1.
        coverage: f64,
        /// Recent gain over a naive forecast: 1 - (our error / its error); 0.2 = a fifth better.
        skill: f64,
        /// Which naive forecast that is.
        naive: Naive,
    },
    /// Plan as if there were no forecast.
    Untrusted {
        /// What is missing.
        reason: UntrustedReason,
    },
}

impl Trust {
    /// Whether forecasts may be relied upon.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Trust::Trusted { .. })
    }

    /// Share of recent observations inside their 90 % interval, 0..1, where it was judged.
    pub fn coverage(&self) -> Option<f64> {
        match *self {
            Trust::Trusted { coverage, .. }
            | Trust::Untrusted { reason: UntrustedReason::CoverageLost { coverage } } => Some(coverage),
            Trust::Untrusted { .. } => None,
        }
    }

    /// Recent gain over a naive forecast, where it was judged.
    pub fn skill(&self) -> Option<f64> {
        match *self {
            Trust::Trusted { skill, .. }
            | Trust::Untrusted { reason: UntrustedReason::NoSkill { skill, .. } } => Some(skill),
            Trust::Untrusted { .. } => None,
        }
    }

    /// Why forecasts may not be relied upon; `None` when they may.
    pub fn reason(&self) -> Option<UntrustedReason> {
        match *self {
            Trust::Trusted { .. } => None,
            Trust::Untrusted { reason } => Some(reason),
        }
    }
}

/// Why forecasts may not be relied upon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UntrustedReason {
    /// Too few observations so far.
    TooLittleHistory {
        /// Observations so far.
        observed: u64,
        /// Observations needed.
        needed: u64,
    },
    /// Recent observations fell outside their intervals too often.
    CoverageLost {
        /// Share of recent observations inside their 90 % interval, 0..1.
        coverage: f64,
    },
    /// A series is mostly idle, and where it was said to be busy, what came was outside its interval too often.
    ClaimsMissed {
        /// Share of recent observations that were said to be busy inside their 90 % interval, 0..1.
        coverage: f64,
    },
    /// Forecasting has been worse than a naive forecast.
    NoSkill {
        /// Recent gain over that, negative when worse.
        skill: f64,
        /// Which naive forecast that is.
        naive: Naive,
    },
    /// Too few forecasts of steps so far ahead have come true or not.
    TooFewOutcomes {
        /// Outcomes so far.
        outcomes: u64,
        /// Outcomes needed.
        needed: u64,
    },
    /// A series that is mostly idle is busy now, which it seldom was before.
    SeldomBusy {
        /// Busy steps whose next step has been seen.
        steps: u64,
        /// How many are needed.
        needed: u64,
    },
    /// The model cannot be fitted to the history without its last part, so nobody knows how it would have done on that.
    Untried,
    /// The last steps brought no value.
    SignalMissing {
        /// How many steps in a row.
        steps: u64,
    },
    /// A busy series fell silent: perhaps demand did not fall but the service broke.
    OutageSuspected {
        /// How many steps in a row.
        steps: u64,
    },
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::Trusted { coverage, skill, naive } => write!(
                f,
                "trusted: {:.0} % of recent observations inside the 90 % interval, {}",
                coverage * 100.0,
                comparison(*skill, *naive)
            ),
            Trust::Untrusted { reason } => write!(f, "untrusted: {reason}"),
        }
    }
}

impl fmt::Display for UntrustedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UntrustedReason::TooLittleHistory { observed, needed } => {
                write!(f, "only {observed} of {needed} observations that a forecast needs")
            }
            UntrustedReason::CoverageLost { coverage } => write!(
                f,
                "only {:.0} % of recent observations fell inside the 90 % interval",
                coverage * 100.0
            ),
            UntrustedReason::ClaimsMissed { coverage } => write!(
                f,
                "a mostly idle series, and only {:.0} % of what came where it was said to be busy fell inside the 90 % interval",
                coverage * 100.0
            ),
            UntrustedReason::NoSkill { skill, naive } => {
                write!(f, "forecasts have not helped lately ({})", comparison(*skill, *naive))
            }
            UntrustedReason::TooFewOutcomes { outcomes, needed } => {
                write!(f, "only {outcomes} of {needed} outcomes that far ahead")
            }
            UntrustedReason::SeldomBusy { steps, needed } => write!(
                f,
                "a mostly idle series is busy now, and only {steps} of {needed} busy steps have been seen before"
            ),
            UntrustedReason::Untried => f.write_str(
                "it could not be tried on the end of the history: what came before does not suit the model",
            ),
            UntrustedReason::SignalMissing { steps } => write!(f, "no value for the last {steps} steps"),
            UntrustedReason::OutageSuspected { steps } => {
                write!(f, "a busy series has been silent for {steps} steps, an outage is suspected")
            }
        }
    }
}

fn comparison(skill: f64, naive: Naive) -> String {
    let percent = (skill.abs() * 100.0).round();
    match () {
        () if percent == 0.0 => format!("as good as {naive}"),
        () if skill > 0.0 => format!("{percent:.0} % better than {naive}"),
        () if percent >= FAR_WORSE => format!("more than ten times as far off as {naive}"),
        () => format!("{percent:.0} % worse than {naive}"),
    }
}

/// From so many percent on it does not matter how many.
const FAR_WORSE: f64 = 1000.0;

/// How far ahead a forecast looks, in steps: each distance has a record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// At most 16.
    Near,
    /// 17 to 108.
    Middle,
    /// More.
    Far,
}

impl Distance {
    /// All of them, the nearest first.
    pub const ALL: [Distance; 3] = [Distance::Near, Distance::Middle, Distance::Far];

    /// That of a step so many steps ahead, counted from one.
    pub fn of(ahead: usize) -> Distance {
        match ahead {
            0..=16 => Distance::Near,
            17..=108 => Distance::Middle,
            _ => Distance::Far,
        }
    }

    /// The first step of that distance, counted from one.
    pub fn first(self) -> usize {
        match self {
            Distance::Near => 1,
            Distance::Middle => 17,
            Distance::Far => 109,
        }
    }
}

/// Whether forecasts may be relied upon, by how far they look ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrustAhead([Trust; Distance::ALL.len()]);

impl TrustAhead {
    /// What `trust` says of the first step of each distance.
    pub(crate) fn of(trust: impl Fn(usize) -> Trust) -> TrustAhead {
        TrustAhead(Distance::ALL.map(|distance| trust(distance.first())))
    }

    /// That of the next few steps.
    pub fn near(&self) -> Trust {
        self.at(1)
    }

    /// That of the step so many steps ahead, counted from one.
    pub fn at(&self, ahead: usize) -> Trust {
        self.0[Distance::of(ahead) as usize]
    }

    /// Of a forecast of so many steps: the first step of each distance, and its trust.
    pub fn within(&self, steps: usize) -> impl Iterator<Item = (usize, Trust)> {
        let all = Distance::ALL.into_iter().zip(self.0).map(|(distance, trust)| (distance.first(), trust));
        all.filter(move |&(first, _)| first <= steps.max(1))
    }
}

/// What forecasts are compared with: near ones with what a reaction knows, far ones with what everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naive {
    /// The last value.
    LastValue,
    /// The value at the same time one season before.
    LastSeason,
}

impl fmt::Display for Naive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Naive::LastValue => "repeating the last value",
            Naive::LastSeason => "repeating the last season",
        })
    }
}

/// How many steps before a value the naive forecast of it lies that was made `ahead` steps before, in a series with a season
/// of `period` steps; `None` where that is the last value then.
pub(crate) fn naive_lag(ahead: usize, period: Option<usize>) -> Option<usize> {
    period
        .filter(|&period| period > 1 && Distance::of(ahead) > Distance::Near)
        .map(|period| ahead.div_ceil(period) * period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_a_readable_sentence() {
        let good = Trust::Trusted { coverage: 0.912, skill: 0.24, naive: Naive::LastValue };
        assert_eq!(
            good.to_string(),
            "trusted: 91 % of recent observations inside the 90 % interval, 24 % better than repeating the last value"
        );
        let young =
            Trust::Untrusted { reason: UntrustedReason::TooLittleHistory { observed: 3, needed: 50 } };
        assert_eq!(young.to_string(), "untrusted: only 3 of 50 observations that a forecast needs");
        assert!(good.is_trusted() && !young.is_trusted());
        assert_eq!((good.coverage(), good.skill(), good.reason()), (Some(0.912), Some(0.24), None));
        assert_eq!((young.coverage(), young.skill()), (None, None));
        assert!(young.reason().is_some_and(|reason| reason.to_string().starts_with("only 3 of 50")));
        let worse = UntrustedReason::NoSkill { skill: -0.3, naive: Naive::LastSeason };
        assert_eq!(
            worse.to_string(),
            "forecasts have not helped lately (30 % worse than repeating the last season)"
        );
    }
}
