//! Starts an instance: make the process, wait until its probe passes, undo everything when it does not.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::exit::ExitWatch;
use super::instance::Instance;
use super::record::Record;
use super::spawn::{Launch, Passed, spawn};
use super::table::Table;
use super::template;
use super::user::User;
use super::{Prepare, blocking, command, output, ports};
use crate::cgroup::Group;
use crate::error::ProviderError;
use crate::face::{ExitReason, InstanceInfo};
use crate::name::InstanceName;
use crate::probe::{ProbeError, ask_until};
use crate::procfs::Stat;
use crate::spec::{InstanceSpec, Listen};

/// Starts an instance whose name has been reserved. On failure nothing is left running.
pub(super) async fn start(
    table: &Arc<Table>,
    name: &InstanceName,
    prepare: &impl Prepare,
    mut called_off: watch::Receiver<bool>,
) -> Result<InstanceInfo, ProviderError> {
    let (mut attempt, mut deadline) = (1, None);
    loop {
        let prepared = tokio::select! {
            biased;
            _ = called_off.wait_for(|called_off| *called_off) => return Err(ProviderError::CalledOff(name.clone())),
            prepared = prepare.prepare() => prepared?,
        };
        let resolving = (prepared.spec.clone(), table.environment.clone());
        let program = blocking(move || command::resolve(&resolving.0, &resolving.1)).await?;
        // Of all attempts together, without what the first had to wait for.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + prepared.spec.start_deadline);
        let order = Arc::new(Order { spec: prepared.spec, addr: prepared.addr, program });
        let failure = match attempt_start(table, &order, prepare, deadline, &mut called_off).await {
            Ok(info) => return Ok(info),
            Err(failure) => failure,
        };
        match failure {
            Failure { error: ProviderError::ExitedEarly { name, log, .. }, addr: Some(addr) }
                if order.spec.listen == Listen::Port && ports::says_in_use(&log) =>
            {
                if attempt == PORT_ATTEMPTS {
                    return Err(ProviderError::PortInUse { name, addr, log });
                }
                tracing::debug!(instance = %name, %addr, "address in use, trying another port");
                attempt += 1;
            }
            Failure { error, .. } => return Err(error),
        }
    }
}

/// What is to be executed.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) spec: InstanceSpec,
    addr: Option<SocketAddr>,
    pub(super) program: PathBuf,
}

/// The first process of an instance, with the record already written.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) record: Record,
    pub(super) pidfd: OwnedFd,
    /// How it ended, if its parent, a template, says.
    pub(super) exit: Option<oneshot::Receiver<ExitReason>>,
}

/// Why an attempt failed, and the address it was for.
struct Failure {
    error: ProviderError,
    addr: Option<SocketAddr>,
}

async fn attempt_start(
    table: &Arc<Table>,
    order: &Arc<Order>,
    prepare: &impl Prepare,
    deadline: Instant,
    called_off: &mut watch::Receiver<bool>,
) -> Result<InstanceInfo, Failure> {
    let spec = &order.spec;
    let instance = {
        let failed = |error| Failure { error, addr: None };
        let cloned = template::clone(table, order, deadline, called_off).await.map_err(failed)?;
        let Made { record, pidfd, exit } = match cloned {
            Some(made) => made,
            None => {
                let (table, order) = (Arc::clone(table), Arc::clone(order));
                blocking(move || make(&table, &order)).await.map_err(failed)?
            }
        };
        let group = record.group.clone();
        match ExitWatch::new(pidfd) {
            Ok(watch) => Instance::watched(table, record, watch.told_by(exit), false),
            Err(source) => {
                let _ = blocking(move || group.destroy()).await;
                let error =
                    ProviderError::Spawn { name: spec.name.clone(), step: "watch the new process", source };
                return Err(Failure { error, addr: None });
            }
        }
    };
    let log = table.state.log(&spec.name);
    let error = tokio::select! {
        // In this order: what has ended is not ready, whatever answers at its address.
        biased;
        ended = instance.ended() => {
            ProviderError::ExitedEarly { name: spec.name.clone(), reason: ended.reason, log: output::quote(&log) }
        }
        _ = called_off.wait_for(|called_off| *called_off) => ProviderError::CalledOff(spec.name.clone()),
        ready = async {
            if let Err(error) = prepare.begin(&instance).await {
                // What fails because the process has just ended is better explained by the end.
                let ended = timeout(END_NOTICE, instance.ended()).await;
                return Err(ended.map_or(error, |ended| ProviderError::ExitedEarly {
                    name: spec.name.clone(),
                    reason: ended.reason,
                    log: output::quote(&log),
                }));
            }
            let ready = wait_until_all_ready(spec, &instance.record, deadline).await;
            ready.map_err(|source| ProviderError::NeverReady {
                name: spec.name.clone(),
                after: spec.start_deadline,
                source,
                log: output::quote(&log),
            })?;
            instance.last_answer.note();
            confirm(table, &instance)
        } => match ready {
            Ok(info) => return Ok(info),
            Err(error) => error,
        },
    };
    let addr = Some(instance.record.addr);
    instance.kill().await;
    Err(Failure { error, addr })
}

/// Everything up to the exec. Blocks: writing to a control group can wait for the scheduler.
fn make(table: &Table, order: &Order) -> Result<Made, ProviderError> {
    let spec = &order.spec;
    let (addresses, socket) = match order.addr {
        Some(addr) if spec.listen == Listen::Port => (vec![addr], None),
        Some(_) | None => listen(spec)?,
    };
    let group = table
        .parent
        .make(&spec.name, &spec.limits, spec.reclaims)
        .map_err(|source| ProviderError::Cgroup { step: "make the group of the instance", source })?;
    let made = make_in(table, spec, order.program.clone(), &addresses, socket, &group);
    if made.is_err()
        && let Err(error) = group.destroy()
    {
        tracing::warn!(instance = %spec.name, %error, "something of a failed start is left");
    }
    made
}

/// Where it is to listen, and the listening socket if it is passed.
pub(super) fn listen(spec: &InstanceSpec) -> Result<(Vec<SocketAddr>, Option<OwnedFd>), ProviderError> {
    let failed = |step| {
        let name = spec.name.clone();
        move |source| ProviderError::Spawn { name, step, source }
    };
    match spec.listen {
        Listen::Port => {
            let picked: Result<Vec<_>, _> =
                (0..spec.processes.max(1)).map(|_| ports::free_address()).collect();
            Ok((picked.map_err(failed("find a free port"))?, None))
        }
        Listen::PassedSocket => {
            let (listener, addr) = ports::listen().map_err(failed("open a listening socket"))?;
            Ok((vec![addr], Some(OwnedFd::from(listener))))
        }
    }
}

fn make_in(
    table: &Table,
    spec: &InstanceSpec,
    program: PathBuf,
    addresses: &[SocketAddr],
    socket: Option<OwnedFd>,
    group: &Group,
) -> Result<Made, ProviderError> {
    let log_path = table.state.log(&spec.name);
    let log = output::create(&log_path).map_err(|source| ProviderError::State {
        step: "make the output file",
        path: log_path,
        source,
    })?;
    let entrances = group
        .entrances()
        .map_err(|source| ProviderError::Cgroup { step: "open the group of the instance", source })?;
    let mark = table.parent.mark(&spec.name);
    let user = spec.user.as_deref().map(User::find).transpose().map_err(|error| {
        ProviderError::InvalidSpec { name: spec.name.clone(), problem: error.to_string() }
    })?;
    let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    let environment = command::environment(spec, &table.environment, mark, &ports);
    let launch = Launch {
        program,
        arguments: command::arguments(spec, &ports),
        environment: environment.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        working_dir: spec.working_dir.clone(),
        user,
        entrances,
        passed: socket.map(Passed::Listener),
        log,
    };
    let spawned = spawn(launch).map_err(|(step, source)| match (step, source.kind()) {
        (_, std::io::ErrorKind::PermissionDenied) if step.starts_with("execute") => {
            ProviderError::CommandDenied { name: spec.name.clone(), path: PathBuf::from(&spec.command[0]) }
        }
        _ => ProviderError::Spawn { name: spec.name.clone(), step, source },
    })?;
    let record = record_of(table, spec, addresses, spawned.pid, group);
    let path = table.state.record(&spec.name);
    if let Err(source) = record.write(&path) {
        let _ = record.group.destroy();
        return Err(ProviderError::State { step: "write the record", path, source });
    }
    Ok(Made { record, pidfd: spawned.pidfd, exit: None })
}

/// What is known of a process that has just been made.
pub(super) fn record_of(
    table: &Table,
    spec: &InstanceSpec,
    addresses: &[SocketAddr],
    pid: u32,
    group: &Group,
) -> Record {
    // Our own child is in the process table even if it has ended, since it is not reaped yet.
    let start_ticks = Stat::of(pid).map_or(0, |stat| stat.start_ticks);
    Record {
        name: spec.name.clone(),
        workload: spec.workload.clone(),
        revision: spec.revision.clone(),
        pid,
        start_ticks,
        boot_id: table.boot_id.clone(),
        addr: addresses[0],
        further: addresses[1..].to_vec(),
        started_at_millis: millis_now(),
        ready: false,
        probe: spec.probe.clone(),
        probe_timeout: spec.probe_timeout,
        log_limit: spec.log_limit,
        reclaims: spec.reclaims,
        group: group.clone().led_by(pid, start_ticks),
    }
}

/// Waits for each of its processes.
async fn wait_until_all_ready(
    spec: &InstanceSpec,
    record: &Record,
    deadline: Instant,
) -> Result<(), ProbeError> {
    for addr in std::iter::once(&record.addr).chain(&record.further) {
        ask_until(spec, *addr, deadline).await?;
    }
    Ok(())
}

/// Writes down that the start was completed.
fn confirm(table: &Table, instance: &Instance) -> Result<InstanceInfo, ProviderError> {
    let path = table.state.record(&instance.record.name);
    let completed = instance.record.complete(&path);
    completed.map_err(|source| ProviderError::State { step: "write the record", path, source })?;
    instance.set_ready();
    Ok(instance.info())
}

fn millis_now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// How long the end of a process is waited for when something else went wrong with it.
const END_NOTICE: Duration = Duration::from_millis(300);
/// How many ports are tried before a start fails.
const PORT_ATTEMPTS: u32 = 3;
