//! Starts an instance: make the process, wait until its probe passes, undo everything when it does not.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::exit::ExitWatch;
use super::instance::Instance;
use super::record::Record;
use super::spawn::{Launch, spawn};
use super::table::Table;
use super::user::User;
use super::{Prepare, blocking, command, output, ports};
use crate::cgroup::Group;
use crate::error::ProviderError;
use crate::face::InstanceInfo;
use crate::name::InstanceName;
use crate::probe::{ProbeError, ask};
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
struct Order {
    spec: InstanceSpec,
    addr: Option<SocketAddr>,
    program: PathBuf,
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
        let (table, order) = (Arc::clone(table), Arc::clone(order));
        let made = blocking(move || make(&table, &order).map(|made| (table, made))).await;
        let (table, (record, pidfd)) = made.map_err(|error| Failure { error, addr: None })?;
        let group = record.group.clone();
        match ExitWatch::new(pidfd) {
            Ok(exit) => Instance::watched(&table, record, exit, false),
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
fn make(table: &Table, order: &Order) -> Result<(Record, OwnedFd), ProviderError> {
    let spec = &order.spec;
    let failed = |step| {
        let name = spec.name.clone();
        move |source| ProviderError::Spawn { name, step, source }
    };
    let (addresses, socket) = match (spec.listen, order.addr) {
        (Listen::Port, Some(addr)) => (vec![addr], None),
        (Listen::Port, None) => {
            let mut ports = table.ports.lock().unwrap_or_else(PoisonError::into_inner);
            let picked: Result<Vec<_>, _> = (0..spec.processes.max(1)).map(|_| ports.pick()).collect();
            (picked.map_err(failed("find a free port"))?, None)
        }
        (Listen::PassedSocket, _) => {
            let (listener, addr) = ports::listen().map_err(failed("open a listening socket"))?;
            (vec![addr], Some(OwnedFd::from(listener)))
        }
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

fn make_in(
    table: &Table,
    spec: &InstanceSpec,
    program: PathBuf,
    addresses: &[SocketAddr],
    socket: Option<OwnedFd>,
    group: &Group,
) -> Result<(Record, OwnedFd), ProviderError> {
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
        socket,
        log,
    };
    let spawned = spawn(launch).map_err(|(step, source)| match (step, source.kind()) {
        (_, std::io::ErrorKind::PermissionDenied) if step.starts_with("execute") => {
            ProviderError::CommandDenied { name: spec.name.clone(), path: PathBuf::from(&spec.command[0]) }
        }
        _ => ProviderError::Spawn { name: spec.name.clone(), step, source },
    })?;
    // It is our child and not reaped yet, so it is in the process table even if it has ended.
    let start_ticks = Stat::of(spawned.pid).map_or(0, |stat| stat.start_ticks);
    let record = Record {
        name: spec.name.clone(),
        workload: spec.workload.clone(),
        pid: spawned.pid,
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
        group: group.clone().led_by(spawned.pid, start_ticks),
    };
    let path = table.state.record(&spec.name);
    if let Err(source) = record.write(&path) {
        let _ = record.group.destroy();
        return Err(ProviderError::State { step: "write the record", path, source });
    }
    Ok((record, spawned.pidfd))
}

/// Waits for each of its processes.
async fn wait_until_all_ready(
    spec: &InstanceSpec,
    record: &Record,
    deadline: Instant,
) -> Result<(), ProbeError> {
    for addr in std::iter::once(&record.addr).chain(&record.further) {
        wait_until_ready(spec, *addr, deadline).await?;
    }
    Ok(())
}

/// Asks again and again, at first quickly: many services are ready within a few milliseconds.
async fn wait_until_ready(
    spec: &InstanceSpec,
    addr: SocketAddr,
    deadline: Instant,
) -> Result<(), ProbeError> {
    let mut pause = PROBE_INTERVAL_FIRST.min(spec.probe_interval);
    let mut last = None;
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        last = match ask(&spec.probe, addr, spec.probe_timeout.min(time_left)).await {
            Ok(()) => return Ok(()),
            // Cut short by the deadline: what the probe before it found says more.
            Err(ProbeError::Timeout(_)) if time_left < spec.probe_timeout && last.is_some() => last.take(),
            Err(failure) => Some(failure),
        };
        if timeout_at(deadline, sleep(pause)).await.is_err() {
            return Err(last.unwrap_or(ProbeError::Timeout(spec.start_deadline)));
        }
        pause = (pause * 2).min(spec.probe_interval);
    }
}

/// Writes down that the start was completed.
fn confirm(table: &Table, instance: &Instance) -> Result<InstanceInfo, ProviderError> {
    let path = table.state.record(&instance.record.name);
    let record = Record { ready: true, ..instance.record.clone() };
    record.write(&path).map_err(|source| ProviderError::State { step: "write the record", path, source })?;
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
/// The first pause between two readiness probes; it doubles up to the ordered one.
const PROBE_INTERVAL_FIRST: Duration = Duration::from_millis(1);
