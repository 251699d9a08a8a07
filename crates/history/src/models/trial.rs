//! Two versions on the same outcomes, and whether the newer one is better enough to take over.
//!
//! Forecast losses are noisy and follow each other, so a smaller mean alone says little: a model retrained each night would
//! win half of the time by luck and be swapped for nothing. The gain must also stand out from its own noise, which is
//! estimated by batch means (Conway 1963; Flegal and Jones 2010, batches of the square root of the length), because
//! losses of neighbouring moments are not independent.

use std::fmt;

use forecast::Timestamp;

use crate::error::HistoryError;
use crate::series::name;

use super::record::ModelId;
use super::refusal::ModelRefusal;

/// A comparison on the same outcomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The version it was compared with.
    pub against: ModelId,
    /// Which loss, for example `pinball`; smaller is better.
    pub loss: String,
    /// First outcome.
    pub from: Timestamp,
    /// Last outcome.
    pub to: Timestamp,
    /// How many outcomes.
    pub outcomes: u64,
    /// Mean loss of the version compared with.
    pub champion: f64,
    /// Mean loss of this version.
    pub challenger: f64,
    /// Standard error of the gain, as a share.
    pub gain_error: f64,
}

/// How much better a challenger must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Least gain as a share of the champion's loss. Higher: fewer, larger steps.
    pub least: f64,
    /// Fewest outcomes it was measured on.
    pub outcomes_min: u64,
    /// Least gain in standard errors of itself. Higher: fewer takeovers by luck.
    pub errors_min: f64,
}

impl Gain {
    /// One hundredth on one hundred outcomes, and 1.64 standard errors: by luck one time in twenty.
    pub const DEFAULT: Gain = Gain { least: 0.01, outcomes_min: 100, errors_min: 1.64 };
}

/// Why a gain is not enough.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoGain {
    /// Too short a comparison.
    #[error("it was compared on {found} outcomes, at least {least} are asked for")]
    TooFew {
        /// Outcomes compared.
        found: u64,
        /// Outcomes needed.
        least: u64,
    },
    /// Not better, or not by enough.
    #[error(
        "its {loss} loss is {challenger:.6} against {champion:.6}, a gain of {:.2} % where {:.2} % is asked for",
        gain * 100.0,
        least * 100.0
    )]
    TooSmall {
        /// Which loss.
        loss: String,
        /// Mean loss of the champion.
        champion: f64,
        /// Mean loss of the challenger.
        challenger: f64,
        /// Gain as a share; negative when it is worse.
        gain: f64,
        /// Gain needed.
        least: f64,
    },
    /// Better, perhaps by luck.
    #[error(
        "its gain of {:.2} % may be luck: the standard error is {:.2} %, the gain must be {least} times that",
        gain * 100.0,
        error * 100.0
    )]
    Unsure {
        /// Gain as a share.
        gain: f64,
        /// Its standard error.
        error: f64,
        /// Gain needed, in standard errors.
        least: f64,
    },
}

/// Why two lists of losses cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrialError {
    /// There is nothing to compare.
    #[error("fewer than {OUTCOMES_MIN} outcomes cannot be compared: there are {found}")]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// The lists are of different moments.
    #[error(
        "the losses are not of the same outcomes: the champion's are of {champion}, the challenger's of {challenger}"
    )]
    OtherOutcomes {
        /// What the champion was measured on at the first difference.
        champion: String,
        /// What the challenger was measured on there.
        challenger: String,
    },
    /// Moments must ascend, each once.
    #[error("the outcome at {at} is not later than the one before it")]
    NotAscending {
        /// The moment.
        at: Timestamp,
    },
    /// A loss must be a finite number of at least zero.
    #[error("a loss at {at} is {value}, not a finite number of at least zero")]
    NotALoss {
        /// The moment.
        at: Timestamp,
        /// The number.
        value: f64,
    },
}

/// Fewest outcomes of which a noise can be estimated.
const OUTCOMES_MIN: usize = 4;

impl Trial {
    /// Compares the losses of two versions, moment by moment. Both lists must be of exactly the same moments, ascending.
    ///
    /// # Errors
    /// [`TrialError`] when they are not, or when a loss is none.
    pub fn measure(
        against: ModelId,
        loss: impl Into<String>,
        champion: &[(Timestamp, f64)],
        challenger: &[(Timestamp, f64)],
    ) -> Result<Trial, TrialError> {
        same_outcomes(champion, challenger)?;
        let (Some((from, _)), Some((to, _))) = (champion.first(), champion.last()) else {
            return Err(TrialError::TooFew { found: 0 });
        };
        if champion.len() < OUTCOMES_MIN {
            return Err(TrialError::TooFew { found: champion.len() });
        }
        let differences: Vec<f64> = champion.iter().zip(challenger).map(|(a, b)| a.1 - b.1).collect();
        let champion_mean = mean(champion.iter().map(|(_, loss)| *loss));
        let error = standard_error(&differences);
        Ok(Trial {
            against,
            loss: loss.into(),
            from: *from,
            to: *to,
            outcomes: champion.len() as u64,
            champion: champion_mean,
            challenger: mean(challenger.iter().map(|(_, loss)| *loss)),
            // The smaller of NaN and a number is the number: differences of huge losses end here.
            gain_error: if champion_mean > 0.0 { (error / champion_mean).min(f64::MAX) } else { 0.0 },
        })
    }

    /// By which share of the champion's loss this version's is smaller; negative when it is larger.
    pub fn gain(&self) -> f64 {
        if self.champion > 0.0 {
            // A loss many orders larger than the champion's must not become an infinity.
            (1.0 - self.challenger / self.champion).max(f64::MIN)
        } else if self.challenger > 0.0 {
            -1.0
        } else {
            0.0
        }
    }

    /// The gain, if it is enough.
    ///
    /// # Errors
    /// [`NoGain`] says what is missing.
    pub fn verdict(&self, least: Gain) -> Result<f64, NoGain> {
        let gain = self.gain();
        if self.outcomes < least.outcomes_min {
            return Err(NoGain::TooFew { found: self.outcomes, least: least.outcomes_min });
        }
        if gain.is_nan() || gain < least.least || gain <= 0.0 {
            return Err(NoGain::TooSmall {
                loss: self.loss.clone(),
                champion: self.champion,
                challenger: self.challenger,
                gain,
                least: least.least,
            });
        }
        if gain < least.errors_min * self.gain_error {
            return Err(NoGain::Unsure { gain, error: self.gain_error, least: least.errors_min });
        }
        Ok(gain)
    }

    /// A trial need not come from [`Trial::measure`].
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        name("loss", &self.loss)?;
        let bad =
            [self.champion, self.challenger, self.gain_error].into_iter().find(|value| !is_loss(*value));
        match bad {
            Some(value) => Err(ModelRefusal::from(TrialError::NotALoss { at: self.to, value }).into()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} loss {:.6} against {:.6} of version {} on {} outcomes, a gain of {:.2} % (standard error {:.2} %)",
            self.loss,
            self.challenger,
            self.champion,
            self.against,
            self.outcomes,
            self.gain() * 100.0,
            self.gain_error * 100.0
        )
    }
}

fn is_loss(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn same_outcomes(champion: &[(Timestamp, f64)], challenger: &[(Timestamp, f64)]) -> Result<(), TrialError> {
    let described = |at: Option<&(Timestamp, f64)>| at.map_or("none".to_owned(), |(at, _)| at.to_string());
    let mut before = None;
    for index in 0..champion.len().max(challenger.len()) {
        let pair = (champion.get(index), challenger.get(index));
        let (Some((at, a)), Some((same, b))) = pair else {
            return Err(TrialError::OtherOutcomes {
                champion: described(pair.0),
                challenger: described(pair.1),
            });
        };
        if at != same {
            return Err(TrialError::OtherOutcomes {
                champion: described(pair.0),
                challenger: described(pair.1),
            });
        }
        if before.replace(*at).is_some_and(|before| *at <= before) {
            return Err(TrialError::NotAscending { at: *at });
        }
        if let Some(value) = [*a, *b].into_iter().find(|value| !is_loss(*value)) {
            return Err(TrialError::NotALoss { at: *at, value });
        }
    }
    Ok(())
}

/// Running mean: exact for equal values, and huge ones do not sum to an infinity.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut mean = 0.0;
    for (before, value) in values.enumerate() {
        mean += (value - mean) / (before as f64 + 1.0);
    }
    mean
}

/// Standard error of the mean of values that follow each other, by batch means.
fn standard_error(values: &[f64]) -> f64 {
    let length = values.len().isqrt().max(1);
    let means: Vec<f64> = values.chunks_exact(length).map(|batch| mean(batch.iter().copied())).collect();
    let count = means.len() as f64;
    let centre = mean(means.iter().copied());
    let variance = means.iter().map(|mean| (mean - centre).powi(2)).sum::<f64>() / (count - 1.0);
    (variance / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(values: impl IntoIterator<Item = f64>) -> Vec<(Timestamp, f64)> {
        values.into_iter().enumerate().map(|(n, v)| (Timestamp::from_secs(n as i64 * 300), v)).collect()
    }

    fn trial(champion: Vec<(Timestamp, f64)>, challenger: Vec<(Timestamp, f64)>) -> Trial {
        Trial::measure(ModelId::new(1), "pinball", &champion, &challenger).unwrap()
    }

    #[test]
    fn the_standard_error_is_that_of_batch_means() {
        // Batches of 3: means 2, 5, 8; variance 9; error sqrt(9 / 3).
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        assert!((standard_error(&values) - 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(standard_error(&[2.0; 50]), 0.0);
    }

    #[test]
    fn a_steady_gain_is_seen_and_measured() {
        let base: Vec<f64> = (0..400).map(|n| 10.0 + f64::from(n % 7)).collect();
        let seen = trial(losses(base.clone()), losses(base.iter().map(|loss| loss * 0.9)));
        let gain = seen.verdict(Gain::DEFAULT).unwrap();
        assert!((gain - 0.1).abs() < 1e-12 && seen.gain_error < 0.01, "{seen}");
    }

    #[test]
    fn luck_is_not_a_gain() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut promoted = 0;
        for _ in 0..400 {
            let champion = losses((0..200).map(|_| rng.f64()));
            let challenger = losses((0..200).map(|_| rng.f64()));
            promoted += u32::from(trial(champion, challenger).verdict(Gain::DEFAULT).is_ok());
        }
        assert!(promoted <= 32, "{promoted} of 400 equals were promoted; one in twenty is the promise");
        assert!(promoted > 0, "a test that never lets luck through tests nothing");
    }

    #[test]
    fn losses_that_drift_together_do_not_pass_for_certainty() {
        // The difference wanders slowly: 200 values hold far fewer than 200 facts.
        let mut rng = fastrand::Rng::with_seed(5);
        let mut promoted = 0;
        for _ in 0..300 {
            let mut wander = 0.0;
            let challenger = losses((0..400).map(|_| {
                wander = 0.9 * wander + rng.f64() - 0.5;
                20.0 + wander
            }));
            let seen = trial(losses([20.0; 400]), challenger);
            promoted += u32::from(seen.verdict(Gain { least: 0.0, ..Gain::DEFAULT }).is_ok());
        }
        assert!(promoted < 45, "{promoted} of 300 equals were promoted");
    }

    #[test]
    fn each_way_to_fall_short_is_named() {
        let base = losses((0..200).map(|n| 10.0 + f64::from(n % 3)));
        let scaled = |by: f64| base.iter().map(|(at, loss)| (*at, loss * by)).collect::<Vec<_>>();
        let refusal = |by| trial(base.clone(), scaled(by)).verdict(Gain::DEFAULT).unwrap_err();
        assert!(matches!(refusal(1.2), NoGain::TooSmall { gain, .. } if gain < 0.0));
        assert!(matches!(refusal(1.0), NoGain::TooSmall { .. }));
        assert!(matches!(refusal(0.995), NoGain::TooSmall { .. }));
        let short = trial(base[..50].to_vec(), scaled(0.5)[..50].to_vec());
        assert_eq!(short.verdict(Gain::DEFAULT), Err(NoGain::TooFew { found: 50, least: 100 }));
        let mut rng = fastrand::Rng::with_seed(1);
        let noisy = base.iter().map(|(at, loss)| (*at, loss * (0.95 + 4.0 * (rng.f64() - 0.5)).max(0.0)));
        assert!(matches!(
            trial(base.clone(), noisy.collect()).verdict(Gain { least: -1.0, ..Gain::DEFAULT }),
            Err(NoGain::Unsure { .. } | NoGain::TooSmall { .. })
        ));
    }

    #[test]
    fn a_champion_without_any_loss_cannot_be_beaten() {
        let perfect = losses([0.0; 200]);
        assert!(
            trial(perfect.clone(), perfect.clone()).verdict(Gain { least: 0.0, ..Gain::DEFAULT }).is_err()
        );
        assert!(trial(perfect, losses([1.0; 200])).verdict(Gain::DEFAULT).is_err());
    }

    #[test]
    fn losses_of_other_outcomes_are_not_compared() {
        let base = losses([1.0; 10]);
        let measure = |a: &[(Timestamp, f64)], b: &[(Timestamp, f64)]| {
            Trial::measure(ModelId::new(1), "pinball", a, b).unwrap_err()
        };
        assert!(matches!(measure(&base, &base[..9]), TrialError::OtherOutcomes { .. }));
        assert!(matches!(measure(&base[1..], &base[..9]), TrialError::OtherOutcomes { .. }));
        assert!(matches!(measure(&[], &[]), TrialError::TooFew { found: 0 }));
        assert!(matches!(measure(&base[..2], &base[..2]), TrialError::TooFew { found: 2 }));
        let mut twice = base.clone();
        twice[5].0 = twice[4].0;
        assert!(matches!(measure(&twice, &twice), TrialError::NotAscending { .. }));
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let mut wrong = base.clone();
            wrong[3].1 = bad;
            assert!(matches!(measure(&base, &wrong), TrialError::NotALoss { .. }), "{bad}");
        }
    }

    #[test]
    fn huge_losses_stay_finite() {
        let seen = trial(losses([f64::MAX; 200]), losses([f64::MAX / 2.0; 200]));
        assert!(
            seen.champion.is_finite() && seen.gain().is_finite() && seen.gain_error.is_finite(),
            "{seen:?}"
        );
        let worse = trial(losses([f64::MIN_POSITIVE; 200]), losses([f64::MAX; 200]));
        assert!(worse.gain().is_finite() && worse.verdict(Gain::DEFAULT).is_err());
    }
}
