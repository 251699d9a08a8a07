//! The group below which all instances of one provider have theirs: `foreshadow/<provider id>`.
//!
//! It is made at the top of the hierarchy where we may, because a service manager that stops or restarts the control
//! plane kills everything in and below the control plane's own group, and instances must outlive it. Where we may not
//! (a user with a delegated group), it is made below our own group.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::core::Core;
use super::group::{LEAF_PREFIX, leaf};
use super::layout::{Hierarchy, Layout};
use super::limit::{Limit, disks, set_all_v1, set_all_v2};
use super::signals::Signals;
use super::{CgroupChoice, CgroupError, Controller, Group, io_error};
use crate::name::InstanceName;
use crate::procfs::with_environment;
use crate::spec::ResourceLimits;

/// The group of all instances of one provider.
#[derive(Debug)]
pub(crate) struct Parent {
    kind: Kind,
    /// Distinguishes the provider from others on this machine.
    id: String,
    /// The provider's groups in the version 1 hierarchies.
    v1: BTreeMap<Controller, PathBuf>,
}

#[derive(Debug)]
enum Kind {
    /// The folder, in the version 2 hierarchy.
    V2(PathBuf),
    /// The folder, in the version 1 freezer hierarchy.
    V1(PathBuf),
    Signals,
}

impl Parent {
    /// Makes the group, of the best kind that works or of the kind that was ordered.
    pub(crate) fn open(layout: &Layout, choice: CgroupChoice, id: &str) -> Result<Parent, CgroupError> {
        let id = id.to_owned();
        let v2 = || Parent::open_v2(layout, &id);
        let v1 = || Parent::open_v1(layout, &id);
        match choice {
            CgroupChoice::V2 => v2(),
            CgroupChoice::V1 => v1(),
            CgroupChoice::None => Ok(Parent { kind: Kind::Signals, id, v1: BTreeMap::new() }),
            CgroupChoice::Best => v2().or_else(|no_v2| {
                v1().or_else(|no_v1| {
                    tracing::warn!(
                        %no_v2, %no_v1,
                        "instances run without control groups: they are parked by SIGSTOP and have no limits"
                    );
                    Ok(Parent { kind: Kind::Signals, id: id.clone(), v1: BTreeMap::new() })
                })
            }),
        }
    }

    fn open_v2(layout: &Layout, id: &str) -> Result<Parent, CgroupError> {
        let unusable = |reason: String| CgroupError::Unusable { kind: "version 2", reason };
        let hierarchy =
            layout.v2.as_ref().ok_or_else(|| unusable("no such hierarchy is mounted".to_owned()))?;
        let dir = make_parent(hierarchy, id).map_err(|error| unusable(reason(&error)))?;
        let problem = if !dir.join("cgroup.freeze").exists() {
            Some("the kernel has no cgroup.freeze (it came with Linux 5.2)")
        } else if fs::read_to_string(dir.join("cgroup.type")).is_ok_and(|kind| kind.trim() != "domain") {
            Some("our place in the hierarchy is for threads only")
        } else {
            None
        };
        if let Some(problem) = problem {
            remove_parent(&dir);
            return Err(unusable(problem.to_owned()));
        }
        Ok(Parent { kind: Kind::V2(dir), id: id.to_owned(), v1: Parent::v1_dirs(layout, id) })
    }

    fn open_v1(layout: &Layout, id: &str) -> Result<Parent, CgroupError> {
        let unusable = |reason: String| CgroupError::Unusable { kind: "version 1", reason };
        let hierarchy = layout
            .v1
            .get(&Controller::Freezer)
            .ok_or_else(|| unusable("no freezer hierarchy is mounted".to_owned()))?;
        let dir = make_parent(hierarchy, id).map_err(|error| unusable(reason(&error)))?;
        Ok(Parent { kind: Kind::V1(dir), id: id.to_owned(), v1: Parent::v1_dirs(layout, id) })
    }

    /// The version 1 groups other than the freezer; those we may not use are left out, which only costs limits.
    fn v1_dirs(layout: &Layout, id: &str) -> BTreeMap<Controller, PathBuf> {
        let mut dirs = BTreeMap::new();
        for (controller, hierarchy) in &layout.v1 {
            if *controller == Controller::Freezer {
                continue;
            }
            match make_parent(hierarchy, id) {
                Ok(dir) => drop(dirs.insert(*controller, dir)),
                Err(error) => {
                    tracing::debug!(controller = controller.word(), reason = reason(&error), "not used")
                }
            }
        }
        dirs
    }

    /// Whether instances have groups; otherwise only signals and marks hold them together.
    pub(crate) fn has_groups(&self) -> bool {
        match self.kind {
            Kind::V2(_) | Kind::V1(_) => true,
            Kind::Signals => false,
        }
    }

    /// What every process of an instance has in its environment: `KEY=value`.
    pub(crate) fn mark(&self, name: &InstanceName) -> (&'static str, String) {
        (MARK, format!("{}/{name}", self.id))
    }

    /// Makes the group of an instance, empty, with its limits. Limits without a controller are reported and left out. Its
    /// memory can be taken back where it `reclaims`.
    pub(crate) fn make(
        &self,
        name: &InstanceName,
        limits: &ResourceLimits,
        reclaims: bool,
    ) -> Result<Group, CgroupError> {
        let group = self.group(name, limits, reclaims);
        if let (true, Core::V2(dir)) =
            (reclaims && !group.others.contains_key(&Controller::Memory), &group.core)
        {
            self.enable(Controller::Memory, dir);
        }
        let made = self.make_in(&group, limits);
        if made.is_err() {
            let _ = group.destroy();
        }
        made.map(|()| group)
    }

    fn make_in(&self, group: &Group, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let dirs = group.dirs();
        if dirs.iter().any(|dir| dir.exists()) {
            // Left by an instance of this name that nobody adopted.
            group.destroy()?;
        }
        dirs.iter().try_for_each(|dir| make_dir(dir))?;
        for limit in Limit::all(limits, disks) {
            match (group.others.get(&limit.controller), &group.core) {
                (Some(dir), _) => set_all_v1(dir, &limit.v1)?,
                (None, Core::V2(dir)) if self.enable(limit.controller, dir) => set_all_v2(dir, &limit.v2)?,
                (None, Core::V2(_) | Core::V1(_) | Core::Signals(_)) => {
                    tracing::warn!(
                        controller = limit.controller.word(),
                        "limit not enforced: no such controller here"
                    );
                }
            }
        }
        Ok(())
    }

    /// The version 1 hierarchies are entered only where they are of use, because entering is the slowest part of a
    /// start.
    fn group(&self, name: &InstanceName, limits: &ResourceLimits, reclaims: bool) -> Group {
        let leaf = leaf(name);
        let limited = Limit::all(limits, Vec::new).into_iter().map(|limit| limit.controller);
        let limited: Vec<Controller> = limited.chain(reclaims.then_some(Controller::Memory)).collect();
        let (core, counts) = match &self.kind {
            Kind::V2(dir) => (Core::V2(dir.join(&leaf)), false),
            Kind::V1(dir) => (Core::V1(dir.join(&leaf)), true),
            Kind::Signals => {
                let (key, value) = self.mark(name);
                (Core::Signals(Signals { mark: format!("{key}={value}"), leader: None }), false)
            }
        };
        let others = self.v1.iter().filter(|(controller, _)| {
            limited.contains(controller) || (counts && **controller == Controller::Cpuacct)
        });
        Group { core, others: others.map(|(controller, dir)| (*controller, dir.join(&leaf))).collect() }
    }

    /// Makes a version 2 controller available in `dir`, through every group above it that we may change.
    fn enable(&self, controller: Controller, dir: &Path) -> bool {
        let listed = |dir: &Path, file: &str| {
            fs::read_to_string(dir.join(file))
                .is_ok_and(|words| words.split_ascii_whitespace().any(|word| word == controller.word_v2()))
        };
        // <place>/foreshadow/<id>/<leaf>
        let above: Vec<&Path> = dir.ancestors().skip(1).take(3).collect();
        for group in above.iter().rev() {
            if !listed(group, "cgroup.subtree_control") {
                let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{}", controller.word_v2()));
            }
        }
        listed(dir, "cgroup.controllers")
    }

    /// Destroys every group below this one, and without groups every process with our mark, whose instance is not
    /// known. Returns the names, with what went wrong.
    pub(crate) fn sweep(&self, is_known: impl Fn(&str) -> bool) -> Vec<(String, Result<(), CgroupError>)> {
        let mut orphans: BTreeMap<String, Group> = BTreeMap::new();
        let core = match &self.kind {
            Kind::V2(dir) | Kind::V1(dir) => Some(dir),
            Kind::Signals => None,
        };
        for name in core.into_iter().chain(self.v1.values()).flat_map(|dir| leaves(dir)) {
            if let Ok(name) = InstanceName::new(&name)
                && !is_known(name.as_str())
            {
                let mut group = self.group(&name, &ResourceLimits::default(), false);
                let leaf = leaf(&name);
                group.others =
                    self.v1.iter().map(|(controller, dir)| (*controller, dir.join(&leaf))).collect();
                orphans.insert(name.to_string(), group);
            }
        }
        for name in self.marked() {
            if let Ok(name) = InstanceName::new(&name)
                && !is_known(name.as_str())
            {
                let (key, value) = self.mark(&name);
                let signals = Signals { mark: format!("{key}={value}"), leader: None };
                orphans
                    .entry(name.to_string())
                    .or_insert(Group { core: Core::Signals(signals), others: BTreeMap::new() });
            }
        }
        orphans.into_iter().map(|(name, group)| (name, group.destroy())).collect()
    }

    /// Names of instances of which there are processes with our mark.
    fn marked(&self) -> Vec<String> {
        let prefix = format!("{MARK}={}/", self.id);
        let mut names = Vec::new();
        with_environment(|entry| {
            let name = entry.strip_prefix(prefix.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
            names.extend(name.map(str::to_owned));
            name.is_some()
        });
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Removes the group itself if it is empty.
    pub(crate) fn remove(&self) {
        match &self.kind {
            Kind::V2(dir) | Kind::V1(dir) => remove_parent(dir),
            Kind::Signals => {}
        }
        self.v1.values().for_each(|dir| remove_parent(dir));
    }
}

/// Makes `<place>/foreshadow/<id>` at the first place where we may also let processes enter.
fn make_parent(hierarchy: &Hierarchy, id: &str) -> Result<PathBuf, CgroupError> {
    let mut places = vec![&hierarchy.mount];
    if hierarchy.own != hierarchy.mount {
        places.push(&hierarchy.own);
    }
    let mut last = None;
    for place in places {
        let dir = place.join(ROOT_NAME).join(id);
        match try_parent(&hierarchy.own, &dir) {
            Ok(()) => return Ok(dir),
            Err(error) => {
                remove_parent(&dir);
                last = Some(error);
            }
        }
    }
    Err(last.expect("there is at least one place"))
}

/// A process may enter a group when its file can be written, and also that of the group that is above both the old
/// and the new one.
fn try_parent(own: &Path, dir: &Path) -> Result<(), CgroupError> {
    make_dir(dir)?;
    let common = dir.ancestors().find(|above| own.starts_with(above)).unwrap_or(dir);
    for entrance in [dir, common].map(|dir| dir.join("cgroup.procs")) {
        access(&entrance, Access::WRITE_OK).map_err(io::Error::from).map_err(io_error("use", &entrance))?;
    }
    Ok(())
}

/// Makes a group and those above it. Another provider that ends at this moment may remove the empty ones above.
fn make_dir(dir: &Path) -> Result<(), CgroupError> {
    let mut tries = 0;
    loop {
        match fs::create_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < MAKE_TRIES => tries += 1,
            made => return made.map_err(io_error("make", dir)),
        }
    }
}

/// Fails without harm while the folder has groups or processes.
fn remove_parent(dir: &Path) {
    let _ = fs::remove_dir(dir);
    if let Some(root) = dir.parent() {
        let _ = fs::remove_dir(root);
    }
}

fn leaves(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(LEAF_PREFIX)?.to_owned()))
        .collect()
}

fn reason(error: &CgroupError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The group of all providers.
const ROOT_NAME: &str = "foreshadow";
/// The environment variable by which an instance's processes are recognised.
const MARK: &str = "FORESHADOW_INSTANCE";
/// How often the making of a group is tried.
const MAKE_TRIES: u32 = 100;
