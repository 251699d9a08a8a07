//! Limits in the words of both versions of control groups.

use super::Controller;
use crate::spec::ResourceLimits;

/// One limit.
pub(super) struct Limit {
    pub(super) controller: Controller,
    /// Files and values, to be written in this order.
    pub(super) v1: Vec<(&'static str, String)>,
    /// File and value.
    pub(super) v2: (&'static str, String),
}

impl Limit {
    /// The limits that are set.
    pub(super) fn all(limits: &ResourceLimits) -> Vec<Limit> {
        let cpu = limits.cpu_cores.map(|cores| {
            let quota = ((cores * CPU_PERIOD_MICROS as f64) as u64).max(CPU_QUOTA_MICROS_MIN);
            Limit {
                controller: Controller::Cpu,
                v1: vec![
                    ("cpu.cfs_period_us", CPU_PERIOD_MICROS.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
                v2: ("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}")),
            }
        });
        let memory = limits.memory_bytes.map(|bytes| Limit {
            controller: Controller::Memory,
            v1: vec![("memory.limit_in_bytes", bytes.to_string())],
            v2: ("memory.max", bytes.to_string()),
        });
        let pids = limits.pids.map(|pids| Limit {
            controller: Controller::Pids,
            v1: vec![("pids.max", pids.to_string())],
            v2: ("pids.max", pids.to_string()),
        });
        [cpu, memory, pids].into_iter().flatten().collect()
    }
}

/// Period of a processor quota, in microseconds: the kernel's default.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The smallest quota that the kernel accepts, in microseconds.
const CPU_QUOTA_MICROS_MIN: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_in_the_words_of_both_versions() {
        let limits = ResourceLimits { cpu_cores: Some(1.5), memory_bytes: Some(1 << 30), pids: Some(9) };
        let [cpu, memory, pids] = &Limit::all(&limits)[..] else { panic!("three limits") };
        assert_eq!(cpu.v2, ("cpu.max", "150000 100000".to_owned()));
        assert_eq!(cpu.v1[1], ("cpu.cfs_quota_us", "150000".to_owned()));
        assert_eq!(memory.v1[0], ("memory.limit_in_bytes", "1073741824".to_owned()));
        assert_eq!(pids.v2, ("pids.max", "9".to_owned()));
        assert!(Limit::all(&ResourceLimits::default()).is_empty());
    }
}
