//! The online core and batch models, combined online.
//!
//! Each member says a whole distribution for each future step. Per horizon the quantiles are averaged with weights that
//! follow the members' realised losses, and the probabilities that are read from the average are adapted until they keep
//! their word. Batch models are trained elsewhere, from a [`Job`] that this hands out when it is due; until one is admitted,
//! and whenever none can be fitted, the ensemble says exactly what the online core says.
//!
//! Promises: as the crate's. A member is only ever scored on what it said beforehand.

mod contest;
mod core;
mod job;
mod known;
mod panel;
mod weights;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::calibration::GRID;
use crate::effects::crossed;
use crate::grid::Grid;
use crate::models::{Kind, Model};
use crate::online::{Config, ConfigError, FORECAST_STEPS_MAX, Forecaster, ObserveError};
use crate::paths::{Forecast, Values, WindowMax};
use crate::season::Season;
use crate::timestamp::Timestamp;
use crate::trust::Trust;

pub use contest::{Contest, Outcome, Rival};
use core::Core;
use job::Schedule;
pub use job::{Job, Trained};
use known::Known;
use panel::{Panel, Row};

/// One series, forecast by everything that has something to say about it.
#[derive(Clone, Debug)]
pub struct Ensemble {
    config: Config,
    kinds: Vec<Kind>,
    grid: Option<Grid>,
    online: Core,
    known: Known,
    /// Recent values, the last at the end; NaN where missing or not believed. Freed of the effects known at their time.
    values: VecDeque<f32>,
    /// Number of the step that comes next.
    next: u64,
    members: Vec<Member>,
    panels: Vec<Panel>,
    schedule: Schedule,
}

/// A batch model under way.
#[derive(Clone, Debug)]
struct Member {
    kind: Kind,
    model: Box<dyn Model>,
}

impl Ensemble {
    /// An ensemble of the online core and, as soon as they have been trained, models of the given kinds.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work.
    pub fn new(config: Config, kinds: &[Kind]) -> Result<Ensemble, ConfigError> {
        let mut wanted: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.is_batch()).collect();
        wanted.dedup();
        Ok(Ensemble {
            online: Core::Plain(Box::new(Forecaster::new(config.clone())?)),
            panels: horizons(config.horizon_steps()).into_iter().map(|h| Panel::new(h, &wanted)).collect(),
            kinds: wanted,
            config,
            grid: None,
            known: Known::default(),
            values: VecDeque::new(),
            next: 0,
            members: Vec::new(),
            schedule: Schedule::default(),
        })
    }

    /// The value of the step that begins at `at`; see [`Forecaster::observe`].
    ///
    /// # Errors
    /// As [`Forecaster::observe`]; nothing is changed then.
    pub fn observe(&mut self, at: Timestamp, value: Option<f64>) -> Result<(), ObserveError> {
        if self.grid.is_none() {
            self.inform(Some(at));
        }
        self.online.observe(at, value)?;
        let config = &self.config;
        let grid = self.grid.get_or_insert_with(|| Grid {
            origin: at,
            step: config.step,
            zone: config.time_zone.clone(),
        });
        let step = grid.step_of(at).unwrap_or(self.next).max(self.next);
        if self.kinds.is_empty() {
            self.next = step + 1;
            return Ok(());
        }
        if step - self.next > VALUES_KEPT as u64 {
            self.forget();
        }
        while self.next < step {
            self.advance(f32::NAN, f32::NAN);
        }
        let outage = self.online.outage_suspected();
        let believed = |value: Option<f64>| {
            let value = value.filter(|value| !value.is_nan() && !outage);
            value.map_or(f32::NAN, |value| value.clamp(-VALUE_MAX, VALUE_MAX) as f32)
        };
        let value = believed(value);
        self.advance(value, self.online.freed().map_or(value, believed));
        self.lay_out_further();
        Ok(())
    }

    /// After a gap that nothing remembered bridges.
    fn forget(&mut self) {
        self.values.clear();
        self.members.clear();
        self.schedule = Schedule::default();
        for panel in &mut self.panels {
            panel.drop_pending();
        }
    }

    /// `freed` is the value without effects, or the value where none are known: what members follow.
    fn advance(&mut self, value: f32, freed: f32) {
        let step = self.next;
        self.next += 1;
        if self.values.len() == VALUES_KEPT {
            self.values.pop_front();
        }
        self.values.push_back(freed);
        for member in &mut self.members {
            member.model.observe(freed, &self.known.columns);
        }
        for panel in &mut self.panels {
            panel.learn(step, value);
        }
        if !self.members.is_empty() && step.is_multiple_of(self.stride()) {
            self.issue(step);
        }
    }

    /// Keeps what every member says now until it can be scored.
    fn issue(&mut self, now: u64) {
        let aheads: Vec<usize> = self.panels.iter().map(|panel| panel.ahead).collect();
        let farthest = aheads.last().copied().unwrap_or(1);
        let core = self.online.forecast(farthest, &GRID).values;
        let effects = self.online.ahead(farthest);
        let said: Vec<(usize, Values)> = self
            .members
            .iter()
            .map(|member| {
                let mut values = member.model.forecast_at(&aheads, &GRID, &self.known.columns);
                self.disturb(&effects, &mut values, |row| aheads[row] - 1);
                (self.seat(member.kind), values)
            })
            .collect();
        for (k, panel) in self.panels.iter_mut().enumerate() {
            let mut row = Row::new(panel.seats());
            row.set(0, &core[panel.ahead - 1]);
            for (seat, values) in &said {
                row.set(*seat, &values[k]);
            }
            row.draw_in();
            panel.issue(now + panel.ahead as u64, row);
        }
    }

    /// A member's place in the panels; the core has place 0.
    fn seat(&self, kind: Kind) -> usize {
        1 + self.kinds.iter().position(|&known| known == kind).unwrap_or(0)
    }

    /// Every how many steps members are asked, to be scored later. Whole paths are dear.
    fn stride(&self) -> u64 {
        (self.config.horizon_steps() as u64 / ISSUES_PER_HORIZON).clamp(1, STRIDE_MAX)
    }

    /// What is to be trained now, if anything is. The caller runs it, here or on another thread, and brings the outcome to
    /// [`admit`](Self::admit).
    pub fn due(&mut self) -> Option<Job> {
        if self.kinds.is_empty() {
            return None;
        }
        let alarms = self.online.shifts();
        let reason = self.schedule.due(self.next, alarms)?;
        self.job(reason)
    }

    /// A training of everything now, whether it is due or not; `None` before the first observation.
    pub fn job(&self, reason: String) -> Option<Job> {
        Some(Job {
            grid: self.grid.clone()?,
            first: self.next - self.values.len() as u64,
            values: self.values.iter().copied().collect(),
            seasons: self.online.seasons().iter().map(|season| season.period).collect(),
            covariates: Arc::clone(&self.known.columns),
            horizon: self.config.horizon_steps(),
            non_negative: self.config.non_negative,
            kinds: self.kinds.clone(),
            reason,
        })
    }

    /// Takes trained models in, in place of older ones of their kinds. They catch up with what was observed since.
    pub fn admit(&mut self, trained: Trained) {
        for (kind, outcome) in trained.models {
            let Ok(mut model) = outcome else { continue };
            let missed = self.next.saturating_sub(trained.end).min(self.values.len() as u64) as usize;
            for &value in self.values.range(self.values.len() - missed..) {
                model.observe(value, &self.known.columns);
            }
            match self.members.iter_mut().find(|member| member.kind == kind) {
                Some(member) => member.model = Box::new(model),
                None => self.members.push(Member { kind, model: Box::new(model) }),
            }
        }
    }

    /// Trains whatever is due at once, on this thread: for replays, where time waits.
    pub fn train_if_due(&mut self) {
        if let Some(job) = self.due() {
            self.admit(job.run(&mut crate::models::Pace::free()));
        }
    }

    /// Quantiles of the next `steps` steps; see [`Forecaster::forecast`].
    pub fn forecast(&self, steps: usize, quantiles: &[f64]) -> Forecast {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let mut forecast = self.online.forecast(steps, quantiles);
        if !self.members.is_empty() {
            self.combine(steps, quantiles, &mut forecast.values);
        }
        forecast
    }

    fn combine(&self, steps: usize, quantiles: &[f64], values: &mut Values) {
        let core = self.online.forecast(steps, &GRID).values;
        let effects = self.online.ahead(steps);
        let said: Vec<(usize, Values)> = self
            .members
            .iter()
            .map(|member| {
                let mut values = member.model.forecast(steps, &GRID, &self.known.columns);
                self.disturb(&effects, &mut values, |row| row);
                (self.seat(member.kind), values)
            })
            .collect();
        let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
        let mut row = Row::new(self.kinds.len() + 1);
        for h in 0..steps {
            row.set(0, &core[h]);
            for (seat, path) in &said {
                row.set(*seat, &path[h]);
            }
            row.draw_in();
            let (lower, upper, share) = self.between(h + 1);
            panel::read(&self.panels[lower], &self.panels[upper], share, &row, quantiles, values.row_mut(h));
            for value in values.row_mut(h) {
                *value = value.max(floor);
            }
        }
    }

    fn between(&self, ahead: usize) -> (usize, usize, f64) {
        let upper = self.panels.partition_point(|panel| panel.ahead < ahead).min(self.panels.len() - 1);
        if upper == 0 || self.panels[upper].ahead <= ahead {
            return (upper, upper, 0.0);
        }
        let (near, far) = (self.panels[upper - 1].ahead as f64, self.panels[upper].ahead as f64);
        (upper - 1, upper, (ahead as f64 - near) / (far - near))
    }

    /// Distribution of the largest value of the next `steps` steps; see [`Forecaster::window_max`]. The online core's, moved
    /// by how much higher or lower the combined median path reaches than its own.
    pub fn window_max(&self, steps: usize) -> WindowMax {
        let mut window = self.online.window_max(steps);
        if self.members.is_empty() {
            return window;
        }
        let reach = steps.clamp(1, CREST_STEPS_MAX);
        let crest = |forecast: &Forecast| forecast.values.iter().map(|row| row[0]).fold(f64::MIN, f64::max);
        let moved = crest(&self.forecast(reach, &[0.5])) - crest(&self.online.forecast(reach, &[0.5]));
        window.shift(moved, if self.config.non_negative { 0.0 } else { f64::MIN });
        window
    }

    /// Draws joint paths of the next steps; see [`Forecaster::paths`]. Those of the online core, each step moved by how far
    /// the combined median is from its own.
    pub fn paths(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut paths = self.online.paths(steps, samples, seed);
        if self.members.is_empty() {
            return paths;
        }
        let steps = paths.first().map_or(0, Vec::len);
        let (combined, core) = (self.forecast(steps, &[0.5]), self.online.forecast(steps, &[0.5]));
        let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
        for path in &mut paths {
            for (h, value) in path.iter_mut().enumerate() {
                *value = (*value + combined.values[h][0] - core.values[h][0]).max(floor);
            }
        }
        paths
    }

    /// Probabilities that levels are crossed by the end of each step; see [`Forecaster::crossings`]. Read from the windows
    /// that [`window_max`](Self::window_max) tells of.
    pub fn crossings(&self, levels: &[f64], steps: usize) -> Vec<Vec<f64>> {
        let mut curves = self.online.window_curves(steps);
        if !self.members.is_empty() {
            let reach = curves.len();
            let (combined, core) = (self.forecast(reach, &[0.5]), self.online.forecast(reach, &[0.5]));
            let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
            let mut crests = [f64::MIN; 2];
            for (h, curve) in curves.iter_mut().enumerate() {
                crests = [crests[0].max(combined.values[h][0]), crests[1].max(core.values[h][0])];
                *curve = curve.shifted(crests[0] - crests[1], floor);
            }
        }
        crossed(&curves, levels)
    }

    /// The last observed value, if any.
    pub fn level(&self) -> Option<f64> {
        self.online.plain().level()
    }

    /// Short-term slope of the last values, per step.
    pub fn slope_per_step(&self) -> f64 {
        self.online.plain().slope_per_step()
    }

    /// Periods found in the series, shortest first.
    pub fn seasons(&self) -> &[Season] {
        self.online.seasons()
    }

    /// How many values were observed (missing ones not counted).
    pub fn observed(&self) -> u64 {
        self.online.plain().observed()
    }

    /// Whether a busy series has fallen silent in a way that resembles an outage rather than a fall of demand.
    pub fn outage_suspected(&self) -> bool {
        self.online.outage_suspected()
    }

    /// Length of one step.
    pub fn step(&self) -> Duration {
        self.config.step
    }

    /// Whether forecasts may be relied upon now.
    pub fn trust(&self) -> Trust {
        self.online.trust()
    }

    /// The weight of every member at a horizon, the online core first. Adds up to one.
    pub fn weights(&self, ahead: usize) -> Vec<(&'static str, f64)> {
        let (_, upper, _) = self.between(ahead);
        let present: Vec<bool> = std::iter::once(true)
            .chain(self.kinds.iter().map(|kind| self.members.iter().any(|member| member.kind == *kind)))
            .collect();
        let weights = self.panels[upper].weights(&present);
        std::iter::once("online")
            .chain(self.kinds.iter().map(|kind| kind.name()))
            .zip(weights)
            .filter(|(_, weight)| *weight > 0.0)
            .collect()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.online.bytes()
            + self.values.capacity() * 4
            + self.members.iter().map(|member| member.model.bytes()).sum::<usize>()
            + self.panels.iter().map(Panel::bytes).sum::<usize>()
    }
}

/// Horizons that are learned: dense near, then doubling, the farthest included.
fn horizons(farthest: usize) -> Vec<usize> {
    let mut all: Vec<usize> = HORIZONS.into_iter().take_while(|&h| h < farthest).collect();
    all.push(farthest);
    all
}

const HORIZONS: [usize; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
/// Values that models are trained on: eight weeks of 5-minute steps.
const VALUES_KEPT: usize = 16_384;
const ISSUES_PER_HORIZON: u64 = 24;
const STRIDE_MAX: u64 = 16;
const VALUE_MAX: f64 = 1e30;
/// Steps of a window that the combined path is followed for.
const CREST_STEPS_MAX: usize = 300;

#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod tests;
