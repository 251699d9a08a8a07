//! How the ensemble watches its own work: signals of drift and of lost accuracy go to the [`RetrainPolicy`], and what it
//! decides is remembered with its reason.
//!
//! Drift is looked for in the online core's one-step errors, which come at every step. Accuracy is that of the combined
//! forecast, as it was said, at near horizons.
//!
//! Promises: a step costs constant time or the logarithm of the window; decisions depend on the observations alone.

use std::collections::VecDeque;

use crate::online::{Records, Surprise, Verdict};
use crate::timestamp::Timestamp;
use crate::watch::{Accuracy, Adwin, Cusum, Decision, Response, RetrainConfig, RetrainPolicy, Signals};

/// The watch over one ensemble.
#[derive(Clone, Debug)]
pub(super) struct Vigil {
    policy: RetrainPolicy,
    drift: Cusum,
    /// Running mean square of standardised errors: what they are of, the core measures otherwise.
    square: f64,
    errors: Adwin,
    coverage: Adwin,
    outcomes: VecDeque<Scored>,
    /// What trust is judged by.
    records: Records,
    deploy: Option<String>,
    shifts: u64,
    another_nature: bool,
    /// A training that is wanted and that nobody has fetched yet.
    wanted: Option<Wanted>,
}

/// Why a training is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) reason: String,
    /// Whether what is dear to train can wait.
    pub(super) routine: bool,
}

/// One outcome of what was said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scored {
    /// Value minus median.
    pub(super) error: f64,
    /// Mean pinball loss over the quantiles that members are judged by.
    pub(super) pinball: f64,
    /// Inside the 90 % interval.
    pub(super) covered: bool,
    /// The error of the naive forecast.
    pub(super) naive: f64,
}

impl Vigil {
    pub(super) fn new(config: RetrainConfig) -> Vigil {
        Vigil {
            policy: RetrainPolicy::new(config),
            drift: Cusum::new(DRIFT, DRIFT_STEPS),
            square: 1.0,
            errors: Adwin::new(RISK, ERROR_MAX),
            coverage: Adwin::new(RISK, 1.0),
            outcomes: VecDeque::new(),
            records: Records::default(),
            deploy: None,
            shifts: 0,
            another_nature: false,
            wanted: None,
        }
    }

    /// A deploy is to be taken into account at the next step.
    pub(super) fn deployed(&mut self, name: &str) {
        self.deploy = Some(name.to_owned());
    }

    /// The series is found to have changed its nature.
    pub(super) fn another_nature(&mut self) {
        self.another_nature = true;
    }

    /// Takes how a forecast of a step `ahead` came out, and whether it `claims` that an idle series will be busy; only near
    /// ones tell of accuracy.
    pub(super) fn score(&mut self, ahead: usize, outcome: Scored, claims: bool) {
        let covered = if outcome.covered { 1.0 } else { 0.0 };
        self.records.learn(ahead, Verdict { errors: (outcome.error, outcome.naive), covered, claims });
        if ahead > ACCURACY_MAX {
            return;
        }
        if self.outcomes.len() == OUTCOMES_KEPT {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(outcome);
    }

    /// How combined forecasts have come out, where enough of them have.
    pub(super) fn records(&self) -> Option<&Records> {
        Some(&self.records).filter(|records| records.near().lessons() >= OUTCOMES_MIN as u32)
    }

    /// A step is over; `combined` tells whether anything but the core takes part. What is to be done at once, if anything;
    /// a training is kept until it is fetched.
    pub(super) fn step(
        &mut self,
        now: Timestamp,
        steps: u64,
        surprise: Option<Surprise>,
        shifts: u64,
        combined: bool,
    ) -> Option<Decision> {
        let another_nature = std::mem::take(&mut self.another_nature) || shifts > self.shifts;
        self.shifts = shifts;
        let deploy = self.deploy.take();
        let mut signals = Signals { steps, another_nature, deploy: deploy.as_deref(), ..Signals::default() };
        if let Some(surprise) = surprise.filter(|_| combined) {
            let error = surprise.error / surprise.scale;
            let size = (error * error).min(ERROR_MAX * ERROR_MAX * self.square);
            self.square += SQUARE_PACE * (size - self.square);
            let error = error / self.square.sqrt().max(1e-6);
            signals.shift = self.drift.observe(error);
            signals.errors = self.errors.observe(error.abs());
            signals.coverage = self.coverage.observe(f64::from(u8::from(surprise.covered)));
        }
        if combined {
            signals.accuracy = self.accuracy();
            signals.unjudged = signals.accuracy.outcomes == 0;
        }
        let decision = self.policy.decide(now, &signals)?;
        match decision.response {
            Response::Refit => {
                let Decision { reason, routine, .. } = decision;
                let routine = routine && self.wanted.as_ref().is_none_or(|wanted| wanted.routine);
                self.wanted = Some(Wanted { reason, routine });
                // What the model to come is judged by begins with it.
                self.outcomes.clear();
                None
            }
            Response::RaiseLearningRates | Response::ResetWeights | Response::WidenIntervals => {
                self.outcomes.clear();
                combined.then_some(decision)
            }
        }
    }

    /// Why a training is due, once.
    pub(super) fn due(&mut self) -> Option<Wanted> {
        self.wanted.take()
    }

    /// Recent scores; nothing while they are few.
    fn accuracy(&self) -> Accuracy {
        let n = self.outcomes.len();
        if n < OUTCOMES_MIN {
            return Accuracy::default();
        }
        let mean = |of: fn(&Scored) -> f64| Some(self.outcomes.iter().map(of).sum::<f64>() / n as f64);
        Accuracy {
            mae: mean(|outcome| outcome.error.abs()),
            rmse: mean(|outcome| outcome.error * outcome.error).map(f64::sqrt),
            pinball: mean(|outcome| outcome.pinball),
            coverage: mean(|outcome| f64::from(u8::from(outcome.covered))),
            outcomes: n as u64,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.outcomes.capacity() * size_of::<Scored>()
    }
}

/// Lasting changes of the mean error of so many deviations are found fastest, with a false alarm in so many steps.
const DRIFT: f64 = 1.0;
const DRIFT_STEPS: f64 = 1e6;
/// Chance of a false alarm at one check of a window. There is one every eight steps.
const RISK: f64 = 1e-4;
/// Errors count as at most so many usual ones.
const ERROR_MAX: f64 = 6.0;
const SQUARE_PACE: f64 = 0.002;
/// Accuracy is judged by forecasts of at most so many steps ahead.
const ACCURACY_MAX: usize = 16;
/// Outcomes that accuracy is judged by, and the fewest of them.
const OUTCOMES_KEPT: usize = 200;
const OUTCOMES_MIN: usize = 100;
