//! `machine`: instances are virtual machines.

use std::path::{Path, PathBuf};

use provider::{Birth, MachineNetwork, MachineSpec};

use super::container::port;
use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::format_bytes;
use super::section::Section;
use super::write::quoted;

/// `machine = { kernel, initrd, disk, user_data, memory, memory_min, cpus, port, start, tap }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// What is ordered.
    pub spec: MachineSpec,
    /// `user_data`: the file with the document for cloud-init.
    pub user_data: Option<PathBuf>,
}

/// Reads it.
pub(super) fn machine(e: &Entry<'_>) -> Option<MachineConfig> {
    let mut s = e.section("{ kernel = \"vmlinuz\", initrd = \"initrd\" }")?;
    let mut user_data = None;
    s.read("user_data", &mut user_data, |e| document(e).map(Some));
    let mut spec = match &user_data {
        Some((_, text)) => MachineSpec::of_disk(PathBuf::new(), text.as_str()),
        None => MachineSpec::of_kernel(PathBuf::new(), PathBuf::new()),
    };
    (spec.disk, spec.kernel, spec.initrd) = (None, None, None);
    s.read("disk", &mut spec.disk, |e| file(e).map(Some));
    s.read("kernel", &mut spec.kernel, |e| file(e).map(Some));
    s.read("initrd", &mut spec.initrd, |e| file(e).map(Some));
    s.read("memory", &mut spec.memory_bytes, |e| e.bytes(16 << 20..=1 << 42));
    spec.memory_min_bytes = spec.memory_bytes;
    let most = spec.memory_bytes;
    s.read("memory_min", &mut spec.memory_min_bytes, |e| e.bytes(16 << 20..=most));
    s.read("cpus", &mut spec.vcpus, |e| e.count(1..=255));
    s.read("port", &mut spec.port, |e| port(e).map(Some));
    s.read("start", &mut spec.birth, |e| e.word(&[("snapshot", Birth::Snapshot), ("boot", Birth::Boot)]));
    s.read("tap", &mut spec.network, tap);
    s.finish();
    if spec.disk.is_none() && spec.kernel.is_none() {
        return e.refuse(
            "has neither a disk nor a kernel",
            "add `disk = \"web.qcow2\"` or `kernel = \"vmlinuz\"`",
        );
    }
    if spec.kernel.is_none() && user_data.is_none() {
        return e.refuse("cannot be told its port", "add `user_data = \"cloud-init.yaml\"`");
    }
    Some(MachineConfig { spec, user_data: user_data.map(|(path, _)| path) })
}

/// What does not fit the rest of the workload.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    let (Some(machine), Some(sizing)) = (&w.machine, &w.sizing) else { return };
    let spec = &machine.spec;
    let (least, most) = (sizing.least.memory_bytes, sizing.most.memory_bytes);
    if least < spec.memory_min_bytes || most > spec.memory_bytes {
        s.report(
            "sizing",
            format!(
                "gives machines from {} to {} of memory, and they can have from {} to {}",
                format_bytes(least),
                format_bytes(most),
                format_bytes(spec.memory_min_bytes),
                format_bytes(spec.memory_bytes)
            ),
            "set memory_min and memory_max in `sizing` to what `memory_min` and `memory` in `machine` allow",
        );
    }
    if sizing.most.cpu_cores > f64::from(spec.vcpus) {
        s.report(
            "sizing",
            format!("gives machines {} cores, and they have {}", sizing.most.cpu_cores, spec.vcpus),
            "make `cpus` in `machine` at least cpu_max in `sizing`",
        );
    }
}

fn file(e: &Entry<'_>) -> Option<PathBuf> {
    let path = e.path()?;
    if path.is_file() {
        Some(path)
    } else {
        e.refuse(format!("`{}` is not a file", path.display()), "write the path of a file")
    }
}

fn document(e: &Entry<'_>) -> Option<(PathBuf, String)> {
    let path = file(e)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Some((path, text)),
        Err(error) => e.refuse(format!("`{}`: {error}", path.display()), "write the path of a text file"),
    }
}

fn tap(e: &Entry<'_>) -> Option<MachineNetwork> {
    let mut s = e.section("{ interface = \"tap0\", address = \"192.0.2.2:8080\" }")?;
    let interface = s.required("interface", "\"tap0\"", |e| e.text().map(str::to_owned));
    let addr = s.required("address", "\"192.0.2.2:8080\"", Entry::address);
    s.finish();
    Some(MachineNetwork::Tap { interface: interface?, addr: addr? })
}

/// As it is written in a file.
pub(super) fn write(machine: &MachineConfig) -> String {
    let spec = &machine.spec;
    let path = |key: &str, path: &Path| format!("{key} = {}", quoted(&path.display().to_string()));
    let bytes = |key: &str, bytes: u64| format!("{key} = {}", quoted(&format_bytes(bytes)));
    let start = match spec.birth {
        Birth::Snapshot => "snapshot",
        Birth::Boot => "boot",
    };
    let tap = match &spec.network {
        MachineNetwork::User => None,
        MachineNetwork::Tap { interface, addr } => Some(format!(
            "tap = {{ interface = {}, address = {} }}",
            quoted(interface),
            quoted(&addr.to_string())
        )),
    };
    let parts = [
        spec.disk.as_deref().map(|disk| path("disk", disk)),
        spec.kernel.as_deref().map(|kernel| path("kernel", kernel)),
        spec.initrd.as_deref().map(|initrd| path("initrd", initrd)),
        machine.user_data.as_deref().map(|file| path("user_data", file)),
        Some(bytes("memory", spec.memory_bytes)),
        Some(bytes("memory_min", spec.memory_min_bytes)),
        Some(format!("cpus = {}", spec.vcpus)),
        spec.port.map(|port| format!("port = {port}")),
        Some(format!("start = {}", quoted(start))),
        tap,
    ];
    format!("{{ {} }}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
