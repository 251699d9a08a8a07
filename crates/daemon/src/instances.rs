//! Between the planner's words and the provider's: the only file that knows both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use planner::{Action, ActionId, ActionKind, Event, InstanceId, NodeId, Size};
use provider::{
    ContainerSpec, InstanceInfo, InstanceName, InstanceSpec, Listen, Probe, Provider, ProviderError,
    Providers, ResourceLimits,
};
use proxy::control::Upstream;

use crate::config::{ListenMode, ProbeConfig, WorkloadConfig};
use crate::error::chain;
use crate::revision;

/// The result of one order.
#[derive(Debug)]
pub(crate) struct Done {
    /// What the planner is told.
    pub(crate) event: Event,
    /// Where a started instance is.
    pub(crate) started: Option<InstanceInfo>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: InstanceName,
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    /// Those of all its processes, that one first.
    pub(crate) addresses: Vec<SocketAddr>,
    /// What it was made of; empty where nobody said.
    pub(crate) revision: String,
}

impl From<&InstanceInfo> for Place {
    fn from(info: &InstanceInfo) -> Place {
        let addresses = std::iter::once(info.addr).chain(info.further.iter().copied()).collect();
        let (name, revision) = (info.name.clone(), info.revision.clone());
        Place { name, pid: info.pid, address: info.addr, addresses, revision }
    }
}

/// The provider's name of an instance, for example `web-17`.
pub(crate) fn name_of(workload: &str, id: InstanceId) -> InstanceName {
    // A workload's name was checked to be letters, digits and `-`, and short.
    InstanceName::new(format!("{workload}-{id}"))
        .expect("a checked workload name and a number make a good name")
}

/// The instance behind a provider's name, if it is one of this workload's.
pub(crate) fn id_of(workload: &str, name: &InstanceName) -> Option<InstanceId> {
    let number = name.as_str().strip_prefix(workload)?.strip_prefix('-')?;
    let id: u64 = number.parse().ok()?;
    (id.to_string() == number).then(|| InstanceId::new(id))
}

/// An order as it will be given for every instance, to be checked.
pub(crate) fn example(workload: &WorkloadConfig) -> InstanceSpec {
    spec(workload, InstanceId::new(1), (None, None), workload.deadlines.start)
}

/// The order for one instance.
pub(crate) fn spec(
    workload: &WorkloadConfig,
    id: InstanceId,
    (size, node): (Option<Size>, Option<&NodeId>),
    deadline: Duration,
) -> InstanceSpec {
    let name = name_of(&workload.name, id);
    InstanceSpec {
        revision: revision::of(workload),
        env: workload.env.clone(),
        working_dir: workload.working_dir.clone(),
        probe: probe_of(workload),
        probe_interval: workload.probe_interval,
        probe_timeout: workload.probe_timeout,
        start_deadline: deadline,
        listen: match workload.listen_mode {
            ListenMode::Port => Listen::Port,
            ListenMode::Socket => Listen::PassedSocket,
        },
        processes: workload.sessions.as_ref().map_or(1, |sessions| sessions.processes),
        log_limit: workload.log_limit,
        limits: limits(workload, size),
        container: workload
            .container
            .clone()
            .map(|container| ContainerSpec { node: node.map(|node| node.as_str().to_owned()), ..container }),
        machine: workload.machine.as_ref().map(|machine| machine.spec.clone()),
        user: workload.user.clone(),
        reclaims: workload.reclaim,
        template: workload.fork,
        ..InstanceSpec::new(name, workload.name.as_str(), workload.command.clone())
    }
}

/// How its instances are asked whether they serve.
pub(crate) fn probe_of(workload: &WorkloadConfig) -> Probe {
    match &workload.probe {
        ProbeConfig::Tcp => Probe::Tcp,
        ProbeConfig::Http(path) => match workload.protocols.protocols.upstream {
            Upstream::Http1 => Probe::Http { path: path.clone() },
            Upstream::Http2 => Probe::Http2 { path: path.clone() },
        },
    }
}

/// The configured limits, with a size in place of those of processor time and memory.
fn limits(workload: &WorkloadConfig, size: Option<Size>) -> ResourceLimits {
    let limits = &workload.limits;
    let sized = match size {
        Some(size) => limits_of(size),
        None => ResourceLimits::of(limits.cpu, limits.memory),
    };
    ResourceLimits {
        cpu_weight: limits.cpu_weight,
        memory_high_bytes: limits.memory_high,
        pids: limits.pids,
        read_bytes_per_s: limits.disk_read,
        write_bytes_per_s: limits.disk_write,
        ..sized
    }
}

fn limits_of(size: Size) -> ResourceLimits {
    ResourceLimits::of(Some(size.cpu_cores), Some(size.memory_bytes))
}

/// Carries out an order about one instance; orders about the route table and about draining are the proxy's.
///
/// `node` is where an instance is to come up, `time_left` the planner's patience: an order that takes longer has failed.
pub(crate) async fn execute(
    provider: Arc<Providers>,
    workload: Arc<WorkloadConfig>,
    action: Action,
    node: Option<NodeId>,
    time_left: Duration,
) -> Done {
    let begun = Instant::now();
    let (id, name) = match action.kind.instance() {
        Some(instance) => (Some(instance), name_of(&workload.name, instance)),
        None => {
            return failed(
                &action,
                "an order without an instance was given to the provider".to_owned(),
                begun,
            );
        }
    };
    // The provider knows why a start fails: it is to give up, and say so, before the planner calls it off.
    let patience = time_left - (time_left / 20).min(TOLD_WITHIN);
    let work = async {
        match (&action.kind, id) {
            (ActionKind::Start { size, .. }, Some(id)) => {
                let place = (*size, node.as_ref());
                let info = provider.start(spec(&workload, id, place, patience)).await?;
                Ok(Some(info))
            }
            (ActionKind::Resize { size, .. }, _) => {
                provider.resize(&name, limits_of(*size)).await.map(|()| None)
            }
            (ActionKind::Park { .. }, _) => provider.park(&name).await.map(|()| None),
            (ActionKind::Promote { .. }, _) => provider.promote(&name).await.map(|_| None),
            (ActionKind::Stop { .. }, _) => {
                stop(&provider, &name, workload.deadlines.stop).await.map(|()| None)
            }
            (ActionKind::Halt { .. }, _) => {
                stop(&provider, &name, workload.deadlines.stop).await.map(|()| None)
            }
            (ActionKind::Restart { .. }, Some(id)) => {
                let info = provider.start(spec(&workload, id, (None, node.as_ref()), patience)).await?;
                Ok(Some(info))
            }
            // The configuration refuses templates: processes of one workload cannot become those of another.
            (ActionKind::Claim { .. } | ActionKind::Restart { .. }, _)
            | (ActionKind::Drain { .. } | ActionKind::SetWeights { .. } | ActionKind::Start { .. }, _) => {
                Err(ProviderError::Unknown(name.clone()))
            }
        }
    };
    match tokio::time::timeout(time_left + SLACK, work).await {
        Ok(Ok(started)) => succeeded(&action, started, begun),
        Ok(Err(error)) => failed(&action, chain(&error), begun),
        Err(_) => failed(&action, format!("{name}: not done within {time_left:?}"), begun),
    }
}

/// Stops an instance; one that is gone already is stopped.
async fn stop(provider: &Providers, name: &InstanceName, grace: Duration) -> Result<(), ProviderError> {
    match provider.stop(name, grace).await {
        Ok(()) | Err(ProviderError::Unknown(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn succeeded(action: &Action, started: Option<InstanceInfo>, begun: Instant) -> Done {
    let took = begun.elapsed();
    let id = action.id;
    let event = match action.kind {
        ActionKind::Start { instance, .. } => Event::InstanceReady { action: id, instance, took },
        ActionKind::Restart { instance } => Event::InstanceReady { action: id, instance, took },
        ActionKind::Halt { instance } => Event::InstanceHalted { action: id, instance },
        ActionKind::Resize { instance, .. } => Event::InstanceResized { action: id, instance },
        ActionKind::Park { instance } => Event::InstanceParked { action: id, instance },
        ActionKind::Promote { instance } | ActionKind::Claim { instance, .. } => {
            Event::InstancePromoted { action: id, instance, took }
        }
        ActionKind::Drain { instance } => Event::InstanceDrained { action: id, instance },
        ActionKind::Stop { instance } => Event::InstanceStopped { action: id, instance },
        ActionKind::SetWeights { .. } => {
            Event::WeightsApplied { action: id, workload: action.workload.clone() }
        }
    };
    Done { event, started, took }
}

fn failed(action: &Action, reason: String, begun: Instant) -> Done {
    Done { event: refusal(action.id, action.kind.instance(), reason), started: None, took: begun.elapsed() }
}

/// The answer to an order that was not carried out.
pub(crate) fn refusal(action: ActionId, instance: Option<InstanceId>, reason: String) -> Event {
    Event::ActionFailed { action, instance, reason }
}

/// What the end of a start takes to become known.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// The provider keeps its own deadlines; ours only catches a provider that hangs.
const SLACK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_found_again_by_its_name() {
        let id = InstanceId::new(17);
        assert_eq!(id_of("web", &name_of("web", id)), Some(id));
    }

    #[test]
    fn a_name_of_another_workload_is_not_taken_for_ours() {
        let name = |text| InstanceName::new(text).expect("a good name");
        for foreign in ["web-a-17", "webb-17", "web-", "web-017", "web17"] {
            assert_eq!(id_of("web", &name(foreign)), None, "{foreign}");
        }
        assert_eq!(id_of("web-a", &name("web-a-17")), Some(InstanceId::new(17)));
    }
}
