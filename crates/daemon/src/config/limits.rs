//! `limits`: what one instance may use.

use super::entry::Entry;
use super::quantity::format_bytes;
use super::write::{number, quoted};

/// `limits = { cpu, cpu_weight, memory, memory_high, pids, disk_read, disk_write }`; absent: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitsConfig {
    /// `cpu`: cores, such as `0.5`.
    pub cpu: Option<f64>,
    /// `cpu_weight`: its share where processors are scarce, 1 to 10 000; who has none has 100.
    pub cpu_weight: Option<u32>,
    /// `memory`: bytes, such as `"512MiB"`; who needs more is killed.
    pub memory: Option<u64>,
    /// `memory_high`: bytes above which it is slowed down and pages are taken back.
    pub memory_high: Option<u64>,
    /// `pids`: processes and threads.
    pub pids: Option<u32>,
    /// `disk_read`: bytes in a second from each disk.
    pub disk_read: Option<u64>,
    /// `disk_write`: bytes in a second to each disk.
    pub disk_write: Option<u64>,
}

/// Reads it.
pub(super) fn limits(e: &Entry<'_>) -> Option<LimitsConfig> {
    let mut limits = LimitsConfig::default();
    let mut s = e.section("{ cpu = 0.5, memory = \"512MiB\", pids = 100 }")?;
    s.read("cpu", &mut limits.cpu, |e| e.number(0.01..=4096.0).map(Some));
    s.read("cpu_weight", &mut limits.cpu_weight, |e| e.count(1..=10_000).map(Some));
    s.read("memory", &mut limits.memory, |e| e.bytes(1 << 20..=1 << 50).map(Some));
    s.read("memory_high", &mut limits.memory_high, |e| e.bytes(1 << 20..=1 << 50).map(Some));
    s.read("pids", &mut limits.pids, |e| e.count(1..=4_000_000).map(Some));
    s.read("disk_read", &mut limits.disk_read, |e| e.bytes(4096..=1 << 50).map(Some));
    s.read("disk_write", &mut limits.disk_write, |e| e.bytes(4096..=1 << 50).map(Some));
    s.finish();
    Some(limits)
}

/// As it is written in a file.
pub(super) fn write(limits: &LimitsConfig) -> String {
    let bytes = |key: &str, bytes: u64| format!("{key} = {}", quoted(&format_bytes(bytes)));
    let parts = [
        limits.cpu.map(|cores| format!("cpu = {}", number(cores))),
        limits.cpu_weight.map(|weight| format!("cpu_weight = {weight}")),
        limits.memory.map(|value| bytes("memory", value)),
        limits.memory_high.map(|value| bytes("memory_high", value)),
        limits.pids.map(|pids| format!("pids = {pids}")),
        limits.disk_read.map(|value| bytes("disk_read", value)),
        limits.disk_write.map(|value| bytes("disk_write", value)),
    ];
    format!("{{ {} }}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
