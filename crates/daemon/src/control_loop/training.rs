//! Hands trainings of batch models to the trainer, and takes their outcomes in.

use std::sync::Arc;

use super::ControlLoop;
use crate::recorder::clock;
use crate::trainer::TrainingDone;

impl ControlLoop {
    /// Leaves the training that is due for a workload, if one is, with the trainer.
    pub(crate) fn train_if_due(&mut self, index: usize) {
        let Some(trainer) = &self.trainer else { return };
        if let Some(job) = self.planner.training_due(&self.workloads[index].id) {
            trainer.submit(index, job);
        }
    }

    /// A training is over: its champions take part from now on.
    pub(crate) fn training_done(&mut self, done: TrainingDone) {
        let id = self.workloads[done.workload].id.clone();
        self.planner.admit(&id, done.trained);
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
            self.workloads[done.workload].forecaster = Arc::new(view.forecaster.clone());
        }
        self.notes.push(api::Event {
            at_ms: clock().as_millis(),
            workload: Some(id.to_string()),
            kind: "trained".to_owned(),
            instance: None,
            message,
            took_ms: None,
        });
        self.published.stale = true;
    }
}
