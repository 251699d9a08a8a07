//! Who is trained: every kind competes, and goes on as long as it is of use.
//!
//! A member that has earned next to no weight at any horizon rests: it is neither trained nor asked. From time to time there
//! is a heat, in which those that rest are tried again: all are fitted to the first part of the history and play the rest
//! together, as they did when they were new. What is dear to train is trained in heats only. The next heat is when
//! half of what is remembered is new, or earlier where the series is known to have changed.
//!
//! Promises: as the crate's. A kind rests for what it said beforehand and how that came out, for nothing else.

use super::{Ensemble, Job, Trained};
use crate::models::Kind;

/// Who rests, and until when.
#[derive(Clone, Debug, Default)]
pub(super) struct Heats {
    pub(super) resting: Vec<Kind>,
    /// The step of the last one.
    last: u64,
    /// Whether nothing has come of it yet: a training may be called off, or give way to a later one.
    open: bool,
}

impl Ensemble {
    /// Kinds that were tried and take no part now: they had next to no weight at any horizon.
    pub fn resting(&self) -> &[Kind] {
        &self.heats.resting
    }

    /// What of a training is worth its time now, if anything is.
    pub(super) fn worthwhile(&mut self, mut job: Job, routine: bool) -> Option<Job> {
        self.send_to_rest();
        let heat = self.is_heat(routine);
        if heat {
            (self.heats.last, self.heats.open) = (self.next, true);
        } else {
            job.kinds.retain(|kind| !kind.is_dear() && !self.heats.resting.contains(kind));
        }
        // Who comes back is weighed against those who stayed, not against the core alone.
        let comes_back = heat && !self.heats.resting.is_empty();
        let is_tried = |&kind: &Kind| (comes_back && !kind.is_dear()) || self.is_unproven(kind);
        job.unproven = job.kinds.iter().copied().filter(is_tried).collect();
        (!job.kinds.is_empty()).then_some(job)
    }

    fn is_heat(&self, routine: bool) -> bool {
        let enough = if routine { NEW } else { NEW_AFTER_A_CHANGE };
        self.heats.open || (self.next - self.heats.last) as f64 >= enough * self.values.len() as f64
    }

    /// Takes note of who comes back with a training.
    pub(super) fn heat_is_over(&mut self, trained: &Trained) {
        self.heats.open &= trained.end < self.heats.last;
        let came =
            |kind: Kind| trained.models.iter().any(|(known, outcome)| *known == kind && outcome.is_ok());
        self.heats.resting.retain(|&kind| !came(kind));
    }

    /// Lets go of members that are of no use, with what was learned of them: the next heat is theirs to win.
    fn send_to_rest(&mut self) {
        for kind in self.of_no_use() {
            let seat = self.seat(kind);
            self.dismiss(kind);
            self.heats.resting.push(kind);
            self.panels.iter_mut().for_each(|panel| panel.forget(seat));
        }
    }

    /// Members with next to no weight at any horizon, after outcomes enough at each.
    fn of_no_use(&self) -> Vec<Kind> {
        let present = self.present();
        let weights: Vec<Vec<f64>> = self.panels.iter().map(|panel| panel.weights(&present)).collect();
        let is_known = |seat: usize| self.panels.iter().all(|panel| panel.is_known(seat));
        let has_weight = |seat: usize| weights.iter().any(|weights| weights[seat] >= WEIGHT_LEAST);
        let kinds = self.members.iter().map(|member| member.kind);
        kinds.filter(|&kind| is_known(self.seat(kind)) && !has_weight(self.seat(kind))).collect()
    }
}

/// A kind with less weight at every horizon is of no use.
const WEIGHT_LEAST: f64 = 0.05;
/// The share of what is remembered that has to be new for another heat, and where something has changed.
const NEW: f64 = 0.5;
const NEW_AFTER_A_CHANGE: f64 = 0.3;

#[cfg(test)]
mod tests;
