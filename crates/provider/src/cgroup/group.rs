//! The group of one instance.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::core::{Core, tree};
use super::limit::{Limit, disks, set_all_v1, set_all_v2};
use super::signals::{Leader, Signals};
use super::{CgroupError, Controller, Layout, io_error};
use crate::face::{Strain, Throttling, Traffic, Usage};
use crate::name::InstanceName;
use crate::procfs::Stat;
use crate::spec::ResourceLimits;
use crate::traffic;

/// The group of one instance: the core that freezes and kills, and version 1 groups that count and limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(super) core: Core,
    /// Further groups of version 1 hierarchies that the instance is in.
    pub(super) others: BTreeMap<Controller, PathBuf>,
}

/// The ways into a group.
#[derive(Debug, Default)]
pub(crate) struct Entrances {
    /// The folder of a group of version 2, for `clone3(CLONE_INTO_CGROUP)`.
    pub(crate) birthplace: Option<OwnedFd>,
    /// To each a process writes `0` to enter; the first is that of the birthplace, if there is one.
    pub(crate) files: Vec<OwnedFd>,
}

impl Group {
    /// The ways into the group. To be opened before the fork: the child must not allocate.
    pub(crate) fn entrances(&self) -> Result<Entrances, CgroupError> {
        let files = self.dirs().into_iter();
        let files = files.map(|dir| open(&dir.join("cgroup.procs"), OpenOptions::new().write(true)));
        Ok(Entrances { birthplace: self.birthplace()?, files: files.collect::<Result<_, _>>()? })
    }

    /// The folder of a group of version 2, for `clone3(CLONE_INTO_CGROUP)`.
    pub(crate) fn birthplace(&self) -> Result<Option<OwnedFd>, CgroupError> {
        match &self.core {
            Core::V2(dir) => open(dir, OpenOptions::new().read(true)).map(Some),
            Core::V1(_) | Core::Signals(_) => Ok(None),
        }
    }

    /// Moves a process into the group. One that `is_inside` only enters the hierarchies beside that of the core.
    pub(crate) fn admit(&self, pid: u32, is_inside: bool) -> Result<(), CgroupError> {
        self.dirs().iter().skip(usize::from(is_inside)).try_for_each(|dir| {
            let path = dir.join("cgroup.procs");
            fs::write(&path, pid.to_string()).map_err(io_error("move the process to", &path))
        })
    }

    /// Tells who the first process is; needed where signals take the place of a group.
    pub(crate) fn led_by(mut self, pid: u32, start_ticks: u64) -> Group {
        if let Core::Signals(signals) = &mut self.core {
            signals.leader = Some(Leader { pid, start_ticks });
        }
        self
    }

    /// The group that an engine has made for the container `id` of the process `pid`; `None` where it cannot be seen.
    /// Only folders named after the container count: a parent's freezer would stop strangers.
    pub(crate) fn of_container(pid: u32, id: &str) -> Option<Group> {
        let seen_from_it = Layout::of_process(pid).ok()?;
        let own = |dir: &Path, is_freezer: &str| {
            let named =
                dir.file_name().is_some_and(|last| last.to_str().is_some_and(|last| last.contains(id)));
            (named && dir.join(is_freezer).exists()).then(|| dir.to_owned())
        };
        let v2 = seen_from_it.v2.and_then(|hierarchy| own(&hierarchy.own, "cgroup.freeze")).map(Core::V2);
        let v1 = seen_from_it.v1.get(&Controller::Freezer);
        let core = v2.or_else(|| v1.and_then(|it| own(&it.own, "freezer.state")).map(Core::V1))?;
        let others = seen_from_it.v1.into_iter().filter(|(controller, _)| *controller != Controller::Freezer);
        let others = others.filter_map(|(controller, it)| Some((controller, own(&it.own, "cgroup.procs")?)));
        Some(Group { core, others: others.collect() })
    }

    /// Freezes everything and waits for it; on failure everything runs.
    pub(crate) fn freeze(&self) -> Result<(), CgroupError> {
        self.core.freeze()
    }

    /// Thaws everything.
    pub(crate) fn thaw(&self) -> Result<(), CgroupError> {
        self.core.thaw()
    }

    /// Whether a thaw is one short write, fit for an async thread.
    pub(crate) fn thaws_at_once(&self) -> bool {
        match self.core {
            Core::V2(_) | Core::V1(_) => true,
            Core::Signals(_) => false,
        }
    }

    /// Whether it is frozen, read from the machine.
    pub(crate) fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.core.is_frozen()
    }

    /// The living processes.
    pub(crate) fn members(&self) -> Vec<u32> {
        self.core.members()
    }

    /// Asks all processes to end. They must be thawed.
    pub(crate) fn terminate(&self, leader: u32) {
        let pid = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
        let members = self.members();
        // The process group in one call, then those that are in another one.
        if let Some(group) = pid(leader).filter(|_| members.contains(&leader)) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        let others =
            members.into_iter().filter(|member| Stat::of(*member).is_some_and(|stat| stat.group != leader));
        for other in others.filter_map(pid) {
            let _ = kill_process(other, Signal::TERM);
        }
    }

    /// Kills everything, waits until nothing lives, and removes the folders.
    pub(crate) fn destroy(&self) -> Result<(), CgroupError> {
        self.core.kill()?;
        self.dirs().iter().try_for_each(|dir| remove_tree(dir))
    }

    /// What the processes have used.
    pub(crate) fn usage(&self) -> Result<Usage, CgroupError> {
        let members = self.members();
        let stats: Vec<Stat> = members.iter().filter_map(|pid| Stat::of(*pid)).collect();
        Ok(Usage {
            cpu_time: self.cpu_time()?.unwrap_or_else(|| stats.iter().map(Stat::cpu_time).sum()),
            memory_bytes: self.memory_bytes().unwrap_or_else(|| stats.iter().map(Stat::resident_bytes).sum()),
            working_bytes: self.working_bytes(),
            processes: u32::try_from(members.len()).unwrap_or(u32::MAX),
            disk: self.disk().or_else(|| traffic::disk_of(&members)),
            network: members.first().and_then(|pid| traffic::network_of(*pid)),
            instructions: None,
            throttling: self.throttling(),
            out_of_memory: self.out_of_memory(),
        })
    }

    /// How near its limits it is.
    pub(crate) fn strain(&self) -> Strain {
        Strain { working_bytes: self.working_bytes(), throttling: self.throttling() }
    }

    /// Writes other limits. All or, on an error, perhaps some of them.
    pub(crate) fn resize(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        for limit in Limit::all(limits, disks) {
            let missing = || CgroupError::Unusable {
                kind: "limits",
                reason: format!("the instance has no group for {}", limit.controller.word()),
            };
            match (self.others.get(&limit.controller), &self.core) {
                (Some(dir), _) => set_all_v1(dir, &limit.v1)?,
                (None, Core::V2(dir)) if limit.v2.iter().all(|(file, _)| dir.join(file).exists()) => {
                    self.check_memory(limit.controller, limits)?;
                    set_all_v2(dir, &limit.v2)?;
                }
                (None, Core::V2(_) | Core::V1(_) | Core::Signals(_)) => return Err(missing()),
            }
        }
        Ok(())
    }

    /// Has the kernel take memory back, a piece at a time, as long as `goes_on`: unused pages of files, and others where there
    /// is swap space. Returns how much less there is, in bytes; none where the kernel cannot.
    pub(crate) fn reclaim(&self, goes_on: impl Fn() -> bool) -> Option<u64> {
        let before = self.memory_bytes()?;
        match (self.others.get(&Controller::Memory), &self.core) {
            // It knows no piece: all at once, without waiting for what does not come.
            (Some(dir), _) => fs::write(dir.join("memory.force_empty"), "0").ok()?,
            (None, Core::V2(dir)) => {
                let file = dir.join("memory.reclaim");
                let pieces = before.div_ceil(RECLAIM_PIECE);
                // "Try again" means that less than asked for was found.
                let taken = (0..pieces)
                    .take_while(|_| goes_on() && fs::write(&file, RECLAIM_PIECE.to_string()).is_ok());
                if taken.count() == 0 && !file.exists() {
                    return None;
                }
            }
            (None, Core::V1(_) | Core::Signals(_)) => return None,
        }
        Some(before.saturating_sub(self.memory_bytes()?))
    }

    /// Version 2 kills processes where a limit is set below what they use; version 1 refuses by itself.
    fn check_memory(&self, controller: Controller, limits: &ResourceLimits) -> Result<(), CgroupError> {
        match (self.memory_bytes(), limits.memory_bytes) {
            (Some(used), Some(limit)) if controller == Controller::Memory && used >= limit => {
                let reason = format!("{used} bytes are in use, more than the limit of {limit}");
                Err(CgroupError::Unusable { kind: "limits", reason })
            }
            _ => Ok(()),
        }
    }

    /// Lines `kind:folder` that [`Group::from_lines`] understands.
    pub(crate) fn to_lines(&self) -> Vec<String> {
        let core = match &self.core {
            Core::V2(dir) => format!("v2:{}", dir.display()),
            Core::V1(dir) => format!("v1:{}", dir.display()),
            Core::Signals(signals) => format!("signals:{}", signals.mark),
        };
        let others =
            self.others.iter().map(|(controller, dir)| format!("{}:{}", controller.word(), dir.display()));
        std::iter::once(core).chain(others).collect()
    }

    /// The group of the instance `name` that was written by [`Group::to_lines`]; `None` when the lines are not from
    /// there. A damaged record must not make us kill a group that is not an instance's.
    pub(crate) fn from_lines<'a>(name: &InstanceName, lines: impl Iterator<Item = &'a str>) -> Option<Group> {
        let (mut core, mut others) = (None, BTreeMap::new());
        let leaf = leaf(name);
        for line in lines {
            let (kind, place) = line.split_once(':')?;
            if kind != "signals" && Path::new(place).file_name().is_none_or(|last| last != leaf.as_str()) {
                return None;
            }
            match kind {
                "v2" => core = Some(Core::V2(place.into())),
                "v1" => core = Some(Core::V1(place.into())),
                "signals" if place.ends_with(&format!("/{name}")) => {
                    core = Some(Core::Signals(Signals { mark: place.to_owned(), leader: None }))
                }
                word => drop(others.insert(Controller::from_word(word)?, place.into())),
            }
        }
        Some(Group { core: core?, others })
    }

    /// Every folder of the group, each once: several controllers may share a hierarchy.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        let mut dirs: Vec<PathBuf> = match &self.core {
            Core::V2(dir) | Core::V1(dir) => vec![dir.clone()],
            Core::Signals(_) => Vec::new(),
        };
        for dir in self.others.values() {
            if !dirs.contains(dir) {
                dirs.push(dir.clone());
            }
        }
        dirs
    }

    /// The group's own count where it has one; it includes processes that have ended.
    fn cpu_time(&self) -> Result<Option<Duration>, CgroupError> {
        if let Core::V2(dir) = &self.core {
            let path = dir.join("cpu.stat");
            let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
            let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
            return Ok(micros.map(Duration::from_micros));
        }
        let Some(dir) = self.others.get(&Controller::Cpuacct) else { return Ok(None) };
        Ok(number(&dir.join("cpuacct.usage")).map(Duration::from_nanos))
    }

    /// The group's own count where it has one; it includes processes that have ended.
    fn disk(&self) -> Option<Traffic> {
        let Core::V2(dir) = &self.core else { return None };
        traffic::io_stat(&fs::read_to_string(dir.join("io.stat")).ok()?)
    }

    fn throttling(&self) -> Option<Throttling> {
        let dir = match (self.others.get(&Controller::Cpu), &self.core) {
            (Some(dir), _) | (None, Core::V2(dir)) => dir,
            (None, Core::V1(_) | Core::Signals(_)) => return None,
        };
        let text = fs::read_to_string(dir.join("cpu.stat")).ok()?;
        Some(Throttling { periods: count(&text, "nr_periods")?, throttled: count(&text, "nr_throttled")? })
    }

    /// Processes killed because the memory limit was reached.
    pub(crate) fn out_of_memory(&self) -> Option<u64> {
        let path = match (self.others.get(&Controller::Memory), &self.core) {
            (Some(dir), _) => dir.join("memory.oom_control"),
            (None, Core::V2(dir)) => dir.join("memory.events"),
            (None, Core::V1(_) | Core::Signals(_)) => return None,
        };
        count(&fs::read_to_string(path).ok()?, "oom_kill")
    }

    /// What is charged, without pages of files that the kernel would take back first.
    fn working_bytes(&self) -> Option<u64> {
        let charged = self.memory_bytes()?;
        let (dir, word) = match (self.others.get(&Controller::Memory), &self.core) {
            (Some(dir), _) => (dir, "total_inactive_file"),
            (None, Core::V2(dir)) => (dir, "inactive_file"),
            (None, Core::V1(_) | Core::Signals(_)) => return None,
        };
        let spare = count(&fs::read_to_string(dir.join("memory.stat")).ok()?, word)?;
        Some(charged.saturating_sub(spare))
    }

    fn memory_bytes(&self) -> Option<u64> {
        match (&self.core, self.others.get(&Controller::Memory)) {
            (_, Some(dir)) => number(&dir.join("memory.usage_in_bytes")),
            (Core::V2(dir), None) => number(&dir.join("memory.current")),
            (Core::V1(_) | Core::Signals(_), None) => None,
        }
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<OwnedFd, CgroupError> {
    Ok(options.open(path).map_err(io_error("open", path))?.into())
}

/// The folder name of an instance's group. The beginning keeps it from being one of the kernel's file names.
pub(super) fn leaf(name: &InstanceName) -> String {
    format!("{LEAF_PREFIX}{name}")
}

/// The number behind a word that begins a line.
fn count(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == word)?.1.trim().parse().ok()
}

pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Removes a group and the groups below it. The kernel says "busy" for a moment after the last process has died.
fn remove_tree(dir: &Path) -> Result<(), CgroupError> {
    for dir in tree(dir) {
        let mut tries = 0;
        loop {
            match fs::remove_dir(&dir) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries < REMOVE_TRIES => {
                    tries += 1;
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(io_error("remove", &dir)(error)),
            }
        }
    }
    Ok(())
}

/// Begins the folder name of an instance's group.
pub(super) const LEAF_PREFIX: &str = "i-";
/// How much memory is asked back at once, in bytes.
const RECLAIM_PIECE: u64 = 16 << 20;
/// How often the removal of a busy group is tried, a millisecond apart.
const REMOVE_TRIES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> InstanceName {
        "web-1".parse().expect("a name")
    }

    #[test]
    fn a_group_is_read_back_as_it_was_written() {
        let groups = [
            Group {
                core: Core::V2("/a/b c/i-web-1".into()),
                others: [(Controller::Memory, "/m/i-web-1".into())].into(),
            },
            Group { core: Core::V1("/f/i-web-1".into()), others: BTreeMap::new() },
            Group {
                core: Core::Signals(Signals { mark: "A=b:c/web-1".to_owned(), leader: None }),
                others: BTreeMap::new(),
            },
        ];
        for group in groups {
            let lines = group.to_lines();
            assert_eq!(Group::from_lines(&name(), lines.iter().map(String::as_str)), Some(group));
        }
    }

    /// With files as the kernel writes them: no machine of ours has these controllers in version 2.
    #[test]
    fn strain_is_read_in_the_words_of_both_versions() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        write("cpu.stat", "usage_usec 7\nnr_periods 50\nnr_throttled 20\nthrottled_usec 900000\n");
        write("memory.stat", "anon 5\ninactive_file 30\nactive_file 9\ntotal_inactive_file 40\n");
        write("memory.current", "130\n");
        write("memory.usage_in_bytes", "140\n");
        write("memory.events", "low 0\nhigh 3\nmax 2\noom 1\noom_kill 4\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
        let throttling = Some(Throttling { periods: 50, throttled: 20 });
        let v2 = Group { core: Core::V2(dir.path().into()), others: BTreeMap::new() };
        assert_eq!(v2.strain(), Strain { working_bytes: Some(100), throttling });
        assert_eq!(v2.out_of_memory(), Some(4));
        let others = [Controller::Memory, Controller::Cpu].map(|kind| (kind, dir.path().to_owned()));
        let v1 = Group { core: Core::V1("/f/i-web-1".into()), others: others.into() };
        assert_eq!(v1.strain(), Strain { working_bytes: Some(100), throttling });
        assert_eq!(v1.out_of_memory(), Some(5));
        let none = Group { core: Core::V1("/f/i-web-1".into()), others: BTreeMap::new() };
        assert_eq!((none.strain(), none.out_of_memory()), (Strain::default(), None));
    }

    #[test]
    fn lines_from_elsewhere_are_no_group() {
        let foreign =
            ["v2:/sys/fs/cgroup", "v2:/sys/fs/cgroup/foreshadow/x/i-web-2", "signals:A=b/web-2", "signals:"];
        for line in ["", "v2", "magic:/x/i-web-1", "memory:/x/i-web-1"].into_iter().chain(foreign) {
            assert_eq!(Group::from_lines(&name(), [line].into_iter()), None, "{line:?}");
        }
        assert_eq!(Group::from_lines(&name(), std::iter::empty()), None);
    }
}
