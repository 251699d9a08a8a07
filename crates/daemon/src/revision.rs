//! What the instances of a workload are made of, as one word: where it differs, they run another version.

use std::path::Path;

use provider::{ContainerNetwork, ContainerSpec, MachineConfiguration, MachineNetwork, MachineSpec};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::{ListenMode, ProbeConfig, WorkloadConfig};

/// The word for a configuration. What is not set is left out, so that a foreshadow that knows more settings finds the same word.
pub(crate) fn of(workload: &WorkloadConfig) -> String {
    let limits = &workload.limits;
    // Where it is sized, limits change while it runs.
    let fixed = workload.sizing.is_none();
    let processes = workload.sessions.as_ref().map(|sessions| sessions.processes);
    let made_of = set(vec![
        ("command", Some(json!(workload.command))),
        ("env", Some(json!(workload.env))),
        ("working_dir", workload.working_dir.as_deref().map(path)),
        ("user", workload.user.as_ref().map(|user| json!(user))),
        ("probe", probe(&workload.probe)),
        ("passes_socket", (workload.listen_mode == ListenMode::Socket).then_some(json!(true))),
        ("processes", processes.filter(|count| *count > 1).map(|count| json!(count))),
        ("cpu", limits.cpu.filter(|_| fixed).map(|cores| json!(cores))),
        ("memory", limits.memory.filter(|_| fixed).map(|bytes| json!(bytes))),
        ("cpu_weight", limits.cpu_weight.map(|weight| json!(weight))),
        ("memory_high", limits.memory_high.map(|bytes| json!(bytes))),
        ("pids", limits.pids.map(|pids| json!(pids))),
        ("disk_read", limits.disk_read.map(|bytes| json!(bytes))),
        ("disk_write", limits.disk_write.map(|bytes| json!(bytes))),
        ("container", workload.container.as_ref().map(container)),
        ("machine", workload.machine.as_ref().map(|machine| self::machine(&machine.spec))),
    ]);
    let digest = Sha256::digest(made_of.to_string().as_bytes());
    digest.iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// What is set, by name; the order of names is that of the alphabet.
fn set(named: Vec<(&str, Option<Value>)>) -> Value {
    named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

/// Whatever bytes it has.
fn path(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

fn probe(probe: &ProbeConfig) -> Option<Value> {
    match probe {
        ProbeConfig::Tcp => None,
        ProbeConfig::Http(path) => Some(json!(path)),
    }
}

fn container(container: &ContainerSpec) -> Value {
    let network = match &container.network {
        ContainerNetwork::Bridge => None,
        ContainerNetwork::Named(name) => Some(json!(name)),
        ContainerNetwork::Host => Some(json!(true)),
    };
    set(vec![
        ("image", Some(json!(container.image))),
        ("network", network),
        ("port", Some(json!(container.port))),
        ("host_port", container.host_port.map(|port| json!(port))),
        ("init", Some(json!(container.init))),
        ("health_check", Some(json!(container.health_check))),
    ])
}

fn machine(machine: &MachineSpec) -> Value {
    let user_data = match &machine.configuration {
        MachineConfiguration::CommandLine => None,
        MachineConfiguration::CloudInit { user_data } => Some(json!(user_data)),
    };
    let tap = match &machine.network {
        MachineNetwork::User => None,
        MachineNetwork::Tap { interface, addr } => Some(json!([interface, addr])),
    };
    set(vec![
        ("disk", machine.disk.as_deref().map(path)),
        ("kernel", machine.kernel.as_deref().map(path)),
        ("initrd", machine.initrd.as_deref().map(path)),
        ("memory", Some(json!(machine.memory_bytes))),
        ("memory_min", Some(json!(machine.memory_min_bytes))),
        ("vcpus", Some(json!(machine.vcpus))),
        ("port", machine.port.map(|port| json!(port))),
        ("tap", tap),
        ("user_data", user_data),
    ])
}

/// Of the digest, so much is enough to tell versions apart.
const BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CapacityConfig;

    #[test]
    fn the_word_follows_what_instances_are_made_of_and_nothing_else() {
        let listen = "127.0.0.1:8080".parse().expect("an address");
        let config =
            WorkloadConfig::new("web", vec!["serve".to_owned()], listen, CapacityConfig::Pinned(1.0));
        let word = of(&config);
        assert_eq!(word, "ba6f53c65cbdbbf2", "another word for the same has everybody's instances replaced");
        assert_eq!((word.len(), &word), (2 * BYTES, &of(&config.clone())));
        let renamed = WorkloadConfig { name: "shop".to_owned(), priority: 77, ..config.clone() };
        assert_eq!(of(&renamed), word);
        let others = [
            WorkloadConfig { command: vec!["serve".to_owned(), "-v".to_owned()], ..config.clone() },
            WorkloadConfig { env: [("A".to_owned(), "1".to_owned())].into(), ..config.clone() },
            WorkloadConfig { probe: ProbeConfig::Http("/other".to_owned()), ..config.clone() },
            WorkloadConfig { container: Some(ContainerSpec::new("web:1")), ..config.clone() },
            WorkloadConfig { container: Some(ContainerSpec::new("web:2")), ..config },
        ];
        let mut words: Vec<String> = others.iter().map(of).chain([word]).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), others.len() + 1);
    }
}
