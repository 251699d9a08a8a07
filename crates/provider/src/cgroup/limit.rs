//! Limits in the words of both versions of control groups.

use std::fs;
use std::path::Path;

use super::group::number;
use super::{CgroupError, Controller, io_error};
use crate::spec::ResourceLimits;

/// One limit.
pub(super) struct Limit {
    pub(super) controller: Controller,
    /// Files and values, to be written in this order.
    pub(super) v1: Vec<(&'static str, String)>,
    /// The same for version 2.
    pub(super) v2: Vec<(&'static str, String)>,
}

impl Limit {
    /// The limits that are set; `disks` are the numbers of the machine's, as `8:0`.
    pub(super) fn all(limits: &ResourceLimits, disks: impl FnOnce() -> Vec<String>) -> Vec<Limit> {
        let one = |controller, v1: &'static str, v2: &'static str, value: u64| Limit {
            controller,
            v1: vec![(v1, value.to_string())],
            v2: vec![(v2, value.to_string())],
        };
        let memory = |v1, v2| move |bytes| one(Controller::Memory, v1, v2, bytes);
        let all = [
            limits.cpu_cores.map(quota),
            limits.cpu_weight.map(weight),
            limits.memory_bytes.map(memory(MEMORY, "memory.max")),
            limits.memory_high_bytes.map(memory("memory.soft_limit_in_bytes", "memory.high")),
            limits.pids.map(|pids| one(Controller::Pids, "pids.max", "pids.max", pids.into())),
            disk_rates(limits, disks),
        ];
        all.into_iter().flatten().collect()
    }
}

fn quota(cores: f64) -> Limit {
    let quota = ((cores * CPU_PERIOD_MICROS as f64) as u64).max(CPU_QUOTA_MICROS_MIN);
    Limit {
        controller: Controller::Cpu,
        v1: vec![
            ("cpu.cfs_period_us", CPU_PERIOD_MICROS.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ],
        v2: vec![("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}"))],
    }
}

fn weight(weight: u32) -> Limit {
    // 1024 shares are what version 2 calls a weight of 100.
    let shares = (u64::from(weight) * 1024 / 100).max(CPU_SHARES_MIN);
    Limit {
        controller: Controller::Cpu,
        v1: vec![("cpu.shares", shares.to_string())],
        v2: vec![("cpu.weight", weight.to_string())],
    }
}

fn disk_rates(limits: &ResourceLimits, disks: impl FnOnce() -> Vec<String>) -> Option<Limit> {
    let rates = [
        (limits.read_bytes_per_s, "blkio.throttle.read_bps_device", "rbps"),
        (limits.write_bytes_per_s, "blkio.throttle.write_bps_device", "wbps"),
    ];
    let set: Vec<_> = rates.into_iter().filter_map(|(rate, v1, v2)| Some((rate?, v1, v2))).collect();
    if set.is_empty() {
        return None;
    }
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    for disk in disks() {
        for (rate, file, key) in &set {
            v1.push((*file, format!("{disk} {rate}")));
            v2.push(("io.max", format!("{disk} {key}={rate}")));
        }
    }
    Some(Limit { controller: Controller::Io, v1, v2 })
}

/// The disks of this machine; what has no device behind it is none.
pub(super) fn disks() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let disks = entries.filter(|entry| entry.path().join("device").exists());
    let mut numbers: Vec<String> = disks
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok())
        .map(|number| number.trim().to_owned())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Writes limits of version 1 into a group's folder.
///
/// What made the group may have bound memory and swap together to the memory's limit. That bound goes along: raised before
/// the memory, which the kernel refuses otherwise, and lowered after it.
pub(super) fn set_all_v1(dir: &Path, values: &[(&str, String)]) -> Result<(), CgroupError> {
    values.iter().try_for_each(|(file, value)| match *file {
        MEMORY => set_memory_v1(dir, value),
        file => set(dir, file, value),
    })
}

fn set_memory_v1(dir: &Path, value: &str) -> Result<(), CgroupError> {
    let bound = [MEMORY, MEMORY_AND_SWAP].map(|file| number(&dir.join(file)));
    let order = match (bound, value.parse::<u64>()) {
        ([_, Some(both)], Ok(wanted)) if both < UNLIMITED_MIN && wanted > both => {
            &[MEMORY_AND_SWAP, MEMORY][..]
        }
        ([Some(memory), Some(both)], _) if both < UNLIMITED_MIN && memory == both => {
            &[MEMORY, MEMORY_AND_SWAP]
        }
        _ => &[MEMORY],
    };
    order.iter().try_for_each(|file| set(dir, file, value))
}

/// Writes limits of version 2 into a group's folder.
pub(super) fn set_all_v2(dir: &Path, values: &[(&str, String)]) -> Result<(), CgroupError> {
    values.iter().try_for_each(|(file, value)| set(dir, file, value))
}

fn set(dir: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = dir.join(file);
    fs::write(&path, value).map_err(io_error("set the limit", path))
}

const MEMORY: &str = "memory.limit_in_bytes";
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
/// The kernel says "no limit" by a number above this.
const UNLIMITED_MIN: u64 = 1 << 62;
/// The smallest number of shares that the kernel accepts.
const CPU_SHARES_MIN: u64 = 2;
/// Period of a processor quota, in microseconds: the kernel's default.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The smallest quota that the kernel accepts, in microseconds.
const CPU_QUOTA_MICROS_MIN: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_in_the_words_of_both_versions() {
        let limits = ResourceLimits {
            cpu_cores: Some(1.5),
            cpu_weight: Some(50),
            memory_bytes: Some(1 << 30),
            memory_high_bytes: Some(1 << 20),
            pids: Some(9),
            read_bytes_per_s: Some(5000),
            write_bytes_per_s: Some(6000),
        };
        let disks = || vec!["8:0".to_owned(), "259:1".to_owned()];
        let [cpu, weight, memory, high, pids, io] = &Limit::all(&limits, disks)[..] else {
            panic!("six limits")
        };
        assert_eq!(cpu.v2, [("cpu.max", "150000 100000".to_owned())]);
        assert_eq!(cpu.v1[1], ("cpu.cfs_quota_us", "150000".to_owned()));
        assert_eq!(weight.v1[0], ("cpu.shares", "512".to_owned()));
        assert_eq!(weight.v2[0], ("cpu.weight", "50".to_owned()));
        assert_eq!(memory.v1[0], ("memory.limit_in_bytes", "1073741824".to_owned()));
        assert_eq!(high.v2[0], ("memory.high", "1048576".to_owned()));
        assert_eq!(pids.v2[0], ("pids.max", "9".to_owned()));
        assert_eq!(io.v1[3], ("blkio.throttle.write_bps_device", "259:1 6000".to_owned()));
        assert_eq!(io.v2[0], ("io.max", "8:0 rbps=5000".to_owned()));
        let no_disks = || panic!("nobody asks for them");
        assert!(Limit::all(&ResourceLimits::default(), no_disks).is_empty());
    }

    #[test]
    fn a_bound_on_memory_and_swap_goes_along_and_no_bound_stays_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("readable");
        for (before, wanted, after) in [
            ((100, 100), 300, "300"),
            ((300, 300), 100, "100"),
            ((100, 500), 300, "500"),
            ((100, 200), 300, "300"),
            ((UNLIMITED_MIN, UNLIMITED_MIN), 300, "4611686018427387904"),
        ] {
            for (file, value) in [(MEMORY, before.0), (MEMORY_AND_SWAP, before.1)] {
                fs::write(dir.path().join(file), value.to_string()).expect("written");
            }
            set_all_v1(dir.path(), &[(MEMORY, wanted.to_string())]).expect("set");
            assert_eq!((read(MEMORY), read(MEMORY_AND_SWAP)), (wanted.to_string(), after.to_owned()));
        }
        fs::remove_file(dir.path().join(MEMORY_AND_SWAP)).expect("removed");
        set_all_v1(dir.path(), &[(MEMORY, "7".to_owned())]).expect("set");
        assert!(read(MEMORY) == "7" && !dir.path().join(MEMORY_AND_SWAP).exists());
    }

    #[test]
    fn a_machine_tells_its_disks() {
        for disk in disks() {
            assert!(
                disk.split_once(':').is_some_and(|(major, minor)| {
                    major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok()
                }),
                "{disk}"
            );
        }
    }
}
