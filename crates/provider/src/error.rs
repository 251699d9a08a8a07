//! What can go wrong in a provider. Each variant says which operation failed; the source is in the error chain.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::cgroup::CgroupError;
use crate::docker::EngineError;
use crate::face::ExitReason;
use crate::name::InstanceName;
use crate::probe::ProbeError;
use crate::vm::QmpError;

/// A failed operation of a provider.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The order itself is wrong.
    #[error("cannot start {name}: {problem}")]
    InvalidSpec {
        /// The instance.
        name: InstanceName,
        /// What is wrong.
        problem: String,
    },
    /// There is an instance with this name.
    #[error("cannot start {0}: an instance of this name exists")]
    NameTaken(InstanceName),
    /// There are as many instances as the provider allows.
    #[error("cannot start {name}: there are {limit} instances already")]
    TooMany {
        /// The instance.
        name: InstanceName,
        /// The limit.
        limit: usize,
    },
    /// No instance has this name.
    #[error("no instance is named {0}")]
    Unknown(InstanceName),
    /// The provider does not change limits of running instances.
    #[error("the limits of {0} cannot be changed while it runs")]
    NotResizable(InstanceName),
    /// The instance is still starting.
    #[error("{0} is not ready yet")]
    NotReady(InstanceName),
    /// The program is not there.
    #[error("cannot start {name}: the command {command:?} was not found ({searched})")]
    CommandNotFound {
        /// The instance.
        name: InstanceName,
        /// The program as ordered.
        command: String,
        /// Where it was looked for, in words.
        searched: String,
    },
    /// The program is there and must not be executed.
    #[error("cannot start {name}: permission to execute {} is denied", path.display())]
    CommandDenied {
        /// The instance.
        name: InstanceName,
        /// The file.
        path: PathBuf,
    },
    /// The working folder cannot be entered.
    #[error("cannot start {name}: cannot use the working folder {}", path.display())]
    WorkingDir {
        /// The instance.
        name: InstanceName,
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Making the process failed.
    #[error("cannot start {name}: failed to {step}")]
    Spawn {
        /// The instance.
        name: InstanceName,
        /// What was being done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The process ended before it was ready.
    #[error("cannot start {name}: it ended with {reason} before it was ready{}", quoted(log))]
    ExitedEarly {
        /// The instance.
        name: InstanceName,
        /// How it ended.
        reason: ExitReason,
        /// The last lines of its output; may be empty.
        log: String,
    },
    /// The process ended, saying that its address is in use, again and again with different ports.
    #[error("cannot start {name}: its address {addr} is in use, as were those tried before{}", quoted(log))]
    PortInUse {
        /// The instance.
        name: InstanceName,
        /// The last address tried.
        addr: SocketAddr,
        /// The last lines of its output.
        log: String,
    },
    /// The probe did not pass in time.
    #[error("cannot start {name}: not ready within {after:?}{}", quoted(log))]
    NeverReady {
        /// The instance.
        name: InstanceName,
        /// The deadline.
        after: Duration,
        /// Why the last probe failed.
        source: ProbeError,
        /// The last lines of its output; may be empty.
        log: String,
    },
    /// Somebody stopped it while it was starting.
    #[error("the start of {0} was called off")]
    CalledOff(InstanceName),
    /// It ended during the operation.
    #[error("{name} ended with {reason}")]
    Exited {
        /// The instance.
        name: InstanceName,
        /// How it ended.
        reason: ExitReason,
    },
    /// Freezing or thawing failed.
    #[error("failed to {step} {name}")]
    Freezer {
        /// The instance.
        name: InstanceName,
        /// `freeze` or `thaw`.
        step: &'static str,
        /// Why.
        source: CgroupError,
    },
    /// Promoted, and yet it does not serve.
    #[error("{name} does not serve after its promotion")]
    Unverified {
        /// The instance.
        name: InstanceName,
        /// Why the probe failed.
        source: ProbeError,
    },
    /// Something of the instance is still there after everything was tried.
    #[error("failed to stop {name}: something of it is left")]
    Stop {
        /// The instance.
        name: InstanceName,
        /// Why.
        source: CgroupError,
    },
    /// A control group could not be made or read.
    #[error("control groups: failed to {step}")]
    Cgroup {
        /// What was being done.
        step: &'static str,
        /// Why.
        source: CgroupError,
    },
    /// A file or folder of the state folder could not be used.
    #[error("failed to {step} {}", path.display())]
    State {
        /// What was being done.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another provider works with this state folder.
    #[error("the state folder {} is in use by another control plane{}", path.display(), holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, where known.
        holder: Option<u32>,
    },
    /// An engine of containers did not do what it was asked for.
    #[error("failed to {step} on {engine}")]
    Engine {
        /// The engine's endpoint.
        engine: String,
        /// What was being done.
        step: &'static str,
        /// Why.
        source: EngineError,
    },
    /// The image is not there, and the order says not to pull it.
    #[error(
        "cannot start {name}: the image {image} is not on {engine}; pull it, or let it be pulled when it is missing"
    )]
    ImageMissing {
        /// The instance.
        name: InstanceName,
        /// The reference.
        image: String,
        /// The engine's endpoint.
        engine: String,
    },
    /// An image, a kernel or an initial file system of a machine cannot be read.
    #[error("cannot start {name}: cannot read the image {}", path.display())]
    Image {
        /// The instance.
        name: InstanceName,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is not enough room on a disk.
    #[error(
        "cannot start {name}: {} has {} MiB left, too little for {} MiB and a reserve",
        path.display(), available >> 20, needed >> 20
    )]
    NoRoom {
        /// The instance.
        name: InstanceName,
        /// The folder.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// QEMU does not do something for a machine.
    #[error("{name}: failed to {step}")]
    Machine {
        /// The instance.
        name: InstanceName,
        /// What was being done.
        step: &'static str,
        /// Why.
        source: QmpError,
    },
}

fn quoted(log: &str) -> String {
    match log.trim_end() {
        "" => "; it wrote nothing".to_owned(),
        log => format!("; it wrote:\n{log}"),
    }
}
