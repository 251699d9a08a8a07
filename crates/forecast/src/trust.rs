//! Whether the forecasts of a series may be relied upon, with the reason when they may not.

use std::fmt;

/// The forecaster's own judgement of its recent work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trust {
    /// Calibration and skill are as they should be.
    Trusted {
        /// Share of recent observations inside their 90 % interval, 0..1.
        coverage: f64,
        /// Recent gain over persistence: 1 - (our error / error of the last value); 0.2 = a fifth better.
        skill: f64,
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

    /// Recent gain over persistence, where it was judged.
    pub fn skill(&self) -> Option<f64> {
        match *self {
            Trust::Trusted { skill, .. }
            | Trust::Untrusted { reason: UntrustedReason::NoSkill { skill } } => Some(skill),
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
    /// Forecasting has not been better than repeating the last value.
    NoSkill {
        /// Recent gain over persistence, negative when worse.
        skill: f64,
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
            Trust::Trusted { coverage, skill } => write!(
                f,
                "trusted: {:.0} % of recent observations inside the 90 % interval, {}",
                coverage * 100.0,
                comparison(*skill)
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
            UntrustedReason::NoSkill { skill } => {
                write!(f, "forecasts have not helped lately ({})", comparison(*skill))
            }
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

fn comparison(skill: f64) -> String {
    let percent = (skill.abs() * 100.0).round();
    match () {
        () if percent == 0.0 => "as good as repeating the last value".to_owned(),
        () if skill > 0.0 => format!("{percent:.0} % better than repeating the last value"),
        () => format!("{percent:.0} % worse than repeating the last value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_a_readable_sentence() {
        let good = Trust::Trusted { coverage: 0.912, skill: 0.24 };
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
        let worse = UntrustedReason::NoSkill { skill: -0.3 };
        assert_eq!(
            worse.to_string(),
            "forecasts have not helped lately (30 % worse than repeating the last value)"
        );
    }
}
