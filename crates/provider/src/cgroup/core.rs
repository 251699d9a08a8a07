//! What freezes, lists and kills the processes of one instance: a version 2 group, a version 1 freezer group, or
//! signals.
//!
//! The pitfalls that shape this file: version 1 can stay at FREEZING while tasks fork or enter, so it is thawed for a
//! moment and asked again; SIGKILL does nothing to a task frozen by version 1 until it is thawed, so a kill freezes
//! (nothing can fork away then, and no pid can be reused), signals, and thaws; version 2 kills frozen tasks at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::signals::Signals;
use super::{CgroupError, io_error};

/// The thing that holds the processes of an instance together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Core {
    /// A group of version 2.
    V2(PathBuf),
    /// A group of the version 1 freezer hierarchy.
    V1(PathBuf),
    /// No group.
    Signals(Signals),
}

impl Core {
    /// Freezes everything and waits until it is frozen; thaws again when that fails.
    pub(super) fn freeze(&self) -> Result<(), CgroupError> {
        let frozen = match self {
            Core::V2(dir) => freeze_v2(dir),
            Core::V1(dir) => freeze_v1(dir),
            Core::Signals(signals) => signals.freeze(),
        };
        if frozen.is_err() {
            let _ = self.thaw();
        }
        frozen
    }

    /// Thaws everything. One short write, except without groups.
    pub(super) fn thaw(&self) -> Result<(), CgroupError> {
        match self {
            Core::V2(dir) => write(&dir.join("cgroup.freeze"), "0"),
            Core::V1(dir) => write(&dir.join("freezer.state"), "THAWED"),
            Core::Signals(signals) => signals.thaw(),
        }
    }

    /// Whether it has been ordered to be frozen.
    pub(super) fn is_frozen(&self) -> Result<bool, CgroupError> {
        match self {
            Core::V2(dir) => Ok(read(&dir.join("cgroup.freeze"))?.trim() == "1"),
            Core::V1(dir) => Ok(read(&dir.join("freezer.state"))?.trim() != "THAWED"),
            Core::Signals(signals) => Ok(signals.is_frozen()),
        }
    }

    /// The living processes, those in groups that the instance made inside its own included.
    pub(super) fn members(&self) -> Vec<u32> {
        match self {
            Core::V2(dir) | Core::V1(dir) => {
                let mut pids: Vec<u32> = tree(dir).iter().flat_map(|dir| processes(dir)).collect();
                pids.sort_unstable();
                pids.dedup();
                pids
            }
            Core::Signals(signals) => signals.members().into_iter().map(|(pid, _)| pid).collect(),
        }
    }

    /// Kills everything, frozen or not, and waits until nothing lives.
    pub(super) fn kill(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + KILL_TIME_MAX;
        for pause in pauses() {
            let alive = match self {
                Core::V2(dir) => kill_v2(dir)?,
                Core::V1(dir) => kill_v1(dir)?,
                Core::Signals(signals) => signals.kill(),
            };
            if !alive {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(pause);
        }
        Err(CgroupError::Timeout { step: "kill all of", path: self.place(), after: KILL_TIME_MAX })
    }

    fn place(&self) -> PathBuf {
        match self {
            Core::V2(dir) | Core::V1(dir) => dir.clone(),
            Core::Signals(signals) => signals.place(),
        }
    }
}

fn freeze_v2(dir: &Path) -> Result<(), CgroupError> {
    write(&dir.join("cgroup.freeze"), "1")?;
    let events = dir.join("cgroup.events");
    let frozen = || Ok(read(&events)?.lines().any(|line| line == "frozen 1"));
    wait_until("freeze", dir, FREEZE_TIME_MAX, frozen)
}

fn freeze_v1(dir: &Path) -> Result<(), CgroupError> {
    let state = dir.join("freezer.state");
    let frozen = || Ok(read(&state)?.trim() == "FROZEN");
    let attempt_time_max = FREEZE_TIME_MAX / V1_FREEZE_ATTEMPTS;
    for attempt in 1..=V1_FREEZE_ATTEMPTS {
        write(&state, "FROZEN")?;
        match wait_until("freeze", dir, attempt_time_max, frozen) {
            Err(CgroupError::Timeout { .. }) if attempt < V1_FREEZE_ATTEMPTS => write(&state, "THAWED")?,
            other => return other,
        }
    }
    Ok(())
}

/// Kills once; true while something may live.
fn kill_v2(dir: &Path) -> Result<bool, CgroupError> {
    match fs::write(dir.join("cgroup.kill"), "1") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !dir.exists() {
                return Ok(false);
            }
            // Kernels before 5.14.
            kill_each(dir);
        }
        Err(error) => return Err(io_error("kill through", dir.join("cgroup.kill"))(error)),
    }
    match fs::read_to_string(dir.join("cgroup.events")) {
        Ok(events) => Ok(!events.lines().any(|line| line == "populated 0")),
        Err(_) => Ok(dir.exists()),
    }
}

/// Kills once; true while something may live.
fn kill_v1(dir: &Path) -> Result<bool, CgroupError> {
    if !dir.exists() || tree(dir).iter().all(|dir| processes(dir).is_empty()) {
        return Ok(false);
    }
    let state = dir.join("freezer.state");
    // Freezing is best effort here: without it the loop of the caller catches what forked away.
    if fs::write(&state, "FROZEN").is_ok() {
        let _ = wait_until("freeze", dir, KILL_FREEZE_TIME_MAX, || Ok(read(&state)?.trim() == "FROZEN"));
    }
    kill_each(dir);
    for dir in tree(dir) {
        write(&dir.join("freezer.state"), "THAWED")?;
    }
    Ok(true)
}

fn kill_each(dir: &Path) {
    for pid in tree(dir).iter().flat_map(|dir| processes(dir)) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The folder and all folders below it, the deepest first.
pub(super) fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while next < found.len() && found.len() < TREE_MAX {
        for entry in fs::read_dir(&found[next]).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
        next += 1;
    }
    found.reverse();
    found
}

fn processes(dir: &Path) -> Vec<u32> {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()
}

/// Asks again and again: first without a pause, since a freeze takes a tenth of a millisecond, then with short ones.
pub(super) fn wait_until(
    step: &'static str,
    path: &Path,
    time_max: Duration,
    done: impl Fn() -> Result<bool, CgroupError>,
) -> Result<(), CgroupError> {
    let begin = Instant::now();
    for pause in pauses() {
        if done()? {
            return Ok(());
        }
        if begin.elapsed() >= time_max {
            break;
        }
        thread::sleep(pause);
    }
    Err(CgroupError::Timeout { step, path: path.to_owned(), after: time_max })
}

/// Growing pauses, without an end.
fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(Duration::from_micros(20)), |pause| Some((*pause * 2).min(PAUSE_MAX)))
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(io_error("read", path))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    fs::write(path, text).map_err(io_error("write", path))
}

/// Longest wait until a group is frozen.
pub(super) const FREEZE_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest wait until everything killed is gone. A process in an uninterruptible sleep dies only when that ends.
const KILL_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the freeze that comes before a version 1 kill.
const KILL_FREEZE_TIME_MAX: Duration = Duration::from_millis(100);
/// How often a version 1 group that does not get beyond FREEZING is thawed and asked again.
const V1_FREEZE_ATTEMPTS: u32 = 8;
/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// Most folders looked at below one group.
const TREE_MAX: usize = 4096;
