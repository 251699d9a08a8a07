//! Instances that are processes of this machine.
//!
//! Nothing an instance needs is held by the control plane: it has its own session, its own control group, and a file
//! for its output, so it does not notice when the control plane dies. What a later control plane needs to find it again
//! is in a record in the state folder.
//!
//! - `table`: who exists, and whose turn it is; `instance`: one of them, and the task that watches over it.
//! - `start`: from an order to a ready instance; with `prepare`, `command`, `ports`, `spawn` for the steps.
//! - `steps`: park, promote, stop.
//! - `adopt`: after a restart; with `record` and `state`.
//! - `template`: initialised processes that fork instances.
//! - `again`: this process becomes another program. `output`: the bounded output files. `exit`: pidfds.

mod adopt;
mod again;
mod borrow;
pub(crate) mod command;
mod config;
mod exit;
pub(crate) mod fork;
pub(crate) mod instance;
pub(crate) mod output;
pub(crate) mod ports;
mod prepare;
mod record;
mod spawn;
mod start;
pub(crate) mod state;
pub(crate) mod steps;
pub(crate) mod table;
mod template;
mod user;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

use self::instance::Instance;
use self::prepare::Plain;
use self::state::{Lock, StateDir};
use self::table::Table;
use crate::cgroup::{CgroupError, Layout, Parent};
use crate::error::ProviderError;
use crate::face::{ExitReason, InstanceInfo, Promoted, Provider, ProviderEvent, Strain, Usage};
use crate::name::InstanceName;
use crate::procfs;
use crate::spec::{InstanceSpec, ResourceLimits};

pub use again::{execute, hear_signals};
pub use config::{INSTANCES_MAX, ProcessConfig, TEMPLATE_IDLE};
pub use ports::free_address;
pub(crate) use prepare::{Prepare, Prepared};
pub use user::check_user;

/// Makes instances that are processes of this machine.
///
/// Dropping it leaves the instances running, for another one to adopt; [`Provider::shutdown`] stops them.
#[derive(Debug)]
pub struct ProcessProvider {
    table: Arc<Table>,
    housekeeping: AbortHandle,
    _lock: Lock,
}

impl ProcessProvider {
    /// Opens the state folder, takes its lock and finds a place for the control groups. Call [`Provider::adopt`] next.
    /// Must be called inside a tokio runtime with IO and time.
    ///
    /// # Errors
    /// The folder cannot be used, or another control plane uses it, or the ordered kind of control group does not work
    /// here.
    pub fn open(config: ProcessConfig) -> Result<ProcessProvider, ProviderError> {
        ProcessProvider::open_with(config, |reason| reason)
    }

    /// As [`ProcessProvider::open`], for processes whose ends mean something else than they say.
    pub(crate) fn open_with(
        config: ProcessConfig,
        meaning: fn(ExitReason) -> ExitReason,
    ) -> Result<ProcessProvider, ProviderError> {
        let (state, lock) = StateDir::open(&config.state_dir)?;
        let boot_id = procfs::boot_id().map_err(|source| ProviderError::State {
            step: "read the boot id for",
            path: config.state_dir.clone(),
            source,
        })?;
        let parent = Layout::detect()
            .and_then(|layout| Parent::open(&layout, config.cgroups, state.id()))
            .map_err(|source| ProviderError::Cgroup { step: "make the group of all instances", source })?;
        let mut table = Table::new(
            state,
            parent,
            boot_id,
            config.environment,
            config.instances_max,
            config.template_idle,
        );
        table.meaning = meaning;
        let table = Arc::new(table);
        let housekeeping = tokio::spawn(keep_house(Arc::clone(&table))).abort_handle();
        Ok(ProcessProvider { table, housekeeping, _lock: lock })
    }

    /// Distinguishes this state folder from every other one of the machine; part of the names of control groups
    /// (`foreshadow/<id>`) and of the environment variable FORESHADOW_INSTANCE (`<id>/<name>`) of instances.
    #[must_use]
    pub fn id(&self) -> &str {
        self.table.state.id()
    }

    /// Starts what `prepare` makes ready.
    pub(crate) async fn start_prepared(
        &self,
        name: InstanceName,
        prepare: impl Prepare,
    ) -> Result<InstanceInfo, ProviderError> {
        let (turn, call_off) = self.table.reserve(&name)?;
        let called_off = call_off.subscribe();
        // Called off when this future is dropped; without effect once the start is over.
        let _guard = CallOff(call_off);
        let table = Arc::clone(&self.table);
        // A task of its own, so that undoing a start is not cut short by whoever gave up waiting.
        let starting = tokio::spawn(async move {
            let _turn = turn.lock().await;
            let started = start::start(&table, &name, &prepare, called_off).await;
            if started.is_err() {
                table.clear_folder(&name);
            }
            match (table.finish_start(&name), started) {
                // Ended between its probe and here; its watcher has cleared it away.
                (false, Ok(_)) => Err(ProviderError::ExitedEarly {
                    log: output::quote(&table.state.log(&name)),
                    name,
                    reason: ExitReason::Unknown,
                }),
                (_, started) => started,
            }
        });
        starting.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    /// Stops all instances at the same time, each asked to end by `ask`.
    pub(crate) async fn shutdown_by<Asking: Future<Output = Result<(), CgroupError>> + Send + 'static>(
        &self,
        grace: Duration,
        ask: impl Fn(Arc<Instance>) -> Asking + Clone + Send + 'static,
    ) -> Result<(), ProviderError> {
        let stops: Vec<_> = self
            .table
            .names()
            .into_iter()
            .map(|name| {
                let (table, ask) = (Arc::clone(&self.table), ask.clone());
                tokio::spawn(async move { steps::stop(&table, &name, grace, ask).await })
            })
            .collect();
        let mut first_failure = Ok(());
        for stop in stops {
            let stopped = stop.await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            // One that ended by itself meanwhile is as good as stopped.
            if let Err(error) = stopped
                && !matches!(error, ProviderError::Unknown(_))
                && first_failure.is_ok()
            {
                first_failure = Err(error);
            }
        }
        self.table.templates.end().await;
        let table = Arc::clone(&self.table);
        blocking(move || table.parent.remove()).await;
        first_failure
    }

    /// Who exists.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }
}

impl Provider for ProcessProvider {
    async fn start(&self, spec: InstanceSpec) -> Result<InstanceInfo, ProviderError> {
        spec.validate()?;
        self.start_prepared(spec.name.clone(), Plain(spec)).await
    }

    async fn park(&self, name: &InstanceName) -> Result<(), ProviderError> {
        steps::park(&self.table, name).await
    }

    async fn promote(&self, name: &InstanceName) -> Result<Promoted, ProviderError> {
        steps::promote(&self.table, name).await
    }

    async fn resize(&self, name: &InstanceName, limits: ResourceLimits) -> Result<(), ProviderError> {
        steps::resize(&self.table, name, limits).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), ProviderError> {
        let (table, name) = (Arc::clone(&self.table), name.clone());
        let stopping = tokio::spawn(async move { steps::stop(&table, &name, grace, steps::terminate).await });
        stopping.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    fn list(&self) -> Vec<InstanceInfo> {
        self.table.infos()
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage, ProviderError> {
        let instance = self.table.find(name).ok_or_else(|| ProviderError::Unknown(name.clone()))?;
        let read = blocking(move || instance.usage()).await;
        read.map_err(|source| ProviderError::Cgroup { step: "read the usage of the instance", source })
    }

    async fn strain(&self, name: &InstanceName) -> Result<Strain, ProviderError> {
        let instance = self.table.find(name).ok_or_else(|| ProviderError::Unknown(name.clone()))?;
        Ok(blocking(move || instance.record.group.strain()).await)
    }

    async fn logs(&self, name: &InstanceName, tail_bytes: u64) -> Result<String, ProviderError> {
        let path = self.table.state.log(name);
        let reading = path.clone();
        match blocking(move || output::tail(&reading, tail_bytes.min(LOG_TAIL_MAX))).await {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ProviderError::Unknown(name.clone()))
            }
            Err(source) => Err(ProviderError::State { step: "read the output", path, source }),
        }
    }

    async fn adopt(&self) -> Result<Vec<InstanceInfo>, ProviderError> {
        adopt::adopt(&self.table).await
    }

    fn events(&self) -> broadcast::Receiver<ProviderEvent> {
        self.table.subscribe()
    }

    async fn shutdown(&self, grace: Duration) -> Result<(), ProviderError> {
        self.shutdown_by(grace, steps::terminate).await
    }
}

impl Drop for ProcessProvider {
    fn drop(&mut self) {
        self.housekeeping.abort();
        self.table.templates.leave();
        self.table.names().iter().for_each(|name| self.table.call_off(name));
        self.table.instances().iter().for_each(|instance| {
            if instance.is_ready() {
                instance.leave();
            }
        });
    }
}

/// Calls a start off when it is dropped: this very start, whoever has the name by then.
pub(crate) struct CallOff(pub(crate) watch::Sender<bool>);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

async fn keep_house(table: Arc<Table>) {
    loop {
        tokio::time::sleep(HOUSE_INTERVAL).await;
        table.templates.keep(&table);
        let table = Arc::clone(&table);
        blocking(move || table.bound_outputs()).await;
    }
}

/// Runs something that blocks on the threads made for that.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is being shut down and will not poll this again.
            Err(_) => std::future::pending().await,
        },
    }
}

/// How often output files and templates are looked at.
const HOUSE_INTERVAL: Duration = Duration::from_millis(500);
/// Most output returned at once, in bytes.
pub(crate) const LOG_TAIL_MAX: u64 = 16 << 20;
