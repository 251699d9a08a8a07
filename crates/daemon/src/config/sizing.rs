//! `sizing = { mode, cpu_min, cpu_max, memory_min, memory_max, cpu_quantile, memory_quantile, change_min, every,
//! cpu_bound }`: how large instances are.

use std::ops::RangeInclusive;
use std::time::Duration;

use planner::{Size, SizingMode, SizingPolicy};

use super::entry::Entry;
use super::limits::LimitsConfig;
use super::quantity::{format_bytes, format_duration};
use super::section::Section;

/// Reads it. Instances begin with the configured limits, or as large as is allowed.
pub(super) fn sizing(e: &Entry<'_>, limits: LimitsConfig) -> Option<SizingPolicy> {
    let mut s = e.section("{ cpu_max = 4, memory_max = \"4GiB\" }")?;
    let cpu_max = s.required("cpu_max", "4", |e| e.number(CORES));
    let memory_max = s.required("memory_max", "\"4GiB\"", |e| e.bytes(BYTES));
    let (Some(cpu_cores), Some(memory_bytes)) = (cpu_max, memory_max) else {
        s.finish();
        return None;
    };
    let most = Size { cpu_cores, memory_bytes };
    let least = Size {
        cpu_cores: CPU_MIN_DEFAULT.min(cpu_cores),
        memory_bytes: MEMORY_MIN_DEFAULT.min(memory_bytes),
    };
    let mut policy = SizingPolicy::new(least, most, most);
    read(&mut s, &mut policy);
    let initial = Size {
        cpu_cores: limits.cpu.unwrap_or(most.cpu_cores),
        memory_bytes: limits.memory.unwrap_or(most.memory_bytes),
    };
    policy.initial = policy.bounded(initial);
    if policy.least.cpu_cores > cpu_cores {
        s.report("cpu_min", "is more than cpu_max", "make cpu_min at most cpu_max");
    }
    if policy.least.memory_bytes > memory_bytes {
        s.report("memory_min", "is more than memory_max", "make memory_min at most memory_max");
    }
    s.finish();
    Some(policy)
}

fn read(s: &mut Section<'_>, policy: &mut SizingPolicy) {
    s.read("mode", &mut policy.mode, |e| {
        e.word(&[("rules", SizingMode::Rules), ("bandit", SizingMode::Bandit)])
    });
    s.read("cpu_min", &mut policy.least.cpu_cores, |e| e.number(CORES));
    s.read("memory_min", &mut policy.least.memory_bytes, |e| e.bytes(BYTES));
    s.read("cpu_quantile", &mut policy.cpu_quantile, |e| e.number(QUANTILES));
    s.read("memory_quantile", &mut policy.memory_quantile, |e| e.number(QUANTILES));
    s.read("change_min", &mut policy.change_min, |e| e.number(0.0..=0.9));
    s.read("every", &mut policy.every, |e| e.duration(Duration::ZERO..=DAY));
    s.read("cpu_bound", &mut policy.cpu_bound, |e| e.flag().map(Some));
}

/// The value as it is written in TOML.
pub(super) fn write(policy: &SizingPolicy) -> String {
    let mode = match policy.mode {
        SizingMode::Rules => "rules",
        SizingMode::Bandit => "bandit",
    };
    let bound = policy.cpu_bound.map_or(String::new(), |bound| format!(", cpu_bound = {bound}"));
    format!(
        "{{ mode = \"{mode}\", cpu_min = {:?}, cpu_max = {:?}, memory_min = \"{}\", memory_max = \"{}\", \
         cpu_quantile = {:?}, memory_quantile = {:?}, change_min = {:?}, every = \"{}\"{bound} }}",
        policy.least.cpu_cores,
        policy.most.cpu_cores,
        format_bytes(policy.least.memory_bytes),
        format_bytes(policy.most.memory_bytes),
        policy.cpu_quantile,
        policy.memory_quantile,
        policy.change_min,
        format_duration(policy.every)
    )
}

/// As for `limits`.
const CORES: RangeInclusive<f64> = 0.01..=4096.0;
const BYTES: RangeInclusive<u64> = 1 << 20..=1 << 50;
const QUANTILES: RangeInclusive<f64> = 0.01..=0.9999;
const CPU_MIN_DEFAULT: f64 = 0.05;
const MEMORY_MIN_DEFAULT: u64 = 32 << 20;
const DAY: Duration = Duration::from_secs(86_400);
