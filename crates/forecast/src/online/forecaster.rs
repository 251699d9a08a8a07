//! The online forecaster of one series: keeps the clock, decides when to look for seasons, judges its own work.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::calibration::{Curve, GRID, crossed};
use crate::online::clock::{DAY, WEEK};
use crate::online::config::{Config, ConfigError};
use crate::online::experts::Part;
use crate::online::memory::even_factor;
use crate::online::model::{Model, Records, Setting, Surprise};
use crate::paths::{self, Forecast, Values, WindowMax};
use crate::season::{self, Candidates, Season};
use crate::timestamp::Timestamp;
use crate::trust::{Distance, Naive, Trust, TrustAhead, UntrustedReason, naive_lag};

/// Forecasts one series online. Feed it with [`observe`](Forecaster::observe) in order of time, ask at any moment.
///
/// Plain data: `Clone` it to try something, keep as many as there are series. It reads no clock and draws no random
/// numbers, so the same observations always give the same answers, and what comes later never changes what was said
/// earlier. It can be stored and restored whole with serde; what is restored is trusted to be what was stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forecaster {
    config: Config,
    horizon: usize,
    model: Option<Model>,
    seasons: Vec<Season>,
    version: u64,
    last: Option<f64>,
    observed: u64,
    /// Steps without a value since the last one that had one.
    silent_steps: u64,
    steps_until_search: u64,
    /// Searches in a row that missed a season in use.
    doubts: u8,
    /// The part that is asked, where it is not all.
    alone: Option<Part>,
}

impl Forecaster {
    /// A forecaster that knows nothing yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work.
    pub fn new(config: Config) -> Result<Forecaster, ConfigError> {
        config.validate()?;
        Ok(Forecaster {
            horizon: config.horizon_steps(),
            config,
            model: None,
            seasons: Vec::new(),
            version: 0,
            last: None,
            observed: 0,
            silent_steps: 0,
            steps_until_search: SEARCH_FIRST,
            doubts: 0,
            alone: None,
        })
    }

    /// Only one part of it, calibrated as the whole is. To be called before the first observation.
    #[must_use]
    pub fn reduced(self, alone: Option<Part>) -> Forecaster {
        Forecaster { alone, ..self }
    }

    /// The value of the step that begins at `at`; `None` or NaN when it is missing. The first call sets the grid of steps;
    /// later ones are taken for the nearest step. A jump ahead counts as missing steps; one so far that nothing remembered
    /// would be of use begins anew. Constant time, but for the rare search for seasons. Magnitudes beyond 1e30 are taken
    /// for 1e30.
    ///
    /// # Errors
    /// [`ObserveError`] when the step is not after the last one, or the value is infinite or below zero where that is
    /// impossible. The forecaster is then unchanged.
    pub fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        let value = value.filter(|value| !value.is_nan());
        match value {
            Some(value) if value.is_infinite() => return Err(ObserveError::Infinite { at }),
            Some(value) if value < 0.0 && self.config.non_negative => {
                return Err(ObserveError::Negative { at, value });
            }
            Some(_) | None => {}
        }
        let ahead = match &self.model {
            None => 0,
            Some(model) => {
                let next = model.memory.next();
                let step = model.clock.step_of(at).filter(|&step| step >= next).ok_or_else(|| {
                    ObserveError::NotAfterLast { at, last: model.clock.begins_at(next.saturating_sub(1)) }
                })?;
                step - next
            }
        };
        if ahead > JUMP_MAX {
            self.model = None;
            self.seasons.clear();
            self.version += 1;
            self.observed = 0;
            self.steps_until_search = SEARCH_FIRST;
            self.doubts = 0;
        }
        if self.model.is_some() {
            for _ in 0..ahead {
                self.advance(at, None);
            }
        }
        self.advance(at, value.map(|value| value.clamp(-VALUE_MAX, VALUE_MAX)));
        Ok(())
    }

    fn advance(&mut self, at: Timestamp, value: Option<f64>) {
        let (config, horizon, alone) = (&self.config, self.horizon, self.alone);
        let model = self.model.get_or_insert_with(|| {
            Model::new(&Setting {
                origin: at,
                step: config.step,
                zone: config.time_zone.clone(),
                horizon,
                floor: if config.non_negative { 0.0 } else { f64::MIN },
                alone,
            })
        });
        model.advance(value);
        match value {
            Some(value) => {
                self.last = Some(value);
                self.observed += 1;
                self.silent_steps = 0;
            }
            None => self.silent_steps += 1,
        }
        self.steps_until_search -= 1;
        if self.steps_until_search == 0 {
            self.search();
        }
    }

    /// Looks for seasons in what is remembered, whenever that has grown or been renewed by a third, and starts over with
    /// them when they are others than before. A new season is taken at once; one that is not seen any more is only given up
    /// when that happens twice in a row, for what was learned with it is lost.
    fn search(&mut self) {
        let Some(model) = &self.model else { return };
        let held = model.memory.next() - model.memory.oldest();
        self.steps_until_search = (held / 3).clamp(SEARCH_FIRST, SEARCH_LAST);
        let mut found = self.seasons_in(model);
        let young = |known: &Season| model.memory.next() < PERIODS_YOUNG * known.period as u64;
        let kept = |known: &Season| {
            found.iter().any(|season| season.is_like(known) || (young(known) && season.is_near(known)))
        };
        let lost: Vec<Season> = self.seasons.iter().filter(|known| !kept(known)).copied().collect();
        self.doubts = if lost.is_empty() { 0 } else { self.doubts + 1 };
        if self.doubts == 1 {
            // What was found instead of a lost season is not a new one.
            found.retain(|season| {
                lost.iter().all(|known| 2 * season.period.abs_diff(known.period) > known.period)
            });
            found.extend(lost);
            found.sort_by_key(|season| season.period);
            found.truncate(season::SEASONS_MAX);
        }
        let same = found.len() == self.seasons.len()
            && found.iter().zip(&self.seasons).all(|(season, known)| season.is_like(known));
        if same {
            return;
        }
        self.doubts = 0;
        let rebuilt = model.rebuilt(found.iter().map(|season| season.period).collect());
        self.model = Some(rebuilt);
        self.seasons = found;
        self.version += 1;
    }

    fn seasons_in(&self, model: &Model) -> Vec<Season> {
        let (memory, clock) = (&model.memory, &model.clock);
        let calendar: Vec<usize> = [DAY, WEEK].into_iter().filter_map(|span| clock.steps_in(span)).collect();
        let candidates = |factor: usize| Candidates {
            calendar: calendar
                .iter()
                .filter(|&period| period % factor == 0)
                .map(|period| period / factor)
                .collect(),
            expected: self.config.time_zone.is_some(),
            current: self.seasons.iter().map(|season| season.period / factor).collect(),
        };
        let (oldest, next) = (memory.oldest(), memory.next());
        let fine = memory.fine();
        let mut found = season::find(&fine, &candidates(1));
        let week = calendar.last().copied().unwrap_or(0) as u64;
        if memory.oldest_fine() == oldest || week * 9 / 4 <= fine.len() as u64 {
            return found;
        }
        // Longer seasons are sought in means of several steps.
        let factor = memory.coarse_factor().unwrap_or_else(|| {
            even_factor((next - oldest).div_ceil(SEARCH_MEANS), calendar.first().copied())
        });
        let means: Vec<f64> =
            (oldest.div_ceil(factor)..next / factor).map(|i| memory.mean(i * factor, factor)).collect();
        let factor = factor as usize;
        for season in season::find(&means, &candidates(factor)) {
            let period = season.period * factor;
            let longer = found.iter().all(|other| 3 * other.period < 2 * period);
            if longer && 4 * period > fine.len() && found.len() < season::SEASONS_MAX {
                found.push(Season { period, ..season });
            }
        }
        found.sort_by_key(|season| season.period);
        found
    }

    /// Quantiles of the next `steps` steps (at most [`FORECAST_STEPS_MAX`]), each quantile inside (0, 1). Finite, never
    /// falling from a lower to a higher quantile, never below zero when demand cannot be. Zeros before the first value.
    pub fn forecast(&self, steps: usize, quantiles: &[f64]) -> Forecast {
        let mut values = Values::zeros(steps.min(FORECAST_STEPS_MAX), quantiles.len());
        let mut issued_at = Timestamp::EPOCH;
        if let Some(model) = &self.model {
            model.fill(quantiles, &mut values);
            issued_at = model.clock.begins_at(model.memory.next());
        }
        Forecast {
            issued_at,
            step: self.config.step,
            quantiles: quantiles.to_vec(),
            values,
            model_version: self.version,
        }
    }

    /// Distribution of the largest value of the next `steps` steps (at least one, at most [`FORECAST_STEPS_MAX`]),
    /// calibrated as a target of its own for windows up to 300 steps. All at zero before the first value.
    pub fn window_max(&self, steps: usize) -> WindowMax {
        let steps = steps.clamp(1, FORECAST_STEPS_MAX);
        let curve = match &self.model {
            Some(model) => model.window_max(steps),
            None => Curve::point(0.0, 0.0),
        };
        WindowMax { steps, curve }
    }

    /// Draws `samples` joint paths of the next `steps` steps (together at most [`PATH_VALUES_MAX`] values; fewer samples
    /// otherwise), for what depends on several steps at once: sums, durations, costs. Each step has the distribution that
    /// [`forecast`](Forecaster::forecast) gives it; neighbouring steps are as alike as past errors were (a Gaussian copula,
    /// as in the Schaake shuffle's parametric relatives). The same seed draws the same paths. All zero before the first
    /// value.
    pub fn paths(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let samples = samples.min(PATH_VALUES_MAX / steps.max(1));
        match &self.model {
            Some(model) => model.draw(steps, samples, seed),
            None => vec![vec![0.0; steps]; samples],
        }
    }

    /// Paths whose every step has the distribution that another model says of it: `said` has a row for each step with
    /// quantiles at [`GUEST_QUANTILES`](crate::Ensemble::GUEST_QUANTILES). What is as improbable here becomes what is as
    /// improbable there; steps are as alike as those of [`paths`](Forecaster::paths).
    pub fn paths_through(&self, said: &Values, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut paths = self.paths(said.len(), samples, seed);
        paths::recast(&mut paths, &self.forecast(said.len(), &GRID).values, said, seed);
        paths
    }

    /// The largest value of the first of the next steps, of the first two and so on; see
    /// [`window_max`](Forecaster::window_max).
    pub fn window_maxima(&self, steps: usize) -> Vec<WindowMax> {
        paths::windows(self.window_curves(steps))
    }

    /// For each level, the probability that demand has exceeded it by the end of the first of the next steps, of the second
    /// and so on up to `steps` (at most [`FORECAST_STEPS_MAX`]): never falling, each from 0 to 1. Read from the calibrated
    /// window maxima. Zeros before the first value.
    pub fn crossings(&self, levels: &[f64], steps: usize) -> Vec<Vec<f64>> {
        crossed(&self.window_curves(steps), levels)
    }

    /// For each window of the next step, of the next two and so on: the distribution of its largest value.
    pub(crate) fn window_curves(&self, steps: usize) -> Vec<Curve> {
        let steps = steps.min(FORECAST_STEPS_MAX);
        match &self.model {
            Some(model) => model.window_curves(steps),
            None => vec![Curve::point(0.0, 0.0); steps],
        }
    }

    /// What is remembered step by step, without what was missing.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = (Timestamp, f64)> {
        self.model.iter().flat_map(|model| {
            let memory = &model.memory;
            (memory.oldest_fine()..memory.next())
                .filter(|&step| !memory.is_made_up(step))
                .map(|step| (model.clock.begins_at(step), memory.value(step)))
        })
    }

    /// Whether forecasts of this series may be relied upon now, for the next few steps.
    pub fn trust(&self) -> Trust {
        self.trust_in(None, 1)
    }

    /// The same by how far ahead they look.
    pub fn trust_ahead(&self) -> TrustAhead {
        TrustAhead::of(|ahead| self.trust_in(None, ahead))
    }

    /// Whether forecasts of this series may be relied upon that have the given records in place of this one's own.
    pub(crate) fn trust_in(&self, records: Option<&Records>, ahead: usize) -> Trust {
        let untrusted = |reason| Trust::Untrusted { reason };
        let Some(model) = self.model.as_ref().filter(|_| self.observed >= OBSERVED_MIN) else {
            return untrusted(UntrustedReason::TooLittleHistory {
                observed: self.observed,
                needed: OBSERVED_MIN,
            });
        };
        if model.outage_steps() > 0 {
            return untrusted(UntrustedReason::OutageSuspected { steps: model.outage_steps() });
        }
        if self.silent_steps >= SILENT_STEPS_MAX {
            return untrusted(UntrustedReason::SignalMissing { steps: self.silent_steps });
        }
        if let Some(steps) = model.newly_busy().filter(|&steps| steps < BUSY_MIN) {
            return untrusted(UntrustedReason::SeldomBusy { steps, needed: BUSY_MIN });
        }
        // Beyond the horizon everything is said as at its end, and nothing is scored.
        let ahead = ahead.min(self.horizon);
        let naive = match naive_lag(ahead, model.season()) {
            Some(_) => Naive::LastSeason,
            None => Naive::LastValue,
        };
        records.unwrap_or(&model.records).trust(Distance::of(ahead), naive, model.negligible())
    }

    /// Medians from here on claim that a series which is mostly idle will be busy; infinite where it is not.
    pub(crate) fn claimed_from(&self) -> f64 {
        self.model.as_ref().map_or(f64::INFINITY, Model::claimed_from)
    }

    /// The last observed value, if any.
    pub fn level(&self) -> Option<f64> {
        self.last
    }

    /// Short-term slope of the last values, per step.
    pub fn slope_per_step(&self) -> f64 {
        self.model.as_ref().map_or(0.0, Model::slope)
    }

    /// The largest value a week before the steps `ahead`, counted from the next one; None where that is not remembered. Far
    /// back means of several steps stand for their values.
    pub fn week_ago_max(&self, ahead: Range<usize>) -> Option<f64> {
        self.model.as_ref().and_then(|model| model.week_ago_max(ahead))
    }

    /// Periods found in the series, shortest first.
    pub fn seasons(&self) -> &[Season] {
        &self.seasons
    }

    /// Whether the series is often zero.
    pub(crate) fn idles(&self) -> bool {
        self.model.as_ref().is_some_and(Model::idles)
    }

    /// How often the model was started anew with other seasons.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// How many values were observed (missing ones not counted).
    pub fn observed(&self) -> u64 {
        self.observed
    }

    /// How often the series has been found to have changed its level for good, since seasons were last found.
    pub fn shifts(&self) -> u64 {
        self.model.as_ref().map_or(0, Model::shifts)
    }

    /// Whether a busy series has fallen silent in a way that resembles an outage rather than a fall of demand.
    pub fn outage_suspected(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.outage_steps() > 0)
    }

    /// How the last step's value compares with what had been forecast for it; `None` when it had no value or none that is
    /// believed, and before there was a forecast.
    pub(crate) fn surprise(&self) -> Option<Surprise> {
        self.model.as_ref().and_then(|model| model.surprise)
    }

    /// Length of one step.
    pub fn step(&self) -> Duration {
        self.config.step
    }

    /// Bytes of memory held for this series.
    pub fn bytes(&self) -> usize {
        size_of::<Forecaster>() + self.model.as_ref().map_or(0, Model::heap_bytes)
    }
}

/// Why an observation was refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ObserveError {
    /// Steps must come in order, each once.
    #[error("the step at {at} is not after the last one at {last}")]
    NotAfterLast {
        /// The step offered.
        at: Timestamp,
        /// The last step taken.
        last: Timestamp,
    },
    /// Infinity cannot be learned from.
    #[error("the value at {at} is infinite")]
    Infinite {
        /// The step offered.
        at: Timestamp,
    },
    /// Demand cannot be below zero (see [`Config::non_negative`]).
    #[error("the value at {at} is {value}, below zero")]
    Negative {
        /// The step offered.
        at: Timestamp,
        /// The value offered.
        value: f64,
    },
}

/// Most steps that one forecast covers.
pub const FORECAST_STEPS_MAX: usize = 100_000;
/// Most values of all drawn paths together.
pub const PATH_VALUES_MAX: usize = 16_000_000;
/// Magnitudes beyond this are not demand; drawn in so that no sum of them overflows.
const VALUE_MAX: f64 = 1e30;
/// After a gap of more steps nothing remembered is of use.
const JUMP_MAX: u64 = 16_384;
/// Steps before the first search for seasons, and least between searches.
const SEARCH_FIRST: u64 = 24;
/// Until so many of its periods have passed, a period is measured better every time.
const PERIODS_YOUNG: u64 = 8;
/// Most steps between searches.
const SEARCH_LAST: u64 = 2048;
/// Most means of several steps that one search looks at; fewer, for a mean shows a week more clearly than a minute.
const SEARCH_MEANS: u64 = 2048;
/// Observations before any forecast is trusted.
const OBSERVED_MIN: u64 = 60;
/// Missing steps in a row after which forecasts are no longer trusted.
const SILENT_STEPS_MAX: u64 = 3;
/// Busy steps before a forecast that is made at one is trusted, where the series is mostly idle.
const BUSY_MIN: u64 = 12;
