//! Who exists on one engine, and whose turn it is. Locked for single steps only, never across a wait.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use super::config::DockerConfig;
use super::engine::Engine;
use super::instance::Instance;
use super::mark::Owner;
use crate::error::ProviderError;
use crate::face::{EVENTS_MAX, InstanceInfo, ProviderEvent};
use crate::name::InstanceName;
use crate::process::state::StateDir;

/// Everything the tasks of a provider share.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) engine: Engine,
    pub(super) config: DockerConfig,
    pub(super) state: StateDir,
    pub(super) owner: Owner,
    /// Set by the adoption: from then on what we do not know is nobody's.
    pub(super) knows_all: AtomicBool,
    slots: Mutex<BTreeMap<InstanceName, Slot>>,
    events: broadcast::Sender<ProviderEvent>,
}

/// The place of one instance, from the order to start it until its end.
#[derive(Debug, Default)]
struct Slot {
    turn: Turn,
    /// While it starts: the way to call that off.
    starting: Option<watch::Sender<bool>>,
    instance: Option<Arc<Instance>>,
}

/// Held by whoever does something to an instance.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

impl Table {
    pub(super) fn new(engine: Engine, config: DockerConfig, state: StateDir, owner: Owner) -> Table {
        Table {
            engine,
            config,
            state,
            owner,
            knows_all: AtomicBool::new(false),
            slots: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
        }
    }

    /// Takes the name for an instance to be started. The sender calls the start off.
    pub(super) fn reserve(&self, name: &InstanceName) -> Result<(Turn, watch::Sender<bool>), ProviderError> {
        let mut slots = self.slots();
        if slots.contains_key(name) {
            return Err(ProviderError::NameTaken(name.clone()));
        }
        let limit = self.config.instances_max;
        if slots.len() >= limit {
            return Err(ProviderError::TooMany { name: name.clone(), limit });
        }
        let call_off = watch::Sender::new(false);
        let slot = Slot { starting: Some(call_off.clone()), ..Slot::default() };
        let turn = Arc::clone(&slot.turn);
        slots.insert(name.clone(), slot);
        Ok((turn, call_off))
    }

    /// The start is over; without an instance the name is free again.
    pub(super) fn finish_start(&self, name: &InstanceName) {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(name) else { return };
        slot.starting = None;
        if slot.instance.is_none() {
            slots.remove(name);
        }
    }

    /// Calls a start off, if there is one.
    pub(super) fn call_off(&self, name: &InstanceName) {
        if let Some(call_off) = self.slots().get(name).and_then(|slot| slot.starting.as_ref()) {
            call_off.send_replace(true);
        }
    }

    pub(super) fn insert(&self, instance: &Arc<Instance>) {
        let mut slots = self.slots();
        slots.entry(instance.facts.name.clone()).or_default().instance = Some(Arc::clone(instance));
    }

    /// Forgets an instance that has been cleared away, and the mark of its start. False if it is not known.
    pub(super) fn remove(&self, instance: &Arc<Instance>) -> bool {
        let name = &instance.facts.name;
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(name) else { return false };
        if !slot.instance.as_ref().is_some_and(|present| Arc::ptr_eq(present, instance)) {
            return false;
        }
        // Under the lock, so that the mark of a next instance of this name cannot be meant.
        let _ = fs::remove_file(self.state.record(name));
        slot.instance = None;
        if slot.starting.is_none() {
            slots.remove(name);
        }
        true
    }

    /// Forgets an instance as it is: the mark of its start stays, for the case that it is found again.
    pub(super) fn let_go(&self, instance: &Arc<Instance>) {
        let name = &instance.facts.name;
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(name) else { return };
        if slot.instance.as_ref().is_some_and(|present| Arc::ptr_eq(present, instance)) {
            slot.instance = None;
            if slot.starting.is_none() {
                slots.remove(name);
            }
        }
    }

    pub(super) fn find(&self, name: &InstanceName) -> Option<Arc<Instance>> {
        self.slots().get(name)?.instance.clone()
    }

    /// The instance with this container.
    pub(super) fn find_by_id(&self, id: &str) -> Option<Arc<Instance>> {
        let slots = self.slots();
        slots.values().filter_map(|slot| slot.instance.as_ref()).find(|one| one.facts.id == id).cloned()
    }

    pub(super) fn turn(&self, name: &InstanceName) -> Option<Turn> {
        self.slots().get(name).map(|slot| Arc::clone(&slot.turn))
    }

    /// Whether the name is taken.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.slots().contains_key(name)
    }

    pub(super) fn knows_all(&self) -> bool {
        self.knows_all.load(Ordering::Relaxed)
    }

    pub(super) fn names(&self) -> Vec<InstanceName> {
        self.slots().keys().cloned().collect()
    }

    pub(super) fn instances(&self) -> Vec<Arc<Instance>> {
        self.slots().values().filter_map(|slot| slot.instance.clone()).collect()
    }

    pub(super) fn infos(&self) -> Vec<InstanceInfo> {
        self.instances().iter().filter_map(|instance| instance.info()).collect()
    }

    /// Tells whoever listens; it is fine if nobody does.
    pub(super) fn report(&self, event: ProviderEvent) {
        let _ = self.events.send(event);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<ProviderEvent> {
        self.events.subscribe()
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Slot>> {
        // Every change under this lock is a single step, so a panic elsewhere cannot have left it half done.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
