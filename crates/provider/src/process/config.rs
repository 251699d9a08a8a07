//! Settings of the process provider.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cgroup::CgroupChoice;

/// Settings of the process provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Folder for records, logs and the lock; made when missing. One provider at a time.
    pub state_dir: PathBuf,
    /// How instances are held together and frozen. Default: the best this machine allows.
    pub cgroups: CgroupChoice,
    /// Most instances at a time. Default [`INSTANCES_MAX`].
    pub instances_max: usize,
    /// Environment of every instance, below what its order adds. Default: PATH, HOME, LANG and TZ of this process, as
    /// far as they are set, and nothing else of it: it may hold secrets.
    pub environment: BTreeMap<String, String>,
    /// How long after the last order a template is kept whose workload has no instance, or has orders that differ. Default
    /// [`TEMPLATE_IDLE`].
    pub template_idle: Duration,
}

impl ProcessConfig {
    /// The default settings with this state folder. Reads the environment of this process.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> ProcessConfig {
        let inherited =
            INHERITED.iter().filter_map(|key| Some(((*key).to_owned(), std::env::var(key).ok()?)));
        ProcessConfig {
            state_dir: state_dir.into(),
            cgroups: CgroupChoice::Best,
            instances_max: INSTANCES_MAX,
            environment: inherited.collect(),
            template_idle: TEMPLATE_IDLE,
        }
    }
}

/// Most instances at a time, unless the settings say otherwise.
pub const INSTANCES_MAX: usize = 1024;
/// How long an unused template is kept, unless the settings say otherwise.
pub const TEMPLATE_IDLE: Duration = Duration::from_secs(600);
/// What is taken over from our own environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
