//! Children of the program that was this process before a daemon started anew as it: their ends are waited for, so that none
//! stays in the process table. The ends of instances are the provider's.

use std::fs;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Those that have not ended.
#[derive(Debug, Default)]
pub(crate) struct LeftChildren(Vec<Pid>);

impl LeftChildren {
    /// Those that there are before anything was started.
    pub(crate) fn find() -> LeftChildren {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let pids: Vec<i32> =
            lists.flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect();
        LeftChildren(pids.into_iter().filter_map(Pid::from_raw).collect())
    }

    /// But for these.
    pub(crate) fn leave(&mut self, others: impl Iterator<Item = u32>) {
        let others: Vec<i32> = others.map(u32::cast_signed).collect();
        self.0.retain(|pid| !others.contains(&pid.as_raw_nonzero().get()));
    }

    /// Takes those out of the process table that have ended.
    pub(crate) fn reap(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        self.0.retain(|pid| matches!(waitid(WaitId::Pid(*pid), options), Ok(None)));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_ends_is_reaped_and_instances_are_left_alone() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().expect("started");
        let mut instance = Command::new("sleep").arg("60").spawn().expect("started");
        let mut left = LeftChildren::find();
        left.leave([instance.id()].into_iter());
        let own = [sleeper.id(), instance.id()].map(u32::cast_signed);
        left.0.retain(|pid| own.contains(&pid.as_raw_nonzero().get()));
        let pid = |child: &std::process::Child| Pid::from_raw(child.id().cast_signed()).expect("a process");
        assert!(left.0.contains(&pid(&sleeper)) && !left.0.contains(&pid(&instance)));
        left.reap();
        assert!(left.0.contains(&pid(&sleeper)), "it runs");
        sleeper.kill().expect("killed");
        let begun = Instant::now();
        while left.0.contains(&pid(&sleeper)) {
            assert!(begun.elapsed() < Duration::from_secs(30));
            left.reap();
        }
        assert!(sleeper.wait().is_err(), "nothing is left to wait for");
        instance.kill().expect("killed");
        instance.wait().expect("still there to be waited for");
    }
}
