//! The control plane as a process: signals in, planner, actions out; HTTP API and dashboard.
//!
//! The planner decides and does nothing; the provider and the proxy do and decide nothing. This crate is what joins
//! them: [`Config`] is what a user wrote, [`Daemon::build`] takes hold of everything that can fail (the state folder,
//! the ports, the proxy process, the instances an earlier daemon left behind), and [`Daemon::run`] serves until it is
//! told to stop. One task owns the planner; everything else sends it messages through bounded channels.
//!
//! What it promises: killing this process costs no request, because the proxy and the instances are processes of
//! their own and the next daemon adopts them with the same process ids; a full disk costs history, never service.

mod adoption;
pub mod client;
mod config;
mod control_loop;
mod convert;
mod data_plane;
mod error;
pub mod external_model;
mod externals;
mod http;
mod instances;
mod inventory;
mod knowledge;
mod launch;
mod learn;
mod left_children;
mod measured;
mod metric_forecast;
mod metrics;
mod models;
mod nodes;
mod policy;
mod providers;
mod proxy_process;
mod recent;
mod recorder;
mod request_samples;
mod revision;
mod router;
mod routes;
mod sessions;
mod signals;
mod sticky;
mod trainer;
mod usage;
mod view;

pub use config::{
    CapacityConfig, Config, ConfigError, ConfigErrors, DeadlinesConfig, DemandSource, EngineConfig,
    HealthConfig, HistoryImport, LimitsConfig, ListenMode, MachineConfig, MarginConfig, Mode, ModelConfig,
    NeedsConfig, NodeConfig, ProbeConfig, ProtocolsConfig, QemuConfig, RaiseConfig, ReplicasConfig,
    RetrainSchedule, RetrainSettings, RouterConfig, ServerConfig, SessionTypeConfig, SessionsConfig,
    ShiftConfig, StandbyConfig, Surroundings, TenantConfig, TrainingConfig, WorkloadConfig,
};
pub use data_plane::DataPlaneError;
pub use error::{DaemonError, chain};
pub use launch::{BuildOptions, Daemon, End};
pub use policy::workload_policy;
