//! Several providers behind one face: an order says which of them makes an instance, its name which of them has it.

mod engines;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use crate::docker::DockerProvider;
use crate::error::ProviderError;
use crate::face::{EVENTS_MAX, InstanceInfo, Promoted, Provider, ProviderEvent, Strain, Usage};
use crate::name::InstanceName;
use crate::process::ProcessProvider;
use crate::spec::{InstanceSpec, ResourceLimits};
use crate::vm::VmProvider;

/// Processes of this machine, containers of any number of engines, and virtual machines.
///
/// Instances have names of their own over all of them.
#[derive(Debug)]
pub struct Providers {
    processes: ProcessProvider,
    machines: Option<VmProvider>,
    /// By the node whose engine it is; an order for no node goes to the first.
    engines: BTreeMap<String, DockerProvider>,
    homes: Homes,
    events: broadcast::Sender<ProviderEvent>,
    forwarding: Vec<AbortHandle>,
}

/// Which provider has an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Home {
    Processes,
    Machines,
    /// The engine of this node.
    Engine(String),
}

type Homes = Arc<Mutex<BTreeMap<InstanceName, Home>>>;

/// Calls a provider by its home; `None` where there is none of this kind.
macro_rules! at {
    ($providers:expr, $home:expr, $provider:ident => $call:expr) => {
        match $home {
            Home::Processes => {
                let $provider = &$providers.processes;
                Some($call)
            }
            Home::Machines => match &$providers.machines {
                Some($provider) => Some($call),
                None => None,
            },
            Home::Engine(node) => match $providers.engines.get(node) {
                Some($provider) => Some($call),
                None => None,
            },
        }
    };
}

impl Providers {
    /// Puts them together. Call [`Provider::adopt`] next. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(
        processes: ProcessProvider,
        machines: Option<VmProvider>,
        engines: BTreeMap<String, DockerProvider>,
    ) -> Providers {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let homes = Homes::default();
        let mut providers = Providers { processes, machines, engines, homes, events, forwarding: Vec::new() };
        let sources = providers.homes_of_all();
        let sources = sources.iter().filter_map(|home| at!(providers, home, provider => provider.events()));
        providers.forwarding = sources
            .map(|source| {
                let forward = forward(source, providers.events.clone(), Arc::clone(&providers.homes));
                tokio::spawn(forward).abort_handle()
            })
            .collect();
        providers
    }

    fn homes_of_all(&self) -> Vec<Home> {
        let machines = self.machines.iter().map(|_| Home::Machines);
        let engines = self.engines.keys().cloned().map(Home::Engine);
        std::iter::once(Home::Processes).chain(machines).chain(engines).collect()
    }

    /// Where an order is carried out.
    fn home_for(&self, spec: &InstanceSpec) -> Result<Home, ProviderError> {
        let refused = |problem: String| ProviderError::InvalidSpec { name: spec.name.clone(), problem };
        if let Some(container) = &spec.container {
            let node = container.node.clone().or_else(|| self.engines.keys().next().cloned());
            let node = node.filter(|node| self.engines.contains_key(node));
            return node.map(Home::Engine).ok_or_else(|| {
                refused(match &container.node {
                    Some(node) => format!("there is no engine of containers on {node}"),
                    None => "there is no engine of containers".to_owned(),
                })
            });
        }
        match (&spec.machine, &self.machines) {
            (None, _) => Ok(Home::Processes),
            (Some(_), Some(_)) => Ok(Home::Machines),
            (Some(_), None) => Err(refused("there is no provider of machines".to_owned())),
        }
    }

    fn home_of(&self, name: &InstanceName) -> Result<Home, ProviderError> {
        self.homes().get(name).cloned().ok_or_else(|| ProviderError::Unknown(name.clone()))
    }

    fn homes(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Home>> {
        // The map is never left half-changed.
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an instance its home, unless it has one.
    fn settle(&self, name: &InstanceName, home: &Home) -> Result<(), ProviderError> {
        let mut homes = self.homes();
        if homes.contains_key(name) {
            return Err(ProviderError::NameTaken(name.clone()));
        }
        homes.insert(name.clone(), home.clone());
        Ok(())
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        self.forwarding.iter().for_each(AbortHandle::abort);
    }
}

impl Provider for Providers {
    async fn start(&self, spec: InstanceSpec) -> Result<InstanceInfo, ProviderError> {
        let (name, home) = (spec.name.clone(), self.home_for(&spec)?);
        self.settle(&name, &home)?;
        // Also when this future is dropped: the start is undone then.
        let mut settled = Settled { homes: &self.homes, name: Some(name.clone()) };
        let started = match at!(self, &home, provider => provider.start(spec).await) {
            Some(started) => started?,
            None => return Err(ProviderError::Unknown(name)),
        };
        settled.name = None;
        Ok(started)
    }

    async fn park(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let home = self.home_of(name)?;
        known(name, at!(self, &home, provider => provider.park(name).await))
    }

    async fn promote(&self, name: &InstanceName) -> Result<Promoted, ProviderError> {
        let home = self.home_of(name)?;
        known(name, at!(self, &home, provider => provider.promote(name).await))
    }

    async fn resize(&self, name: &InstanceName, limits: ResourceLimits) -> Result<(), ProviderError> {
        let home = self.home_of(name)?;
        known(name, at!(self, &home, provider => provider.resize(name, limits).await))
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), ProviderError> {
        let home = self.home_of(name)?;
        let stopped = known(name, at!(self, &home, provider => provider.stop(name, grace).await));
        if matches!(stopped, Ok(()) | Err(ProviderError::Unknown(_))) {
            self.homes().remove(name);
        }
        stopped
    }

    fn list(&self) -> Vec<InstanceInfo> {
        let homes = self.homes_of_all();
        let lists = homes.iter().filter_map(|home| at!(self, home, provider => provider.list()));
        let mut all: Vec<InstanceInfo> = lists.flatten().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage, ProviderError> {
        let home = self.home_of(name)?;
        known(name, at!(self, &home, provider => provider.usage(name).await))
    }

    async fn strain(&self, name: &InstanceName) -> Result<Strain, ProviderError> {
        let home = self.home_of(name)?;
        known(name, at!(self, &home, provider => provider.strain(name).await))
    }

    async fn logs(&self, name: &InstanceName, tail_bytes: u64) -> Result<String, ProviderError> {
        let home = self.home_of(name);
        let mut error = ProviderError::Unknown(name.clone());
        // One that has ended has no home any more; its provider still knows what it said.
        for home in home.map_or_else(|_| self.homes_of_all(), |home| vec![home]) {
            match known(name, at!(self, &home, provider => provider.logs(name, tail_bytes).await)) {
                Err(ProviderError::Unknown(_)) => {}
                Err(other) => error = other,
                Ok(text) => return Ok(text),
            }
        }
        Err(error)
    }

    async fn adopt(&self) -> Result<Vec<InstanceInfo>, ProviderError> {
        let mut all = Vec::new();
        for home in self.homes_of_all().into_iter().filter(|home| !self.is_silent(home)) {
            let adopted = at!(self, &home, provider => provider.adopt().await).unwrap_or(Ok(Vec::new()))?;
            let names = adopted.iter().map(|info| (info.name.clone(), home.clone()));
            self.homes().extend(names);
            all.extend(adopted);
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    fn events(&self) -> broadcast::Receiver<ProviderEvent> {
        self.events.subscribe()
    }

    async fn shutdown(&self, grace: Duration) -> Result<(), ProviderError> {
        let homes = self.homes_of_all();
        let ends = homes
            .iter()
            .map(async |home| at!(self, home, provider => provider.shutdown(grace).await).unwrap_or(Ok(())));
        let ended: Result<(), ProviderError> = join_all(ends).await.into_iter().collect();
        self.homes().clear();
        ended
    }
}

/// Takes a name away again unless told not to.
struct Settled<'a> {
    homes: &'a Homes,
    name: Option<InstanceName>,
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.homes.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }
}

/// What a provider said, or that there is none.
fn known<T>(name: &InstanceName, said: Option<Result<T, ProviderError>>) -> Result<T, ProviderError> {
    said.unwrap_or_else(|| Err(ProviderError::Unknown(name.clone())))
}

/// Passes the events of one provider on, until it is gone.
async fn forward(
    mut source: broadcast::Receiver<ProviderEvent>,
    events: broadcast::Sender<ProviderEvent>,
    homes: Homes,
) {
    loop {
        let event = match source.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Closed) => return,
            // More at once than are kept: what has ended is then found out by the next order for it.
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events of instances were missed");
                continue;
            }
        };
        let ProviderEvent::Exited { name, .. } = &event;
        homes.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        // Nobody may be listening.
        let _ = events.send(event);
    }
}
