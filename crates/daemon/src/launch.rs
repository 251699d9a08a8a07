//! Taking hold of everything the daemon needs, and letting go of it.
//!
//! The order matters: the state folder's lock first, so that a second daemon touches nothing of the first; then the
//! ports; then the proxy and the instances that an earlier daemon left, which keep serving all the while. The first
//! route table repeats what the proxy has, so a restart of the control plane is not visible to any client.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use history::{HistoryError, Store};
use planner::{Event, Planner};
use provider::{InstanceInfo, Provider, ProviderEvent, Providers};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::adoption::Adoption;
use crate::config::Config;
use crate::control_loop::{
    ControlLoop, Deploys, EngineNodes, Inlets, Pausing, ProxyState, Published, Unwell, Workload, override_key,
};
use crate::data_plane::DataPlane;
use crate::error::{DaemonError, chain};
use crate::externals::Externals;
use crate::http::{self, Api};
use crate::knowledge::Knowledge;
use crate::left_children::LeftChildren;
use crate::metrics::Metrics;
use crate::models::Repository;
use crate::providers;
use crate::proxy_process::{self, ProxyPlace};
use crate::recent::Recent;
use crate::recorder::{Recorder, clock};
use crate::router::Router;
use crate::trainer::Trainer;
use crate::view::View;
use crate::{inventory, learn, nodes, request_samples, sticky, usage};

/// What does not belong into a configuration file.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Program and first arguments that run the proxy; `--control-socket PATH` is appended. Normally
    /// `[current_exe, "proxy"]`.
    pub proxy_command: Vec<OsString>,
    /// Program and first arguments that run [`tether`](crate::external_model::tether), to which the number of this process and a
    /// command are appended. Normally `[current_exe, "tether"]`.
    pub tether_command: Vec<OsString>,
    /// Seed of the planner's randomness.
    pub seed: u64,
    /// Children that this process has already are those of the program that it was before, and nobody else waits for their end.
    pub waits_for_children: bool,
}

impl BuildOptions {
    /// Proxy and tether as hidden subcommands of the running program.
    ///
    /// # Errors
    /// When the path of the running program cannot be found out.
    pub fn of_process() -> std::io::Result<BuildOptions> {
        let program = OsString::from(std::env::current_exe()?);
        let part = |name: &str| vec![program.clone(), name.into()];
        Ok(BuildOptions {
            proxy_command: part("proxy"),
            tether_command: part("tether"),
            seed: 0,
            waits_for_children: false,
        })
    }
}

/// A daemon that holds its state folder, its API address and its data plane, ready to run.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    tether: Vec<OsString>,
    store: Arc<Store>,
    listener: TcpListener,
    api_address: SocketAddr,
    provider: Arc<Providers>,
    /// Listens since before the adoption, so that no end of an instance is missed.
    exits: broadcast::Receiver<ProviderEvent>,
    left_children: LeftChildren,
    /// Left over from an earlier daemon and of no use.
    unwanted: Vec<InstanceInfo>,
    planner: Planner,
    workloads: Vec<Workload>,
    adopted: Vec<(usize, Event)>,
    next_instance: u64,
    proxy: ProxyLink,
}

#[derive(Debug)]
struct ProxyLink {
    place: ProxyPlace,
    plane: DataPlane,
    /// Set when this daemon started it.
    child: Option<Child>,
    generation: u64,
}

impl Daemon {
    /// Opens the state folder, binds the API address, finds or starts the proxy, adopts the instances that run.
    ///
    /// # Errors
    /// Anything that keeps the daemon from serving, each with what to do.
    pub async fn build(config: Config, options: BuildOptions) -> Result<Daemon, DaemonError> {
        let mut left_children = LeftChildren::default();
        if options.waits_for_children {
            left_children = LeftChildren::find();
        }
        let state_dir = prepare(&config.server.state_dir)?;
        let place = ProxyPlace::new(options.proxy_command, &state_dir)?;
        let (mut config, store, learned, known) = open_history(config, state_dir.join("history")).await?;
        sticky::fill_secrets(&mut config, &state_dir)?;
        let listen = config.server.listen;
        let refused = |source| DaemonError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let api_address = listener.local_addr().map_err(refused)?;
        let provider = providers::open(&config, &state_dir).await?;
        inventory::fill(&mut config, &provider).await;

        let exits = provider.events();
        let (plane, child) = DataPlane::open(&config, &place).await?;
        let mut proxy = ProxyLink { place, plane, child, generation: 0 };
        let adopted = provider.adopt().await.map_err(DaemonError::Provider)?;
        left_children.leave(adopted.iter().map(|info| info.pid));
        let adopted = adopted.into_iter().map(|info| (provider.node_of(&info.name), info)).collect();
        let mut adoption = Adoption::new(&config, &store, options.seed, learned, known, adopted)?;
        let silent = provider.engines().filter(|(_, engine)| !engine.knows_all());
        let silent: Vec<_> = silent.map(|(_, engine)| engine.address()).collect();
        match adoption.first_table(&config, &proxy.plane, &silent).await {
            Ok(generation) => proxy.generation = generation,
            Err(error) => {
                // A proxy that was started for nothing must not stay; one that was found keeps serving.
                if let Some(child) = &mut proxy.child {
                    let _ = child.kill().await;
                }
                return Err(error);
            }
        }
        let Adoption { planner, workloads, adopted, unwanted, next_instance } = adoption;
        Ok(Daemon {
            config,
            tether: options.tether_command,
            store,
            listener,
            api_address,
            provider: Arc::new(provider),
            exits,
            left_children,
            unwanted,
            planner,
            workloads,
            adopted,
            next_instance,
            proxy,
        })
    }

    /// Address of the HTTP API and dashboard; the real port where port 0 was configured.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Serves until `end` completes, then stops every instance and the proxy, or leaves them for the next daemon. Returns which.
    ///
    /// # Errors
    /// A failure that ended it, or one during the orderly shutdown. When a part of the control plane failed, the proxy
    /// and the instances are left serving for the next daemon.
    pub async fn run(self, end: impl Future<Output = End> + Send) -> Result<End, DaemonError> {
        let started_at = clock();
        let (view, viewed) = watch::channel(Arc::new(View {
            proxy: api::ProxyStatus {
                connected: true,
                pid: None,
                generation: self.proxy.generation,
                restarts: 0,
            },
            problems: Vec::new(),
            nodes: Vec::new(),
            workloads: Vec::new(),
            training: api::Training::default(),
        }));
        let state = |source| DaemonError::State {
            step: "start a thread for",
            path: self.config.server.state_dir.clone(),
            source,
        };
        let recorder = Recorder::start(self.store.clone()).map_err(state)?;
        let metrics = Arc::new(Metrics::new(viewed.clone(), recorder.health()));
        let recent = Arc::new(Recent::new(started_at));
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let (applied_in, applied) = mpsc::channel(INPUTS_MAX);
        let (news_in, news) = mpsc::channel(INPUTS_MAX);
        let (readings_in, readings) = mpsc::channel(INPUTS_MAX);
        let (engines_in, engines) = mpsc::channel(INPUTS_MAX);
        let (trained_in, trained) = mpsc::channel(INPUTS_MAX);
        let (heard_in, heard) = mpsc::channel(INPUTS_MAX);
        let (restarter, restarts) = mpsc::channel(1);
        let mut inlets = Inlets {
            applied,
            proxy: news,
            provider: self.exits,
            usage: readings,
            engines,
            commands,
            trained,
            heard,
        };
        let externals = Externals::start(&self.config, &self.tether, &heard_in).map_err(state)?;
        drop(heard_in);
        let training = &self.config.training;
        let models = Repository::new(self.store.clone(), recent.clone(), training.limits());
        let trainer = if self.config.workloads.iter().any(|workload| !workload.models.is_empty()) {
            let names = self.config.workloads.iter().map(|workload| workload.name.clone()).collect();
            Some(Trainer::start(names, models.clone(), training.cpu_max, trained_in).map_err(state)?)
        } else {
            None
        };
        let api = Arc::new(Api {
            view: viewed,
            commands: commands_in,
            store: self.store,
            models,
            recent: recent.clone(),
            health: recorder.health(),
            metrics: metrics.clone(),
            metric_forecasts: Arc::default(),
            started_at,
            address: self.api_address,
            transfers: Semaphore::new(http::TRANSFERS_MAX),
            knowledge: tokio::sync::Mutex::new(()),
        });

        let ProxyLink { place, plane, child, generation } = self.proxy;
        // One connection for tables and one for readings: a table never waits for a reading.
        let reader = plane.again(&place).await.map_err(DaemonError::ProxyTable)?;
        let silent_hint = plane.silent_hint();
        let restarter = matches!(plane, DataPlane::Builtin(_)).then_some(restarter);
        let router = Router::start(plane, generation, applied_in);
        let mut core = ControlLoop {
            planner: self.planner,
            provider: self.provider.clone(),
            router,
            recorder,
            recent,
            metrics,
            view,
            workloads: self.workloads,
            proxy: ProxyState { connected: true, silent_hint, restarter, ..ProxyState::default() },
            trainer,
            pausing: Pausing::default(),
            deploys: Deploys::default(),
            externals,
            executions: JoinSet::new(),
            engine_nodes: EngineNodes::new(&self.config, &self.provider, engines_in.clone()),
            unwell: Unwell::default(),
            node_work: JoinSet::new(),
            raising: JoinSet::new(),
            problems: BTreeMap::new(),
            notes: Vec::new(),
            began: (clock(), Instant::now()),
            tidied: Instant::now(),
            published: Published { at: Instant::now(), stale: true },
            left_children: self.left_children,
            next_instance: self.next_instance,
        };
        core.begin_nodes();
        core.recall_experience(&api.store);
        for (workload, event) in self.adopted {
            core.handle(workload, event);
        }
        core.restore_sessions(&api.store);
        core.restore_overrides(&api.store);
        core.restore_backfills(&api.store);
        core.restore_forecast_overrides(&api.store);
        // Somebody did so once, and the journal has it.
        core.notes.retain(|note| !matches!(note.kind.as_str(), "override_set" | "forecast_override_set"));
        core.note_start();
        core.find_outdated();
        core.find_deploys(&api.store);
        core.restore_training(&api.store, self.config.training.paused);
        core.load_champions();
        core.publish();

        let mut tasks = JoinSet::new();
        let (stop_api, api_stopped) = watch::channel(false);
        let api_store = api.store.clone();
        let serving = http::serve(self.listener, http::router(api), stopped(api_stopped));
        let serving = tokio::spawn(serving);
        tasks.spawn(proxy_process::watch(
            place.clone(),
            reader.clone(),
            child,
            poll_every(&self.config),
            news_in,
            restarts,
        ));
        if let (Some(inbox), DataPlane::Builtin(client)) = (core.recorder.inbox(), &reader) {
            let workloads = self.config.workloads.clone();
            tasks.spawn(request_samples::watch(workloads, client.clone(), api_store, inbox));
        }
        let sized = self.config.workloads.iter().filter(|workload| workload.sizing.is_some());
        let sized: BTreeSet<String> = sized.map(|workload| workload.name.clone()).collect();
        if !sized.is_empty() {
            tasks.spawn(usage::look(self.provider.clone(), sized, readings_in.clone()));
        }
        tasks.spawn(usage::watch(self.provider.clone(), readings_in));
        if self.provider.engines().next().is_some() {
            tasks.spawn(nodes::watch(self.provider.clone(), engines_in));
        }
        tasks.spawn(stop_removed(self.provider.clone(), self.unwanted));
        let mut how = End::Stop;
        let result = core.run(&mut inlets, async { how = end.await }).await;
        if let Some(trainer) = &core.trainer {
            trainer.stop();
        }
        core.externals.end().await;
        core.keep_experience();
        // Nobody reads them any more, and whoever waits to leave something must not wait for ever.
        drop(inlets);

        tasks.shutdown().await;
        core.executions.shutdown().await;
        core.node_work.shutdown().await;
        let grace = self.config.workloads.iter().map(|w| w.deadlines.stop).max().unwrap_or_default();
        let ended = match result {
            Ok(()) if how == End::HandOver => Ok(()),
            Ok(()) => shut_down(&reader, &place, &self.provider, &self.config, grace).await,
            Err(task) => Err(DaemonError::Stopped { task }),
        };
        stop_api.send_replace(true);
        let _ = serving.await;
        // Dropping the recorder writes what is left, which blocks on the disk.
        let _ = tokio::task::spawn_blocking(move || drop(core)).await;
        ended.map(|()| how)
    }
}

/// What becomes of the proxy and the instances when a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// They end with it.
    Stop,
    /// They serve on, and the next daemon takes them over.
    HandOver,
}

/// Makes the state folder and names it absolutely.
fn prepare(state_dir: &std::path::Path) -> Result<PathBuf, DaemonError> {
    let failed = |step| move |source| DaemonError::State { step, path: state_dir.to_owned(), source };
    std::fs::create_dir_all(state_dir).map_err(failed("make the state folder"))?;
    state_dir.canonicalize().map_err(failed("find the state folder"))
}

/// Opens the history and learns from it, on a thread that may block.
async fn open_history(
    config: Config,
    dir: PathBuf,
) -> Result<(Config, Arc<Store>, Vec<learn::Learned>, Vec<Knowledge>), DaemonError> {
    let work = move || {
        let store = Store::open(&dir).map_err(|error| match error {
            HistoryError::Locked { dir, holder } => DaemonError::InUse { path: dir, holder },
            other => DaemonError::History(other),
        })?;
        let now = clock();
        let learned: Result<Vec<_>, _> =
            config.workloads.iter().map(|workload| learn::demand(&store, workload, now)).collect();
        let known: Result<Vec<_>, _> =
            config.workloads.iter().map(|workload| Knowledge::read(&store, workload, now)).collect();
        let (learned, known) = (learned?, known.map_err(DaemonError::History)?);
        Ok((config, Arc::new(store), learned, known))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| DaemonError::Stopped { task: "history reader" })?
}

/// Stops what is left of workloads that are no longer configured; what may have served, once its requests had time to end.
async fn stop_removed(provider: Arc<Providers>, unwanted: Vec<InstanceInfo>) {
    let (busy, idle): (Vec<_>, Vec<_>) = unwanted.into_iter().partition(|info| info.ready && !info.parked);
    stop_unwanted(Arc::clone(&provider), idle).await;
    if !busy.is_empty() {
        tokio::time::sleep(REMOVED_FINISH).await;
        stop_unwanted(provider, busy).await;
    }
}

/// Stops instances that no configured workload wants.
pub(crate) async fn stop_unwanted(provider: Arc<Providers>, unwanted: Vec<InstanceInfo>) {
    for info in unwanted {
        tracing::info!(name = %info.name, "stopping an instance of an earlier daemon that is of no use");
        if let Err(error) = provider.stop(&info.name, UNWANTED_GRACE).await {
            tracing::warn!(error = chain(&error), "an unwanted instance could not be stopped");
        }
    }
}

/// Ends the data plane and then the instances: requests in flight are answered first.
async fn shut_down(
    plane: &DataPlane,
    place: &ProxyPlace,
    provider: &Providers,
    config: &Config,
    grace: Duration,
) -> Result<(), DaemonError> {
    let drain = config.workloads.iter().map(|w| w.deadlines.drain).max().unwrap_or_default().min(DRAIN_MAX);
    plane.end(place, drain).await;
    provider.shutdown(grace).await.map_err(DaemonError::Provider)
}

/// How often the proxy is asked for its counters.
fn poll_every(config: &Config) -> Duration {
    let tick = config.workloads.iter().map(|w| w.tick).min().unwrap_or(POLL_MAX);
    tick.clamp(POLL_MIN, POLL_MAX)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender is kept until the end; if it goes, that is the end, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl ControlLoop {
    /// Puts the overrides into force that an earlier daemon had and that have not expired.
    fn restore_overrides(&mut self, store: &Store) {
        for index in 0..self.workloads.len() {
            let key = override_key(self.workloads[index].name());
            let value = store.get(&key).ok().flatten().unwrap_or_default();
            let Ok(set) = serde_json::from_slice::<api::Override>(&value) else { continue };
            if set.expires_at_ms.is_none_or(|at| at > clock().as_millis()) {
                self.put_override(index, &set);
            }
        }
    }
}

const COMMANDS_MAX: usize = 64;
const INPUTS_MAX: usize = 64;
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_millis(250);
/// As long as instances are waited for that drain, where nothing else is configured.
const REMOVED_FINISH: Duration = Duration::from_secs(30);
const UNWANTED_GRACE: Duration = Duration::from_secs(5);
const DRAIN_MAX: Duration = Duration::from_secs(10);
