//! Hands trainings of batch models to the trainer, and takes their outcomes in.

use std::sync::Arc;
use std::time::Duration;

use forecast::{Job, Timestamp};

use super::{ControlLoop, Workload};
use crate::externals::Heard;
use crate::recorder::clock;
use crate::trainer::TrainingDone;

impl ControlLoop {
    /// Leaves the training that is due for a workload, if one is, with the trainer.
    pub(crate) fn train_if_due(&mut self, index: usize) {
        // In a pause it stays due, and is made of all that is known when the pause is over.
        let Some(trainer) = self.trainer.as_ref().filter(|trainer| !trainer.is_paused()) else { return };
        if let Some(job) = self.planner.training_due(&self.workloads[index].id) {
            trainer.submit(index, job);
        }
    }

    /// Asks for the champions that an earlier daemon left.
    pub(crate) fn load_champions(&mut self) {
        let Some(trainer) = &self.trainer else { return };
        for (index, workload) in self.workloads.iter().enumerate() {
            if let Some(job) = self.planner.training(&workload.id, "the daemon has started") {
                trainer.load(index, job);
            }
        }
    }

    /// An operator has put another version of a model in charge.
    pub(crate) fn champion_changed(&mut self, workload: &str, model: &str) {
        let Some(index) = self.index_of(workload) else { return };
        let Workload { id, config, .. } = &self.workloads[index];
        let message = match &self.trainer {
            Some(trainer) if config.models.iter().any(|kind| kind.name() == model) => {
                if let Some(job) = self.planner.training(id, "another version was put in charge") {
                    return trainer.load(index, job);
                }
                format!("{model} has no history to follow yet; it takes part after its next training")
            }
            Some(_) | None => {
                format!("{model} takes no part in forecasts: name it in `models` of this workload")
            }
        };
        self.note_models(index, "models_loaded", message);
    }

    /// Leaves the history up to now with the workload's external models.
    pub(crate) fn ask_externals(&mut self, index: usize) {
        if !self.externals.has(index) {
            return;
        }
        if let Some(job) = self.planner.training(&self.workloads[index].id, "") {
            self.externals.ask(index, &job);
        }
    }

    /// An external model has said something, or is in trouble.
    pub(crate) fn heard(&mut self, heard: Heard) {
        let Heard { workload: index, name, from, said } = heard;
        let id = self.workloads[index].id.clone();
        let (said, trouble) = match said {
            Ok(said) => (Some(said), None),
            Err(why) => (None, Some(why)),
        };
        let before = self.workloads[index].external.insert(name.clone(), trouble.is_none());
        self.planner.hear(&id, &name, from, said);
        if let Some(view) = self.planner.snapshot().workload(&id) {
            self.workloads[index].forecaster = Arc::new(view.forecaster.clone());
        }
        let message = match (before, trouble) {
            (None, None) => format!("{name} takes part"),
            (Some(false), None) => format!("{name} is back and takes part"),
            (None | Some(true), Some(why)) => format!("{name} takes no part: {why}"),
            (Some(true), None) | (Some(false), Some(_)) => return,
        };
        self.note_models(index, "external_model", message);
        self.published.stale = true;
    }

    /// Models are ready: they take part from now on.
    pub(crate) fn training_done(&mut self, done: TrainingDone) {
        let id = self.workloads[done.workload].id.clone();
        let Some(job) = self.planner.training(&id, "the last training took too long") else { return };
        let history = job.history();
        let now = history.grid.begins_at(history.end());
        if is_behind(done.next, now, self.workloads[done.workload].config.step) {
            return self.train_anew(done, job);
        }
        self.planner.admit(&id, done.trained);
        for kind in done.removed {
            self.planner.dismiss(&id, kind);
        }
        let mut message = done.message;
        let snapshot = self.planner.snapshot();
        if let Some(view) = snapshot.workload(&id) {
            let weights: Vec<String> = view
                .forecaster
                .weights(1)
                .iter()
                .map(|(name, weight)| format!("{name} {weight:.2}"))
                .collect();
            message = format!("{message}; weights one step ahead: {}", weights.join(", "));
            let resting: Vec<&str> = view.forecaster.resting().iter().map(|kind| kind.name()).collect();
            if !resting.is_empty() {
                message = format!("{message}; tried, at rest: {}", resting.join(", "));
            }
            self.workloads[done.workload].forecaster = Arc::new(view.forecaster.clone());
        }
        self.note_models(done.workload, done.kind, message);
        self.published.stale = true;
    }

    /// Models of so long ago, after a long pause as a rule, cannot be told all that has come since: with a hole in it they
    /// would mistake the hour. The models before them stay until a training of today is done.
    fn train_anew(&mut self, done: TrainingDone, job: Job) {
        if let Some(trainer) = &self.trainer {
            trainer.submit(done.workload, job);
        }
        let message = format!("{}; too long ago to take part, so they are trained anew", done.message);
        self.note_models(done.workload, done.kind, message);
    }

    fn note_models(&mut self, index: usize, kind: &str, message: String) {
        self.notes.push(api::Event {
            at_ms: clock().as_millis(),
            workload: Some(self.workloads[index].id.to_string()),
            kind: kind.to_owned(),
            instance: None,
            message,
            took_ms: None,
            shift: None,
        });
    }
}

/// Whether more steps have passed since than the forecaster remembers.
fn is_behind(next: Timestamp, now: Timestamp, step: Duration) -> bool {
    now.since(next) > step * BEHIND_MAX
}

/// Steps; it remembers some more.
const BEHIND_MAX: u32 = 16_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_of_more_steps_ago_than_are_remembered_is_behind() {
        let (next, step) = (Timestamp::from_secs(1000), Duration::from_secs(10));
        assert!(!is_behind(next, Timestamp::from_secs(0), step));
        assert!(!is_behind(next, next + step * 16_000, step));
        assert!(is_behind(next, next + step * 16_001, step));
    }
}
