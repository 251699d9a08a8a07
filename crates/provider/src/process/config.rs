//! Settings of the process provider.

use std::path::PathBuf;

/// Settings of the process provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Folder for records, logs and the lock; made when missing. One provider at a time.
    pub state_dir: PathBuf,
    /// How instances are held together and frozen. Default: the best this machine allows.
    pub cgroups: CgroupChoice,
    /// Most instances at a time. Default [`INSTANCES_MAX`].
    pub instances_max: usize,
}

impl ProcessConfig {
    /// The default settings with this state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> ProcessConfig {
        ProcessConfig {
            state_dir: state_dir.into(),
            cgroups: CgroupChoice::Best,
            instances_max: INSTANCES_MAX,
        }
    }
}

/// Which kind of control group is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupChoice {
    /// Version 2, else version 1, else none, whichever works first.
    #[default]
    Best,
    /// Version 2 only, also where it has no controllers (hybrid); an error where it does not work.
    V2,
    /// Version 1 only, as if there were no version 2; an error where it does not work.
    V1,
    /// No control groups: signals to the process group. Weaker: a child that leaves the group runs on while the
    /// instance is parked.
    None,
}

/// Most instances at a time, unless the settings say otherwise.
pub const INSTANCES_MAX: usize = 1024;
