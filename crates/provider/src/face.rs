//! The face of every provider: the trait, what it returns, and what it reports.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

use crate::error::ProviderError;
use crate::name::InstanceName;
use crate::spec::{InstanceSpec, ResourceLimits};

/// Makes, parks, promotes and stops instances.
///
/// Calls for different instances run at the same time; calls for one instance wait for each other. Dropping the future
/// of `start` undoes the start; a `stop` that has begun goes on when its future is dropped. [`crate::contract`] is the
/// behaviour in full.
pub trait Provider: Send + Sync + 'static {
    /// Makes an instance and returns once its probe passes.
    ///
    /// # Errors
    /// Any problem on the way, with the last lines of the instance's log where it wrote some. Nothing is left running
    /// then.
    fn start(&self, spec: InstanceSpec) -> impl Future<Output = Result<InstanceInfo, ProviderError>> + Send;

    /// Freezes a ready instance: afterwards it uses no processor time and answers nothing. Parking a parked one is
    /// fine.
    ///
    /// # Errors
    /// The instance is unknown or not ready, or could not be frozen in time (it runs on then).
    fn park(&self, name: &InstanceName) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// Thaws an instance and verifies by one probe that it serves. Promoting one that is not parked only verifies, and one that
    /// has passed its probe a moment ago, as at the end of its start, is not asked again.
    ///
    /// # Errors
    /// The instance is unknown, or did not pass the probe within its probe timeout. It stays thawed then.
    fn promote(&self, name: &InstanceName) -> impl Future<Output = Result<Promoted, ProviderError>> + Send;

    /// Gives a running or parked instance other limits without touching its processes. Limits that are `None` stay as
    /// they are.
    ///
    /// # Errors
    /// The instance is unknown or not ready, or this provider cannot do it here (the default): a new instance can have the
    /// limits then.
    fn resize(
        &self,
        name: &InstanceName,
        _limits: ResourceLimits,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        std::future::ready(Err(ProviderError::NotResizable(name.clone())))
    }

    /// Asks an instance to end, waits up to `grace`, then kills it and all its children. Returns when nothing of it is
    /// left. The instance does not appear in [`Provider::events`] as exited.
    ///
    /// # Errors
    /// The instance is unknown, or something of it could not be killed.
    fn stop(
        &self,
        name: &InstanceName,
        grace: Duration,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// The instances known now, in order of their names, those still starting included. Does no IO.
    fn list(&self) -> Vec<InstanceInfo>;

    /// What an instance has used so far.
    ///
    /// # Errors
    /// The instance is unknown or its counters cannot be read.
    fn usage(&self, name: &InstanceName) -> impl Future<Output = Result<Usage, ProviderError>> + Send;

    /// How near an instance is to its limits right now; cheap enough to be asked several times a second. What cannot be
    /// told cheaply is left out: all of it by default.
    ///
    /// # Errors
    /// The instance is unknown.
    fn strain(&self, _name: &InstanceName) -> impl Future<Output = Result<Strain, ProviderError>> + Send {
        std::future::ready(Ok(Strain::default()))
    }

    /// The last `tail_bytes` of an instance's output, at most, cut to whole lines. Works for a while after its end.
    ///
    /// # Errors
    /// Nothing is known about the instance, or its log cannot be read.
    fn logs(
        &self,
        name: &InstanceName,
        tail_bytes: u64,
    ) -> impl Future<Output = Result<String, ProviderError>> + Send;

    /// Finds the instances that an earlier control plane left running and takes them over; clears away what is left of
    /// those that ended meanwhile, and what nobody knows any more. Call it once, before the first start.
    ///
    /// # Errors
    /// What was kept about the instances cannot be read.
    fn adopt(&self) -> impl Future<Output = Result<Vec<InstanceInfo>, ProviderError>> + Send;

    /// What happens to instances unasked, from now on. A reader that falls more than [`EVENTS_MAX`] events behind is
    /// told that it missed some and should look at [`Provider::list`].
    fn events(&self) -> broadcast::Receiver<ProviderEvent>;

    /// Stops all instances at the same time, as [`Provider::stop`] does.
    ///
    /// # Errors
    /// The first failure; the other instances are stopped nevertheless.
    fn shutdown(&self, grace: Duration) -> impl Future<Output = Result<(), ProviderError>> + Send;
}

/// One instance as its provider sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceInfo {
    /// Its name.
    pub name: InstanceName,
    /// The workload it was made for.
    pub workload: String,
    /// What it was made of, as its order said; empty where nobody said.
    pub revision: String,
    /// The process id of its first process.
    pub pid: u32,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where its further processes listen, see [`InstanceSpec::processes`](crate::InstanceSpec::processes).
    pub further: Vec<SocketAddr>,
    /// Frozen.
    pub parked: bool,
    /// When it was spawned; whole milliseconds.
    pub started_at: SystemTime,
    /// Its probe has passed once.
    pub ready: bool,
}

/// The result of a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// From the begin of the thaw to the passed probe.
    pub took: Duration,
}

/// What an instance has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time of all its processes since its start.
    pub cpu_time: Duration,
    /// Memory now, in bytes: what its memory group is charged for where it has one, else the sum of the resident sets
    /// of its processes, in which shared pages count more than once.
    pub memory_bytes: u64,
    /// What of the memory cannot be had back: without pages of files that were not used lately, which the kernel takes
    /// back before it kills. Of a machine, what its guest uses. `None` where nobody tells.
    pub working_bytes: Option<u64>,
    /// Processes now, those that have ended and wait for their parent excluded.
    pub processes: u32,
    /// What they read from and wrote to disks, where the system tells; what ended processes did may be missing.
    pub disk: Option<Traffic>,
    /// What their network received and sent. Only known where the instance has a network namespace of its own: Linux
    /// does not count network bytes by process.
    pub network: Option<Traffic>,
    /// Instructions executed in user space, where the processor and the system let us count them.
    pub instructions: Option<u64>,
    /// Periods of the quota of processor time so far, where there is one.
    pub throttling: Option<Throttling>,
    /// Processes killed because the memory limit was reached, where the system tells.
    pub out_of_memory: Option<u64>,
}

/// How near an instance is to its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strain {
    /// As in [`Usage::working_bytes`].
    pub working_bytes: Option<u64>,
    /// As in [`Usage::throttling`].
    pub throttling: Option<Throttling>,
}

/// Periods of a quota of processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttling {
    /// In which something ran.
    pub periods: u64,
    /// In which the quota was spent and something had to wait.
    pub throttled: u64,
}

/// Bytes in and out since the start of whatever counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Read or received.
    pub bytes_in: u64,
    /// Written or sent.
    pub bytes_out: u64,
}

/// Something that happened to an instance unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// A ready instance ended by itself; what it left behind has been cleared away.
    Exited {
        /// Which one.
        name: InstanceName,
        /// How it ended.
        reason: ExitReason,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It ended by itself with this exit code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The kernel killed it because its memory limit was reached.
    OutOfMemory,
    /// The kernel of a machine gave up, perhaps for lack of memory.
    Panicked,
    /// Its engine was given up, see [`Providers::give_up`](crate::Providers::give_up); it may even run on.
    Lost,
    /// It is gone and its parent, which is not us, has the details (an adopted instance).
    Unknown,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Code(code) => write!(f, "exit code {code}"),
            ExitReason::Signal(9) => f.write_str("signal 9 (killed, perhaps for lack of memory)"),
            ExitReason::OutOfMemory => f.write_str("out of memory: killed by the kernel at its memory limit"),
            ExitReason::Signal(signal) => write!(f, "signal {signal}"),
            ExitReason::Panicked => f.write_str("a panic of its kernel"),
            ExitReason::Lost => f.write_str("its node is lost"),
            ExitReason::Unknown => f.write_str("unknown reason"),
        }
    }
}

/// Events kept for a slow reader of [`Provider::events`].
pub const EVENTS_MAX: usize = 1024;
