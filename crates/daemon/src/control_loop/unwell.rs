//! Instances that the proxy found unwell. The planner has taken them out of the table then, and the proxy asks only what is in
//! it: so they are asked from here, and come back when they answer, before they would be replaced.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use planner::{InstanceId, Phase};
use tokio::task::JoinSet;

use super::ControlLoop;
use crate::instances::probe_of;
use crate::routes::health_changed;
use crate::signals::HealthChange;

/// A workload by its index, and an instance of it.
type Key = (usize, InstanceId);

/// The unwell ones.
#[derive(Debug, Default)]
pub(crate) struct Unwell {
    /// With how many answers in a row each has given.
    of: BTreeMap<Key, u32>,
    asking: JoinSet<(Key, bool)>,
    asked_at: Option<Instant>,
}

impl ControlLoop {
    /// Tells the planner what the proxy's checks say.
    pub(crate) fn health_told(&mut self, index: usize, change: HealthChange) {
        let key = (index, InstanceId::new(change.id));
        if change.healthy {
            self.unwell.of.remove(&key);
        } else if self.workloads[index].unasked.iter().any(|backend| backend.id == change.id) {
            // Nobody can ask about it, and it does not answer: it is out of traffic until its engine tells of it.
            self.workloads[index].unasked.retain(|backend| backend.id != change.id);
            return self.router.want(self.routes(), None);
        } else {
            self.unwell.of.insert(key, 0);
        }
        let id = self.workloads[index].id.clone();
        self.handle(index, health_changed(&id, change));
    }

    /// Asks those that are out of traffic, and says which are well again.
    pub(crate) fn ask_unwell(&mut self) {
        while let Some(asked) = self.unwell.asking.try_join_next() {
            let Ok((key, answers)) = asked else { continue };
            let Some(answers_so_far) = self.unwell.of.get_mut(&key) else { continue };
            *answers_so_far = if answers { *answers_so_far + 1 } else { 0 };
            if *answers_so_far >= self.workloads[key.0].config.health.rise {
                self.health_told(key.0, HealthChange { id: key.1.get(), healthy: true });
            }
        }
        let due = self.unwell.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY);
        if self.unwell.of.is_empty() || !due || !self.unwell.asking.is_empty() {
            return;
        }
        self.unwell.asked_at = Some(Instant::now());
        let gone: Vec<Key> =
            self.unwell.of.keys().filter(|key| !self.may_come_back(**key)).copied().collect();
        self.unwell.of.retain(|key, _| !gone.contains(key));
        for key in self.unwell.of.keys().copied().take(ASKED_MAX) {
            let workload = &self.workloads[key.0];
            let in_table = workload.weights.iter().any(|(id, _)| *id == key.1);
            let Some(place) = workload.places.get(&key.1).filter(|_| !in_table) else { continue };
            let (probe, address, patience) =
                (probe_of(&workload.config), place.address, workload.config.health.timeout);
            let asking = async move { (key, provider::probe::ask(&probe, address, patience).await.is_ok()) };
            self.unwell.asking.spawn(asking);
        }
    }

    /// Not once its end is decided.
    fn may_come_back(&self, (index, instance): Key) -> bool {
        let snapshot = self.planner.snapshot();
        let rows = snapshot.workload(&self.workloads[index].id).map(|view| view.instances);
        let row = rows.unwrap_or_default().iter().find(|row| row.id() == instance);
        row.is_some_and(|row| matches!(row.phase(), Phase::Ready | Phase::Draining))
    }
}

const ASK_EVERY: Duration = Duration::from_secs(1);
/// Asked at a time.
const ASKED_MAX: usize = 64;
