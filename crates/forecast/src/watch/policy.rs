//! What to do when a forecast is no longer good: the cheapest thing first, the next when it has not helped, and a reason in
//! words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adwin::Change;
use super::cusum::Shift;
use crate::Timestamp;

/// What can be done, from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Response {
    /// Let profiles and levels follow faster for a while.
    RaiseLearningRates,
    /// Let all experts begin with equal weights again.
    ResetWeights,
    /// Begin the intervals wide and let them find their width again.
    WidenIntervals,
    /// Train anew in the background.
    Refit,
}

/// When to train anew whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefitSchedule {
    /// Not by the clock.
    Never,
    /// Each hour.
    Hourly,
    /// Each day.
    Daily,
    /// So long after the last time.
    Every(Duration),
}

impl RefitSchedule {
    fn period(self) -> Option<Duration> {
        match self {
            RefitSchedule::Never => None,
            RefitSchedule::Hourly => Some(Duration::from_secs(3600)),
            RefitSchedule::Daily => Some(Duration::from_secs(86_400)),
            RefitSchedule::Every(period) => Some(period),
        }
    }
}

/// Recent scores of a forecast, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Mean absolute error.
    pub mae: Option<f64>,
    /// Root of the mean squared error.
    pub rmse: Option<f64>,
    /// Weighted pinball loss.
    pub pinball: Option<f64>,
    /// Share of values inside their 90 % interval.
    pub coverage: Option<f64>,
    /// How many of the last outcomes were scored.
    pub outcomes: u64,
}

/// When to act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainConfig {
    /// Default daily.
    pub schedule: RefitSchedule,
    /// Also train anew when the history has grown by this share of itself since the last time, as far as it is remembered.
    /// Default a twentieth; `None`: growth is no reason. Smaller learns a young series sooner, for more processor time.
    pub growth: Option<f64>,
    /// Least time between two refits. Default an hour. Lower costs processor time; higher leaves a bad model in place.
    pub refit_gap: Duration,
    /// How long a response is given to help before a dearer one. Default half an hour.
    pub patience: Duration,
    /// After a deploy, how long until there is enough new behaviour to train on. Default two hours.
    pub deploy_settles: Duration,
    /// Scores above which accuracy is too low, in the unit in which the scores are told. Default none.
    pub mae_max: Option<f64>,
    /// The same for the root mean squared error.
    pub rmse_max: Option<f64>,
    /// The same for the pinball loss.
    pub pinball_max: Option<f64>,
    /// Coverage below which intervals are too narrow. Default 0.85, for a 90 % interval.
    pub coverage_min: Option<f64>,
}

impl Default for RetrainConfig {
    fn default() -> RetrainConfig {
        RetrainConfig {
            schedule: RefitSchedule::Daily,
            growth: Some(0.05),
            refit_gap: Duration::from_secs(3600),
            patience: Duration::from_secs(1800),
            deploy_settles: Duration::from_secs(7200),
            mae_max: None,
            rmse_max: None,
            pinball_max: None,
            coverage_min: Some(0.85),
        }
    }
}

impl RetrainConfig {
    /// The defaults for a series of such steps: where steps are long, nothing is expected of fewer of them than can tell.
    pub fn for_step(step: Duration) -> RetrainConfig {
        let base = RetrainConfig::default();
        let steps = |count: u32| step.saturating_mul(count);
        let day = steps(STEPS_OF_SCHEDULE).max(Duration::from_secs(86_400));
        RetrainConfig {
            schedule: RefitSchedule::Every(day),
            refit_gap: base.refit_gap.max(steps(STEPS_OF_GAP)),
            patience: base.patience.max(steps(STEPS_OF_PATIENCE)),
            deploy_settles: base.deploy_settles.max(steps(STEPS_OF_DEPLOY)),
            ..base
        }
    }
}

/// What was noticed since the last decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signals<'a> {
    /// How many steps the series has had so far.
    pub steps: u64,
    /// A lasting change of the mean error.
    pub shift: Option<Shift>,
    /// A change of the size of errors.
    pub errors: Option<Change>,
    /// A change of coverage.
    pub coverage: Option<Change>,
    /// Recent scores.
    pub accuracy: Accuracy,
    /// The series has changed its nature, as the forecaster itself has found.
    pub another_nature: bool,
    /// Too little has come since the last response to say whether it helped: silence is no calm then.
    pub unjudged: bool,
    /// A deploy that was announced, by name.
    pub deploy: Option<&'a str>,
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub response: Response,
    /// Why, in words.
    pub reason: String,
    /// Whether nothing but the growth of the history or the clock asks for it: what is dear to train can wait.
    pub routine: bool,
}

/// Decides, one moment after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainPolicy {
    config: RetrainConfig,
    /// Moments in milliseconds since 1970.
    refitted_ms: Option<i64>,
    /// Steps of the series at the last refit.
    refitted_steps: u64,
    /// A known change, and when there is enough behind it to train on.
    settles: Option<(Known, i64)>,
    /// The last response to the present trouble, and when it was given.
    tried: Option<(Response, i64)>,
    trouble_ms: Option<i64>,
}

impl RetrainPolicy {
    /// Nothing has happened yet; the schedule counts from the first moment it is asked about.
    pub fn new(config: RetrainConfig) -> RetrainPolicy {
        RetrainPolicy {
            config,
            refitted_ms: None,
            refitted_steps: 0,
            settles: None,
            tried: None,
            trouble_ms: None,
        }
    }

    /// A model has been trained anew, for whatever reason.
    pub fn refitted(&mut self, now: Timestamp) {
        self.refitted_ms = Some(now.as_millis());
    }

    /// What to do now, if anything.
    pub fn decide(&mut self, now: Timestamp, signals: &Signals<'_>) -> Option<Decision> {
        let refitted = *self.refitted_ms.get_or_insert(now.as_millis());
        let since_refit = now.since(Timestamp::from_millis(refitted));
        let settled = now.saturating_add(self.config.deploy_settles).as_millis();
        match signals.deploy {
            Some(name) => self.settles = Some((Known::Deploy(name.to_owned()), settled)),
            None if signals.another_nature && self.settles.is_none() => {
                self.settles = Some((Known::Shift, settled));
            }
            None => {}
        }
        let may_refit = since_refit >= self.config.refit_gap;
        // A young history grows fast: that is no reason to wait.
        let grown = self.grown(signals.steps);
        let routine = self.settled(now).is_none();
        let asked = grown.or_else(|| self.scheduled(since_refit));
        let due = asked.or_else(|| self.settled(now).filter(|_| may_refit));
        if let Some(reason) = due {
            self.settles.take_if(|(_, at)| *at <= now.as_millis());
            let decision = Decision { routine, ..self.give(now, signals.steps, Response::Refit, reason) };
            if self.trouble_ms.is_none() {
                // It answers no trouble: what comes next begins at the cheap end.
                self.tried = None;
            }
            return Some(decision);
        }
        let troubles = self.troubles(signals);
        let Some(first) = troubles.iter().map(|trouble| trouble.0).max() else {
            if signals.unjudged && self.tried.is_some() {
                self.trouble_ms = Some(now.as_millis());
                return None;
            }
            let calm = |at| now.since(Timestamp::from_millis(at)) >= self.config.patience;
            if self.trouble_ms.is_some_and(calm) {
                (self.tried, self.trouble_ms) = (None, None);
            }
            return None;
        };
        self.trouble_ms = Some(now.as_millis());
        let response = match self.tried {
            None => first,
            Some((tried, at)) if now.since(Timestamp::from_millis(at)) >= self.config.patience => {
                first.max(dearer(tried))
            }
            // It is still being tried; only another kind of trouble changes that.
            Some((tried, _)) if first > tried => first,
            Some(_) => return None,
        };
        if response == Response::Refit && !may_refit {
            return None;
        }
        let mut reason = troubles.into_iter().map(|trouble| trouble.1).collect::<Vec<_>>().join("; ");
        if let Some((tried, _)) = self.tried.filter(|&(tried, _)| tried < response && first < response) {
            reason.push_str(&format!("; {} did not help", tried.words()));
        }
        Some(self.give(now, signals.steps, response, reason))
    }

    /// Whether the history has grown enough to be learned from again.
    fn grown(&self, steps: u64) -> Option<String> {
        let growth = self.config.growth.filter(|_| steps >= FIRST)?;
        let since = steps.saturating_sub(self.refitted_steps);
        if self.refitted_steps == 0 {
            return Some(format!("{steps} steps are enough to begin with"));
        }
        (since as f64 >= (growth * steps.min(SPAN) as f64).max(GROWTH_LEAST))
            .then(|| format!("the history has grown by {since} steps"))
    }

    /// Why a refit is due after something that had to settle first.
    fn settled(&self, now: Timestamp) -> Option<String> {
        match &self.settles {
            Some((Known::Deploy(name), at)) if *at <= now.as_millis() => {
                Some(format!("the behaviour after the deploy of `{name}` is known by now"))
            }
            Some((Known::Shift, at)) if *at <= now.as_millis() => {
                Some("the series has shifted, and what it is like now is known".to_owned())
            }
            Some(_) | None => None,
        }
    }

    /// Whether the schedule asks for a refit, whatever the least time between others is.
    fn scheduled(&self, since_refit: Duration) -> Option<String> {
        let period = self.config.schedule.period().filter(|&period| since_refit >= period)?;
        Some(format!("the schedule says every {}", words(period)))
    }

    /// What is wrong, and the cheapest response that could help.
    fn troubles(&self, signals: &Signals<'_>) -> Vec<(Response, String)> {
        let mut troubles = Vec::new();
        if signals.another_nature {
            troubles.push((Response::RaiseLearningRates, "the series has shifted".to_owned()));
        }
        if let Some(name) = signals.deploy {
            troubles.push((Response::RaiseLearningRates, format!("`{name}` was deployed")));
        }
        match signals.shift {
            Some(Shift::Up) => troubles.push((
                Response::RaiseLearningRates,
                "values have been above the forecast for too long to be chance".to_owned(),
            )),
            Some(Shift::Down) => troubles.push((
                Response::RaiseLearningRates,
                "values have been below the forecast for too long to be chance".to_owned(),
            )),
            None => {}
        }
        if let Some(change) = signals.errors.filter(|change| change.after > change.before) {
            let reason = format!(
                "errors grew from {:.3} to {:.3} usual ones over the last {} steps",
                change.before, change.after, change.steps
            );
            troubles.push((Response::ResetWeights, reason));
        }
        let scores = [
            ("mean absolute error", signals.accuracy.mae, self.config.mae_max),
            ("root mean squared error", signals.accuracy.rmse, self.config.rmse_max),
            ("pinball loss", signals.accuracy.pinball, self.config.pinball_max),
        ];
        for (name, score, max) in scores {
            if let (Some(score), Some(max)) = (score, max)
                && score > max
            {
                let outcomes = signals.accuracy.outcomes;
                let reason = format!("the {name} of the last {outcomes} outcomes is {score:.4}, above {max}");
                troubles.push((Response::ResetWeights, reason));
            }
        }
        // Below what is promised, not only less than before: intervals that were too wide may well find their width.
        let enough = self.config.coverage_min.unwrap_or(COVERAGE_ENOUGH);
        let lost = |change: &Change| change.after < change.before && change.after < enough;
        if let Some(change) = signals.coverage.filter(lost) {
            let reason = format!(
                "coverage of the 90 % interval fell from {:.2} to {:.2} over the last {} steps",
                change.before, change.after, change.steps
            );
            troubles.push((Response::WidenIntervals, reason));
        }
        if let (Some(coverage), Some(min)) = (signals.accuracy.coverage, self.config.coverage_min)
            && coverage < min
        {
            let outcomes = signals.accuracy.outcomes;
            let reason = format!(
                "coverage of the 90 % interval fell to {coverage:.2} over the last {outcomes} outcomes, below {min}"
            );
            troubles.push((Response::WidenIntervals, reason));
        }
        troubles
    }

    fn give(&mut self, now: Timestamp, steps: u64, response: Response, reason: String) -> Decision {
        self.tried = Some((response, now.as_millis()));
        if response == Response::Refit {
            (self.refitted_ms, self.refitted_steps) = (Some(now.as_millis()), steps);
        }
        Decision { response, reason, routine: false }
    }
}

/// A change that is known to have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Known {
    Deploy(String),
    Shift,
}

impl Response {
    /// What is done, in words.
    pub fn words(self) -> &'static str {
        match self {
            Response::RaiseLearningRates => "learning faster",
            Response::ResetWeights => "weighing all experts alike",
            Response::WidenIntervals => "widening the intervals",
            Response::Refit => "training anew",
        }
    }
}

/// The next dearer response.
fn dearer(response: Response) -> Response {
    match response {
        Response::RaiseLearningRates => Response::ResetWeights,
        Response::ResetWeights => Response::WidenIntervals,
        Response::WidenIntervals | Response::Refit => Response::Refit,
    }
}

fn words(period: Duration) -> String {
    match period.as_secs() {
        86_400 => "day".to_owned(),
        3600 => "hour".to_owned(),
        _ => format!("{period:?}"),
    }
}

/// Coverage of a 90 % interval that is no trouble where nothing is configured.
const COVERAGE_ENOUGH: f64 = 0.85;
/// Steps before the first training.
const FIRST: u64 = 192;
/// Steps that are no growth to speak of.
const GROWTH_LEAST: f64 = 24.0;
/// Growth counts as a share of the history up to this many steps.
const SPAN: u64 = 8192;
/// The least that a time by the clock must span.
const STEPS_OF_SCHEDULE: u32 = 288;
const STEPS_OF_GAP: u32 = 144;
const STEPS_OF_PATIENCE: u32 = 12;
const STEPS_OF_DEPLOY: u32 = 24;

#[cfg(test)]
mod tests;
