//! Templates: initialised processes that fork instances on order, through the protocol in `docs/processes.md`.
//!
//! There is at most one for each kind of order, in a control group of its own. It is made with the first order, kept while
//! its workload has instances, and made again, with growing pauses, when it ends or does not keep to the protocol. Nothing
//! depends on it: clones have their own groups and outlive it, and where it does not answer an ordinary start takes
//! place. The template of a control plane that was killed ends with its socket, or at the latest with the sweep of the
//! next one, to which its group is that of an unknown instance.
//!
//! - `task`: one of them; with `launch`, `socket` and `message` for the steps.
//! - `clone`: from an order to an instance.

mod clone;
mod launch;
mod message;
mod socket;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use self::task::{Fork, State};
use super::blocking;
use super::start::Order;
use super::table::Table;
use crate::name::InstanceName;
use crate::spec::InstanceSpec;

pub(super) use clone::clone;

/// The templates of a provider.
#[derive(Debug)]
pub(super) struct Templates {
    entries: Mutex<BTreeMap<Key, Entry>>,
    /// Those that nobody can order from any more, until they are gone.
    ending: Mutex<Vec<Running>>,
    idle_max: Duration,
    is_lack_said: AtomicBool,
}

/// What orders must have in common to have a template in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    workload: String,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    working_dir: Option<PathBuf>,
    user: Option<String>,
    memory_bytes: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    order: Arc<Order>,
    running: Running,
    used_at: Instant,
    /// How often in a row it has failed.
    failures: u32,
    retry_at: Option<Instant>,
    /// Somebody waited in vain for it to be ready.
    is_slow: bool,
}

/// One that is ready.
struct Ready {
    /// The way to order from it.
    orders: mpsc::Sender<Fork>,
    /// It is to be told the groups of its clones.
    into_group: bool,
}

#[derive(Debug, Clone)]
struct Running {
    name: InstanceName,
    orders: mpsc::Sender<Fork>,
    state: watch::Receiver<State>,
    began: Instant,
}

impl Templates {
    pub(super) fn new(idle_max: Duration) -> Templates {
        Templates {
            entries: Mutex::default(),
            ending: Mutex::default(),
            idle_max,
            is_lack_said: AtomicBool::new(false),
        }
    }

    /// The template, once it is ready; made if it is missing. None when it is not ready until `wait_end`, or has failed a
    /// moment ago.
    async fn ready(&self, table: &Arc<Table>, order: &Arc<Order>, wait_end: Instant) -> Option<Ready> {
        if !order.spec.template {
            return None;
        }
        if !table.parent.has_groups() {
            if !self.is_lack_said.swap(true, Ordering::Relaxed) {
                tracing::warn!("no templates: without control groups, clones cannot be told from them");
            }
            return None;
        }
        let mut running = self.running(table, order)?;
        let waited = timeout_at(wait_end, running.state.wait_for(|state| *state != State::Starting)).await;
        let waited = waited.map(|state| match state.as_deref() {
            Ok(State::Ready { into_group }) => Some(*into_group),
            Ok(State::Starting | State::Ended(_)) | Err(_) => None,
        });
        if let Some(entry) = self.entries().get_mut(&key(&order.spec)) {
            // Initialising took some of its time.
            entry.used_at = Instant::now();
            entry.is_slow |= waited.is_err();
        }
        if waited.is_err() {
            let (instance, template) = (&order.spec.name, &running.name);
            tracing::warn!(%instance, %template, "the template is not ready yet; started without it");
        }
        waited.ok().flatten().map(|into_group| Ready { orders: running.orders, into_group })
    }

    /// The template that runs or is started now, unless it is not worth waiting for.
    fn running(&self, table: &Arc<Table>, order: &Arc<Order>) -> Option<Running> {
        let mut entries = self.entries();
        let now = Instant::now();
        let key = key(&order.spec);
        if let Some(entry) = entries.get_mut(&key) {
            entry.used_at = now;
            entry.renew(table, now);
            let state = entry.running.state.borrow().clone();
            // One that has failed before may fail again; meanwhile instances can do without it.
            let is_doubtful = entry.failures > 0 || entry.is_slow;
            let is_worth_it = match state {
                State::Ready { .. } => true,
                State::Starting => !is_doubtful,
                State::Ended(_) => false,
            };
            return is_worth_it.then(|| entry.running.clone());
        }
        if entries.len() >= TEMPLATES_MAX {
            tracing::warn!(instance = %order.spec.name, "started without a template: there are {TEMPLATES_MAX} already");
            return None;
        }
        let running = begin(table, order)?;
        let entry = Entry {
            order: Arc::clone(order),
            running: running.clone(),
            used_at: now,
            failures: 0,
            retry_at: None,
            is_slow: false,
        };
        entries.insert(key, entry);
        Some(running)
    }

    /// Ends those that nobody needs any more and makes those again that have ended. To be called now and then.
    pub(super) fn keep(&self, table: &Arc<Table>) {
        let now = Instant::now();
        let mut entries = self.entries();
        if entries.is_empty() {
            return;
        }
        let workloads: BTreeSet<String> =
            table.instances().iter().map(|instance| instance.record.workload.clone()).collect();
        let idle: Vec<Key> = entries
            .iter()
            .filter(|(_, entry)| now.duration_since(entry.used_at) >= self.idle_max)
            .filter(|(_, entry)| *entry.running.state.borrow() != State::Starting)
            .filter(|(key, entry)| {
                let is_newest = !entries
                    .iter()
                    .any(|(other, later)| other.workload == key.workload && later.used_at > entry.used_at);
                !(is_newest && workloads.contains(&key.workload))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for entry in idle.iter().filter_map(|key| entries.remove(key)) {
            tracing::info!(template = %entry.running.name, "a template that nobody needed for long is ended");
            self.end_one(entry);
        }
        entries.values_mut().for_each(|entry| entry.renew(table, now));
    }

    /// Tells all of them to end.
    pub(super) fn leave(&self) {
        let entries = std::mem::take(&mut *self.entries());
        entries.into_values().for_each(|entry| self.end_one(entry));
    }

    /// Ends all of them and waits until they are gone.
    pub(super) async fn end(&self) {
        self.leave();
        let ending = std::mem::take(&mut *self.ending.lock().unwrap_or_else(PoisonError::into_inner));
        for Running { name, mut state, orders, .. } in ending {
            drop(orders);
            let gone = state.wait_for(|state| matches!(state, State::Ended(_)));
            if timeout(END_TIME_MAX, gone).await.is_err() {
                tracing::warn!(template = %name, "a template does not end");
            }
        }
    }

    /// Whether this is the name of one that is there.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.entries().values().any(|entry| entry.running.name.as_str() == name)
    }

    /// The output files of all, with how long they may be.
    pub(super) fn outputs(&self) -> Vec<(InstanceName, u64)> {
        let entries = self.entries();
        entries.values().map(|entry| (entry.running.name.clone(), entry.order.spec.log_limit)).collect()
    }

    fn end_one(&self, entry: Entry) {
        let (nobody, _) = mpsc::channel(1);
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|running| !matches!(*running.state.borrow(), State::Ended(_)));
        // The end of the last sender is the word to end.
        ending.push(Running { orders: nobody, ..entry.running });
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        // Every change under this lock is a single step, so a panic elsewhere cannot have left it half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Makes one that has ended again, unless it is too early.
    fn renew(&mut self, table: &Arc<Table>, now: Instant) {
        let State::Ended(ended_at) = *self.running.state.borrow() else { return };
        let retry_at = *self.retry_at.get_or_insert_with(|| {
            let has_worked = ended_at.duration_since(self.running.began) >= WORKED_MIN;
            self.failures = if has_worked { 1 } else { self.failures.saturating_add(1) };
            ended_at + pause_after(self.failures)
        });
        if now >= retry_at
            && let Some(running) = begin(table, &self.order)
        {
            self.running = running;
            self.retry_at = None;
            self.is_slow = false;
        }
    }
}

fn key(spec: &InstanceSpec) -> Key {
    Key {
        workload: spec.workload.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        memory_bytes: spec.limits.memory_bytes,
    }
}

fn begin(table: &Arc<Table>, order: &Arc<Order>) -> Option<Running> {
    let name = launch::new_name().ok()?;
    let (orders, mut receiver) = mpsc::channel(ORDERS_MAX);
    let (sender, state) = watch::channel(State::Starting);
    let (table, spec) = (Arc::clone(table), InstanceSpec { name: name.clone(), ..order.spec.clone() });
    let program = order.program.clone();
    let running = Running { name: name.clone(), orders, state, began: Instant::now() };
    tokio::spawn(async move {
        let init_max = spec.start_deadline;
        let workload = spec.workload.clone();
        let launched = blocking(move || launch::launch(&table, &spec, program)).await;
        let outcome = match launched {
            Ok(process) => task::run(process, init_max, &mut receiver, &sender).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = outcome {
            tracing::warn!(template = %name, workload, %problem, "a template failed; instances are started without it");
        }
        sender.send_replace(State::Ended(Instant::now()));
    });
    Some(running)
}

/// Doubles with each failure.
fn pause_after(failures: u32) -> Duration {
    let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    RETRY_MIN.saturating_mul(doubled).min(RETRY_MAX)
}

/// How many different templates there may be.
const TEMPLATES_MAX: usize = 64;
/// How many orders wait in the channel of one.
const ORDERS_MAX: usize = 16;
/// The pause after the first failure.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Who worked so long has not failed again and again.
const WORKED_MIN: Duration = Duration::from_secs(60);
/// Longest wait for one that was told to end.
const END_TIME_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(pause_after(1), RETRY_MIN);
        assert_eq!(pause_after(3), RETRY_MIN * 4);
        assert_eq!(pause_after(40), RETRY_MAX);
        assert_eq!(pause_after(u32::MAX), RETRY_MAX);
    }
}
