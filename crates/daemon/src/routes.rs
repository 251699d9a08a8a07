//! Between the planner's words and the proxy's: the only file that knows both.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use planner::{Event, FULL_WEIGHT, InstanceId, NodeId, Role, WorkloadId};
use proxy::control::{BackendSpec, HealthSpec, Route, RouteTable};

use crate::config::{Config, ProbeConfig, WorkloadConfig};
use crate::instances::Place;
use crate::signals::{BackendDelta, HealthChange, Load};

/// The weights of one workload as the planner ordered them last.
pub(crate) type Weights = Vec<(InstanceId, u32)>;

/// The route of one workload; `None` where nothing is routed. An instance whose place is not known is left out.
pub(crate) fn route(
    workload: &WorkloadConfig,
    weights: &Weights,
    places: &BTreeMap<InstanceId, Place>,
) -> Option<Route> {
    let mut route = Route::new(workload.name.as_str(), workload.listen?);
    route.backends = weights
        .iter()
        .filter_map(|(id, weight)| {
            Some(BackendSpec { id: id.get(), addr: places.get(id)?.address, weight: *weight })
        })
        .collect();
    route.health = match &workload.probe {
        ProbeConfig::Tcp => HealthSpec::default(),
        ProbeConfig::Http(path) => HealthSpec {
            path: path.clone(),
            interval: workload.health.interval,
            timeout: workload.health.timeout,
            fall: workload.health.fall,
            rise: workload.health.rise,
        },
    };
    route.hold = workload.wait;
    route.max_waiting = usize::try_from(workload.wait_max).unwrap_or(usize::MAX);
    route.admission.clone_from(&workload.admission);
    route.balancing = workload.balancing.clone();
    route.observation.clone_from(&workload.observation);
    workload.protocols.apply(&mut route);
    route.cache.clone_from(&workload.cache);
    route.shedding.clone_from(&workload.shedding);
    Some(route)
}

/// The weights that a proxy's table gives to the instances of a workload that are still there.
pub(crate) fn weights_in(
    table: &RouteTable,
    workload: &WorkloadConfig,
    places: &BTreeMap<InstanceId, Place>,
) -> Weights {
    let found = table.routes.iter().find(|route| route.workload == workload.name);
    let backends = found.map(|route| route.backends.as_slice()).unwrap_or_default();
    backends
        .iter()
        .filter_map(|backend| {
            let id = InstanceId::new(backend.id);
            (places.get(&id)?.address == backend.addr).then_some((id, backend.weight.min(FULL_WEIGHT)))
        })
        .collect()
}

/// The backends in traffic, by a proxy's table, that are none of the known instances, at one of these addresses.
pub(crate) fn unknown_in(
    table: &RouteTable,
    workload: &WorkloadConfig,
    places: &BTreeMap<InstanceId, Place>,
    addresses: &[IpAddr],
) -> Vec<BackendSpec> {
    let found = table.routes.iter().filter(|route| route.workload == workload.name);
    let mut backends: Vec<BackendSpec> = found.flat_map(|route| route.backends.iter().cloned()).collect();
    backends.retain(|backend| {
        let is_there = addresses.contains(&backend.addr.ip());
        is_there && backend.weight > 0 && !places.contains_key(&InstanceId::new(backend.id))
    });
    backends
}

/// What an instance found again was used as. One that was draining counts as active: as a standby it could be frozen
/// with a request on it.
pub(crate) fn adopted(
    workload: &WorkloadId,
    (instance, node): (InstanceId, Option<NodeId>),
    parked: bool,
    weights: &Weights,
    config: &Config,
) -> Event {
    let routed = weights.iter().any(|(id, _)| *id == instance);
    // Without a route, nobody knows whether it served; what is not frozen may have had work on it.
    let unrouted = config.workloads.iter().any(|w| w.name == workload.as_str() && w.listen.is_none());
    let role = if routed || (unrouted && !parked) { Role::Active } else { Role::Standby };
    Event::InstanceAdopted { workload: workload.clone(), instance, role, parked, node }
}

pub(crate) fn load_observed(workload: &WorkloadId, load: Load) -> Event {
    Event::LoadObserved {
        workload: workload.clone(),
        demand_now: load.rate,
        in_flight: f64::from(load.in_flight),
    }
}

pub(crate) fn backend_observed(workload: &WorkloadId, delta: &BackendDelta) -> Event {
    Event::BackendObserved {
        workload: workload.clone(),
        instance: InstanceId::new(delta.id),
        requests: delta.requests,
        errors: delta.errors,
        latency_p50: delta.latency.quantile(0.5).unwrap_or(Duration::ZERO),
        latency_p99: delta.latency.quantile(0.99).unwrap_or(Duration::ZERO),
        latencies: delta.latency.counted().collect(),
        in_flight: delta.in_flight,
    }
}

pub(crate) fn health_changed(workload: &WorkloadId, change: HealthChange) -> Event {
    let (workload, instance) = (workload.clone(), InstanceId::new(change.id));
    if change.healthy {
        Event::InstanceHealthy { workload, instance }
    } else {
        Event::InstanceUnhealthy { workload, instance, reason: "the proxy's health checks fail".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CapacityConfig, TrainingConfig};
    use crate::instances::name_of;

    fn workload() -> WorkloadConfig {
        let listen = "127.0.0.1:8080".parse().expect("a literal address");
        WorkloadConfig::new("web", vec!["serve".into()], listen, CapacityConfig::Pinned(10.0))
    }

    fn places() -> BTreeMap<InstanceId, Place> {
        let place = |n: u16| Place {
            revision: String::new(),
            name: name_of("web", InstanceId::new(n.into())),
            pid: n.into(),
            address: ([127, 0, 0, 1], 9000 + n).into(),
            addresses: vec![([127, 0, 0, 1], 9000 + n).into()],
        };
        [1, 2].into_iter().map(|n| (InstanceId::new(n.into()), place(n))).collect()
    }

    #[test]
    fn weights_survive_the_way_through_the_proxy() {
        let weights = vec![(InstanceId::new(1), 1000), (InstanceId::new(2), 0)];
        let route = route(&workload(), &weights, &places()).expect("routed");
        let table = RouteTable { generation: 7, routes: vec![route] };
        assert_eq!(table.validate(), Ok(()));
        assert_eq!(weights_in(&table, &workload(), &places()), weights);
    }

    #[test]
    fn an_instance_that_is_gone_is_in_no_table() {
        let weights = vec![(InstanceId::new(1), 1000), (InstanceId::new(9), 1000)];
        let route = route(&workload(), &weights, &places()).expect("routed");
        assert_eq!(route.backends.len(), 1);
        let elsewhere = BackendSpec { id: 2, addr: ([127, 0, 0, 1], 1).into(), weight: 1000 };
        let table = RouteTable { generation: 1, routes: vec![Route { backends: vec![elsewhere], ..route }] };
        assert_eq!(weights_in(&table, &workload(), &places()), vec![]);
    }

    #[test]
    fn only_what_a_silent_engine_may_have_is_in_traffic_and_unknown() {
        let backend = |id, host, weight| BackendSpec { id, addr: ([10, 0, 0, host], 80).into(), weight };
        let backends = vec![backend(1, 1, 1000), backend(7, 1, 500), backend(8, 1, 0), backend(9, 2, 1000)];
        let route = route(&workload(), &Weights::new(), &places()).expect("routed");
        let table = RouteTable { generation: 1, routes: vec![Route { backends, ..route }] };
        let unknown = |silent: &[IpAddr]| unknown_in(&table, &workload(), &places(), silent);
        assert_eq!(unknown(&[[10, 0, 0, 1].into()]), [backend(7, 1, 500)]);
        assert_eq!(unknown(&[]), []);
    }

    #[test]
    fn a_draining_instance_is_adopted_as_active_so_that_it_is_not_frozen() {
        let weights = vec![(InstanceId::new(1), 0)];
        let server = crate::config::ServerConfig::new("state".into());
        let (workloads, models) = (vec![workload()], BTreeMap::new());
        let training = TrainingConfig::default();
        let config = Config { server, workloads, models, training, nodes: Vec::new(), tenants: Vec::new() };
        let role = |id| match adopted(&"web".into(), (InstanceId::new(id), None), false, &weights, &config) {
            Event::InstanceAdopted { role, .. } => role,
            other => panic!("{other:?}"),
        };
        assert_eq!((role(1), role(2)), (Role::Active, Role::Standby));
        let mut config = config.clone();
        config.workloads[0].listen = None;
        let role =
            |parked| match adopted(&"web".into(), (InstanceId::new(2), None), parked, &weights, &config) {
                Event::InstanceAdopted { role, .. } => role,
                other => panic!("{other:?}"),
            };
        assert_eq!((role(false), role(true)), (Role::Active, Role::Standby), "it may hold sessions");
    }
}
