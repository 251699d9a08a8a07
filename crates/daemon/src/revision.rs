//! What the instances of a workload are made of, as one word: where it differs, they run another version.

use provider::{ContainerNetwork, ContainerSpec, MachineConfiguration, MachineNetwork, MachineSpec};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{ListenMode, ProbeConfig, WorkloadConfig};

/// The word for a configuration. Named one by one, so that a foreshadow that knows more settings finds the same word.
pub(crate) fn of(workload: &WorkloadConfig) -> String {
    let limits = &workload.limits;
    let made_of = json!({
        "command": workload.command,
        "env": workload.env,
        "working_dir": workload.working_dir,
        "user": workload.user,
        "probe": match &workload.probe {
            ProbeConfig::Tcp => Value::Null,
            ProbeConfig::Http(path) => Value::from(path.as_str()),
        },
        "passes_socket": workload.listen_mode == ListenMode::Socket,
        "processes": workload.sessions.as_ref().map(|sessions| sessions.processes),
        "cpu": limits.cpu,
        "memory": limits.memory,
        "container": workload.container.as_ref().map(container),
        "machine": workload.machine.as_ref().map(|machine| self::machine(&machine.spec)),
    });
    let digest = Sha256::digest(made_of.to_string().as_bytes());
    digest.iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn container(container: &ContainerSpec) -> Value {
    let network = match &container.network {
        ContainerNetwork::Bridge => Value::Null,
        ContainerNetwork::Named(name) => Value::from(name.as_str()),
        ContainerNetwork::Host => Value::from(false),
    };
    json!({
        "image": container.image,
        "network": network,
        "port": container.port,
        "host_port": container.host_port,
        "init": container.init,
        "health_check": container.health_check,
    })
}

fn machine(machine: &MachineSpec) -> Value {
    let user_data = match &machine.configuration {
        MachineConfiguration::CommandLine => None,
        MachineConfiguration::CloudInit { user_data } => Some(user_data),
    };
    let tap = match &machine.network {
        MachineNetwork::User => None,
        MachineNetwork::Tap { interface, .. } => Some(interface),
    };
    json!({
        "disk": machine.disk,
        "kernel": machine.kernel,
        "initrd": machine.initrd,
        "memory": machine.memory_bytes,
        "vcpus": machine.vcpus,
        "port": machine.port,
        "tap": tap,
        "user_data": user_data,
    })
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
        assert_eq!((word.len(), &word), (2 * BYTES, &of(&config.clone())));
        let renamed = WorkloadConfig { name: "shop".to_owned(), priority: 77, ..config.clone() };
        assert_eq!(of(&renamed), word);
        let others = [
            WorkloadConfig { command: vec!["serve".to_owned(), "-v".to_owned()], ..config.clone() },
            WorkloadConfig { env: [("A".to_owned(), "1".to_owned())].into(), ..config.clone() },
            WorkloadConfig { probe: ProbeConfig::Tcp, ..config.clone() },
            WorkloadConfig { container: Some(ContainerSpec::new("web:1")), ..config.clone() },
            WorkloadConfig { container: Some(ContainerSpec::new("web:2")), ..config },
        ];
        let mut words: Vec<String> = others.iter().map(of).chain([word]).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), others.len() + 1);
    }
}
