//! Holding an instance together without control groups, for users who may not make any.
//!
//! Its processes are those of the process group its leader made, and those that have the instance's mark in their
//! environment (children inherit it). SIGSTOP and SIGCONT stand in for the freezer. This is not atomic over a tree of
//! processes, is visible to a parent, and any SIGCONT undoes it.

use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::CgroupError;
use super::core::{FREEZE_TIME_MAX, wait_until};
use crate::procfs::{Stat, environment_has, with_environment};

/// The processes of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signals {
    /// `KEY=value`, in the environment of every process of the instance.
    pub(super) mark: String,
    /// The first process, once it is there; leader of its process group.
    pub(super) leader: Option<Leader>,
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
}

impl Signals {
    pub(super) fn freeze(&self) -> Result<(), CgroupError> {
        let all_stopped = || {
            // The whole group first, in one call; then whoever left it, and whoever was forked meanwhile.
            self.signal_group(Signal::STOP);
            let running: Vec<u32> = self
                .members()
                .into_iter()
                .filter(|(_, stat)| !stat.is_stopped())
                .map(|(pid, _)| pid)
                .collect();
            running.iter().for_each(|pid| self.signal(*pid, Signal::STOP));
            Ok(running.is_empty())
        };
        wait_until("stop", &self.place(), FREEZE_TIME_MAX, all_stopped)
    }

    pub(super) fn thaw(&self) -> Result<(), CgroupError> {
        self.signal_group(Signal::CONT);
        for (pid, _) in self.members().into_iter().filter(|(_, stat)| stat.is_stopped()) {
            self.signal(pid, Signal::CONT);
        }
        Ok(())
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.living_leader().is_some_and(|(_, stat)| stat.is_stopped())
    }

    /// The living processes of the instance. Looks at every process of the machine.
    pub(super) fn members(&self) -> Vec<(u32, Stat)> {
        let mut members = with_environment(|entry| entry == self.mark.as_bytes());
        if let Some((leader, stat)) = self.living_leader()
            && !members.iter().any(|(pid, _)| *pid == leader)
        {
            members.push((leader, stat));
        }
        members
    }

    /// Kills once; true while something may live.
    pub(super) fn kill(&self) -> bool {
        self.signal_group(Signal::KILL);
        let members = self.members();
        members.iter().for_each(|(pid, _)| self.signal(*pid, Signal::KILL));
        !members.is_empty()
    }

    pub(super) fn place(&self) -> PathBuf {
        match self.leader {
            Some(leader) => PathBuf::from(format!("/proc/{}", leader.pid)),
            None => PathBuf::from("/proc"),
        }
    }

    /// Signals the process group while its leader is there, a zombie included: only then is its number surely ours.
    fn signal_group(&self, signal: Signal) {
        let leader = self.leader.filter(|leader| leader.stat().is_some());
        if let Some(group) = leader.and_then(|leader| Pid::from_raw(i32::try_from(leader.pid).ok()?)) {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Signals one process through a pidfd, after looking again whether it still is the one that was meant.
    fn signal(&self, pid: u32, signal: Signal) {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else { return };
        let is_leader = self.living_leader().is_some_and(|(leader, _)| leader == pid);
        if is_leader || environment_has(pid, |entry| entry == self.mark.as_bytes()) {
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }

    fn living_leader(&self) -> Option<(u32, Stat)> {
        let leader = self.leader?;
        Some((leader.pid, leader.stat().filter(Stat::is_alive)?))
    }
}

impl Leader {
    /// Its facts while it is in the process table.
    fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid).filter(|stat| stat.start_ticks == self.start_ticks)
    }
}
