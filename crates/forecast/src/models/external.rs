//! A user's own model, spoken to in lines of JSON: the protocol, and the adapter that makes it a [`Model`].
//!
//! The model is a command that reads one request per line and answers each with one line. Whoever runs it implements
//! [`Speaker`]; the daemon does with a child process. Here is what is said and how an answer is judged: an answer that is
//! not a forecast (too few rows, no number, falling quantiles) becomes an [`ExternalError`] that says what is wrong, and
//! never reaches a plan.
//!
//! # The protocol
//!
//! First the history. `null` is a missing value; row `i` of `values` and of the covariates begins at
//! `begins_ms + i * step_ms` (milliseconds since 1970, UTC); covariates may go on after the values end, as far as they are
//! known.
//!
//! ```json
//! {"fit":{"begins_ms":1700000000000,"step_ms":300000,"zone":"Europe/Berlin","values":[12.5,null,14.0],
//!         "seasons":[288,2016],"covariates":{"rain":[0.0,0.1,0.0,0.2]},"horizon":288,"non_negative":true}}
//! {"ok":true}
//! ```
//!
//! Then, at any time, values of the next steps, oldest first, and what is known beside them:
//!
//! ```json
//! {"observe":{"values":[15.5],"covariates":{"rain":[0.2]}}}
//! {"ok":true}
//! ```
//!
//! And the question: quantiles of the next `steps` steps, one row for each step, in the order asked; numbers must not fall
//! from a lower quantile to a higher one. `covariates` holds their known future and may be shorter than `steps`.
//!
//! ```json
//! {"forecast":{"steps":2,"quantiles":[0.5,0.95],"covariates":{"rain":[0.0]}}}
//! {"values":[[15.0,19.5],[15.2,20.1]]}
//! ```
//!
//! Anything may be answered with `{"error":"why not"}`; values of an `observe` that was answered so come again with the
//! next. After an `{"error"}` the command stays; after a line that is no
//! answer, or none in time, it is ended and started anew, told the history again, and then what was observed since.
//!
//! Not here: processes, timeouts and JSON itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::paths::Values;

#[cfg(test)]
mod tests;

/// One line to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Learn from a history.
    Fit(FitRequest),
    /// Take the values of the next steps.
    Observe(ObserveRequest),
    /// Say quantiles of the next steps.
    Forecast(ForecastRequest),
}

/// The history of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitRequest {
    /// When the first value's step begins, in milliseconds since 1970, UTC.
    pub begins_ms: i64,
    /// Length of a step in milliseconds.
    pub step_ms: u64,
    /// Name of the time zone whose days are meant, where there is one.
    pub zone: Option<String>,
    /// One value for each step; `None` where it is missing.
    pub values: Vec<Option<f32>>,
    /// Periods in steps, shortest first.
    pub seasons: Vec<usize>,
    /// What is known beside the values, from the first value's step on.
    pub covariates: BTreeMap<String, Vec<Option<f32>>>,
    /// How many steps ahead will be asked for.
    pub horizon: usize,
    /// Whether values below zero are impossible.
    pub non_negative: bool,
}

/// Values of the next steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObserveRequest {
    /// Oldest first; `None` where missing.
    pub values: Vec<Option<f32>>,
    /// What is known beside them; as many rows.
    pub covariates: BTreeMap<String, Vec<Option<f32>>>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastRequest {
    /// Number of steps.
    pub steps: usize,
    /// Quantiles inside (0, 1).
    pub quantiles: Vec<f64>,
    /// What is known of those steps; may end before they do.
    pub covariates: BTreeMap<String, Vec<Option<f32>>>,
}

/// One line from the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Ok(bool),
    /// One row of quantiles for each step.
    Values(Vec<Vec<Option<f64>>>),
    /// Not done, and why.
    Error(String),
}

/// Sends a line and waits for the answer. Bounds the time and the size of both.
pub trait Speaker: fmt::Debug + Send + Sync {
    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer, in words for the person who wrote the model.
    fn ask(&self, request: &Request) -> Result<Answer, String>;
}

impl<S: Speaker + ?Sized> Speaker for Arc<S> {
    fn ask(&self, request: &Request) -> Result<Answer, String> {
        (**self).ask(request)
    }
}

/// Why a user's model gave no forecast.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExternalError {
    /// There was no answer.
    #[error("the external model does not answer: {0}")]
    Silent(String),
    /// It said so itself.
    #[error("the external model says: {0}")]
    Refused(String),
    /// The answer belongs to another question.
    #[error("the external model answered {question} with {found}")]
    Misfit {
        /// What was asked.
        question: &'static str,
        /// What it answered.
        found: &'static str,
    },
    /// Another number of rows than steps.
    #[error("the external model answered with {found} rows for {expected} steps")]
    Rows {
        /// Rows in the answer.
        found: usize,
        /// Steps asked for.
        expected: usize,
    },
    /// Another number of values than quantiles.
    #[error("row {row} of the external model's answer has {found} values for {expected} quantiles")]
    Columns {
        /// The row, from 0.
        row: usize,
        /// Values in it.
        found: usize,
        /// Quantiles asked for.
        expected: usize,
    },
    /// A value that is missing, or too large to be one.
    #[error("row {row} of the external model's answer has no usable number for quantile {quantile}")]
    NotANumber {
        /// The row, from 0.
        row: usize,
        /// The quantile.
        quantile: f64,
    },
    /// A higher quantile with a lower value.
    #[error(
        "row {row} of the external model's answer falls: {low} at quantile {low_at}, {high} at {high_at}"
    )]
    Falling {
        /// The row, from 0.
        row: usize,
        /// The lower quantile.
        low_at: f64,
        /// Its value.
        low: f64,
        /// The higher quantile.
        high_at: f64,
        /// Its value.
        high: f64,
    },
}

/// A user's model as one of ours.
///
/// [`try_forecast`](Self::try_forecast) is what a plan should ask. Through [`Model::forecast`], which knows no failure, a
/// model that fails says the last observed value at every quantile, and [`trouble`](Self::trouble) says why.
///
/// A clone speaks to the same process: it may be asked at once, but only one of them may observe.
#[derive(Clone, Debug)]
pub struct External {
    speaker: Arc<dyn Speaker>,
    names: Vec<String>,
    /// The step after the last value.
    next: u64,
    last: f32,
    non_negative: bool,
    /// Observed values that the model has not taken in.
    pending: ObserveRequest,
    trouble: Option<ExternalError>,
}

impl External {
    /// Lets the model learn from a history.
    ///
    /// # Errors
    /// [`FitError::Unsuitable`] with the reason when it does not; [`FitError::CalledOff`].
    pub fn fit(
        speaker: Box<dyn Speaker>,
        history: &History<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<External, FitError> {
        pace.checkpoint()?;
        let request = Request::Fit(fit_request(history));
        confirmed("`fit`", speaker.ask(&request)).map_err(|error| FitError::Unsuitable(error.to_string()))?;
        pace.checkpoint()?;
        let last = history.values.iter().rfind(|value| value.is_finite()).copied();
        Ok(External {
            speaker: Arc::from(speaker),
            names: history.covariates.names().to_vec(),
            next: history.end(),
            last: last.unwrap_or(0.0),
            non_negative: history.non_negative,
            pending: ObserveRequest { values: Vec::new(), covariates: BTreeMap::new() },
            trouble: None,
        })
    }

    /// Quantiles of the next steps, or why there are none.
    ///
    /// # Errors
    /// [`ExternalError`].
    pub fn try_forecast(
        &self,
        steps: usize,
        quantiles: &[f64],
        covariates: &Covariates,
    ) -> Result<Values, ExternalError> {
        // What was not taken in would be missing from the answer.
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let rows = usize::try_from(covariates.end().saturating_sub(self.next)).unwrap_or(0).min(steps);
        let request = Request::Forecast(ForecastRequest {
            steps,
            quantiles: quantiles.to_vec(),
            covariates: self.known(covariates, rows),
        });
        match self.speaker.ask(&request).map_err(ExternalError::Silent)? {
            Answer::Values(rows) => judge(&rows, steps, quantiles, self.non_negative),
            Answer::Error(reason) => Err(ExternalError::Refused(reason)),
            Answer::Ok(_) => Err(ExternalError::Misfit { question: "`forecast`", found: "`ok`" }),
        }
    }

    /// Why the model has fallen behind the series; it catches up with the next value when it can. When it has missed more
    /// than it may, it must be fitted anew.
    pub fn trouble(&self) -> Option<&ExternalError> {
        self.trouble.as_ref()
    }

    /// Covariates of the next `rows` steps.
    fn known(&self, covariates: &Covariates, rows: usize) -> BTreeMap<String, Vec<Option<f32>>> {
        let columns = self.names.iter().filter_map(|name| {
            let column = covariates.names().iter().position(|known| known == name)?;
            let values = (0..rows as u64).map(|row| number(covariates.at(column, self.next + row))).collect();
            Some((name.clone(), values))
        });
        columns.collect()
    }
}

impl Model for External {
    fn name(&self) -> &'static str {
        "external"
    }

    fn observe(&mut self, value: f32, covariates: &Covariates) {
        let row = self.known(covariates, 1);
        self.next += 1;
        if value.is_finite() {
            self.last = value;
        }
        if self.pending.values.len() > PENDING_MAX {
            return;
        }
        let rows = self.pending.values.len();
        for (name, values) in row {
            let column = self.pending.covariates.entry(name).or_default();
            column.resize(rows, None);
            column.extend(values);
        }
        self.pending.values.push(number(value));
        // Columns that come and go would no longer fit their rows.
        let rows = rows + 1;
        self.pending.covariates.values_mut().for_each(|column| column.resize(rows, None));
        let request = Request::Observe(self.pending.clone());
        self.trouble = confirmed("`observe`", self.speaker.ask(&request)).err();
        if self.trouble.is_none() {
            self.pending.values.clear();
            self.pending.covariates.values_mut().for_each(Vec::clear);
        }
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values {
        self.try_forecast(steps, quantiles, covariates).unwrap_or_else(|_| {
            let mut values = Values::zeros(steps, quantiles.len());
            (0..steps).for_each(|h| values.row_mut(h).fill(f64::from(self.last)));
            values
        })
    }

    fn bytes(&self) -> usize {
        size_of::<External>()
            + self.names.iter().map(String::capacity).sum::<usize>()
            + 8 * (1 + self.names.len()) * self.pending.values.capacity()
    }
}

fn fit_request(history: &History<'_>) -> FitRequest {
    let covariates = history.covariates;
    let rows = covariates.end().saturating_sub(history.first);
    let columns = covariates.names().iter().enumerate().map(|(column, name)| {
        (name.clone(), (0..rows).map(|row| number(covariates.at(column, history.first + row))).collect())
    });
    FitRequest {
        begins_ms: history.grid.begins_at(history.first).as_millis(),
        step_ms: u64::try_from(history.grid.step.as_millis()).unwrap_or(u64::MAX),
        zone: history.grid.zone.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned),
        values: history.values.iter().map(|&value| number(value)).collect(),
        seasons: history.seasons.to_vec(),
        covariates: columns.collect(),
        horizon: history.horizon,
        non_negative: history.non_negative,
    }
}

fn confirmed(question: &'static str, answer: Result<Answer, String>) -> Result<(), ExternalError> {
    match answer.map_err(ExternalError::Silent)? {
        Answer::Ok(true) => Ok(()),
        Answer::Ok(false) => Err(ExternalError::Refused("not ok".into())),
        Answer::Error(reason) => Err(ExternalError::Refused(reason)),
        Answer::Values(_) => Err(ExternalError::Misfit { question, found: "`values`" }),
    }
}

/// Takes an answer for a forecast only when it is one.
fn judge(
    rows: &[Vec<Option<f64>>],
    steps: usize,
    quantiles: &[f64],
    non_negative: bool,
) -> Result<Values, ExternalError> {
    if rows.len() != steps {
        return Err(ExternalError::Rows { found: rows.len(), expected: steps });
    }
    let mut order: Vec<usize> = (0..quantiles.len()).collect();
    order.sort_by(|&a, &b| quantiles[a].total_cmp(&quantiles[b]));
    let mut values = Values::zeros(steps, quantiles.len());
    for (row, said) in rows.iter().enumerate() {
        if said.len() != quantiles.len() {
            let (found, expected) = (said.len(), quantiles.len());
            return Err(ExternalError::Columns { row, found, expected });
        }
        let to = values.row_mut(row);
        let mut before: Option<(f64, f64)> = None;
        for &q in &order {
            let usable = said[q].filter(|value| value.abs() <= f64::from(f32::MAX));
            let Some(mut value) = usable else {
                return Err(ExternalError::NotANumber { row, quantile: quantiles[q] });
            };
            if let Some((low_at, low)) = before {
                // A fall in the last digits is rounding.
                if value < low - ROUNDING * low.abs() {
                    return Err(ExternalError::Falling {
                        row,
                        low_at,
                        low,
                        high_at: quantiles[q],
                        high: value,
                    });
                }
                value = value.max(low);
            }
            before = Some((quantiles[q], value));
            to[q] = if non_negative { value.max(0.0) } else { value };
        }
    }
    Ok(values)
}

fn number(value: f32) -> Option<f32> {
    value.is_finite().then_some(value)
}

/// Values that a model may miss before it must be fitted anew.
const PENDING_MAX: usize = 2000;
/// Relative difference of two values that counts as none.
const ROUNDING: f64 = 1e-9;
