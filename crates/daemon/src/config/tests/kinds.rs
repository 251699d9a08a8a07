//! What instances are: processes, containers or machines.

use std::path::PathBuf;

use provider::{Acceleration, Birth, ContainerNetwork, Endpoint, Pull};

use super::parse;

const SHARED: &str = "[[workload]]\nname = \"web\"\nlisten = \"127.0.0.1:8080\"\ncapacity = 50\n";

#[test]
fn containers_are_read_and_written() {
    let text = format!(
        "[server]\ndocker = {{ endpoint = \"tcp://10.0.0.2:2376\", address = \"10.0.0.2\", \
         tls = {{ ca = \"/a\", cert = \"/b\", key = \"/c\" }} }}\n{SHARED}\
         container = {{ image = \"web:1\", pull = \"missing\", network = \"host\", port = 81 }}\n"
    );
    let config = parse(&text).expect("valid");
    let web = &config.workloads[0];
    let container = web.container.as_ref().expect("as configured");
    assert_eq!((container.image.as_str(), container.pull, container.port), ("web:1", Pull::Missing, 81));
    assert_eq!((&container.network, web.command.len()), (&ContainerNetwork::Host, 0));
    let [("", engine)] = config.engines()[..] else { panic!("one engine") };
    assert!(matches!(&engine.endpoint, Endpoint::Tcp { tls: Some(_), port: 2376, .. }), "{engine:?}");
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn machines_are_read_and_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, "text").expect("written");
        path.display().to_string()
    };
    let (kernel, initrd) = (file("vmlinuz"), file("initrd"));
    let text = format!(
        "[server]\nqemu = {{ acceleration = \"emulation\", cpu = \"qemu64\" }}\n{SHARED}probe = \"/\"\ncommand = [\"quiet\"]\nmachine = {{ kernel = {kernel:?}, initrd = {initrd:?}, memory = \"128MiB\", \
         memory_min = \"64MiB\", cpus = 2, port = 80, start = \"boot\" }}\n"
    );
    let config = parse(&text).expect("valid");
    let machine = config.workloads[0].machine.as_ref().expect("as configured");
    assert_eq!((machine.spec.birth, machine.spec.vcpus, machine.spec.port), (Birth::Boot, 2, Some(80)));
    assert_eq!(machine.spec.kernel, Some(PathBuf::from(kernel)));
    let qemu = &config.server.qemu;
    assert_eq!((qemu.acceleration, qemu.cpu.as_str()), (Acceleration::Emulation, "qemu64"));
    assert_eq!(parse(&config.to_toml()), Ok(config));
    let sized = |sizing: &str| parse(&format!("{text}sizing = {{ {sizing} }}\n"));
    let fits = "cpu_max = 2, memory_min = \"64MiB\", memory_max = \"128MiB\"";
    sized(fits).expect("what the machine can be");
    for (sizing, words) in [
        ("cpu_max = 2, memory_max = \"128MiB\"", "from 32MiB to 128MiB of memory"),
        ("cpu_max = 2, memory_min = \"64MiB\", memory_max = \"256MiB\"", "to 256MiB of memory"),
        ("cpu_max = 4, memory_min = \"64MiB\", memory_max = \"128MiB\"", "4 cores, and they have 2"),
    ] {
        let errors = sized(sizing).expect_err(sizing).to_string();
        assert!(errors.contains(words), "{errors}");
    }
    // QEMU itself accepts connections.
    let errors = parse(&text.replace("probe = \"/\"\n", "")).expect_err("a TCP probe").to_string();
    assert!(errors.contains("web.machine") && errors.contains("TCP probe"), "{errors}");
}

#[test]
fn standbys_of_another_size_are_read_and_written_and_take_more_of_a_node() {
    let text = format!(
        "{SHARED}command = [\"sh\"]\nlimits = {{ cpu = 0.5, memory = \"128MiB\" }}\n\
         profiles = {{ standby = {{ cpu = 1, memory = \"64MiB\" }} }}\n"
    );
    let config = parse(&text).expect("valid");
    let policy = crate::workload_policy(&config.workloads[0]);
    let size = |cpu_cores, mib: u64| planner::Size { cpu_cores, memory_bytes: mib << 20 };
    let profiles = planner::Profiles { active: size(0.5, 128), standby: size(1.0, 64) };
    assert_eq!(policy.profiles, Some(profiles));
    assert_eq!(policy.needs, planner::Resources::new(1.0, 128 << 20));
    assert_eq!(parse(&config.to_toml()), Ok(config));
    for (more, words) in [
        ("sizing = { cpu_max = 2, memory_max = \"1GiB\" }", "together with `sizing`"),
        ("stopped = { price = 0.01, lead = \"1s\" }", "together with `stopped`"),
    ] {
        let errors = parse(&format!("{text}{more}\n")).expect_err(more).to_string();
        assert!(errors.contains(words), "{errors}");
    }
    let errors = parse(&text.replace(", memory = \"128MiB\" }", " }")).expect_err("no memory").to_string();
    assert!(errors.contains("how large active instances are"), "{errors}");
}

#[test]
fn several_nodes_need_an_engine_each_and_containers() {
    let node = |name: &str, docker: &str| {
        format!("[[node]]\nname = {name:?}\ncores = 4\nmemory = \"8GiB\"\n{docker}\n")
    };
    let docker = |port: u16| {
        format!("docker = {{ endpoint = \"tcp://10.0.0.{port}:2376\", address = \"10.0.0.{port}\" }}")
    };
    let web = format!("{SHARED}needs = {{ cpu = 0.5, memory = \"64MiB\" }}\n");
    let container = "container = { image = \"web:1\" }\n";
    let two = node("a", &docker(1)) + &node("b", &docker(2));
    let config = parse(&format!("{two}{web}{container}")).expect("valid");
    assert_eq!(config.engines().iter().map(|(node, _)| *node).collect::<Vec<_>>(), ["a", "b"]);
    for refused in
        [format!("{two}{web}command = [\"sh\"]\n"), node("a", &docker(1)) + &node("b", "") + &web + container]
    {
        let errors = parse(&refused).expect_err("refused").to_string();
        assert!(errors.contains("only containers run elsewhere"), "{errors}");
    }
}

#[test]
fn what_makes_no_sense_is_named_with_its_key() {
    let cases = [
        ("container = { }", "image"),
        ("container = { image = \"a\", pull = \"always\" }", "pull"),
        ("container = { image = \"a\", port = 0 }", "port"),
        ("machine = { cpus = 1 }", "machine"),
        ("machine = { kernel = \"/no/such/kernel\" }", "kernel"),
        ("command = [\"sh\"]\n[server]\ndocker = { endpoint = \"http://a\" }", "endpoint"),
        ("command = [\"sh\"]\n[server]\nqemu = { acceleration = \"hvf\" }", "acceleration"),
        ("command = [\"sh\"]\n[server]\nqemu = { cpu = \"-S\" }", "cpu"),
        ("command = [\"sh\"]\n[server]\ndocker = { endpoint = \"ssh://-oProxyCommand=x\" }", "endpoint"),
        ("command = [\"sh\"]\n[server]\ndocker = { endpoint = \"ssh://root@b\" }", "address"),
    ];
    for (line, key) in cases {
        let errors = parse(&format!("{SHARED}{line}\n")).expect_err(line).to_string();
        assert!(errors.contains(key), "{line}: {errors}");
    }
}
