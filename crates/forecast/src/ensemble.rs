//! The online core and batch models, combined online.
//!
//! Each member says a whole distribution for each future step. Per horizon the quantiles are averaged with weights that
//! follow the members' realised losses, and the probabilities that are read from the average are adapted until they keep
//! their word. Batch models are trained elsewhere, from a [`Job`] that this hands out when it is due; until one is admitted,
//! and whenever none can be fitted, the ensemble says exactly what the online core says.
//!
//! Promises: as the crate's. A member is only ever scored on what it said beforehand.

mod anomalies;
mod contest;
mod core;
mod guest;
mod job;
mod known;
mod notice;
mod panel;
mod rehearsal;
mod vigil;
mod weights;

use std::collections::VecDeque;
use std::time::Duration;

use crate::calibration::{GRID, crossed};
use crate::grid::Grid;
use crate::models::{Kind, Model};
use crate::online::{Config, ConfigError, FORECAST_STEPS_MAX, Forecaster, ObserveError};
use crate::paths::{Forecast, Values, WindowMax};
use crate::season::Season;
use crate::timestamp::Timestamp;
use crate::trust::Trust;
use crate::watch::{Decision, Response, RetrainConfig};

use anomalies::{Anomalies, Judged};
pub use contest::{Contest, Outcome, Rival};
use core::Core;
use guest::Guest;
pub use job::{Job, Trained};
use known::Known;
use notice::Notices;
pub use notice::{Anomaly, Notice};
use panel::{Panel, Row};
use vigil::Vigil;

/// One series, forecast by everything that has something to say about it.
#[derive(Clone, Debug)]
pub struct Ensemble {
    config: Config,
    kinds: Vec<Kind>,
    grid: Option<Grid>,
    online: Core,
    known: Known,
    /// Recent values, the last at the end; NaN where missing or not believed.
    values: VecDeque<f32>,
    /// The same freed of effects, where any are known; empty otherwise.
    freed: VecDeque<f32>,
    /// Number of the step that comes next.
    next: u64,
    members: Vec<Member>,
    /// Models that are run elsewhere.
    guests: Vec<Guest>,
    panels: Vec<Panel>,
    retraining: RetrainConfig,
    vigil: Vigil,
    notices: Notices,
    anomalies: Anomalies,
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
        let retraining = RetrainConfig::for_step(config.step);
        let mut wanted: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.is_batch()).collect();
        wanted.dedup();
        Ok(Ensemble {
            online: Core::Plain(Box::new(Forecaster::new(config.clone())?)),
            panels: horizons(config.horizon_steps()).into_iter().map(|h| Panel::new(h, &wanted, 0)).collect(),
            kinds: wanted,
            config,
            grid: None,
            known: Known::default(),
            values: VecDeque::new(),
            freed: VecDeque::new(),
            next: 0,
            members: Vec::new(),
            guests: Vec::new(),
            vigil: Vigil::new(retraining.clone()),
            retraining,
            notices: Notices::default(),
            anomalies: Anomalies::new(),
        })
    }

    /// The same, trained anew when this says so instead of [`RetrainConfig::for_step`].
    #[must_use]
    pub fn with_retraining(mut self, retraining: RetrainConfig) -> Ensemble {
        self.vigil = Vigil::new(retraining.clone());
        self.retraining = retraining;
        self
    }

    /// A new version of the workload, called `name`, has just been brought into service: from the next step on old
    /// behaviour counts less, and everything is trained anew as soon as enough of the new one was seen. Means nothing to
    /// the online core, which adapts by what it sees.
    pub fn deployed(&mut self, name: &str) {
        if !self.kinds.is_empty() {
            self.vigil.deployed(name);
        }
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
        let value = value.filter(|value| !value.is_nan()).map(|value| value.clamp(-VALUE_MAX, VALUE_MAX));
        let config = &self.config;
        let grid = self.grid.get_or_insert_with(|| Grid {
            origin: at,
            step: config.step,
            zone: config.time_zone.clone(),
        });
        let step = grid.step_of(at).unwrap_or(self.next).max(self.next);
        if step - self.next > VALUES_KEPT as u64 {
            self.forget(step);
        }
        let learned = self.judge(step, at, value);
        if self.kinds.is_empty() && self.guests.is_empty() {
            self.next = step + 1;
            return Ok(());
        }
        while self.next < step {
            self.advance(f32::NAN, f32::NAN, f32::NAN);
        }
        let believed = value.filter(|_| !self.online.outage_suspected());
        let freed = self.online.freed().map_or(learned, |freed| learned.and(freed));
        let narrow = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.advance(narrow(believed), narrow(learned), narrow(freed));
        self.lay_out_further();
        Ok(())
    }

    /// After a gap that nothing remembered bridges: the next step is this one.
    fn forget(&mut self, step: u64) {
        self.next = step;
        self.values.clear();
        self.freed.clear();
        self.members.clear();
        self.guests.iter_mut().for_each(Guest::leave);
        self.vigil = Vigil::new(self.retraining.clone());
        for panel in &mut self.panels {
            panel.drop_pending();
        }
    }

    /// What models may learn of a value: all of it, or less where it is an anomaly, or nothing in an outage.
    fn judge(&mut self, step: u64, at: Timestamp, value: Option<f64>) -> Option<f64> {
        if self.online.outage_suspected() {
            if self.anomalies.outage().is_none() {
                let expected = self.online.forecast(1, &[0.5]).values[0][0];
                let doubtful = OUTAGE_STEPS_DOUBTFUL;
                self.anomalies.silent(at - self.config.step * doubtful, expected, &mut self.notices);
                // What came before it was recognised was a part of it.
                for values in [&mut self.values, &mut self.freed] {
                    values.iter_mut().rev().take(doubtful as usize).for_each(|value| *value = f32::NAN);
                }
            }
            return None;
        }
        self.anomalies.back(at, value, &mut self.notices);
        let value = value?;
        let Some(surprise) = self.online.surprise() else { return Some(value) };
        let least = if self.config.non_negative { 0.0 } else { f64::MIN };
        match self.anomalies.judge((step, at), value, surprise, least, &mut self.notices) {
            Judged::Ordinary => Some(value),
            // Left out, not drawn in to the nearest ordinary value: over three traces and three horizons the weighted pinball
            // loss was 0.996 of that of learning all (geometric mean), against 0.998 when drawn in.
            Judged::Anomaly => None,
            Judged::NewNormal(kept_out) => {
                let first = self.next - self.values.len() as u64;
                for (step, value) in kept_out {
                    let place = step.checked_sub(first).and_then(|place| usize::try_from(place).ok());
                    if let Some(kept) = place.and_then(|place| self.values.get_mut(place)) {
                        *kept = value;
                    }
                }
                self.vigil.another_nature();
                Some(value)
            }
        }
    }

    /// The next step is over. `value` is what came; `learned` what models may learn of it; `freed` the same without effects.
    fn advance(&mut self, value: f32, learned: f32, freed: f32) {
        let step = self.next;
        self.next += 1;
        if self.values.len() == VALUES_KEPT {
            self.values.pop_front();
        }
        self.values.push_back(learned);
        if matches!(self.online, Core::Informed(..)) {
            self.free(freed);
        }
        for member in &mut self.members {
            let value = if member.kind.sees_covariates() { learned } else { freed };
            member.model.observe(value, &self.known.columns);
        }
        for panel in &mut self.panels {
            if let Some(scored) = panel.learn(step, value).filter(|_| panel.ahead <= NEAR) {
                self.vigil.score(scored);
            }
        }
        self.watch(step);
        if self.has_company() && step.is_multiple_of(self.stride()) {
            self.issue(step);
        }
    }

    /// Looks after the work of the step that is over, and does what is cheap at once.
    fn watch(&mut self, step: u64) {
        let Some(grid) = &self.grid else { return };
        let now = grid.begins_at(step + 1);
        // Of several steps at once only the last has a surprise of its own.
        let surprise = self.online.surprise().filter(|_| self.values.back().is_some_and(|v| v.is_finite()));
        let combined = !self.members.is_empty();
        let decision = self.vigil.step(now, step + 1, surprise, self.online.shifts(), combined);
        let Some(Decision { response, reason }) = decision else { return };
        for panel in &mut self.panels {
            match response {
                Response::RaiseLearningRates => panel.learn_faster(),
                Response::ResetWeights => panel.weigh_alike(),
                Response::WidenIntervals => panel.widen(),
                Response::Refit => {}
            }
        }
        self.notices.push(Notice::Responded { at: now, response, reason });
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
                self.disturb(member.kind, &effects, &mut values, |row| aheads[row] - 1);
                (self.seat(member.kind), values)
            })
            .collect();
        for (k, panel) in self.panels.iter_mut().enumerate() {
            let mut row = Row::new(panel.seats());
            row.set(0, &core[panel.ahead - 1]);
            for (seat, values) in &said {
                row.set(*seat, &values[k]);
            }
            for (place, guest) in self.guests.iter().enumerate() {
                if let Some(values) = guest.row(self.next, now + panel.ahead as u64) {
                    row.set(1 + self.kinds.len() + place, values);
                }
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
        let reason = self.vigil.due()?;
        self.job(reason)
    }

    /// A training of everything now, whether it is due or not; `None` before the first observation.
    pub fn job(&self, reason: String) -> Option<Job> {
        Some(Job {
            grid: self.grid.clone()?,
            first: self.next - self.values.len() as u64,
            values: self.values.iter().copied().collect(),
            freed: self.freed.iter().copied().collect(),
            config: self.config.clone(),
            seasons: self.online.seasons().iter().map(|season| season.period).collect(),
            known: self.known.clone(),
            horizon: self.config.horizon_steps(),
            non_negative: self.config.non_negative,
            kinds: self.kinds.clone(),
            unproven: self.unproven(),
            guests: self.guests.iter().map(|guest| guest.name.clone()).collect(),
            reason,
        })
    }

    fn unproven(&self) -> Vec<Kind> {
        let is_proven = |kind: Kind| self.panels.iter().all(|panel| panel.is_proven(self.seat(kind)));
        self.kinds.iter().copied().filter(|&kind| !is_proven(kind)).collect()
    }

    /// Takes trained models in, in place of older ones of their kinds. They catch up with what was observed since.
    pub fn admit(&mut self, trained: Trained) {
        self.take_over(&trained);
        for (kind, outcome) in trained.models {
            let Ok(mut model) = outcome else { continue };
            let missed = self.next.saturating_sub(trained.end).min(self.values.len() as u64) as usize;
            let blind = !kind.sees_covariates() && !self.freed.is_empty();
            let values = if blind { &self.freed } else { &self.values };
            for &value in values.range(values.len() - missed..) {
                model.observe(value, &self.known.columns);
            }
            match self.members.iter_mut().find(|member| member.kind == kind) {
                Some(member) => member.model = Box::new(model),
                None => self.members.push(Member { kind, model: Box::new(model) }),
            }
        }
    }

    /// Lets a kind's model go; whether there was one.
    pub fn dismiss(&mut self, kind: Kind) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.kind != kind);
        self.members.len() < before
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
        if self.has_company() {
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
                self.disturb(member.kind, &effects, &mut values, |row| row);
                (self.seat(member.kind), values)
            })
            .collect();
        let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
        let mut row = Row::new(1 + self.kinds.len() + self.guests.len());
        for h in 0..steps {
            row.set(0, &core[h]);
            for (seat, path) in &said {
                row.set(*seat, &path[h]);
            }
            for (place, guest) in self.guests.iter().enumerate() {
                match guest.row(self.next, self.next + h as u64) {
                    Some(values) => row.set(self.guest_seat(place), values),
                    None => row.clear(self.guest_seat(place)),
                }
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
        if !self.has_company() {
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
    pub fn weights(&self, ahead: usize) -> Vec<(&str, f64)> {
        let (_, upper, _) = self.between(ahead);
        let present: Vec<bool> = std::iter::once(true)
            .chain(self.kinds.iter().map(|kind| self.members.iter().any(|member| member.kind == *kind)))
            .chain(self.guests.iter().map(|guest| guest.is_present(self.next)))
            .collect();
        let weights = self.panels[upper].weights(&present);
        std::iter::once("online")
            .chain(self.kinds.iter().map(|kind| kind.name()))
            .chain(self.guests.iter().map(|guest| guest.name.as_str()))
            .zip(weights)
            .filter(|(_, weight)| *weight > 0.0)
            .collect()
    }

    /// How many anomalies were found so far.
    pub fn anomalies_found(&self) -> u64 {
        self.anomalies.found()
    }

    /// When the outage began that is suspected now, if one is.
    pub fn outage_since(&self) -> Option<Timestamp> {
        self.anomalies.outage()
    }

    /// How much was noticed so far.
    pub fn noticed(&self) -> u64 {
        self.notices.count()
    }

    /// What was noticed since there were `noticed` of them, as far as it is kept: the latest 64.
    pub fn notices(&self, noticed: u64) -> impl Iterator<Item = &Notice> {
        self.notices.since(noticed)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.online.bytes()
            + (self.values.capacity() + self.freed.capacity()) * 4
            + self.members.iter().map(|member| member.model.bytes()).sum::<usize>()
            + self.guests.iter().map(Guest::bytes).sum::<usize>()
            + self.panels.iter().map(Panel::bytes).sum::<usize>()
            + self.vigil.bytes()
            + self.notices.bytes()
            + self.anomalies.bytes()
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
/// Horizons up to this tell how accurate the combination is.
const NEAR: usize = 16;
const ISSUES_PER_HORIZON: u64 = 24;
const STRIDE_MAX: u64 = 16;
const VALUE_MAX: f64 = 1e30;
/// Silent steps before the online core recognises an outage.
const OUTAGE_STEPS_DOUBTFUL: u32 = 2;
/// Steps of a window that the combined path is followed for.
const CREST_STEPS_MAX: usize = 300;

#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watched;
