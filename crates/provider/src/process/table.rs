//! The table of all instances of a provider: who exists, and whose turn it is.
//!
//! The table is locked for single steps only, never across a wait. What takes time for one instance (park, promote,
//! stop) holds that instance's own turn instead.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::instance::Instance;
use super::output;
use super::state::StateDir;
use super::template::Templates;
use crate::cgroup::Parent;
use crate::error::ProviderError;
use crate::face::{EVENTS_MAX, ExitReason, InstanceInfo, ProviderEvent};
use crate::name::InstanceName;

/// Everything the tasks of a provider share.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) state: StateDir,
    pub(super) parent: Parent,
    pub(super) boot_id: String,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) templates: Templates,
    /// What the end of a process means.
    pub(super) meaning: fn(ExitReason) -> ExitReason,
    slots: Mutex<BTreeMap<InstanceName, Slot>>,
    instances_max: usize,
    events: broadcast::Sender<ProviderEvent>,
}

/// The place of one instance. It exists from the order to start it until its end.
#[derive(Debug, Default)]
struct Slot {
    turn: Turn,
    /// While it starts: the way to call that off.
    starting: Option<watch::Sender<bool>>,
    instance: Option<Arc<Instance>>,
}

/// Held by whoever does something to an instance.
pub(crate) type Turn = Arc<tokio::sync::Mutex<()>>;

impl Table {
    pub(super) fn new(
        state: StateDir,
        parent: Parent,
        boot_id: String,
        environment: BTreeMap<String, String>,
        instances_max: usize,
        template_idle: Duration,
    ) -> Table {
        Table {
            state,
            parent,
            boot_id,
            environment,
            templates: Templates::new(template_idle),
            meaning: |reason| reason,
            slots: Mutex::default(),
            instances_max,
            events: broadcast::Sender::new(EVENTS_MAX),
        }
    }

    /// Takes the name for an instance to be started. The sender calls the start off.
    pub(super) fn reserve(&self, name: &InstanceName) -> Result<(Turn, watch::Sender<bool>), ProviderError> {
        let mut slots = self.slots();
        if slots.contains_key(name) {
            return Err(ProviderError::NameTaken(name.clone()));
        }
        if slots.len() >= self.instances_max {
            return Err(ProviderError::TooMany { name: name.clone(), limit: self.instances_max });
        }
        let call_off = watch::Sender::new(false);
        let slot = Slot { starting: Some(call_off.clone()), ..Slot::default() };
        let turn = Arc::clone(&slot.turn);
        slots.insert(name.clone(), slot);
        Ok((turn, call_off))
    }

    /// The start is over. True if its instance is still there; without one the name is free again.
    pub(super) fn finish_start(&self, name: &InstanceName) -> bool {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(name) else { return false };
        slot.starting = None;
        let exists = slot.instance.is_some();
        if !exists {
            slots.remove(name);
        }
        exists
    }

    /// Calls a start off, if there is one.
    pub(super) fn call_off(&self, name: &InstanceName) {
        if let Some(call_off) = self.slots().get(name).and_then(|slot| slot.starting.as_ref()) {
            call_off.send_replace(true);
        }
    }

    /// Enters an instance, be it adopted or of a start in progress.
    pub(super) fn insert(&self, instance: &Arc<Instance>) {
        let mut slots = self.slots();
        slots.entry(instance.record.name.clone()).or_default().instance = Some(Arc::clone(instance));
    }

    /// Forgets an instance that has ended, and its record.
    pub(super) fn remove(&self, instance: &Arc<Instance>) {
        let name = &instance.record.name;
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(name) else { return };
        if !slot.instance.as_ref().is_some_and(|present| Arc::ptr_eq(present, instance)) {
            return;
        }
        // Under the lock, so that the record of a next instance of this name cannot be meant.
        let path = self.state.record(name);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "cannot remove the record of an ended instance");
        }
        self.clear_folder(name);
        slot.instance = None;
        if slot.starting.is_none() {
            slots.remove(name);
        }
    }

    /// Removes the folder of an instance, if it has one.
    pub(super) fn clear_folder(&self, name: &InstanceName) {
        let path = self.state.folder(name);
        if let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "cannot remove the files of an ended instance");
        }
    }

    /// Removes the folders of instances that nobody knows.
    pub(super) fn clear_folders(&self) {
        for entry in fs::read_dir(self.state.folders()).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && !self.knows(InstanceName::as_str(&name))
            {
                self.clear_folder(&name);
            }
        }
    }

    /// The instance, if it runs.
    pub(crate) fn find(&self, name: &InstanceName) -> Option<Arc<Instance>> {
        self.slots().get(name)?.instance.clone()
    }

    /// The turn of an instance, if the name is known.
    pub(super) fn turn(&self, name: &InstanceName) -> Option<Turn> {
        self.slots().get(name).map(|slot| Arc::clone(&slot.turn))
    }

    /// Whether the name is taken.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.slots().contains_key(name)
    }

    pub(crate) fn names(&self) -> Vec<InstanceName> {
        self.slots().keys().cloned().collect()
    }

    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.slots().values().filter_map(|slot| slot.instance.clone()).collect()
    }

    pub(super) fn infos(&self) -> Vec<InstanceInfo> {
        self.instances().iter().map(|instance| instance.info()).collect()
    }

    /// Tells whoever listens; it is fine if nobody does.
    pub(super) fn report(&self, event: ProviderEvent) {
        let _ = self.events.send(event);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<ProviderEvent> {
        self.events.subscribe()
    }

    /// Keeps the outputs bounded: each by itself, and how many there are of ended instances.
    pub(super) fn bound_outputs(&self) {
        let instances = self.instances();
        let instances =
            instances.iter().map(|instance| (instance.record.name.clone(), instance.record.log_limit));
        for (name, limit) in instances.chain(self.templates.outputs()) {
            let path = self.state.log(&name);
            if let Err(error) = output::bound(&path, limit) {
                tracing::warn!(%error, path = %path.display(), "cannot bound an output file");
            }
        }
        output::prune(&self.state.logs(), |name| self.knows(name) || self.templates.knows(name));
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Slot>> {
        // Every change under this lock is a single step, so a panic elsewhere cannot have left it half done.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
