//! Turns an order into what the engine's API takes.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigLogConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::config::DockerConfig;
use super::instance::Facts;
use super::mark::{self, Owner};
use super::spec::{ContainerSpec, Network};
use crate::process::command;
use crate::spec::{InstanceSpec, ResourceLimits};

/// The body of a creation. `ports` are those the service is told.
pub(super) fn body(
    config: &DockerConfig,
    owner: &Owner,
    facts: &Facts,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    ports: &[u16],
) -> ContainerCreateBody {
    let mut labels = mark::labels(facts, owner);
    if container.network == Network::Host {
        labels.insert(mark::PORTS.to_owned(), command::list(ports));
    }
    let published = container.network != Network::Host;
    let exposed = ports.iter().map(|port| format!("{port}/tcp")).collect();
    let off = HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() };
    ContainerCreateBody {
        image: Some(container.image.clone()),
        cmd: (!spec.command.is_empty()).then(|| command::arguments(spec, ports)),
        env: Some(environment(config, spec, container, ports)),
        user: spec.user.clone(),
        working_dir: spec.working_dir.as_ref().map(|dir| dir.display().to_string()),
        exposed_ports: published.then_some(exposed),
        healthcheck: (!container.health_check).then_some(off),
        labels: Some(labels),
        host_config: Some(host_config(config, spec, container, ports)),
        ..ContainerCreateBody::default()
    }
}

fn environment(
    config: &DockerConfig,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    ports: &[u16],
) -> Vec<String> {
    // In a network of its own it must listen on all of its addresses to be reached.
    let host =
        if container.network == Network::Host { config.address.to_string() } else { "0.0.0.0".to_owned() };
    let told = [("HOST".to_owned(), host)].into();
    let pairs = command::told(spec, told, ports);
    pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn host_config(
    config: &DockerConfig,
    spec: &InstanceSpec,
    container: &ContainerSpec,
    ports: &[u16],
) -> HostConfig {
    let limits = update(&spec.limits);
    // Two files, of which one is always whole: together at least half of the limit.
    let log =
        [("max-size".to_owned(), (spec.log_limit / 2).to_string()), ("max-file".to_owned(), "2".to_owned())];
    let publish = |(index, port): (usize, &u16)| {
        let fixed = container.host_port.filter(|_| index == 0);
        let binding = PortBinding {
            host_ip: Some(config.address.to_string()),
            host_port: Some(fixed.map_or_else(String::new, |port| port.to_string())),
        };
        (format!("{port}/tcp"), Some(vec![binding]))
    };
    let (mode, bindings) = match &container.network {
        Network::Host => ("host".to_owned(), None),
        Network::Bridge => ("bridge".to_owned(), Some(ports.iter().enumerate().map(publish).collect())),
        Network::Named(name) => (name.clone(), Some(ports.iter().enumerate().map(publish).collect())),
    };
    let never = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
    HostConfig {
        network_mode: Some(mode),
        port_bindings: bindings,
        init: Some(container.init),
        restart_policy: Some(never),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from(log)),
        }),
        // As with processes: who is made somebody else stays that.
        security_opt: spec.user.is_some().then(|| vec!["no-new-privileges".to_owned()]),
        cpu_shares: limits.cpu_shares,
        memory: limits.memory,
        memory_swap: limits.memory_swap,
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        pids_limit: limits.pids_limit,
        ..HostConfig::default()
    }
}

/// Limits in the words of the API; those that are `None` stay as they are. See [`further`] for those it has no words for.
pub(super) fn update(limits: &ResourceLimits) -> ContainerUpdateBody {
    let bytes = limits.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let quota = |cores: f64| ((cores * CPU_PERIOD_MICROS as f64) as i64).max(CPU_QUOTA_MICROS_MIN);
    ContainerUpdateBody {
        cpu_shares: limits
            .cpu_weight
            .map(|weight| (i64::from(weight) * CPU_SHARES / 100).max(CPU_SHARES_MIN)),
        memory: bytes,
        // Memory and swap together: no swap beside the memory.
        memory_swap: bytes,
        cpu_period: limits.cpu_cores.map(|_| CPU_PERIOD_MICROS),
        cpu_quota: limits.cpu_cores.map(quota),
        pids_limit: limits.pids.map(i64::from),
        ..ContainerUpdateBody::default()
    }
}

/// The limits that the API does not know, or cannot change: they are written to the control group where we may.
pub(super) fn further(limits: ResourceLimits) -> ResourceLimits {
    ResourceLimits { cpu_cores: None, cpu_weight: None, memory_bytes: None, pids: None, ..limits }
}

/// The others.
pub(super) fn nearer(limits: ResourceLimits) -> ResourceLimits {
    let ResourceLimits { cpu_cores, cpu_weight, memory_bytes, pids, .. } = limits;
    ResourceLimits { cpu_cores, cpu_weight, memory_bytes, pids, ..ResourceLimits::default() }
}

/// The share of a container that has none of its own, and the smallest.
const CPU_SHARES: i64 = 1024;
const CPU_SHARES_MIN: i64 = 2;
/// Period of a processor quota, in microseconds: the kernel's default.
const CPU_PERIOD_MICROS: i64 = 100_000;
/// The smallest quota that the kernel accepts, in microseconds.
const CPU_QUOTA_MICROS_MIN: i64 = 1_000;
