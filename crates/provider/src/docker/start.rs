//! Starts an instance: create the container, start it, wait until it serves, undo everything when it does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, HealthStatusEnum};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::EngineError;
use super::instance::{Facts, Instance, Place};
use super::spec::{ContainerSpec, Network, Pull};
use super::table::Table;
use super::{create, logs, mark, steps, watch as events};
use crate::cgroup::Group;
use crate::error::ProviderError;
use crate::face::{ExitReason, InstanceInfo};
use crate::probe::{ProbeError, ask_until};
use crate::process::ports;
use crate::spec::InstanceSpec;

/// Starts an instance whose name has been reserved. On failure nothing is left running.
pub(super) async fn start(
    table: &Arc<Table>,
    spec: InstanceSpec,
    mut called_off: watch::Receiver<bool>,
) -> Result<InstanceInfo, ProviderError> {
    let Some(container) = spec.container.clone() else {
        let problem = "it names no image, and this provider runs containers".to_owned();
        return Err(ProviderError::InvalidSpec { name: spec.name, problem });
    };
    let deadline = Instant::now() + spec.start_deadline;
    for attempt in 1.. {
        let error = match attempt_start(table, &spec, &container, deadline, &mut called_off).await {
            Ok(info) => return Ok(info),
            Err(error) => error,
        };
        // In the host's network the port was only free a moment ago.
        match error {
            (ProviderError::ExitedEarly { name, log, .. }, Some(addr)) if ports::says_in_use(&log) => {
                if attempt == PORT_ATTEMPTS || container.network != Network::Host {
                    return Err(ProviderError::PortInUse { name, addr, log });
                }
            }
            (error, _) => return Err(error),
        }
    }
    Err(ProviderError::CalledOff(spec.name))
}

async fn attempt_start(
    table: &Arc<Table>,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    deadline: Instant,
    called_off: &mut watch::Receiver<bool>,
) -> Result<InstanceInfo, (ProviderError, Option<SocketAddr>)> {
    let ports = pick_ports(spec, container).map_err(|error| (error, None))?;
    let instance = make(table, spec, container, &ports).await.map_err(|error| (error, None))?;
    let error = tokio::select! {
        // In this order: what has ended is not ready, whatever answers at its address.
        biased;
        reason = instance.ended() => early_end(table, spec, &instance, reason).await,
        () = async { drop(called_off.wait_for(|called_off| *called_off).await) } => ProviderError::CalledOff(spec.name.clone()),
        ready = run(table, spec, container, &instance, &ports, deadline) => match ready {
            Ok(()) => match confirm(table, &instance) {
                Ok(info) => return Ok(info),
                Err(None) => early_end(table, spec, &instance, ExitReason::Unknown).await,
                Err(Some(error)) => error,
            },
            Err(error) => error,
        },
    };
    let addr = instance.place().map(|place| place.addr).or_else(|| {
        Some(SocketAddr::new(table.config.address, container.host_port.or(ports.first().copied())?))
    });
    undo(table, &instance).await;
    Err((error, addr))
}

async fn early_end(
    table: &Table,
    spec: &InstanceSpec,
    instance: &Instance,
    fallback: ExitReason,
) -> ProviderError {
    let reason = instance.reason().unwrap_or(fallback);
    let log = match reason {
        ExitReason::Lost => String::new(),
        _ => logs::last_words(table, &instance.facts.id).await,
    };
    if says_command_missing(&log) {
        return command_not_found(spec, log);
    }
    ProviderError::ExitedEarly { name: spec.name.clone(), reason, log }
}

/// Whether the first process, which is the engine's own where it cares for orphans, found nothing to run. Texts of
/// catatonit (Podman) and tini (Docker).
fn says_command_missing(log: &str) -> bool {
    let log = log.trim_end();
    log.ends_with(": No such file or directory")
        && (log.contains("failed to exec pid1") || log.contains("FATAL tini"))
}

fn command_not_found(spec: &InstanceSpec, searched: String) -> ProviderError {
    let command = spec.command.first().cloned().unwrap_or_else(|| "that of the image".to_owned());
    ProviderError::CommandNotFound { name: spec.name.clone(), command, searched }
}

fn pick_ports(spec: &InstanceSpec, container: &ContainerSpec) -> Result<Vec<u16>, ProviderError> {
    let count = u16::try_from(spec.processes.max(1)).unwrap_or(u16::MAX);
    if container.network != Network::Host {
        return Ok((0..count).map(|index| container.port.saturating_add(index)).collect());
    }
    let picked: Result<Vec<u16>, _> = (0..count).map(|_| Ok(ports::free_address()?.port())).collect();
    picked.map_err(|source| ProviderError::Spawn {
        name: spec.name.clone(),
        step: "find a free port",
        source,
    })
}

/// Creates the container and enters it into the table: from then on its end is noticed.
async fn make(
    table: &Arc<Table>,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    ports: &[u16],
) -> Result<Arc<Instance>, ProviderError> {
    let mut facts = Facts {
        name: spec.name.clone(),
        id: String::new(),
        workload: spec.workload.clone(),
        revision: spec.revision.clone(),
        probe: spec.probe.clone(),
        probe_timeout: spec.probe_timeout,
        health_check: container.health_check,
        reclaims: spec.reclaims,
        started_at: mark::now(),
        log_limit: spec.log_limit,
    };
    let engine = &table.engine;
    let container_name = table.owner.container(&spec.name);
    let mut pulled = false;
    let mut cleared = false;
    facts.id = loop {
        let body = create::body(&table.config, &table.owner, &facts, spec, container, ports);
        let options = CreateContainerOptionsBuilder::new().name(&container_name).build();
        match engine.call(engine.docker.create_container(Some(options), body)).await {
            Ok(created) => break created.id,
            Err(error) if error.is_not_found() => {
                if pulled || container.pull == Pull::Never {
                    return Err(missing(table, spec, container, error));
                }
                engine.pull(&container.image).await?;
                pulled = true;
            }
            // What an earlier instance of this name left while the engine did not listen.
            Err(EngineError::Refused { status: 409, .. }) if !cleared => {
                engine.remove(&container_name).await.map_err(engine.failed("remove an old container"))?;
                cleared = true;
            }
            Err(error) => {
                // It may have been created all the same, with nobody to hear of it.
                let _ = engine.remove(&container_name).await;
                return Err(engine.failed("create the container")(error));
            }
        }
    };
    let instance = Instance::new(facts);
    table.insert(&instance);
    Ok(instance)
}

fn missing(
    table: &Table,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    error: EngineError,
) -> ProviderError {
    // Other things can be missing too, a network for example.
    if !error.to_string().to_ascii_lowercase().contains("image") {
        return table.engine.failed("create the container")(error);
    }
    ProviderError::ImageMissing {
        name: spec.name.clone(),
        image: container.image.clone(),
        engine: table.engine.name.clone(),
    }
}

/// Starts the container and waits until it serves.
async fn run(
    table: &Arc<Table>,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    instance: &Arc<Instance>,
    ports: &[u16],
    deadline: Instant,
) -> Result<(), ProviderError> {
    let engine = &table.engine;
    let id = &instance.facts.id;
    if let Err(error) = engine.call(engine.docker.start_container(id, None)).await {
        return Err(not_started(table, spec, container, ports, error));
    }
    let found = engine.inspect(id).await;
    let placed = found.as_ref().ok().and_then(|found| place(table, id, found, Some(ports)));
    let Some(place) = placed else {
        let error = match found {
            Ok(_) => EngineError::Odd("a container without ports".to_owned()),
            Err(error @ EngineError::Refused { .. }) => error,
            Err(error) => return Err(engine.failed("inspect the container")(error)),
        };
        // It has ended already, perhaps while it was looked at; that will be told in a moment, or is looked for.
        events::check(table, instance).await;
        sleep(END_PATIENCE).await;
        return Err(engine.failed("find the address")(error));
    };
    let addresses: Vec<SocketAddr> =
        std::iter::once(place.addr).chain(place.further.iter().copied()).collect();
    instance.set_place(place);
    steps::limit_further(instance, spec.limits).await;
    let serving = async {
        for addr in addresses {
            ask_until(spec, addr, deadline).await?;
        }
        instance.last_answer.note();
        if container.health_check { wait_for_health(table, id, deadline).await } else { Ok(()) }
    };
    let ready = tokio::select! {
        ready = serving => ready,
        // A net below the events of the engine.
        () = events::check_often(table, instance) => std::future::pending().await,
    };
    match ready {
        Ok(()) => Ok(()),
        Err(source) => {
            let log = logs::quote(table, id).await;
            Err(ProviderError::NeverReady {
                name: spec.name.clone(),
                after: spec.start_deadline,
                source,
                log,
            })
        }
    }
}

fn not_started(
    table: &Table,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    ports: &[u16],
    error: EngineError,
) -> ProviderError {
    let name = spec.name.clone();
    if error.is_port_taken() {
        let port = container.host_port.or(ports.first().copied()).unwrap_or_default();
        let addr = SocketAddr::new(table.config.address, port);
        return ProviderError::PortInUse { name, addr, log: error.to_string() };
    }
    if error.is_command_missing() {
        return command_not_found(spec, error.to_string());
    }
    table.engine.failed("start the container")(error)
}

/// Where a container runs, from what the engine says; `None` when it does not run.
pub(super) fn place(
    table: &Table,
    id: &str,
    found: &ContainerInspectResponse,
    told: Option<&[u16]>,
) -> Option<Place> {
    let state = found.state.as_ref()?;
    let pid = u32::try_from(state.pid?).ok().filter(|pid| *pid != 0)?;
    let config = found.config.as_ref();
    let on_host = config.and_then(|config| config.labels.as_ref()?.get(mark::PORTS).cloned());
    let ports: Vec<u16> = match (on_host, told) {
        (Some(_), Some(told)) => told.to_vec(),
        (Some(list), None) => list.split(',').filter_map(|port| port.parse().ok()).collect(),
        (None, _) => published(found)?,
    };
    let address = |port: &u16| SocketAddr::new(table.config.address, *port);
    let (first, further) = ports.split_first()?;
    let local = matches!(table.config.endpoint, super::config::Endpoint::Unix(_));
    Some(Place {
        pid,
        addr: address(first),
        further: further.iter().map(address).collect(),
        group: if local { Group::of_container(pid, id) } else { None },
        stop_signal: config
            .and_then(|config| config.stop_signal.clone())
            .unwrap_or_else(|| "SIGTERM".to_owned()),
    })
}

/// The published ports, in the order of the ports inside.
fn published(found: &ContainerInspectResponse) -> Option<Vec<u16>> {
    let ports = found.network_settings.as_ref()?.ports.as_ref()?;
    let mut pairs: Vec<(u16, u16)> = ports
        .iter()
        .filter_map(|(inside, bindings)| {
            let inside = inside.strip_suffix("/tcp")?.parse().ok()?;
            let outside = bindings.as_ref()?.iter().find_map(|one| one.host_port.as_ref()?.parse().ok())?;
            Some((inside, outside))
        })
        .collect();
    pairs.sort_unstable();
    Some(pairs.into_iter().map(|(_, outside)| outside).collect())
}

/// Waits until the image's own check passes.
async fn wait_for_health(table: &Table, id: &str, deadline: Instant) -> Result<(), ProbeError> {
    loop {
        let found = table.engine.inspect(id).await;
        let health = found.ok().and_then(|found| found.state?.health);
        let last = match health.as_ref().and_then(|health| health.status) {
            Some(HealthStatusEnum::HEALTHY) => return Ok(()),
            Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => {
                "nothing: the image has no HEALTHCHECK".to_owned()
            }
            Some(status) => {
                let output = health.and_then(|health| health.log?.pop()?.output).unwrap_or_default();
                format!("{status} {}", output.trim())
            }
        };
        if timeout_at(deadline, sleep(HEALTH_INTERVAL)).await.is_err() {
            return Err(ProbeError::HealthCheck(last));
        }
    }
}

/// Writes down that the start was completed. `None`: it has ended meanwhile.
fn confirm(table: &Table, instance: &Instance) -> Result<InstanceInfo, Option<ProviderError>> {
    let path = table.state.record(&instance.facts.name);
    if let Err(source) = std::fs::write(&path, &instance.facts.id) {
        return Err(Some(ProviderError::State { step: "write the mark", path, source }));
    }
    if !instance.set_ready() {
        return Err(None);
    }
    instance.info().ok_or(None)
}

/// Removes what there is; what cannot be removed now is nobody's, and removed when the engine can be reached again.
async fn undo(table: &Arc<Table>, instance: &Arc<Instance>) {
    instance.want_end();
    // Of a lost engine nothing can be asked; it is cleared away when that is back.
    if instance.reason() != Some(ExitReason::Lost) {
        logs::keep(table, instance).await;
        if let Err(error) = table.engine.remove(&instance.facts.id).await {
            tracing::warn!(instance = %instance.facts.name, %error, "a container of a failed start is left for now");
        }
    }
    table.remove(instance);
}

/// How many ports of the host are tried before a start fails.
const PORT_ATTEMPTS: u32 = 3;
/// Pause between two looks at the image's health check.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);
/// How long the end of a container that does not run any more may take to be told.
const END_PATIENCE: Duration = Duration::from_secs(2);
