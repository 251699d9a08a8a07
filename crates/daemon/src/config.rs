//! The configuration of `foreshadow run`: what a user writes in TOML, and what it means.
//!
//! The file is walked by hand instead of being handed to a derive, for one reason: a person who fixes a file wants
//! every mistake at once, each with its line, its key and what to write instead, and a derive stops at the first.
//! [`Config::parse`] promises that; it never panics on any text, and what it returns is valid: no other part of the
//! daemon checks a setting again. [`Config::to_toml`] writes a configuration that parses to the same value.

mod admission;
mod balancing;
mod cache;
mod check;
mod command;
mod container;
mod engine;
mod entry;
mod error;
mod limits;
mod machine;
mod model;
mod observation;
mod profiles;
mod protocols;
mod qemu;
mod quantity;
mod raise;
mod read;
mod retrain;
mod router;
mod scope;
mod section;
mod sessions;
mod sharing;
mod shedding;
mod sizing;
#[cfg(test)]
mod tests;
mod training;
mod workload;
mod write;

use std::path::Path;

pub use command::Surroundings;
pub use engine::EngineConfig;
pub use error::{ConfigError, ConfigErrors};
pub use limits::LimitsConfig;
pub use machine::MachineConfig;
pub use model::{
    CapacityConfig, Config, DeadlinesConfig, DemandSource, HealthConfig, HistoryImport, ListenMode,
    MarginConfig, Mode, ModelConfig, NeedsConfig, ProbeConfig, ReplicasConfig, ServerConfig, ShiftConfig,
    StandbyConfig, WorkloadConfig,
};
pub use protocols::ProtocolsConfig;
pub use qemu::QemuConfig;
pub(crate) use quantity::parse_duration;
pub use raise::RaiseConfig;
pub use retrain::{RetrainSchedule, RetrainSettings};
pub use router::RouterConfig;
pub use sessions::{SessionTypeConfig, SessionsConfig};
pub use sharing::{NodeConfig, TenantConfig};
pub use training::TrainingConfig;

impl Config {
    /// Reads a configuration; `path` is the file it came from, named in errors and the base of relative paths in it.
    ///
    /// # Errors
    /// Every mistake in the file at once.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
        Config::parse_in(text, path, &Surroundings::of_process())
    }

    /// Like [`Config::parse`], with the places where commands are looked for given by the caller.
    ///
    /// # Errors
    /// Every mistake in the file at once.
    pub fn parse_in(text: &str, path: &Path, surroundings: &Surroundings) -> Result<Config, ConfigErrors> {
        read::config(text, path, surroundings)
    }

    /// The configuration as TOML, every setting written out.
    pub fn to_toml(&self) -> String {
        write::config(self)
    }
}
