//! The few facts about processes that are read from `/proc`.
//!
//! A crate for procfs would parse everything of a process; here four fields of one line are needed, also for hundreds
//! of processes in a row, and nothing that fails to parse may end the control plane.

use std::fs;
use std::io;
use std::time::Duration;

/// What `/proc/<pid>/stat` says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// One letter: `R`unning, `S`leeping, `T` stopped, `Z`ombie and so on.
    pub(crate) state: char,
    /// The process group.
    pub(crate) group: u32,
    /// Processor time so far, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Start time in clock ticks since the boot. Together with the pid and the boot it names a process for ever.
    pub(crate) start_ticks: u64,
    /// Resident memory, in pages.
    pub(crate) resident_pages: u64,
}

impl Stat {
    /// Reads the line of a process; `None` when there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses and may itself have spaces and parentheses.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbers as in proc(5), where the state is field 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            group: u32::try_from(number(5)?).ok()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            start_ticks: number(22)?,
            resident_pages: number(24)?,
        })
    }

    /// It runs or could run; a zombie is only an entry in a table.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Stopped by a signal.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Processor time so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_secs(self.cpu_ticks / per_second)
            + Duration::from_nanos((self.cpu_ticks % per_second) * 1_000_000_000 / per_second)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_pages.saturating_mul(rustix::param::page_size() as u64)
    }
}

/// The kernel's identifier of this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Living processes that we may look into and whose environment has `entry` (`KEY=value`), with what is known of them.
/// The environment is that of the last exec, so children have it too unless they were given another one.
pub(crate) fn with_environment(mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<(u32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| environment_has(*pid, &mut wanted))
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .filter(|(_, stat)| stat.is_alive())
        .collect()
}

/// Whether one entry of a process's environment is wanted.
pub(crate) fn environment_has(pid: u32, wanted: impl FnMut(&[u8]) -> bool) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let line =
            "42 (a) S (b)) R 1 7 8 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 1 0 333 4444 55 18446744073709551615";
        let stat = Stat::parse(line).expect("parses");
        assert_eq!(stat, Stat { state: 'R', group: 7, cpu_ticks: 33, start_ticks: 333, resident_pages: 55 });
    }

    #[test]
    fn broken_lines_are_no_process() {
        for line in ["", "1", "1 (x)", "1 (x) S a b c", "1 (x) S 1 2 3"] {
            assert_eq!(Stat::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn our_own_process_is_alive_and_has_a_start_time() {
        let stat = Stat::of(std::process::id()).expect("we exist");
        assert!(stat.is_alive() && !stat.is_stopped() && stat.start_ticks > 0 && stat.resident_bytes() > 0);
        assert_eq!(Stat::of(u32::MAX), None);
    }
}
