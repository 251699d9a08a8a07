//! What a configuration says. Each field gives its unit, its default and what changing it does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use forecast::models::Kind;
use planner::StoppedLevel;
use provider::ContainerSpec;

use super::engine::EngineConfig;
use super::limits::LimitsConfig;
use super::machine::MachineConfig;
use super::protocols::ProtocolsConfig;
use super::qemu::QemuConfig;
use super::retrain::RetrainSettings;
use super::router::RouterConfig;
use super::sessions::SessionsConfig;
use super::sharing::{NodeConfig, TenantConfig};
use super::training::TrainingConfig;

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`: the daemon itself.
    pub server: ServerConfig,
    /// `[[workload]]`: one for each workload, at least one.
    pub workloads: Vec<WorkloadConfig>,
    /// `[model.NAME]`: models of yours, which workloads name as `"external:NAME"`.
    pub models: BTreeMap<String, ModelConfig>,
    /// `[training]`: what the training of models in the background may use and keep.
    pub training: TrainingConfig,
    /// `[[node]]`: what instances run on. Without it, there is taken to be room for all of them.
    pub nodes: Vec<NodeConfig>,
    /// `[[tenant]]`: who shares it.
    pub tenants: Vec<TenantConfig>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// `listen`: address of the HTTP API and dashboard. Default `127.0.0.1:7878`. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// `allow_remote`: must be `true` for a `listen` address that other machines can reach, because the API has no
    /// login. Default `false`.
    pub allow_remote: bool,
    /// `state_dir`: folder of history, instance state and logs, relative to the configuration file. One daemon at a
    /// time. Default `foreshadow-state`.
    pub state_dir: PathBuf,
    /// `router`: who forwards the requests. Default `"builtin"`.
    pub router: RouterConfig,
    /// `docker`: the engine of workloads that are containers, where there is no `[[node]]` with one. Default: this machine's.
    pub docker: EngineConfig,
    /// `qemu`: how workloads that are virtual machines are executed. Default: by KVM if it works here.
    pub qemu: QemuConfig,
}

/// `{ cpu, memory }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NeedsConfig {
    /// `cpu`: cores.
    pub cpu: f64,
    /// `memory`: bytes.
    pub memory: u64,
}

/// `[model.NAME]`: a command that speaks the protocol of `docs/external-models.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// `command`: program and arguments. A program without `/` is looked for in `PATH`. Required.
    pub command: Vec<String>,
    /// `env`: variables beside `PATH`, `HOME` and `LANG`, which are all it gets otherwise. Default none.
    pub env: BTreeMap<String, String>,
    /// `working_dir`: where it runs, relative to the configuration file. Default the file's folder.
    pub working_dir: PathBuf,
    /// `answer_within`: how long a forecast may take. Default `5s`. A model that takes longer than some steps has no part
    /// in forecasts meanwhile.
    pub answer_within: Duration,
    /// `fit_within`: how long learning from a history may take. Default `10m`.
    pub fit_within: Duration,
}

/// `[[workload]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadConfig {
    /// `name`: lower case letters, digits and `-`, at most 40. Required, unique.
    pub name: String,
    /// `command`: program and arguments of one instance; `{port}` stands for the port it must listen on, which it also
    /// finds in the variable `PORT`. A program without `/` is looked for in `PATH`. Required.
    pub command: Vec<String>,
    /// `env`: variables added to the instance's environment. Default none.
    pub env: BTreeMap<String, String>,
    /// `working_dir`: where instances run, relative to the configuration file. Default the file's folder.
    pub working_dir: Option<PathBuf>,
    /// `container`: instances are containers of an image; `command` is then optional and replaces the image's.
    pub container: Option<ContainerSpec>,
    /// `machine`: instances are virtual machines; `command` is then the kernel command line.
    pub machine: Option<MachineConfig>,
    /// `user`: who runs instances, a name or `"UID:GID"`. Default: who runs foreshadow. Needs root.
    pub user: Option<String>,
    /// `listen`: address on which the proxy serves this workload. Required unless `demand = "push"`; without it
    /// nothing is routed.
    pub listen: Option<SocketAddr>,
    /// `unit`: what demand is counted in, for display. Default `requests/s`.
    pub unit: String,
    /// `demand`: `"proxy"` counts arrivals at the proxy, `"push"` takes samples from the API, `"cost"` counts
    /// what the arrivals are expected to cost (see `admission`). Default `"proxy"`.
    pub demand: DemandSource,
    /// `step`: length of one demand sample. Default `1m`. Shorter reacts to faster patterns but sees more noise;
    /// longer sees further for the same work.
    pub step: Duration,
    /// `tick`: longest time between two plans, at most `step`. Default `1s` (or `step` if that is shorter). Shorter
    /// notices a surge earlier and costs more CPU.
    pub tick: Duration,
    /// `time_zone`: IANA name such as `"Europe/Berlin"`: adds the calendar of that place (hours, days, weeks).
    /// Default none: seasons are found from the data alone.
    pub time_zone: Option<String>,
    /// `holidays`: public holidays of these places, such as `["DE-BY"]` or `["US"]`; their effect on demand is learned.
    /// Needs `time_zone`. Default none.
    pub holidays: Vec<String>,
    /// `covariates`: names of pushed metrics (without labels) whose effect on demand is learned, such as
    /// `["temperature"]`. Their values may lie in the future, as those of a weather forecast do; where they are not known,
    /// the usual is assumed. Default none.
    pub covariates: Vec<String>,
    /// `capacity`: demand one instance serves within its objective, in `unit`: a number, or `{ learn_from = N }` to
    /// start at N and learn. Required. Too high a number starves requests, too low wastes instances.
    pub capacity: CapacityConfig,
    /// `error_budget`: share of demand that may find no capacity. Default `0.001`. Smaller keeps more headroom.
    pub error_budget: f64,
    /// `latency_bound`: an answer later than this counts as missed. Default none.
    pub latency_bound: Option<Duration>,
    /// `replicas`: bounds of the number of instances.
    pub replicas: ReplicasConfig,
    /// `[[workload.scope]]`: `replicas_min`, `replicas_max` and `standby_min` for some times only, by `name`, `days`, `except`,
    /// `from` and `to`; needs `time_zone`. `days` and `except` are lists of `"mon"`, `"mon-fri"`, `"holiday"` (see `holidays`),
    /// `"2026-12-24"` or `"2026-12-24..2026-12-26"`; default every day, and none. A scope that ends at or before the time of day at
    /// which it begins ends on the next day. Of several in force the last that names a bound decides it. A minimum is met
    /// when it begins: instances are started a cold lead time before.
    pub scopes: Vec<planner::Scope>,
    /// `standby`: bounds and price of the warm pool.
    pub standby: StandbyConfig,
    /// `stopped = { price, lead }`: what is not worth its price as a standby may be stopped with its name kept, and restarted
    /// under it. Default none: it is removed.
    pub stopped: Option<StoppedLevel>,
    /// `start_cost`: one start costs as much as an active instance over this time. Default `lead_cold`.
    /// Longer keeps instances rather than restarting them.
    pub start_cost: Option<Duration>,
    /// `lead_cold`: first guess of the time from decision to ready of a new instance; measured afterwards. Default `10s`.
    pub lead_cold: Duration,
    /// `lead_promote`: first guess of the time from decision to traffic of a parked instance; measured afterwards.
    /// Default `50ms`.
    pub lead_promote: Duration,
    /// `forecast_horizon`: forecasts are learned at least so far ahead, at most 4,096 steps. Farther ones than are learned are as
    /// sure as the farthest that is. Default 288 steps.
    pub forecast_horizon: Option<Duration>,
    /// `hold`: how long capacity is kept before it may shrink. Default `1m`. Longer is calmer and dearer.
    pub hold: Duration,
    /// `margin`: `"controlled"` learns the headroom that meets `error_budget`; a number such as `0.2`, or `{ fixed = 0.2 }`, adds
    /// a fixed share to the forecast instead. Default `"controlled"`.
    pub margin: MarginConfig,
    /// `clone_threshold`: one more instance is wanted as soon as the demand seen exceeds this share of what the active ones
    /// serve, such as `0.8`, whatever is forecast; `"learned"`: the highest share that would have kept `error_budget` so far. Default
    /// none: the forecast decides. Lower keeps more instances.
    pub clone_threshold: Option<planner::CloneThreshold>,
    /// `mode`: `"act"` carries plans out, `"observe"` only shows them. Default `"act"`.
    pub mode: Mode,
    /// `probe`: `"tcp"` (a connection succeeds) or an HTTP path such as `"/healthz"` (answers 2xx). Default `"tcp"`.
    pub probe: ProbeConfig,
    /// `probe_interval`: time between probes while an instance starts. Default `20ms`. Shorter sees readiness sooner
    /// and costs more probes.
    pub probe_interval: Duration,
    /// `probe_timeout`: a probe that takes longer failed, also the one that verifies a promotion. Default `1s`.
    pub probe_timeout: Duration,
    /// `health`: checks by the proxy of instances in traffic; only with an HTTP probe.
    pub health: HealthConfig,
    /// `listen_mode`: `"port"` (the instance listens on `{port}`) or `"socket"` (it gets a listening socket as file
    /// descriptor 3, as with systemd's socket activation). Default `"port"`.
    pub listen_mode: ListenMode,
    /// `shift`: how traffic moves to a newly active instance.
    pub shift: ShiftConfig,
    /// `deadlines`: how long each action may take before it counts as failed.
    pub deadlines: DeadlinesConfig,
    /// `wait`: how long a request may wait at the proxy while no instance is usable. Default `10s`.
    pub wait: Duration,
    /// `wait_max`: how many requests may wait at once; more are refused with 503. Default `1024`.
    pub wait_max: u32,
    /// What the proxy speaks with clients and instances.
    pub protocols: ProtocolsConfig,
    /// `history`: a CSV file with earlier demand to learn from on the first start. Default none.
    pub history: Option<HistoryImport>,
    /// `models`: models trained in the background and combined with the online core: a list such as
    /// `["boosted", "smoothing"]`, or `"auto"` (or `"all"`) for all there are. Default none: the online core alone.
    /// Each sees more of long patterns and costs training time on one core in the background. `"auto"` may also be in the
    /// list, and `"external:NAME"` stands for the command of `[model.NAME]`.
    pub models: Vec<Kind>,
    /// The names of the external ones among `models`.
    pub external: Vec<String>,
    /// `retrain`: when those models are trained anew, and what counts as trouble before.
    pub retrain: RetrainSettings,
    /// `log_limit`: bytes of output kept for each instance, such as `"1MiB"`. Default `1MiB`.
    pub log_limit: u64,
    /// `limits`: resources of one instance.
    pub limits: LimitsConfig,
    /// `fork`: fork instances from an initialised process; the program must know how. Default false.
    pub fork: bool,
    /// `reclaim`: take the memory of parked instances back, where the kernel can. Default false: a promotion is slower then.
    pub reclaim: bool,
    /// `sizing`: instances get larger and smaller by what they use, from `limits` on. Default: they stay as `limits` says.
    pub sizing: Option<planner::SizingPolicy>,
    /// `profiles = { standby = { cpu, memory } }`: standbys of another size than active instances. Default: all are alike.
    pub profiles: Option<planner::Profiles>,
    /// `sessions`: instances hold sessions, which are put on them by the API and not cut short. Default none.
    pub sessions: Option<SessionsConfig>,
    /// `[workload.admission]`: requests are admitted and placed by what they are predicted to cost. `costs` lists what they take
    /// of an instance, each `{ name, measure, per_instance, quantile, initial }`; `numbers` and `names` what of a request tells how
    /// much; `endpoints` which are alike; `classes`, `class_header` and `class_default` who goes first. See `docs/admission.md`.
    /// Default none.
    pub admission: Option<proxy::control::Admission>,
    /// `raise`: what instances get on top of their size while requests take more than was reserved. See `docs/admission.md`.
    pub raise: Option<super::raise::RaiseConfig>,
    /// `shedding`: no more requests are let in at once than are answered in time. See `docs/shedding.md`.
    pub shedding: Option<proxy::control::Shedding>,
    /// `balance`, `sticky`, `outliers`, `retries`: which instance a request goes to; see `config::balancing`.
    pub balancing: proxy::control::Balancing,
    /// `cache = { size, object_max, heuristic, ignore_requests, wait }`: responses are kept in memory, in `size` bytes, as far as
    /// they allow it. Demand is then what is left for the instances. See `docs/cache.md`. Default none.
    pub cache: Option<proxy::control::CacheSpec>,
    /// `endpoints`, `access_log`, `tracing`: what is told of single requests; see `docs/observability.md`. Default nothing.
    pub observation: proxy::control::Observation,
    /// `priority`: from 0 to 255; where nodes are too small for all, the higher is served first. Default `100`.
    pub priority: u8,
    /// `tenant`: the name of a `[[tenant]]`. Default none.
    pub tenant: Option<String>,
    /// `needs = { cpu, memory }`: what one instance takes of a node. Default: what `limits` says. Required where there is a
    /// `[[node]]`.
    pub needs: Option<NeedsConfig>,
}

/// `demand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemandSource {
    /// `"proxy"`: arrivals in each second, counted at the proxy.
    Proxy,
    /// `"push"`: samples sent to the API.
    Push,
    /// `"cost"`: what the requests that arrive are expected to cost, in the unit of the first of the `costs` of `admission`.
    Cost,
    /// `"sessions"`: what the sessions take of `capacity`. The default where there are `sessions`.
    Sessions,
}

/// `capacity`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CapacityConfig {
    /// A number: it stays.
    Pinned(f64),
    /// `{ learn_from = N }`: starts at N and is learned.
    LearnFrom(f64),
}

/// `replicas = { min, max }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicasConfig {
    /// `min`: fewest instances, active and standby together. Default 1. 0 allows scaling to nothing.
    pub min: u32,
    /// `max`: most instances, active and standby together, at most 1000. Default 10.
    pub max: u32,
}

/// `standby = { min, max, price }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StandbyConfig {
    /// `min`: fewest standby instances. Default 0.
    pub min: u32,
    /// `max`: most standby instances. Default `replicas.max`.
    pub max: u32,
    /// `price`: cost of a standby instance relative to an active one. Default `0.2`. Cheaper standbys make a larger pool.
    pub price: f64,
}

/// `margin`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MarginConfig {
    /// `"controlled"`: learned online from the error budget.
    Controlled,
    /// A number: a fixed share added to the median forecast.
    Fixed(f64),
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `"observe"`: plans are made and shown.
    Observe,
    /// `"act"`: plans are carried out.
    Act,
}

/// `probe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeConfig {
    /// `"tcp"`.
    Tcp,
    /// An HTTP path.
    Http(String),
}

/// `health = { interval, timeout, fall, rise }`: the proxy requests the probe's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// `interval`: time between two checks of an instance. Default `1s`. Shorter finds a hung instance sooner.
    pub interval: Duration,
    /// `timeout`: a check that takes longer failed. Default `1s`.
    pub timeout: Duration,
    /// `fall`: failed checks in a row until an instance gets no traffic. Default 3.
    pub fall: u32,
    /// `rise`: good checks in a row until it gets traffic again. Default 1.
    pub rise: u32,
}

/// `listen_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenMode {
    /// `"port"`.
    Port,
    /// `"socket"`.
    Socket,
}

/// `shift = { first_share, step_every }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShiftConfig {
    /// `first_share`: share of a full weight that a newly active instance starts with. Default `0.1`. `1` gives it
    /// the full share at once.
    pub first_share: f64,
    /// `step_every`: time between two increases. Default `5s`.
    pub step_every: Duration,
}

/// `deadlines = { start, promote, park, drain, stop }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlinesConfig {
    /// `start`: until ready. Default `1m`.
    pub start: Duration,
    /// `promote`: until thawed and verified. Default `5s`.
    pub promote: Duration,
    /// `park`: until frozen. Default `5s`.
    pub park: Duration,
    /// `drain`: until its last request is answered. Default `30s`.
    pub drain: Duration,
    /// `stop`: until it ended by itself; after that it is killed. Default `10s`.
    pub stop: Duration,
}

/// `history = "file.csv"` or `{ file, column, series }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryImport {
    /// `file`: relative to the configuration file.
    pub file: PathBuf,
    /// `column`: which column; default the only one.
    pub column: Option<String>,
    /// `series`: which series, where the file has several.
    pub series: Option<String>,
}

impl ServerConfig {
    /// The defaults, with the state in `state_dir`.
    pub fn new(state_dir: PathBuf) -> ServerConfig {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], API_PORT)),
            allow_remote: false,
            state_dir,
            router: RouterConfig::default(),
            docker: EngineConfig::default(),
            qemu: QemuConfig::default(),
        }
    }
}

impl WorkloadConfig {
    /// The defaults for a workload behind the proxy at `listen`.
    pub fn new(
        name: &str,
        command: Vec<String>,
        listen: SocketAddr,
        capacity: CapacityConfig,
    ) -> WorkloadConfig {
        WorkloadConfig {
            listen: Some(listen),
            ..WorkloadConfig::defaults(name.to_owned(), command, capacity)
        }
    }

    /// The defaults, without an address.
    pub(super) fn defaults(name: String, command: Vec<String>, capacity: CapacityConfig) -> WorkloadConfig {
        let replicas = ReplicasConfig { min: 1, max: 10 };
        WorkloadConfig {
            name,
            command,
            env: BTreeMap::new(),
            working_dir: None,
            container: None,
            machine: None,
            user: None,
            listen: None,
            unit: "requests/s".to_owned(),
            demand: DemandSource::Proxy,
            step: Duration::from_secs(60),
            tick: Duration::from_secs(1),
            time_zone: None,
            holidays: Vec::new(),
            covariates: Vec::new(),
            capacity,
            error_budget: 0.001,
            latency_bound: None,
            replicas,
            scopes: Vec::new(),
            standby: StandbyConfig { min: 0, max: replicas.max, price: 0.2 },
            stopped: None,
            start_cost: None,
            lead_cold: Duration::from_secs(10),
            lead_promote: Duration::from_millis(50),
            hold: Duration::from_secs(60),
            forecast_horizon: None,
            margin: MarginConfig::Controlled,
            clone_threshold: None,
            mode: Mode::Act,
            probe: ProbeConfig::Tcp,
            probe_interval: Duration::from_millis(20),
            probe_timeout: Duration::from_secs(1),
            health: HealthConfig {
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                fall: 3,
                rise: 1,
            },
            listen_mode: ListenMode::Port,
            shift: ShiftConfig { first_share: 0.1, step_every: Duration::from_secs(5) },
            deadlines: DeadlinesConfig {
                start: Duration::from_secs(60),
                promote: Duration::from_secs(5),
                park: Duration::from_secs(5),
                drain: Duration::from_secs(30),
                stop: Duration::from_secs(10),
            },
            wait: Duration::from_secs(10),
            wait_max: 1024,
            protocols: ProtocolsConfig::default(),
            history: None,
            models: Vec::new(),
            external: Vec::new(),
            retrain: RetrainSettings::default(),
            log_limit: 1 << 20,
            limits: LimitsConfig::default(),
            reclaim: false,
            fork: false,
            sizing: None,
            profiles: None,
            sessions: None,
            admission: None,
            raise: None,
            shedding: None,
            balancing: proxy::control::Balancing::default(),
            cache: None,
            observation: proxy::control::Observation::default(),
            priority: 100,
            tenant: None,
            needs: None,
        }
    }

    /// The most instances that there may be at any time.
    pub(crate) fn replicas_most(&self) -> u32 {
        self.scopes.iter().filter_map(|scope| scope.replicas_max).fold(self.replicas.max, u32::max)
    }

    /// What one instance takes of a node: `needs`, or else both `limits`, or what a larger standby has.
    pub(crate) fn needs(&self) -> Option<NeedsConfig> {
        let standby = self.profiles.map(|profiles| profiles.standby);
        let cpu = |limit: f64| standby.map_or(limit, |standby| standby.cpu_cores.max(limit));
        let memory = |limit: u64| standby.map_or(limit, |standby| standby.memory_bytes.max(limit));
        self.needs
            .or_else(|| Some(NeedsConfig { cpu: cpu(self.limits.cpu?), memory: memory(self.limits.memory?) }))
    }
}

/// Port of the API unless configured otherwise.
const API_PORT: u16 = 7878;
