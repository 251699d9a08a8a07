//! One instance that runs, and the task that watches over it until its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::blocking;
use super::exit::ExitWatch;
use super::record::Record;
use super::table::Table;
use crate::cgroup::CgroupError;
use crate::face::{ExitReason, InstanceInfo, ProviderEvent, Usage};
use crate::perf::Instructions;
use crate::probe::LastAnswer;

/// One instance that runs.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) record: Record,
    ready: AtomicBool,
    parked: AtomicBool,
    pub(crate) last_answer: LastAnswer,
    /// Set once its end is wanted: until when its processes may end by themselves.
    end_by: OnceLock<Instant>,
    ended: watch::Receiver<Option<Ended>>,
    watcher: OnceLock<AbortHandle>,
    /// Opened when usage is asked for the first time; empty where instructions cannot be counted.
    instructions: OnceLock<Option<Instructions>>,
    /// Processes killed for lack of memory that somebody has been told of.
    killed_told: AtomicU64,
}

/// An instance has ended and been cleared away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) reason: ExitReason,
    /// Nothing of it is left.
    pub(super) is_clean: bool,
}

impl Instance {
    /// Puts an instance into the table and begins to watch over it.
    pub(super) fn watched(
        table: &Arc<Table>,
        record: Record,
        exit: ExitWatch,
        parked: bool,
    ) -> Arc<Instance> {
        let (ended_sender, ended) = watch::channel(None);
        let instance = Arc::new(Instance {
            ready: AtomicBool::new(record.ready),
            parked: AtomicBool::new(parked),
            last_answer: LastAnswer::default(),
            end_by: OnceLock::new(),
            ended,
            watcher: OnceLock::new(),
            instructions: OnceLock::new(),
            killed_told: AtomicU64::new(record.group.out_of_memory().unwrap_or(0)),
            record,
        });
        table.insert(&instance);
        let watcher = tokio::spawn(watch_over(Arc::clone(table), Arc::clone(&instance), exit, ended_sender));
        let _ = instance.watcher.set(watcher.abort_handle());
        instance
    }

    /// What it has used. Reads files, so it blocks.
    pub(super) fn usage(&self) -> Result<Usage, CgroupError> {
        let group = &self.record.group;
        let counters = self.instructions.get_or_init(|| Instructions::of(&group.members()));
        let instructions = counters.as_ref().and_then(Instructions::count);
        let usage = group.usage()?;
        self.killed_told.fetch_max(usage.out_of_memory.unwrap_or(0), Ordering::Relaxed);
        Ok(Usage { instructions, ..usage })
    }

    /// Whether the kernel has killed for lack of memory, and nobody was told of it. Reads a file, so it blocks.
    fn ran_out_of_memory(&self) -> bool {
        self.record.group.out_of_memory() > Some(self.killed_told.load(Ordering::Relaxed))
    }

    pub(crate) fn info(&self) -> InstanceInfo {
        InstanceInfo {
            name: self.record.name.clone(),
            workload: self.record.workload.clone(),
            revision: self.record.revision.clone(),
            pid: self.record.pid,
            addr: self.record.addr,
            further: self.record.further.clone(),
            parked: self.is_parked(),
            started_at: self.record.started_at(),
            ready: self.is_ready(),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed)
    }

    pub(crate) fn set_parked(&self, parked: bool) {
        self.parked.store(parked, Ordering::Relaxed);
        if parked {
            self.last_answer.forget();
        }
    }

    /// Says that its end is wanted; what has not ended at `end_by` is killed. The first word counts.
    pub(super) fn want_end(&self, end_by: Instant) {
        let _ = self.end_by.set(end_by);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let end = match ended.wait_for(Option::is_some).await {
            Ok(end) => *end,
            Err(_) => None,
        };
        // Without a watcher (the provider was dropped) nobody looks any more.
        end.unwrap_or(Ended { reason: ExitReason::Unknown, is_clean: false })
    }

    /// Kills it without asking, and waits until it is cleared away.
    pub(super) async fn kill(self: &Arc<Instance>) -> Ended {
        self.want_end(Instant::now());
        let instance = Arc::clone(self);
        let killed = blocking(move || instance.record.group.destroy()).await;
        if let Err(error) = killed {
            tracing::warn!(instance = %self.record.name, %error, "not everything of an instance could be killed");
        }
        tokio::time::timeout(END_TIME_MAX, self.ended())
            .await
            .unwrap_or(Ended { reason: ExitReason::Unknown, is_clean: false })
    }

    /// Looks no more; the instance itself goes on.
    pub(super) fn leave(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }
}

/// Waits for the end of an instance, clears away what is left of it, and reports it unless it was wanted.
async fn watch_over(
    table: Arc<Table>,
    instance: Arc<Instance>,
    mut exit: ExitWatch,
    ended: watch::Sender<Option<Ended>>,
) {
    let name = &instance.record.name;
    if let Err(error) = exit.ended().await {
        tracing::error!(instance = %name, %error, "cannot watch the instance any more");
        return;
    }
    // Where the end is wanted, the others of its processes have the rest of their time.
    while instance.end_by.get().is_some_and(|end_by| *end_by > Instant::now()) {
        let looking = Arc::clone(&instance);
        if blocking(move || looking.record.group.members().is_empty()).await {
            break;
        }
        sleep(MEMBERS_INTERVAL).await;
    }
    let clearing = Arc::clone(&instance);
    // The group knows why something was killed, and is gone afterwards.
    let (out_of_memory, cleared) =
        blocking(move || (clearing.ran_out_of_memory(), clearing.record.group.destroy())).await;
    if let Err(error) = &cleared {
        tracing::warn!(instance = %name, %error, "not everything of an ended instance could be cleared away");
    }
    let is_wanted = || instance.end_by.get().is_some();
    let reason = if is_wanted() { exit.reap() } else { exit.reap_or_hear().await };
    let reason = match (table.meaning)(reason) {
        ExitReason::Signal(KILLED) | ExitReason::Unknown if out_of_memory => ExitReason::OutOfMemory,
        reason => reason,
    };
    table.remove(&instance);
    ended.send_replace(Some(Ended { reason, is_clean: cleared.is_ok() }));
    if !is_wanted() && instance.is_ready() {
        tracing::info!(instance = %name, %reason, "an instance ended by itself");
        table.report(ProviderEvent::Exited { name: name.clone(), reason });
    }
}

/// The number of the signal that the kernel kills with.
const KILLED: i32 = 9;
/// How often it is looked whether all processes of an ending instance are gone.
const MEMBERS_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait for the watcher of a killed instance, above what killing may take.
const END_TIME_MAX: Duration = Duration::from_secs(15);
