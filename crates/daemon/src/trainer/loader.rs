//! Brings the repository's champions into the running ensemble: those of an earlier daemon, and those that an operator has
//! just put in charge. They follow the history that came after them before they take part.

use std::collections::BTreeMap;

use forecast::models::{Kind, Pace};
use forecast::{Job, Rival};
use history::models::{ModelId, ModelState};

use super::TrainingDone;
use super::desk::Desk;
use super::queue::{Queue, Work};
use crate::error::chain;

pub(super) fn work(desk: &Desk, queue: &Queue) {
    desk.step_back();
    while let Some((workload, job)) = queue.next_load() {
        if !load(desk, queue, workload, &job) {
            return;
        }
        queue.loaded();
    }
}

/// What differs between the repository and the ensemble.
#[derive(Default)]
struct Differences {
    models: Vec<(Kind, Rival)>,
    ids: BTreeMap<Kind, ModelId>,
    removed: Vec<Kind>,
    said: Vec<String>,
}

/// Loads the champions of a workload that are not in the ensemble yet; whether to go on.
fn load(desk: &Desk, queue: &Queue, workload: usize, job: &Job) -> bool {
    let Differences { models, ids, removed, said } = differences(desk, workload, job);
    if said.is_empty() {
        return true;
    }
    let mut step = queue.paced(CPU_MAX, Work::Loading);
    let Ok(trained) = job.rehearse(models, true, &mut Pace::controlled(&mut step)) else { return false };
    let message = format!("{}: {}", job.reason, said.join("; "));
    let history = job.history();
    let next = history.grid.begins_at(history.end());
    let done = TrainingDone { workload, trained, next, removed, kind: "models_loaded", message };
    desk.hand_over(done, &ids)
}

fn differences(desk: &Desk, workload: usize, job: &Job) -> Differences {
    let mut found = Differences::default();
    let name = &desk.names[workload];
    let records = match desk.repository.list(Some(name)) {
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(workload = name, error = chain(&error), "the model repository cannot be read");
            return found;
        }
    };
    for &kind in job.kinds() {
        let running = desk.in_charge().get(&(workload, kind)).map(|(id, _)| *id);
        let champion = records
            .iter()
            .find(|record| record.state == ModelState::Champion && record.model() == kind.name());
        let Some(record) = champion else {
            if running.is_some() {
                found.removed.push(kind);
                found.said.push(format!("{kind} has no champion any more and takes no part"));
            }
            continue;
        };
        let id = record.id;
        if running == Some(id) {
            continue;
        }
        let usable = desk.stored(record, job).and_then(|rival| match job.stands(&rival) {
            Some(_) => Ok(rival),
            None => Err("the history does not reach back to its data".to_owned()),
        });
        match usable {
            Ok(rival) => {
                found.models.push((kind, rival));
                found.ids.insert(kind, id);
                found.said.push(format!("{kind} version {id} takes part"));
            }
            Err(why) => {
                // The version before it is not in charge any more.
                found.removed.extend(running.map(|_| kind));
                found.said.push(format!("{kind} version {id} is in charge but takes no part: {why}"));
            }
        }
    }
    found
}

/// Half of the time: somebody waits for it, and it is soon done.
const CPU_MAX: f64 = 0.5;
