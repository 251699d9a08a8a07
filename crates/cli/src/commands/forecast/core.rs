//! The forecaster of one series behind `--model`: what learns at every step, or a batch model that is fitted to everything
//! known at the moment of a forecast.

use std::sync::Arc;

use daemon::external_model::ExternalModel;
use forecast::calendar::{self, Event, Window};
use forecast::covariates::Covariates;
use forecast::effects::{Assumed, Effect, Note};
use forecast::grid::Grid;
use forecast::models::external::External;
use forecast::models::{self, FitError, History, Kind, Model, Pace};
use forecast::{
    Anomaly, Config, Ensemble, Forecast, Forecaster, Notice, ObserveError, Timestamp, TrustAhead,
};

use super::super::laid::{Laid, left_out, of_events, sieve};
use super::super::own_model::Companion;
use super::company::{Part, parts};
use super::joint::{Joint, JointArgs};
use crate::failure::{Failure, OrFail};
use crate::output;
use crate::trace_file::Clock;

/// One series, forecast.
#[derive(Clone, Debug)]
pub(super) enum Core {
    /// What learns at every step: the online core, and batch models that are retrained as the history grows.
    Learning(Box<Learning>),
    /// One batch model.
    Batch(Box<Batch>),
}

/// What learns at every step, with a model of the user's own as one of those that are combined, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Learning {
    ensemble: Ensemble,
    own: Option<Companion>,
    grid: Grid,
}

/// Which model is asked.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// One that learns at every step, and what `auto` combines: batch models, and a command.
    Learning(Kind, Vec<Kind>, Option<Arc<ExternalModel>>),
    /// One that is fitted.
    Batch(Alone),
}

/// A model that is fitted, and asked alone.
#[derive(Clone, Debug)]
pub(super) enum Alone {
    /// One of ours.
    Named(Kind),
    /// A command.
    Own(Arc<ExternalModel>),
}

/// What a batch model will be fitted to.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    model: Alone,
    grid: Grid,
    values: Vec<f32>,
    /// Finds the seasons, and knows how steps hang together.
    core: Forecaster,
    /// Finds what is not to be learned.
    sieve: Ensemble,
    horizon: usize,
    non_negative: bool,
    /// What was given beside the series, and the same with events as further columns.
    given: Arc<Covariates>,
    covariates: Arc<Covariates>,
}

/// Other series that a batch model is learned from as well, and the moment that it is learned at.
pub(super) struct Beside<'a> {
    pub(super) series: Vec<&'a Laid>,
    pub(super) as_of: Timestamp,
}

/// What was assumed and learned of effects.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) notes: Vec<Note>,
    /// What else is to be said of this forecast.
    pub(super) said: Vec<String>,
    pub(super) effects: Vec<Effect>,
    /// How many values were taken for anomalies, and the last of them.
    pub(super) anomalies: Option<(u64, Anomaly)>,
}

impl Known {
    /// All notes in words, each with whether it is about this series alone.
    pub(super) fn told(&self, clock: Clock) -> Vec<(bool, String)> {
        let notes = self
            .notes
            .iter()
            .map(|note| (!matches!(note, Note::PassedOver { .. }), note.told(&|at| clock.write(at))));
        notes.chain(self.said.iter().map(|said| (true, said.clone()))).collect()
    }

    /// What is told of anomalies, where there were any.
    pub(super) fn told_of_anomalies(&self, clock: Clock) -> Option<String> {
        let (found, Anomaly { at, value, nearest, .. }) = self.anomalies?;
        let most = if value > nearest { "most" } else { "least" };
        Some(format!(
            "values taken for anomalies, which batch models do not learn: {found}; the last was {} at {}, expected was at {most} {}",
            output::rounded(value),
            clock.write(at),
            output::rounded(nearest)
        ))
    }
}

/// All that a model says at one moment.
pub(super) struct Answer {
    pub(super) forecast: Forecast,
    pub(super) trust: TrustAhead,
    pub(super) known: Known,
    pub(super) joint: Joint,
    /// Who takes part, where several models may.
    pub(super) parts: Vec<Part>,
}

/// The online core with what is known beside the series, combined with batch models.
pub(in crate::commands) fn ensemble(
    kind: Kind,
    combined: &[Kind],
    config: &Config,
    (events, covariates): (&[Event], &Arc<Covariates>),
) -> Result<Ensemble, Failure> {
    let combined = if kind == Kind::Auto { combined } else { &[] };
    let mut ensemble =
        Ensemble::new(config.clone(), combined).or_usage("cannot forecast with these settings")?;
    ensemble.announce(events);
    if covariates.width() > 0 {
        ensemble.know(Arc::clone(covariates));
    }
    Ok(ensemble)
}

impl Core {
    pub(super) fn new(
        model: &Chosen,
        config: &Config,
        origin: Timestamp,
        (events, covariates): (&[Event], &Arc<Covariates>),
    ) -> Result<Core, Failure> {
        let grid = Grid { origin, step: config.step, zone: config.time_zone.clone() };
        let horizon = config.horizon_max.as_millis().div_ceil(config.step.as_millis().max(1)) as usize;
        let model = match model {
            Chosen::Batch(model) => model.clone(),
            Chosen::Learning(kind, combined, own) => {
                let mut ensemble = ensemble(*kind, combined, config, (events, covariates))?;
                if own.is_some() {
                    ensemble = Companion::seated(ensemble);
                }
                let own = own.as_ref().map(Companion::new);
                return Ok(Core::Learning(Box::new(Learning { ensemble, own, grid })));
            }
        };
        let core = Forecaster::new(config.clone()).or_usage("cannot forecast with these settings")?;
        let sieve = sieve(config, (events, covariates))?;
        let given = Arc::clone(covariates);
        let covariates = Arc::new(columns(&grid, events, covariates)?);
        let values = Vec::new();
        Ok(Core::Batch(Box::new(Batch {
            model,
            grid,
            values,
            core,
            sieve,
            horizon,
            non_negative: config.non_negative,
            given,
            covariates,
        })))
    }

    pub(super) fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        match self {
            Core::Learning(learning) => learning.observe(at, value),
            Core::Batch(batch) => batch.observe(at, value),
        }
    }

    /// # Errors
    /// Why a batch model cannot be fitted to this history.
    pub(super) fn answer(
        &mut self,
        steps: usize,
        quantiles: &[f64],
        asked: &JointArgs,
        beside: &Beside<'_>,
    ) -> Result<Answer, FitError> {
        match self {
            Core::Learning(learning) => Ok(learning.answer(steps, quantiles, asked)),
            Core::Batch(batch) => batch.answer(steps, quantiles, asked, beside),
        }
    }
}

impl Beside<'_> {
    /// Their values, as far as models may learn them at the moment.
    fn known(&self) -> Vec<Vec<f32>> {
        let known = |laid: &&Laid| {
            let subject = laid.subject(&[], 0);
            subject.known(subject.history.before(self.as_of).values.len())
        };
        self.series.iter().map(known).collect()
    }
}

impl Learning {
    fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        if let (Some(own), Some(step)) = (&mut self.own, self.grid.step_of(at)) {
            own.before(step, &mut self.ensemble);
        }
        self.ensemble.observe(at, value)?;
        self.ensemble.train_if_due();
        Ok(())
    }

    fn answer(&mut self, steps: usize, quantiles: &[f64], asked: &JointArgs) -> Answer {
        let ensemble = &mut self.ensemble;
        let said = self.own.as_mut().map(|own| {
            own.ask(ensemble);
            own.part(ensemble, steps)
        });
        let notes = ensemble.notes(steps);
        let anomalies = anomalies(ensemble);
        Answer {
            forecast: ensemble.forecast(steps, quantiles),
            trust: ensemble.trust_ahead(),
            known: Known { notes, said: said.into_iter().collect(), effects: ensemble.effects(), anomalies },
            joint: asked.of_ensemble(ensemble, steps, quantiles),
            parts: parts(ensemble, steps),
        }
    }
}

/// How many there were, and the last.
fn anomalies(ensemble: &Ensemble) -> Option<(u64, Anomaly)> {
    let of = |notice: &Notice| match notice {
        Notice::Anomaly(anomaly) => Some((ensemble.anomalies_found(), *anomaly)),
        _ => None,
    };
    ensemble.notices(0).filter_map(of).last()
}

impl Batch {
    fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        self.core.observe(at, value)?;
        self.sieve.observe(at, value)?;
        let step = self.grid.step_of(at).unwrap_or(0) as usize;
        self.values.resize(step.max(self.values.len()), f32::NAN);
        self.values.push(value.map_or(f32::NAN, |value| value as f32));
        Ok(())
    }

    fn answer(
        &self,
        steps: usize,
        quantiles: &[f64],
        asked: &JointArgs,
        beside: &Beside<'_>,
    ) -> Result<Answer, FitError> {
        let seasons: Vec<usize> = self.core.seasons().iter().map(|season| season.period).collect();
        let values = left_out(&self.sieve, &self.given, &self.covariates).without(0, &self.values);
        let history = History {
            grid: &self.grid,
            first: 0,
            values: &values,
            seasons: &seasons,
            covariates: &self.covariates,
            horizon: self.horizon,
            non_negative: self.non_negative,
        };
        let (others, horizon) = (beside.known(), self.horizon);
        let beside: Vec<History<'_>> = beside
            .series
            .iter()
            .zip(&others)
            .map(|(laid, values)| History { values, ..laid.history(&seasons, horizon) })
            .collect();
        let trust = models::trust(&history, &self.core, &mut |history| match &self.model {
            Alone::Named(kind) => Ok(Box::new(kind.train_together(history, &beside, &mut Pace::free())?)),
            Alone::Own(model) => {
                Ok(Box::new(External::fit(Box::new(model.clone()), history, &mut Pace::free())?))
            }
        });
        // A command has one state: it learns last what it is asked about.
        let said = match &self.model {
            Alone::Named(kind) => {
                let model = kind.train_together(&history, &beside, &mut Pace::free())?;
                let said = |quantiles: &[f64]| model.forecast(steps, quantiles, &self.covariates);
                (said(quantiles), asked.needs_grid().then(|| said(Ensemble::GUEST_QUANTILES)))
            }
            Alone::Own(model) => {
                let model = External::fit(Box::new(model.clone()), &history, &mut Pace::free())?;
                let said = |quantiles: &[f64]| {
                    let said = model.try_forecast(steps, quantiles, &self.covariates);
                    said.map_err(|error| FitError::Unsuitable(error.to_string()))
                };
                let grid = asked.needs_grid().then(|| said(Ensemble::GUEST_QUANTILES)).transpose()?;
                (said(quantiles)?, grid)
            }
        };
        let (values, grid) = said;
        let joint = grid.map(|grid| asked.of_distributions(&self.core, &grid, quantiles));
        let forecast = Forecast { values, ..self.core.forecast(steps, quantiles) };
        let anomalies = anomalies(&self.sieve);
        let known = Known { notes: self.notes(steps), anomalies, ..Known::default() };
        Ok(Answer { forecast, trust, known, joint: joint.unwrap_or_default(), parts: Vec::new() })
    }

    /// Kinds of events that are due and that trees, which learn each by itself, have seen too seldom.
    fn seldom_seen(&self, steps: usize) -> Vec<Note> {
        let Alone::Named(kind @ Kind::Boosted) = self.model else { return Vec::new() };
        let (columns, next) = (&self.covariates, self.values.len() as u64);
        let note = |place: usize| {
            let is_on = |&step: &u64| columns.at(place, step) > 0.0;
            (next..next + steps as u64).find(is_on)?;
            let begins = |step: &u64| is_on(step) && step.checked_sub(1).is_none_or(|before| !is_on(&before));
            let occurrences = (0..next).filter(begins).count() as u32;
            let name = &columns.names()[place];
            let kind_of_event = name.strip_prefix("event ").unwrap_or(name).to_owned();
            (occurrences < OCCURRENCES_ENOUGH).then_some(Note::FewOccurrences {
                model: kind.name(),
                kind: kind_of_event,
                occurrences,
            })
        };
        of_events(&self.given, columns).filter_map(note).collect()
    }

    /// What has to be assumed of what is known beside the series.
    fn notes(&self, steps: usize) -> Vec<Note> {
        let assumed = match &self.model {
            Alone::Named(kind) => kind.assumes().ok_or(*kind),
            Alone::Own(_) => Ok(Assumed::LeftToModel),
        };
        match assumed {
            Ok(assumed) => {
                let next = (&self.grid, self.values.len() as u64);
                let mut notes = Note::unknown(self.given.names(), &self.given, next, steps, assumed);
                notes.extend(self.seldom_seen(steps));
                notes
            }
            Err(_) if self.covariates.width() == 0 => Vec::new(),
            Err(kind) => vec![Note::PassedOver { model: kind.name() }],
        }
    }
}

/// Events as columns, before those that were given.
pub(in crate::commands) fn columns(
    grid: &Grid,
    events: &[Event],
    given: &Covariates,
) -> Result<Covariates, Failure> {
    if events.is_empty() {
        return Ok(given.clone());
    }
    let last = events.iter().map(|event| event.end).max().and_then(|end| grid.step_of(end)).unwrap_or(0);
    let steps = given.end().max(last + 1).min(STEPS_MAX);
    let column = |place| (0..steps).map(|step| given.at(place, step)).collect::<Vec<f32>>();
    let known: Vec<Vec<f32>> = (0..given.width()).map(column).collect();
    let named: Vec<(&str, &[f32])> =
        given.names().iter().map(String::as_str).zip(known.iter().map(Vec::as_slice)).collect();
    calendar::columns(grid, 0..steps, events, &[Window::During], &named).or_usage("the events cannot be used")
}

/// Trees that have seen so many events of a kind are not warned of: of ten they missed half of the effect, or all.
const OCCURRENCES_ENOUGH: u32 = 30;
/// Most steps that events are laid out over.
const STEPS_MAX: u64 = 50_000_000;
