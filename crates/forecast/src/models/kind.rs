//! The models by name, and a fitted one of any kind as plain data.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::boosted::{self, Boosted};
use super::civil::{Civil, Laid};
use super::lstm::{self, Lstm};
use super::online::{Combined, Online};
use super::pooled::{Pool, PoolSettings, Pooled};
use super::sparse::Sparse;
use super::{Additive, Arima, Dsp, FitError, History, Model, Naive, Pace, Partial, Recounted, Smoothing};
use crate::covariates::Covariates;
use crate::effects::Assumed;
use crate::online::Part;
use crate::paths::Values;

/// Every model that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The online core and all batch models, combined.
    Auto,
    /// The online core alone.
    Online,
    /// The last value.
    Last,
    /// The last value and the mean slope.
    Drift,
    /// The same time yesterday.
    Day,
    /// The same time last week.
    Week,
    /// Exponential smoothing with several seasons.
    Smoothing,
    /// ARIMA with automatic orders.
    Arima,
    /// Bending trend, waves, events and covariates, added up.
    Additive,
    /// Crane's estimator of seasonal signals.
    Dsp,
    /// Autoregression with a long memory, shared by related series.
    Pooled,
    /// A recurrent network with quantile heads.
    Lstm,
    /// Gradient-boosted quantile trees on what is known at an origin.
    Boosted,
    /// Intermittent demand: when it comes, and how much then.
    Sparse,
    /// Of the online core the profile of the seasons at its level, alone.
    Profile,
    /// Of the online core the stack of least squares, alone.
    Rls,
}

/// A fitted batch model, as plain data that can be kept and brought back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each holds the model of its name")]
pub enum Fitted {
    Naive(Naive),
    Smoothing(Box<Smoothing>),
    Arima(Box<Arima>),
    Additive(Box<Additive>),
    Dsp(Box<Dsp>),
    Pooled(Box<Pooled>),
    Lstm(Box<Lstm>),
    Boosted(Box<Boosted>),
    Sparse(Box<Sparse>),
    Civil(Box<Civil>),
    Part(Box<Partial>),
    Recounted(Box<Recounted>),
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Kind] = &[
        Kind::Auto,
        Kind::Online,
        Kind::Profile,
        Kind::Rls,
        Kind::Last,
        Kind::Drift,
        Kind::Day,
        Kind::Week,
        Kind::Smoothing,
        Kind::Arima,
        Kind::Additive,
        Kind::Dsp,
        Kind::Pooled,
        Kind::Lstm,
        Kind::Boosted,
        Kind::Sparse,
    ];

    /// All that are trained in the background: all but the first two. [`Kind::Auto`] combines them with the online core.
    pub const BATCH: &'static [Kind] = Kind::ALL.split_at(2).1;

    /// The name it is asked for by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Auto => "auto",
            Kind::Online => "online",
            Kind::Profile => "profile",
            Kind::Rls => "rls",
            Kind::Last => "last",
            Kind::Drift => "drift",
            Kind::Day => "day",
            Kind::Week => "week",
            Kind::Smoothing => "smoothing",
            Kind::Arima => "arima",
            Kind::Additive => "additive",
            Kind::Dsp => "dsp",
            Kind::Sparse => "sparse",
            Kind::Pooled => "pooled",
            Kind::Lstm => "lstm",
            Kind::Boosted => "boosted",
        }
    }

    /// What it is, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Auto => {
                "the online core and batch models that are retrained as history grows, combined online"
            }
            Kind::Online => {
                "seasonal experts, least squares and their online combination; learns at every step"
            }
            Kind::Profile => "of the online core the seasons' profile at its level, alone",
            Kind::Rls => "of the online core the recursive least squares over its experts, alone",
            Kind::Last => "the last value",
            Kind::Drift => "the last value and the mean slope",
            Kind::Day => "the same time yesterday",
            Kind::Week => "the same time last week",
            Kind::Smoothing => "exponential smoothing with several seasons and a damped trend",
            Kind::Arima => "autoregression and moving averages with automatic orders, seasonal or with waves",
            Kind::Additive => {
                "a bending trend, waves of the seasons, events and covariates, added up (as Prophet)"
            }
            Kind::Dsp => "Crane's estimator: the spectrum of the last days or weeks, with a margin",
            Kind::Sparse => "intermittent demand: idle times and timers, and the size when it comes",
            Kind::Pooled => "autoregression with a memory of weeks, shared by related series",
            Kind::Lstm => "a recurrent network with quantile heads on top of the seasonal naive forecast",
            Kind::Boosted => "gradient-boosted quantile trees on lags, levels, calendar and covariates",
        }
    }

    /// Whether it is fitted once and then only follows; the others learn at every step.
    pub fn is_batch(self) -> bool {
        !matches!(self, Kind::Auto | Kind::Online)
    }

    /// What it does where a covariate is not known; `None` for those that pass over events and covariates altogether.
    pub fn assumes(self) -> Option<Assumed> {
        match self {
            Kind::Auto | Kind::Online => Some(Assumed::Usual),
            Kind::Additive => Some(Assumed::Average),
            Kind::Boosted => Some(Assumed::Common),
            Kind::Profile | Kind::Rls | Kind::Last | Kind::Drift | Kind::Day | Kind::Week => None,
            Kind::Smoothing | Kind::Arima | Kind::Dsp | Kind::Pooled | Kind::Lstm | Kind::Sparse => None,
        }
    }

    /// Whether training it takes many times longer than the others.
    pub fn is_dear(self) -> bool {
        self == Kind::Lstm
    }

    /// Whether it can be learned from several series together.
    pub fn is_global(self) -> bool {
        matches!(self, Kind::Boosted | Kind::Lstm | Kind::Pooled)
    }

    /// Most other series that one is learned together with: time grows with them.
    pub const OTHERS_MAX: usize = 15;

    /// Weight in the ensemble before anything is known, beside 0.4 of the online core. Over many series some kinds add little
    /// to those that measurements favour: beside them all, little is theirs until they show more.
    pub(crate) fn prior(self, combined: &[Kind]) -> f32 {
        let modest = FAVOURED.iter().all(|kind| combined.contains(kind));
        match self {
            Kind::Auto | Kind::Online => 0.0,
            Kind::Last | Kind::Drift | Kind::Day | Kind::Week | Kind::Dsp if modest => 0.02,
            Kind::Rls | Kind::Lstm | Kind::Additive | Kind::Pooled if modest => 0.05,
            Kind::Last | Kind::Drift | Kind::Day | Kind::Week | Kind::Dsp => 0.05,
            Kind::Profile | Kind::Rls => 0.2,
            Kind::Lstm | Kind::Arima | Kind::Additive | Kind::Pooled => 0.3,
            Kind::Smoothing => 0.4,
            Kind::Boosted => 0.6,
            // It refuses every series that is not intermittent, and is the only one made for those that are.
            Kind::Sparse => 0.8,
        }
    }

    /// Fits it.
    ///
    /// # Errors
    /// [`FitError`] says why this history has no such model.
    pub fn fit(self, history: &History<'_>, pace: &mut Pace<'_>) -> Result<Box<dyn Model>, FitError> {
        match self {
            Kind::Auto => Ok(Box::new(Combined::fit(history, Kind::BATCH, pace)?)),
            Kind::Online => Ok(Box::new(Online::fit(history, pace)?)),
            _ => Ok(Box::new(self.train(history, pace)?)),
        }
    }

    /// Whether it counts its seasons in steps, so that the wall clock must be followed for it.
    pub(super) fn counts_seasons(self) -> bool {
        match self {
            Kind::Auto | Kind::Online | Kind::Profile | Kind::Rls => false,
            Kind::Additive | Kind::Last | Kind::Drift | Kind::Sparse => false,
            Kind::Day | Kind::Week | Kind::Smoothing | Kind::Arima | Kind::Dsp => true,
            Kind::Pooled | Kind::Lstm | Kind::Boosted => true,
        }
    }

    /// Fits a batch model.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`FitError::Unsuitable`] for kinds that are no batch models.
    pub fn train(self, history: &History<'_>, pace: &mut Pace<'_>) -> Result<Fitted, FitError> {
        self.train_together(history, &[], pace)
    }

    /// Fits a batch model to a history and to those beside it together, to follow the first; see
    /// [`is_global`](Self::is_global). All must have the same step. Of those beside it nothing is used that came after the
    /// first one's end. Where that leaves no values the same as [`train`](Self::train).
    ///
    /// # Errors
    /// As [`train`](Self::train); [`FitError::Unsuitable`] for kinds that learn from one series only.
    pub fn train_together(
        self,
        history: &History<'_>,
        beside: &[History<'_>],
        pace: &mut Pace<'_>,
    ) -> Result<Fitted, FitError> {
        let now = history.grid.begins_at(history.end());
        let known = beside.iter().map(|other| other.before(now)).filter(|other| other.present() > 0);
        let all: Vec<History<'_>> = std::iter::once(*history).chain(known).collect();
        if !self.counts_seasons() {
            return self.learn(&all, pace);
        }
        let mut laid: Vec<Laid<'_>> = all.iter().map(Laid::out).collect();
        let all: Vec<History<'_>> = laid.iter().map(Laid::history).collect();
        let fitted = self.learn(&all, pace)?;
        Ok(laid.swap_remove(0).follow(fitted))
    }

    /// Fits to the first history, together with the others.
    fn learn(self, all: &[History<'_>], pace: &mut Pace<'_>) -> Result<Fitted, FitError> {
        let history = &all[0];
        if all.len() > 1 && !self.is_global() {
            return Err(FitError::Unsuitable(format!("`{self}` learns from one series only")));
        }
        Ok(match self {
            Kind::Auto | Kind::Online => {
                return Err(FitError::Unsuitable(format!("`{self}` learns online and is not trained")));
            }
            Kind::Profile => Fitted::Part(Box::new(Partial::fit(Part::Profile, history, pace)?)),
            Kind::Rls => Fitted::Part(Box::new(Partial::fit(Part::Stack, history, pace)?)),
            Kind::Last => Fitted::Naive(Naive::last(history, pace)?),
            Kind::Drift => Fitted::Naive(Naive::drift(history, pace)?),
            Kind::Day => Fitted::Naive(Naive::day(history, pace)?),
            Kind::Week => Fitted::Naive(Naive::week(history, pace)?),
            Kind::Smoothing => Fitted::Smoothing(Box::new(Smoothing::fit(history, pace)?)),
            Kind::Arima => Fitted::Arima(Box::new(Arima::fit(history, pace)?)),
            Kind::Additive => Fitted::Additive(Box::new(Additive::fit(history, pace)?)),
            Kind::Dsp => Fitted::Dsp(Box::new(Dsp::fit(history, pace)?)),
            Kind::Sparse => Fitted::Sparse(Box::new(Sparse::fit(history)?)),
            Kind::Pooled => {
                let settings = PoolSettings::new(history.seasons, history.horizon);
                Fitted::Pooled(Box::new(Pool::fit(all, &settings, pace)?.attach(history, pace)?))
            }
            Kind::Lstm => {
                let weights = lstm::fit_global(all, &lstm::Config::default(), pace)?;
                Fitted::Lstm(Box::new(Lstm::attach(Arc::new(weights), history, pace)?))
            }
            Kind::Boosted => {
                let params = boosted::Params::default();
                let rows = params.rows * all.len().min(MORE_ROWS_MAX);
                let learned = boosted::Learned::fit(all, &boosted::Params { rows, ..params }, pace)?;
                Fitted::Boosted(Box::new(Boosted::attach(Arc::new(learned), history)))
            }
        })
    }
}

impl Fitted {
    fn inner(&self) -> &dyn Model {
        match self {
            Fitted::Naive(model) => model,
            Fitted::Smoothing(model) => &**model,
            Fitted::Arima(model) => &**model,
            Fitted::Additive(model) => &**model,
            Fitted::Dsp(model) => &**model,
            Fitted::Sparse(model) => &**model,
            Fitted::Civil(model) => &**model,
            Fitted::Part(model) => &**model,
            Fitted::Recounted(model) => &**model,
            Fitted::Pooled(model) => &**model,
            Fitted::Lstm(model) => &**model,
            Fitted::Boosted(model) => &**model,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Model {
        match self {
            Fitted::Naive(model) => model,
            Fitted::Smoothing(model) => &mut **model,
            Fitted::Arima(model) => &mut **model,
            Fitted::Additive(model) => &mut **model,
            Fitted::Dsp(model) => &mut **model,
            Fitted::Sparse(model) => &mut **model,
            Fitted::Civil(model) => &mut **model,
            Fitted::Part(model) => &mut **model,
            Fitted::Recounted(model) => &mut **model,
            Fitted::Pooled(model) => &mut **model,
            Fitted::Lstm(model) => &mut **model,
            Fitted::Boosted(model) => &mut **model,
        }
    }
}

impl Model for Fitted {
    fn name(&self) -> &'static str {
        self.inner().name()
    }

    fn observe(&mut self, value: f32, covariates: &Covariates) {
        self.inner_mut().observe(value, covariates);
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values {
        self.inner().forecast(steps, quantiles, covariates)
    }

    fn forecast_at(&self, aheads: &[usize], quantiles: &[f64], covariates: &Covariates) -> Values {
        self.inner().forecast_at(aheads, quantiles, covariates)
    }

    fn next_step(&self) -> Option<u64> {
        self.inner().next_step()
    }

    fn bytes(&self) -> usize {
        self.inner().bytes()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model `{name}`; there are {}", names())]
pub struct UnknownModel {
    /// The name asked for.
    pub name: String,
}

impl FromStr for Kind {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Kind, UnknownModel> {
        let found = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownModel { name: name.to_owned() })
    }
}

fn names() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// Kinds that were best over many series.
const FAVOURED: [Kind; 5] = [Kind::Boosted, Kind::Smoothing, Kind::Arima, Kind::Sparse, Kind::Profile];
/// Boosted trees draw as many times more rows from several series as there are, at most so many: time grows with them.
const MORE_ROWS_MAX: usize = 4;

#[cfg(test)]
mod tests;
