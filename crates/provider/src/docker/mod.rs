//! Instances that are containers of one engine: Docker Engine 20.10 and newer, or Podman 4 and newer by its compatible
//! API. Several engines, near or far, are several providers.
//!
//! The engine keeps everything: what a later control plane needs is on the labels of the containers, beside a mark that
//! a start was completed. Nothing an instance needs is held by us.
//!
//! - `engine`, `transport`, `error`: calls with deadlines, over a socket, TLS or ssh, and why they fail.
//! - `table`: who exists, and whose turn it is; `instance`: one of them; `mark`: what is written on a container.
//! - `start`: from an order to a ready instance, with `create`; `steps`: park, promote, resize, stop.
//! - `watch`: the engine's events, and the regular comparison. `adopt`: after a restart.
//! - `loss`: when the engine is gone for good. `logs`, `usage`: what is read. `images`: fetched, made and removed.

mod adopt;
mod config;
mod create;
mod engine;
mod error;
mod images;
mod instance;
mod lenient;
mod logs;
mod loss;
mod mark;
mod spec;
mod start;
mod steps;
mod table;
mod transport;
mod usage;
mod watch;

use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch as channel};
use tokio::task::AbortHandle;

use self::engine::Engine;
use self::mark::Owner;
use self::table::Table;
use crate::error::ProviderError;
use crate::face::{InstanceInfo, Promoted, Provider, ProviderEvent, Strain, Usage};
use crate::name::InstanceName;
use crate::process::state::{Lock, StateDir};
use crate::process::{CallOff, LOG_TAIL_MAX, blocking, output};
use crate::spec::{InstanceSpec, ResourceLimits};

pub use config::{DockerConfig, Endpoint, TlsFiles};
pub use engine::EngineSize;
pub use error::EngineError;
pub use spec::{ContainerSpec, Network, Pull};
pub use watch::EngineHealth;

/// Makes instances that are containers of one engine.
///
/// Dropping it leaves the instances running, for another one to adopt; [`Provider::shutdown`] stops them.
#[derive(Debug)]
pub struct DockerProvider {
    table: Arc<Table>,
    health: channel::Receiver<EngineHealth>,
    watching: AbortHandle,
    _lock: Lock,
}

impl DockerProvider {
    /// Opens the state folder, takes its lock, connects to the engine and begins to watch it. Call [`Provider::adopt`]
    /// next. Must be called inside a tokio runtime with IO and time.
    ///
    /// # Errors
    /// The folder cannot be used, or another control plane uses it, or the engine cannot be reached or used.
    pub async fn connect(config: DockerConfig) -> Result<DockerProvider, ProviderError> {
        let (table, lock) = DockerProvider::prepare(config)?;
        table.engine.agree().await?;
        Ok(DockerProvider::watch(table, lock, EngineHealth::Answers))
    }

    /// The same for an engine that may not be there yet. Call [`Provider::adopt`] when [`DockerProvider::health`] says that it
    /// answers.
    ///
    /// # Errors
    /// The folder cannot be used, or another control plane uses it, or the certificates cannot be used.
    pub fn expect(config: DockerConfig) -> Result<DockerProvider, ProviderError> {
        let (table, lock) = DockerProvider::prepare(config)?;
        let reason = "it has not answered yet".to_owned();
        let lost = EngineHealth::Lost { reason, since: std::time::Instant::now() };
        Ok(DockerProvider::watch(table, lock, lost))
    }

    fn prepare(config: DockerConfig) -> Result<(Table, Lock), ProviderError> {
        let (state, lock) = StateDir::open(&config.state_dir)?;
        let owner = Owner::of(&config.state_dir).map_err(|source| ProviderError::State {
            step: "keep an identity in",
            path: config.state_dir.clone(),
            source,
        })?;
        let engine = Engine::open(&config)?;
        Ok((Table::new(engine, config, state, owner), lock))
    }

    fn watch(table: Table, lock: Lock, health: EngineHealth) -> DockerProvider {
        let table = Arc::new(table);
        let (sender, health) = channel::channel(health);
        let watching = tokio::spawn(watch::watch_over(Arc::clone(&table), sender)).abort_handle();
        DockerProvider { table, health, watching, _lock: lock }
    }

    /// What containers of this provider have in their label `foreshadow.owner`.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.table.owner.as_str()
    }

    /// Whether the engine answers; changes within the check interval and the deadline of the settings.
    #[must_use]
    pub fn health(&self) -> channel::Receiver<EngineHealth> {
        self.health.clone()
    }

    /// Whether all that is ours on the engine has been adopted.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.table.knows_all()
    }

    /// Where its instances are reached.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.table.config.address
    }

    /// Asks for cores and memory of the engine's machine.
    ///
    /// # Errors
    /// It does not answer, or does not know.
    pub async fn size(&self) -> Result<EngineSize, ProviderError> {
        self.table.engine.size().await
    }

    /// Asks the instances themselves, not the engine: true as soon as one passes its probe within `patience`. Those that are
    /// parked cannot; where `parked`, it is enough that a connection to one is taken, which its machine's kernel does.
    pub async fn is_heard(&self, parked: bool, patience: Duration) -> bool {
        loss::is_heard(&self.table, parked, patience).await
    }

    /// Gives up all instances of an engine that is lost, and calls off those that start: they are reported as exited, lost.
    /// Nothing is asked of the engine. Containers that run on there are left alone until [`Provider::adopt`] finds them.
    pub fn give_up(&self) -> Vec<InstanceName> {
        loss::give_up(&self.table)
    }
}

impl Provider for DockerProvider {
    async fn start(&self, spec: InstanceSpec) -> Result<InstanceInfo, ProviderError> {
        spec.validate()?;
        let (turn, call_off) = self.table.reserve(&spec.name)?;
        let called_off = call_off.subscribe();
        // Called off when this future is dropped; without effect once the start is over.
        let _guard = CallOff(call_off);
        let table = Arc::clone(&self.table);
        // A task of its own, so that undoing a start is not cut short by whoever gave up waiting.
        let starting = tokio::spawn(async move {
            let _turn = turn.lock().await;
            let name = spec.name.clone();
            let started = start::start(&table, spec, called_off).await;
            table.finish_start(&name);
            started
        });
        starting.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    async fn park(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let (table, name) = (Arc::clone(&self.table), name.clone());
        // To its end, or the engine has frozen what we take for running.
        let parking = tokio::spawn(async move { steps::park(&table, &name).await });
        parking.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    async fn promote(&self, name: &InstanceName) -> Result<Promoted, ProviderError> {
        steps::promote(&self.table, name).await
    }

    async fn resize(&self, name: &InstanceName, limits: ResourceLimits) -> Result<(), ProviderError> {
        steps::resize(&self.table, name, limits).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), ProviderError> {
        let (table, name) = (Arc::clone(&self.table), name.clone());
        let stopping = tokio::spawn(async move { steps::stop(&table, &name, grace).await });
        stopping.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    fn list(&self) -> Vec<InstanceInfo> {
        self.table.infos()
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage, ProviderError> {
        let instance = self.table.find(name).ok_or_else(|| ProviderError::Unknown(name.clone()))?;
        let health = self.health.borrow().clone();
        usage::usage(&self.table, &instance, health).await
    }

    /// Only where its control group can be seen: the engine takes long to tell.
    async fn strain(&self, name: &InstanceName) -> Result<Strain, ProviderError> {
        let instance = self.table.find(name).ok_or_else(|| ProviderError::Unknown(name.clone()))?;
        let read = blocking(move || Some(instance.place()?.group.as_ref()?.strain())).await;
        Ok(read.unwrap_or_default())
    }

    async fn logs(&self, name: &InstanceName, tail_bytes: u64) -> Result<String, ProviderError> {
        let bytes = tail_bytes.min(LOG_TAIL_MAX);
        if let Some(instance) = self.table.find(name) {
            let engine = &self.table.engine;
            let bytes = bytes.min(instance.facts.log_limit);
            return logs::tail(&self.table, &instance.facts.id, bytes)
                .await
                .map_err(engine.failed("read the output"));
        }
        let path = self.table.state.log(name);
        let reading = path.clone();
        match blocking(move || output::tail(&reading, bytes)).await {
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
        let stop = |name| {
            let table = Arc::clone(&self.table);
            tokio::spawn(async move { steps::stop(&table, &name, grace).await })
        };
        let stops: Vec<_> = self.table.names().into_iter().map(stop).collect();
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
        first_failure
    }
}

impl Drop for DockerProvider {
    fn drop(&mut self) {
        self.watching.abort();
        self.table.names().iter().for_each(|name| self.table.call_off(name));
    }
}
