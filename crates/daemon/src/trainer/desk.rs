//! What trainer and loader share: the repository, which versions take part, and the way to the control loop.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use forecast::models::{Fitted, Kind};
use forecast::{Job, Rival};
use history::models::{Description, ModelId, ModelRecord};
use tokio::sync::mpsc;

use super::{STEP_FEATURE, TrainingDone, code_version, step_of};
use crate::error::chain;
use crate::models::Repository;

type InCharge = BTreeMap<(usize, Kind), (ModelId, Rival)>;

/// What trainer and loader share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) names: Vec<String>,
    pub(super) repository: Repository,
    done: mpsc::Sender<TrainingDone>,
    /// Champions by workload and kind, as they were handed over last.
    in_charge: Mutex<InCharge>,
}

impl Desk {
    pub(super) fn new(names: Vec<String>, repository: Repository, done: mpsc::Sender<TrainingDone>) -> Desk {
        Desk { names, repository, done, in_charge: Mutex::default() }
    }

    /// The lowest priority. On Linux this concerns the calling thread alone. Without it the share of time still bounds the
    /// work.
    pub(super) fn step_back(&self) {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "models are trained and loaded with the usual priority");
        }
    }

    pub(super) fn in_charge(&self) -> std::sync::MutexGuard<'_, InCharge> {
        self.in_charge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands models over that are still in charge. Whatever the repository was told while they were prepared, the last
    /// hand-over is of what it says: both threads ask it under this lock. Whether to go on.
    pub(super) fn hand_over(&self, mut done: TrainingDone, ids: &BTreeMap<Kind, ModelId>) -> bool {
        let mut in_charge = self.in_charge();
        let name = &self.names[done.workload];
        let mut replaced = Vec::new();
        done.trained.models.retain(|(kind, model)| {
            let champion = self.repository.champion(name, kind.name());
            let id = ids.get(kind).copied();
            let still = champion.is_ok_and(|champion| champion.map(|record| record.id) == id);
            match (still, id, model) {
                (true, Some(id), Ok(model)) => {
                    let rival = Rival { model: model.clone(), next: done.next };
                    in_charge.insert((done.workload, *kind), (id, rival));
                    true
                }
                _ => {
                    replaced.push(format!("another version of {kind} was put in charge meanwhile"));
                    false
                }
            }
        });
        for kind in &done.removed {
            in_charge.remove(&(done.workload, *kind));
        }
        for message in replaced {
            done.message = format!("{}; {message}", done.message);
        }
        self.done.blocking_send(done).is_ok()
    }

    /// A version's model as it was stored.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub(super) fn stored(&self, record: &ModelRecord, job: &Job) -> Result<Rival, String> {
        let Description { code_version: version, features, .. } = &record.described;
        if *version != code_version() {
            return Err(format!(
                "it was made by version {version}, which this one ({}) cannot read",
                code_version()
            ));
        }
        let own = step_of(job);
        let step = features.get(1).and_then(|feature| feature.strip_prefix(STEP_FEATURE));
        if let Some(step) = step.filter(|step| *step != own) {
            return Err(format!("it is made for steps of {step}, and the workload's are of {own}"));
        }
        let body = self.repository.body(record.id).map_err(|error| chain(&error))?;
        let model: Fitted = postcard::from_bytes(&body).map_err(|error| error.to_string())?;
        Ok(Rival { model, next: record.described.data_to })
    }
}

const NICE: i32 = 19;
