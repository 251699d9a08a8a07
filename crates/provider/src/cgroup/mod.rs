//! Control groups: what holds the processes of an instance together, freezes, counts, limits and kills them.
//!
//! Our own small module rather than the `cgroups-rs` crate: that one knows version 1 or version 2, never the hybrid of
//! both (version 1 controllers beside a version 2 hierarchy without controllers, as many machines have it), and its
//! freeze does not wait until the group is frozen. On a hybrid machine the version 2 hierarchy is the better place even
//! without controllers, because it still offers `cgroup.freeze`, `cgroup.kill` and `cpu.stat`; limits then come from
//! the version 1 hierarchies.
//!
//! - [`Layout`]: what is mounted where, and where we are in it.
//! - [`Parent`]: the group below which all instances of one provider have theirs.
//! - [`Group`]: one instance's group, with the fallback to signals where there are no groups at all.
//!
//! Everything here blocks for at most the named times and is meant to be called off the async threads, except
//! [`Group::thaw`], which is one short write.

mod core;
mod group;
mod layout;
mod limit;
mod parent;
mod signals;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub(crate) use group::{Entrances, Group};
pub(crate) use layout::Layout;
pub(crate) use parent::Parent;

/// Which kind of control group is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupChoice {
    /// Version 2, else version 1, else none: the first that works here.
    #[default]
    Best,
    /// Version 2 only, also where it has no controllers (hybrid); an error where it does not work.
    V2,
    /// Version 1 only, as if there were no version 2; an error where it does not work.
    V1,
    /// No control groups: signals to the process group and to processes with the instance's mark in their
    /// environment. Weaker: parking is not atomic, and a child that both leaves the process group and changes its
    /// environment is lost sight of. No limits.
    None,
}

/// A failed operation on a control group.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A file of the control group file system could not be used.
    #[error("failed to {step} {}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing of this kind here that we may use.
    #[error("no usable control groups of {kind} here: {reason}")]
    Unusable {
        /// `version 1` or `version 2`.
        kind: &'static str,
        /// Why, in words.
        reason: String,
    },
    /// It did not happen in time.
    #[error("failed to {step} {} within {after:?}", path.display())]
    Timeout {
        /// What was being done.
        step: &'static str,
        /// The folder of the group, or the process.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
}

/// A controller of version 1 that has a use here, or the same controller in a version 2 hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Controller {
    /// Quotas of processor time.
    Cpu,
    /// Counts processor time (version 1 only).
    Cpuacct,
    /// Stops and continues (version 1 only).
    Freezer,
    /// Counts and limits memory.
    Memory,
    /// Limits the number of processes.
    Pids,
    /// Limits what is read from and written to disks.
    Io,
}

impl Controller {
    /// All of them, in a fixed order.
    pub(crate) const ALL: [Controller; 6] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Freezer,
        Controller::Memory,
        Controller::Pids,
        Controller::Io,
    ];

    /// The kernel's word for it in version 1.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Freezer => "freezer",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Io => "blkio",
        }
    }

    /// The kernel's word for it in version 2.
    pub(crate) fn word_v2(self) -> &'static str {
        match self {
            Controller::Io => "io",
            other => other.word(),
        }
    }

    /// The controller with this word, if it has a use here.
    pub(crate) fn from_word(word: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|controller| controller.word() == word)
    }
}

fn io_error(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.into();
    move |source| CgroupError::Io { step, path, source }
}
