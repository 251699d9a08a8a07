//! `raise = { cpu, cpu_max, memory, memory_max, hold }`: what an instance gets on top of its size while requests on it take
//! more than was reserved for them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::{format_bytes, format_duration};
use super::section::Section;

/// How far instances are raised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RaiseConfig {
    /// `cpu`: cores for each such request; 0 (the default): none.
    pub cpu: f64,
    /// `cpu_max`: cores that an instance has at most, its size included.
    pub cpu_max: f64,
    /// `memory`: bytes for each such request; 0 (the default): none.
    pub memory: u64,
    /// `memory_max`: bytes that an instance has at most, its size included.
    pub memory_max: u64,
    /// `hold`: how long a raise stays after it is needed, and between two steps back. Default `5s`.
    pub hold: Duration,
}

/// Reads it.
pub(super) fn raise(e: &Entry<'_>) -> Option<RaiseConfig> {
    let mut s = e.section(EXAMPLE)?;
    let mut raise = RaiseConfig { cpu: 0.0, cpu_max: 0.0, memory: 0, memory_max: 0, hold: HOLD };
    s.read("cpu", &mut raise.cpu, |e| e.number(CORES));
    s.read("memory", &mut raise.memory, |e| e.bytes(BYTES));
    s.read("hold", &mut raise.hold, |e| e.duration(MOMENT..=HOUR));
    if raise.cpu > 0.0 {
        raise.cpu_max = s.required("cpu_max", "2", |e| e.number(CORES)).unwrap_or_default();
    }
    if raise.memory > 0 {
        raise.memory_max = s.required("memory_max", "\"1GiB\"", |e| e.bytes(BYTES)).unwrap_or_default();
    }
    if raise.cpu == 0.0 && raise.memory == 0 {
        s.report(
            "cpu",
            "and `memory` are both missing: there is nothing to raise",
            "write one, such as cpu = 0.5",
        );
    }
    s.finish();
    Some(raise)
}

/// What does not fit the rest of the workload.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    let Some(raise) = &w.raise else { return };
    if w.admission.is_none() {
        let hint = "add a section [workload.admission], or remove `raise`";
        return s.report("raise", "needs reservations that can be outgrown", hint);
    }
    let unlimited = |limit: bool, raised: bool| raised && !limit && w.sizing.is_none();
    if unlimited(w.limits.cpu.is_some(), raise.cpu > 0.0) {
        s.report("raise", "raises cpu, of which instances have no limit", "add limits = { cpu = 0.5 }");
    }
    if unlimited(w.limits.memory.is_some(), raise.memory > 0) {
        s.report(
            "raise",
            "raises memory, of which instances have no limit",
            "add limits = { memory = \"256MiB\" }",
        );
    }
}

/// The value as it is written in TOML.
pub(super) fn write(raise: &RaiseConfig) -> String {
    let mut parts = Vec::new();
    if raise.cpu > 0.0 {
        parts.push(format!("cpu = {:?}, cpu_max = {:?}", raise.cpu, raise.cpu_max));
    }
    if raise.memory > 0 {
        let (each, most) = (format_bytes(raise.memory), format_bytes(raise.memory_max));
        parts.push(format!("memory = \"{each}\", memory_max = \"{most}\""));
    }
    parts.push(format!("hold = \"{}\"", format_duration(raise.hold)));
    format!("{{ {} }}", parts.join(", "))
}

const EXAMPLE: &str = "{ cpu = 0.5, cpu_max = 2 }";
const CORES: RangeInclusive<f64> = 0.01..=4096.0;
const BYTES: RangeInclusive<u64> = 1 << 20..=1 << 50;
const HOLD: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3_600);
