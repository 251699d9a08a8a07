//! The online core and batch models, combined online.
//!
//! Each member says a whole distribution for each future step. Per horizon the quantiles are averaged with weights that
//! follow the members' realised losses, and the probabilities that are read from the average are adapted until they keep
//! their word. Batch models are trained elsewhere, from a [`Job`] that this hands out when it is due; until one is admitted,
//! and whenever none can be fitted, the ensemble says exactly what the online core says.
//!
//! Promises: as the crate's. A member is only ever scored on what it said beforehand.

mod anomalies;
mod answer;
mod contest;
mod core;
mod guest;
mod heats;
mod job;
mod known;
mod left_out;
mod notice;
mod panel;
mod rehearsal;
mod row;
mod tally;
mod vigil;
mod weights;

use std::collections::VecDeque;
use std::ops::Range;

use crate::calibration::GRID;
use crate::grid::Grid;
use crate::models::{Kind, Model};
use crate::online::{Config, ConfigError, Forecaster, ObserveError};
use crate::paths::Values;
use crate::timestamp::Timestamp;
use crate::trust::naive_lag;
use crate::watch::{Decision, Response, RetrainConfig};

use anomalies::{Anomalies, Judged};
pub use contest::{Contest, Outcome, Rival};
use core::Core;
use guest::Guest;
use heats::Heats;
pub use job::{Job, Trained};
use known::Known;
pub use left_out::LeftOut;
use notice::Notices;
pub use notice::{Anomaly, Notice};
use panel::Panel;
use row::Row;
pub use tally::Worth;
use vigil::{Scored, Vigil};

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
    /// What is below this is nothing, in what members say.
    trifle: f32,
    heats: Heats,
    /// Models that are run elsewhere.
    guests: Vec<Guest>,
    panels: Vec<Panel>,
    retraining: RetrainConfig,
    vigil: Vigil,
    notices: Notices,
    anomalies: Anomalies,
    /// What models must not learn, where that is asked for.
    left_out: Option<LeftOut>,
}

/// A batch model under way.
#[derive(Clone, Debug)]
struct Member {
    kind: Kind,
    model: Box<dyn Model>,
    /// The step up to which it was fitted.
    trained: u64,
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
            panels: panels(&config, &wanted, 0),
            kinds: wanted,
            config,
            grid: None,
            known: Known::default(),
            values: VecDeque::new(),
            next: 0,
            members: Vec::new(),
            trifle: 0.0,
            heats: Heats::default(),
            guests: Vec::new(),
            vigil: Vigil::new(retraining.clone()),
            retraining,
            notices: Notices::default(),
            anomalies: Anomalies::new(),
            left_out: None,
        })
    }

    /// The same, which also notes what models must not learn, for as long as it lives.
    #[must_use]
    pub fn noting_what_is_left_out(mut self) -> Ensemble {
        self.left_out = Some(LeftOut::default());
        self
    }

    /// The same, trained anew when this says so instead of [`RetrainConfig::for_step`].
    #[must_use]
    pub fn with_retraining(mut self, retraining: RetrainConfig) -> Ensemble {
        self.vigil = Vigil::new(retraining.clone());
        self.retraining = retraining;
        self
    }

    /// A new version of the workload, called `name`, has just been brought into service: from the next step on old
    /// behaviour counts less, and models are trained anew as soon as enough of the new one was seen, those that rest as well
    /// if it is long since they were tried. Means nothing to the online core, which adapts by what it sees.
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
            self.advance(f32::NAN, f32::NAN);
        }
        let believed = value.filter(|_| !self.online.outage_suspected());
        let freed = self.online.freed().map_or(learned, |freed| learned.and(freed));
        let narrow = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.advance(narrow(believed), narrow(freed));
        self.lay_out_further();
        Ok(())
    }

    /// After a gap that nothing remembered bridges: the next step is this one.
    fn forget(&mut self, step: u64) {
        self.next = step;
        self.values.clear();
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
                self.values.iter_mut().rev().take(doubtful as usize).for_each(|value| *value = f32::NAN);
                self.leave_out(step.saturating_sub(doubtful.into())..step, step);
            }
            self.leave_out(step..step + 1, step);
            return None;
        }
        self.anomalies.back(at, value, &mut self.notices);
        let value = value?;
        let Some(surprise) = self.online.surprise() else { return Some(value) };
        let least = if self.config.non_negative { 0.0 } else { f64::MIN };
        // What an announced event does is no anomaly: like is compared with like, both without effects.
        let freed = self.online.freed().flatten().unwrap_or(value);
        match self.anomalies.judge((step, at), (value, freed), surprise, least, &mut self.notices) {
            Judged::Ordinary => Some(value),
            // Left out, not drawn in to the nearest ordinary value: over three traces and three horizons the weighted pinball
            // loss was 0.996 of that of learning all (geometric mean), against 0.998 when drawn in.
            Judged::Anomaly => {
                self.leave_out(step..step + 1, step);
                None
            }
            Judged::NewNormal(kept_out) => {
                let first = self.next - self.values.len() as u64;
                for (kept, value) in kept_out {
                    if let Some(left_out) = &mut self.left_out {
                        left_out.take_back(kept, step);
                    }
                    let place = kept.checked_sub(first).and_then(|place| usize::try_from(place).ok());
                    if let Some(kept) = place.and_then(|place| self.values.get_mut(place)) {
                        *kept = value;
                    }
                }
                self.vigil.another_nature();
                Some(value)
            }
        }
    }

    fn leave_out(&mut self, steps: Range<u64>, decided: u64) {
        if let Some(left_out) = &mut self.left_out {
            left_out.add(steps, decided);
        }
    }

    /// The next step is over. `value` is what came; `freed` what members may learn of it: without the effects that are known.
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
        let season = self.online.seasons().first().map(|season| season.period);
        let claimed_from = self.online.claimed_from();
        for panel in &mut self.panels {
            let Some(scored) = panel.learn(step, value) else { continue };
            let claims = f64::from(value) - scored.error >= claimed_from;
            // Both without the effects that are known.
            let before = naive_lag(panel.ahead, season)
                .and_then(|lag| self.values.len().checked_sub(1 + lag))
                .map_or(f32::NAN, |place| self.values[place]);
            let naive = f64::from(freed - before);
            self.vigil.score(
                panel.ahead,
                Scored { naive: if naive.is_finite() { naive } else { scored.naive }, ..scored },
                claims,
            );
        }
        self.watch(step);
        if self.has_company() && self.scores_at(step) {
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
        let Some(Decision { response, reason, .. }) = decision else { return };
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
        let last = self.online.plain().level().unwrap_or(0.0);
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
            let mut row = Row::new(panel.seats(), self.trifle);
            row.set(0, &core[panel.ahead - 1]);
            for (seat, values) in &said {
                row.set(*seat, &values[k]);
            }
            for (place, guest) in self.guests.iter().enumerate() {
                if let Some(values) = guest.row(self.next, now + panel.ahead as u64) {
                    row.set(1 + self.kinds.len() + place, values);
                }
            }
            panel.issue(now + panel.ahead as u64, row, last);
        }
    }

    /// A member's place in the panels; the core has place 0.
    fn seat(&self, kind: Kind) -> usize {
        1 + self.kinds.iter().position(|&known| known == kind).unwrap_or(0)
    }

    /// Whether what is said after this step, counted from the first, will be scored: who runs a guest need not ask it more
    /// often. Which of the steps between two that is goes round, so that every minute of an hour has its turn.
    pub fn scores_at(&self, step: u64) -> bool {
        (step + step / STEPS_IN_PHASE).is_multiple_of(stride(&self.config))
    }

    /// What is to be trained now, if anything is. The caller runs it, here or on another thread, and brings the outcome to
    /// [`admit`](Self::admit).
    pub fn due(&mut self) -> Option<Job> {
        if self.kinds.is_empty() {
            return None;
        }
        let wanted = self.vigil.due()?;
        let job = self.job(wanted.reason)?;
        self.worthwhile(job, wanted.routine)
    }

    /// A training of everything now, whether it is due or not; `None` before the first observation.
    pub fn job(&self, reason: String) -> Option<Job> {
        Some(Job {
            grid: self.grid.clone()?,
            first: self.next - self.values.len() as u64,
            values: self.values.iter().copied().collect(),
            config: self.config.clone(),
            seasons: self.online.seasons().iter().map(|season| season.period).collect(),
            known: self.known.clone(),
            horizon: self.config.horizon_steps(),
            non_negative: self.config.non_negative,
            combined: self.kinds.clone(),
            kinds: self.kinds.clone(),
            unproven: self.unproven(),
            guests: self.guests.iter().map(|guest| guest.name.clone()).collect(),
            reason,
        })
    }

    fn unproven(&self) -> Vec<Kind> {
        self.kinds.iter().copied().filter(|&kind| self.is_unproven(kind)).collect()
    }

    fn is_unproven(&self, kind: Kind) -> bool {
        self.panels.iter().any(|panel| !panel.is_proven(self.seat(kind)))
    }

    /// Takes trained models in, in place of older ones of their kinds. They catch up with what was observed since.
    pub fn admit(&mut self, trained: Trained) {
        self.heat_is_over(&trained);
        self.take_over(&trained);
        self.trifle = if self.config.non_negative { row::trifle(self.values.iter().copied()) } else { 0.0 };
        for (kind, outcome) in trained.models {
            let Ok(mut model) = outcome else { continue };
            let missed = self.next.saturating_sub(trained.end).min(self.values.len() as u64) as usize;
            for &value in self.values.range(self.values.len() - missed..) {
                model.observe(value, &self.known.columns);
            }
            match self.members.iter_mut().find(|member| member.kind == kind) {
                Some(member) => (member.model, member.trained) = (Box::new(model), trained.end),
                None => self.members.push(Member { kind, model: Box::new(model), trained: trained.end }),
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

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.online.bytes()
            + self.values.capacity() * 4
            + self.members.iter().map(|member| member.model.bytes()).sum::<usize>()
            + self.guests.iter().map(Guest::bytes).sum::<usize>()
            + self.panels.iter().map(Panel::bytes).sum::<usize>()
            + self.vigil.bytes()
            + self.notices.bytes()
            + self.anomalies.bytes()
    }
}

/// Every how many steps members are asked, to be scored later. Whole paths are dear.
fn stride(config: &Config) -> u64 {
    (config.horizon_steps() as u64 / ISSUES_PER_HORIZON).clamp(1, STRIDE_MAX)
}

/// A panel for each horizon, before anything is learned.
fn panels(config: &Config, kinds: &[Kind], guests: usize) -> Vec<Panel> {
    let stride = stride(config);
    let panel = |ahead: usize| Panel::new(ahead, stride, kinds, guests);
    horizons(config.horizon_steps()).into_iter().map(panel).collect()
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
/// After so many steps members are asked a step earlier.
const STEPS_IN_PHASE: u64 = 64;
const VALUE_MAX: f64 = 1e30;
/// Silent steps before the online core recognises an outage.
const OUTAGE_STEPS_DOUBTFUL: u32 = 2;

#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watched;
