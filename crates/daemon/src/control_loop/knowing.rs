//! What is known beside demand reaches the forecaster: after a change, and once the first step is known.

use std::sync::Arc;

use super::ControlLoop;
use crate::knowledge::Knowledge;

impl ControlLoop {
    /// Takes in what is known of a workload now.
    pub(crate) fn learn_of(&mut self, index: usize, knowledge: Knowledge) {
        let id = self.workloads[index].id.clone();
        self.planner.announce(&id, &knowledge.events);
        let series_changed = self.workloads[index].knowledge.series != knowledge.series;
        self.workloads[index].knowledge = knowledge;
        if series_changed {
            self.workloads[index].known_from = None;
            self.count_covariates(index);
        }
        let snapshot = self.planner.snapshot();
        if let Some(view) = snapshot.workload(&id) {
            self.workloads[index].forecaster = Arc::new(view.forecaster.clone());
        }
        self.published.stale = true;
    }

    /// Lays covariates out from the first step of demand, when that has not been done.
    pub(crate) fn count_covariates(&mut self, index: usize) {
        let workload = &self.workloads[index];
        if workload.config.covariates.is_empty() {
            return;
        }
        let first = self.planner.first_step(&workload.id);
        let Some(origin) = first.filter(|_| workload.known_from != first) else { return };
        let covariates = workload.knowledge.covariates(origin, workload.config.step);
        let id = workload.id.clone();
        self.workloads[index].known_from = first;
        self.planner.know(&id, Arc::new(covariates));
    }
}
