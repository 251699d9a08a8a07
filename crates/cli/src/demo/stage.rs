//! One policy's stage: a real daemon with a real configuration, its proxy and its instances, in a folder of its own.
//!
//! Everything that `foreshadow run` would do happens here too, from the configuration file on; only the process that hosts the
//! control plane is the demo itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use daemon::client::Client;
use daemon::{
    BuildOptions, CapacityConfig, Config, Daemon, DaemonError, End, HistoryImport, ProbeConfig, ServerConfig,
    TrainingConfig, WorkloadConfig,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::place::Place;
use super::plan::Script;

/// Name of the workload.
pub(crate) const WORKLOAD: &str = "web";
/// The stage must be ready within this time after the instances could be.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// HPA's rule, through override pins.
    Hpa,
    /// The planner.
    Foreshadow,
}

impl Policy {
    /// The name in tables and JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Policy::Hpa => "hpa",
            Policy::Foreshadow => "foreshadow",
        }
    }
}

/// A running daemon.
pub(crate) struct Stage {
    client: Client,
    front: SocketAddr,
    api: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    daemon: JoinHandle<Result<(), DaemonError>>,
}

/// Where a stage listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// API and dashboard.
    pub(crate) api: SocketAddr,
    /// The workload behind the proxy.
    pub(crate) front: SocketAddr,
}

impl Addresses {
    /// Two ports that are free now; the dashboard's usual one if it is free.
    ///
    /// # Errors
    /// When the system has no free port.
    pub(crate) fn free() -> std::io::Result<Addresses> {
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT_USUAL));
        let api = match TcpListener::bind(usual) {
            Ok(_) => usual,
            Err(_) => provider::free_address()?,
        };
        Ok(Addresses { api, front: provider::free_address()? })
    }
}

const API_PORT_USUAL: u16 = 7878;

impl Stage {
    /// Writes the configuration, reads it back as `foreshadow run` would, and starts the daemon.
    pub(crate) async fn open(
        script: &Script,
        policy: Policy,
        place: &Place,
        folder: &Path,
        addresses: Addresses,
        history: Option<PathBuf>,
    ) -> anyhow::Result<Stage> {
        let file = folder.join(format!("{}.toml", policy.name()));
        let mut config = config(script, policy, folder, addresses, history);
        place.furnish(script, &mut config)?;
        let text = config.to_toml();
        std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        let config = Config::parse(&text, &file).context("the demo's own configuration is not valid")?;
        let mut options = BuildOptions::of_process().context("cannot find out which program is running")?;
        options.seed = script.seed;
        let daemon = Daemon::build(config, options).await.context("cannot start the demo's daemon")?;
        let api = daemon.api_address();
        let (stop, stopped) = oneshot::channel();
        let end = async move {
            // A dropped sender means the demo itself is ending.
            let _ = stopped.await;
            End::Stop
        };
        let daemon = tokio::spawn(async move { daemon.run(end).await.map(drop) });
        Ok(Stage { client: Client::new(api), front: addresses.front, api, stop: Some(stop), daemon })
    }

    /// Talks to the daemon as anybody would.
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Where the workload is served.
    pub(crate) fn front(&self) -> SocketAddr {
        self.front
    }

    /// Address of dashboard and API.
    pub(crate) fn api(&self) -> SocketAddr {
        self.api
    }

    /// Pins the number of active instances, without standby.
    pub(crate) async fn pin(&self, active: u32, author: &str, reason: &str) -> anyhow::Result<()> {
        pin(self.client, active, author, reason).await
    }

    /// Lets the planner decide.
    pub(crate) async fn release(&self) -> anyhow::Result<()> {
        self.client.clear_override(WORKLOAD).await.context("cannot hand over to the planner")
    }

    /// Waits until exactly `active` instances serve with full weight and nothing else runs.
    pub(crate) async fn settled(&self, script: &Script, active: u32) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + script.start_deadline + READY_WITHIN;
        loop {
            let detail = self.client.workload(WORKLOAD).await.context("the demo's daemon does not answer")?;
            let live = detail.instances.iter().filter(|instance| is_live(instance));
            let serving = detail.instances.iter().filter(|instance| is_serving(instance)).count();
            if serving == active as usize && live.count() == serving {
                return Ok(());
            }
            if self.daemon.is_finished() {
                anyhow::bail!("the demo's daemon ended early");
            }
            if tokio::time::Instant::now() > deadline {
                anyhow::bail!(
                    "only {serving} of {active} instances became ready; see the logs in the state folder"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Stops the instances, the proxy and the daemon, and waits for it.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.daemon
            .await
            .context("the demo's daemon panicked")?
            .context("the demo's daemon did not stop cleanly")
    }
}

/// Pins the number of active instances, without standby.
pub(crate) async fn pin(client: Client, active: u32, author: &str, reason: &str) -> anyhow::Result<()> {
    let request = api::OverrideRequest {
        active: Some(active),
        standby: Some(0),
        author: author.to_owned(),
        reason: reason.to_owned(),
        expires_in_s: None,
    };
    client.set_override(WORKLOAD, &request).await.context("cannot pin the number of instances")?;
    Ok(())
}

/// Whether an instance exists.
pub(crate) fn is_live(instance: &api::Instance) -> bool {
    match instance.phase {
        api::Phase::Starting | api::Phase::Ready | api::Phase::Draining | api::Phase::Stopping => true,
        api::Phase::Halting => true,
        api::Phase::Halted | api::Phase::Stopped | api::Phase::Failed => false,
    }
}

fn is_serving(instance: &api::Instance) -> bool {
    instance.phase == api::Phase::Ready
        && instance.role == api::Role::Active
        && instance.weight == WEIGHT_FULL
}

const WEIGHT_FULL: u32 = 1000;

fn config(
    script: &Script,
    policy: Policy,
    folder: &Path,
    addresses: Addresses,
    history: Option<PathBuf>,
) -> Config {
    let mut server = ServerConfig::new(folder.join(policy.name()));
    server.listen = addresses.api;
    let mut web = WorkloadConfig::new(
        WORKLOAD,
        Vec::new(),
        addresses.front,
        CapacityConfig::Pinned(script.capacity_within_bound()),
    );
    web.step = script.step;
    web.tick = script.tick;
    web.error_budget = script.error_budget;
    web.latency_bound = Some(script.bound);
    web.replicas.max = script.replicas_max;
    web.standby.max = script.replicas_max;
    web.standby.price = script.standby_price;
    web.lead_cold = script.startup;
    web.hold = script.hold;
    web.probe = ProbeConfig::Http("/healthz".to_owned());
    web.probe_interval = PROBE_EVERY;
    web.deadlines.start = script.start_deadline;
    web.history = history.map(|file| HistoryImport { file, column: None, series: None });
    match policy {
        // The pods of a service get traffic in full as soon as they are ready.
        Policy::Hpa => web.shift.first_share = 1.0,
        Policy::Foreshadow => web.shift.step_every = script.compressed(SHIFT_EVERY),
    }
    let (models, training) = (BTreeMap::new(), TrainingConfig::default());
    Config { server, workloads: vec![web], models, training, nodes: Vec::new(), tenants: Vec::new() }
}

/// How often an instance that starts is asked whether it is ready.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Time between two steps of a traffic shift, in the trace's time.
const SHIFT_EVERY: Duration = Duration::from_secs(5);
