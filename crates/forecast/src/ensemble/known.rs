//! What an ensemble knows beside its series: brings it to the online core, and to the batch models as columns.
//!
//! Batch models follow demand that the core has freed of the effects known at the time, and their forecasts are given those to
//! come, as the core's are: an event of a kind seen once or never is beyond what a model learns by itself. Those that look at
//! covariates may learn from the columns what the core leaves over.

use std::sync::Arc;

use super::core::Core;
use super::{Ensemble, VALUES_KEPT};
use crate::calendar::{Event, Window, columns};
use crate::covariates::Covariates;
use crate::effects::{Ahead, Effect, Informed, Note};
use crate::paths::Values;
use crate::timestamp::Timestamp;

/// Events and covariates, as they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    events: Arc<[Event]>,
    given: Arc<Covariates>,
    /// The given columns, then those of the events: what batch models see.
    pub(super) columns: Arc<Covariates>,
    /// The step before which the columns of the events end.
    until: u64,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.given.width() == 0
    }
}

impl Ensemble {
    /// The events that are known now, past and announced ones, in place of all that were known before. What was learned of
    /// the effects of their kinds is kept. Holidays are events, too
    /// ([`Holiday::event`](crate::calendar::Holiday::event)).
    ///
    /// From the first event (or covariate) on the online core frees what it learns from of their effects. What was observed
    /// earlier is not gone through again: an event that nobody had announced by then has taught nothing.
    pub fn announce(&mut self, events: &[Event]) {
        if *self.known.events == *events {
            return;
        }
        self.known.events = events.into();
        self.inform(None);
        self.lay_out();
    }

    /// Numbers that are known beside the series, as far into the future as they are given, by step from its first
    /// observation. Replaces what was given before. When the names change, effects are learned anew.
    pub fn know(&mut self, covariates: Arc<Covariates>) {
        self.known.given = covariates;
        self.inform(None);
        self.lay_out();
    }

    /// Makes the online core one that knows, when there is something to know; `first` is the first step's beginning, before
    /// which there is nothing to build on.
    pub(super) fn inform(&mut self, first: Option<Timestamp>) {
        let given = &self.known.given;
        if let Core::Informed(informed, covariates) = &mut self.online
            && (informed.covariates() == usable(given) || given.width() == 0)
            && first.is_none()
        {
            *covariates = Arc::clone(given);
            informed.clear_events();
            informed.announce(&self.known.events);
            return;
        }
        let Some(origin) = first.or(self.grid.as_ref().map(|grid| grid.origin)) else { return };
        if self.known.is_empty() {
            return;
        }
        let config = self.config.clone();
        let built = match self.grid {
            None => Informed::new(config, origin, given.names()),
            Some(_) => Informed::over(self.online.plain().clone(), config, origin, self.next, given.names()),
        };
        // The configuration has been found good already.
        let Ok(mut informed) = built else { return };
        informed.announce(&self.known.events);
        self.online = Core::Informed(Box::new(informed), Arc::clone(given));
    }

    /// Gives what a member said of undisturbed demand its effects; `ahead` tells which step a row is of.
    pub(super) fn disturb(&self, effects: &[Ahead], values: &mut Values, ahead: impl Fn(usize) -> usize) {
        for row in 0..values.len() {
            if let Some(effect) = effects.get(ahead(row)) {
                self.online.disturb(effect, values.row_mut(row));
            }
        }
    }

    /// Puts events into columns, as far as models can be asked for.
    pub(super) fn lay_out(&mut self) {
        let known = &mut self.known;
        let Some(grid) = self.grid.as_ref().filter(|_| !known.events.is_empty() && !self.kinds.is_empty())
        else {
            known.columns = Arc::clone(&known.given);
            // There may be events that only wait for the first step.
            known.until = if self.grid.is_none() { 0 } else { u64::MAX };
            return;
        };
        let horizon = self.config.horizon_steps() as u64;
        let first = self.next.saturating_sub(VALUES_KEPT as u64);
        let until = self.next + 2 * horizon + COLUMNS_AHEAD;
        let column = |place| (first..until).map(|step| known.given.at(place, step)).collect::<Vec<f32>>();
        let given: Vec<Vec<f32>> = (0..known.given.width()).map(column).collect();
        let named: Vec<(&str, &[f32])> =
            known.given.names().iter().map(String::as_str).zip(given.iter().map(Vec::as_slice)).collect();
        let laid = columns(grid, first..until, &known.events, &[Window::During], &named);
        // Two columns of one name: those that were given are the ones that were meant.
        known.columns = laid.map_or_else(|_| Arc::clone(&known.given), Arc::new);
        known.until = until;
    }

    /// Lays columns out anew before they end.
    pub(super) fn lay_out_further(&mut self) {
        if self.next + self.config.horizon_steps() as u64 >= self.known.until {
            self.lay_out();
        }
    }

    /// When the first step began, from which those of covariates are counted; `None` before it.
    pub fn first_step(&self) -> Option<Timestamp> {
        self.grid.as_ref().map(|grid| grid.origin)
    }

    /// What was learned of events and covariates so far.
    pub fn effects(&self) -> Vec<Effect> {
        match &self.online {
            Core::Plain(_) => Vec::new(),
            Core::Informed(informed, _) => informed.effects(),
        }
    }

    /// What a forecast of the next `steps` steps has to assume of events and covariates.
    pub fn notes(&self, steps: usize) -> Vec<Note> {
        match &self.online {
            Core::Plain(_) => Vec::new(),
            Core::Informed(informed, covariates) => informed.notes(steps, covariates),
        }
    }
}

/// The names that effects are learned of.
fn usable(given: &Covariates) -> &[String] {
    &given.names()[..given.width().min(crate::effects::COVARIATES_MAX)]
}

/// Columns go this many steps beyond what is needed, so that they are seldom laid out.
const COLUMNS_AHEAD: u64 = 512;
