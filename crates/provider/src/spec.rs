//! What an instance is to be: the order a provider gets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::docker::ContainerSpec;
use crate::error::ProviderError;
use crate::name::InstanceName;
use crate::vm::MachineSpec;

/// An order for one instance. [`InstanceSpec::new`] fills in sane values; change what differs.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// Unique among the instances of the provider.
    pub name: InstanceName,
    /// The workload it belongs to; kept and reported, not understood.
    pub workload: String,
    /// A word for what it is made of, to tell versions apart; kept and reported, not understood. Empty: nobody said.
    pub revision: String,
    /// The program and its arguments; no shell is involved. `{port}`, `{ports}` and `{name}` are replaced in every part.
    pub command: Vec<String>,
    /// Environment added to the minimal one (PATH, HOME, LANG, TZ of the control plane, and PORT). `{port}` and
    /// `{name}` are replaced in the values. Nothing else of the control plane's own environment is passed on.
    pub env: BTreeMap<String, String>,
    /// The folder it is started in; none: that of the control plane.
    pub working_dir: Option<PathBuf>,
    /// How readiness is found out.
    pub probe: Probe,
    /// Pause between two readiness probes. Default 20 ms. Longer: less work for a slowly starting service, readiness
    /// seen later.
    pub probe_interval: Duration,
    /// Longest wait for one probe, also for the one that verifies a promotion. Default 1 s.
    pub probe_timeout: Duration,
    /// Longest time from the spawn to the first passing probe; afterwards the start has failed. Default 30 s.
    pub start_deadline: Duration,
    /// Where it listens.
    pub listen: Listen,
    /// Processes that serve in it, each on a port of its own: the first on `{port}`, all on `{ports}` (with commas, also as the
    /// environment variable PORTS). The command starts them; the instance is ready when each passes the probe, and ends
    /// with its first process. Default 1; more need `Listen::Port`.
    pub processes: u32,
    /// Bytes of output that are kept, the newest ones. Default 8 MiB. Checked every half second, so a loud instance may
    /// exceed it for that long.
    pub log_limit: u64,
    /// Resources it may use; empty: no limit of its own.
    pub limits: ResourceLimits,
    /// Who runs it, a name or `UID:GID`; none: who runs the control plane. Anybody else only where that is root. Its processes
    /// can gain no privileges then.
    pub user: Option<String>,
    /// Its memory is given back while it is parked, where the kernel can: it then comes back page by page, which makes a
    /// promotion slower. Default false.
    pub reclaims: bool,
    /// The container it is to be; needed where it is one. The command then replaces that of the image unless it is
    /// empty, the working folder is one inside, and the environment is added to that of the image, with HOST (the address
    /// to listen on) and PORT.
    pub container: Option<ContainerSpec>,
    /// Where the provider can, it is forked from a process that was started with the same command and has initialised; the
    /// program must know the protocol of templates (`docs/processes.md`). Default false.
    pub template: bool,
    /// The machine, if it is to be one. Its environment is then that of its first process, as far as it can be told.
    pub machine: Option<MachineSpec>,
}

impl InstanceSpec {
    /// An order with the default values: HTTP probe on `/`, a port chosen by the provider, no limits.
    #[must_use]
    pub fn new(name: InstanceName, workload: impl Into<String>, command: Vec<String>) -> InstanceSpec {
        InstanceSpec {
            name,
            workload: workload.into(),
            revision: String::new(),
            command,
            env: BTreeMap::new(),
            working_dir: None,
            probe: Probe::Http { path: "/".to_owned() },
            probe_interval: Duration::from_millis(20),
            probe_timeout: Duration::from_secs(1),
            start_deadline: Duration::from_secs(30),
            listen: Listen::Port,
            processes: 1,
            log_limit: 8 << 20,
            limits: ResourceLimits::default(),
            user: None,
            reclaims: false,
            container: None,
            template: false,
            machine: None,
        }
    }

    /// Checks what can be checked without touching the machine. Providers call it first.
    ///
    /// # Errors
    /// [`ProviderError::InvalidSpec`] with the first problem.
    pub fn validate(&self) -> Result<(), ProviderError> {
        match self.problem() {
            None => Ok(()),
            Some(problem) => Err(ProviderError::InvalidSpec { name: self.name.clone(), problem }),
        }
    }

    fn problem(&self) -> Option<String> {
        if let Some(problem) = self.machine.as_ref().and_then(|machine| machine.problem(self)) {
            return Some(problem);
        }
        let has_own_command = self.container.is_some() || self.machine.is_some();
        if !has_own_command && self.command.first().is_none_or(String::is_empty) {
            return Some("the command is empty".to_owned());
        }
        if self.command.iter().any(|part| part.contains('\0')) {
            return Some("the command has a zero byte".to_owned());
        }
        if let Some(key) = self.env.keys().find(|k| k.is_empty() || k.contains(['=', '\0'])) {
            return Some(format!("{key:?} cannot be the name of an environment variable"));
        }
        if let Some((key, _)) = self.env.iter().find(|(_, value)| value.contains('\0')) {
            return Some(format!("the environment variable {key} has a zero byte"));
        }
        if self.workload.contains(['\n', '\0']) || self.revision.contains(['\n', '\0']) {
            return Some("the workload name or the revision has a line break or a zero byte".to_owned());
        }
        if self.probe_timeout.is_zero() || self.start_deadline.is_zero() || self.probe_interval.is_zero() {
            return Some(
                "probe interval, probe timeout and start deadline must be longer than zero".to_owned(),
            );
        }
        if self.log_limit < LOG_LIMIT_MIN {
            return Some(format!("the log limit is below {LOG_LIMIT_MIN} bytes"));
        }
        if self.user.as_ref().is_some_and(|user| user.is_empty() || user.contains(['\0', '\n'])) {
            return Some("the user has no name".to_owned());
        }
        if let Some(problem) = self.limits.problem() {
            return Some(problem);
        }
        if self.processes > 1 && self.listen == Listen::PassedSocket {
            return Some("a passed socket is one, and several processes need a port each".to_owned());
        }
        if let Some(problem) = self.container.as_ref().and_then(|container| container.problem(self.processes))
        {
            return Some(problem);
        }
        if self.container.is_some() && self.listen == Listen::PassedSocket {
            return Some("a container cannot be passed a socket".to_owned());
        }
        match (&self.probe, self.listen) {
            (Probe::Http { path } | Probe::Http2 { path }, _)
                if !path.starts_with('/') || path.chars().any(|c| c.is_ascii_control() || c == ' ') =>
            {
                Some(format!(
                    "the probe path {path:?} must begin with '/' and have no spaces or control characters"
                ))
            }
            (Probe::Tcp, Listen::PassedSocket) => Some(
                "a TCP probe cannot tell whether a passed socket is served: the kernel accepts for it"
                    .to_owned(),
            ),
            (Probe::Http { .. } | Probe::Http2 { .. } | Probe::Tcp, Listen::Port | Listen::PassedSocket) => {
                None
            }
        }
    }
}

/// How to find out whether an instance serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `GET path` must be answered with a status of 200 to 299.
    Http {
        /// The path, beginning with `/`.
        path: String,
    },
    /// The same by HTTP/2 without TLS, with prior knowledge.
    Http2 {
        /// The path, beginning with `/`.
        path: String,
    },
    /// The port accepts a connection. Weak: the kernel accepts for a frozen or hung process too, so as the
    /// verification of a promotion it proves little.
    Tcp,
}

/// Where an instance listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On a free loopback port chosen by the provider, told as `{port}` and as the environment variable PORT.
    Port,
    /// On a listening socket passed as file descriptor 3 with LISTEN_FDS=1 and LISTEN_PID (the protocol of
    /// `sd_listen_fds(3)`). No port is ever bound twice, and connections wait instead of being refused.
    PassedSocket,
}

/// What an instance may use at most; `None` is no limit. A limit whose controller this machine lacks is reported in
/// the log and not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ResourceLimits {
    /// Processor time, in cores: 0.5 is half of one core.
    pub cpu_cores: Option<f64>,
    /// Its share where processors are scarce, 1 to 10 000; 100 is the share of who has none.
    pub cpu_weight: Option<u32>,
    /// Memory, in bytes; who needs more is killed.
    pub memory_bytes: Option<u64>,
    /// Memory above which it is slowed down and its pages are taken back, in bytes. With control groups of version 1 only
    /// where memory is scarce.
    pub memory_high_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes read from each disk in a second.
    pub read_bytes_per_s: Option<u64>,
    /// Bytes written to each disk in a second. With control groups of version 1, writes through the page cache do not count.
    pub write_bytes_per_s: Option<u64>,
}

impl ResourceLimits {
    /// Limits of processor time and memory alone.
    #[must_use]
    pub fn of(cpu_cores: Option<f64>, memory_bytes: Option<u64>) -> ResourceLimits {
        ResourceLimits { cpu_cores, memory_bytes, ..ResourceLimits::default() }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        if self.cpu_cores.is_some_and(|cores| !cores.is_finite() || cores < CPU_CORES_MIN) {
            return Some(format!("the cpu limit must be a number of at least {CPU_CORES_MIN} cores"));
        }
        if self.cpu_weight.is_some_and(|weight| !(1..=10_000).contains(&weight)) {
            return Some("the cpu weight must be between 1 and 10000".to_owned());
        }
        let memory = [self.memory_bytes, self.memory_high_bytes];
        if memory.into_iter().flatten().any(|bytes| bytes < MEMORY_BYTES_MIN) {
            return Some(format!("the memory limit is below {MEMORY_BYTES_MIN} bytes"));
        }
        let rates = [self.read_bytes_per_s, self.write_bytes_per_s];
        if rates.into_iter().flatten().any(|rate| rate < DISK_RATE_MIN) {
            return Some(format!("the limit of a disk is below {DISK_RATE_MIN} bytes a second"));
        }
        if self.pids == Some(0) {
            return Some("the pids limit must be at least 1".to_owned());
        }
        None
    }
}

/// The smallest log that is kept, in bytes.
pub const LOG_LIMIT_MIN: u64 = 4096;
/// The smallest cpu limit: the kernel refuses quotas below 1 ms per 100 ms.
const CPU_CORES_MIN: f64 = 0.01;
/// The smallest rate of a disk: below a page a second nothing moves.
const DISK_RATE_MIN: u64 = 4096;
/// The smallest memory limit: below this nothing can be executed.
const MEMORY_BYTES_MIN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> InstanceSpec {
        let name = InstanceName::new("web-1").expect("a good name");
        InstanceSpec::new(name, "web", vec!["serve".to_owned(), "{port}".to_owned()])
    }

    #[test]
    fn the_default_order_is_valid() {
        spec().validate().expect("valid");
    }

    #[test]
    fn each_bad_field_is_named() {
        let cases: Vec<(InstanceSpec, &str)> = vec![
            (InstanceSpec { command: vec![], ..spec() }, "command is empty"),
            (InstanceSpec { command: vec!["a\0".into()], ..spec() }, "zero byte"),
            (
                InstanceSpec { env: [("A=B".to_owned(), String::new())].into(), ..spec() },
                "environment variable",
            ),
            (InstanceSpec { probe: Probe::Http { path: "x".into() }, ..spec() }, "probe path"),
            (InstanceSpec { probe: Probe::Http { path: "/a\r\nb".into() }, ..spec() }, "probe path"),
            (InstanceSpec { probe: Probe::Tcp, listen: Listen::PassedSocket, ..spec() }, "TCP probe"),
            (InstanceSpec { probe_timeout: Duration::ZERO, ..spec() }, "longer than zero"),
            (InstanceSpec { log_limit: 10, ..spec() }, "log limit"),
            (
                InstanceSpec {
                    limits: ResourceLimits { cpu_cores: Some(f64::NAN), ..Default::default() },
                    ..spec()
                },
                "cpu limit",
            ),
            (
                InstanceSpec {
                    limits: ResourceLimits { cpu_weight: Some(0), ..Default::default() },
                    ..spec()
                },
                "cpu weight",
            ),
            (
                InstanceSpec {
                    limits: ResourceLimits { write_bytes_per_s: Some(1), ..Default::default() },
                    ..spec()
                },
                "limit of a disk",
            ),
            (InstanceSpec { workload: "a\nb".into(), ..spec() }, "line break"),
        ];
        for (bad, words) in cases {
            let error = bad.validate().expect_err(words).to_string();
            assert!(error.contains(words) && error.contains("web-1"), "{error}");
        }
    }
}
