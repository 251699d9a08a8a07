//! Finds out which control group hierarchies are mounted where, and where our own process is in each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, Controller, io_error};

/// The hierarchies of this machine as our process sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// The version 2 hierarchy, with or without controllers.
    pub(crate) v2: Option<Hierarchy>,
    /// The version 1 hierarchies by controller; several controllers may share one.
    pub(crate) v1: BTreeMap<Controller, Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its topmost visible folder.
    pub(crate) mount: PathBuf,
    /// The folder of the group our own process is in.
    pub(crate) own: PathBuf,
}

impl Layout {
    /// Reads the layout from `/proc`.
    pub(crate) fn detect() -> Result<Layout, CgroupError> {
        let read = |path: &str| fs::read_to_string(path).map_err(io_error("read", path));
        Ok(Layout::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?))
    }

    /// As [`Layout::detect`], with the groups of another process as its own.
    pub(crate) fn of_process(pid: u32) -> Result<Layout, CgroupError> {
        let read = |path: String| fs::read_to_string(&path).map_err(io_error("read", path));
        let mounts = read("/proc/self/mountinfo".to_owned())?;
        Ok(Layout::parse(&mounts, &read(format!("/proc/{pid}/cgroup"))?))
    }

    /// Understands `mountinfo` (proc_pid_mountinfo(5)) and `cgroup` (cgroups(7)). Lines that do not parse are skipped.
    pub(crate) fn parse(mountinfo: &str, own_groups: &str) -> Layout {
        let own_groups: Vec<OwnGroup<'_>> = own_groups.lines().filter_map(OwnGroup::parse).collect();
        let mut layout = Layout::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            match mount.kind {
                "cgroup2" => {
                    let own = own_groups.iter().find(|group| group.controllers.is_empty());
                    layout.v2.get_or_insert_with(|| mount.hierarchy(own));
                }
                "cgroup" => {
                    for controller in mount.options.split(',').filter_map(Controller::from_word) {
                        let own = own_groups.iter().find(|group| group.has(controller));
                        layout.v1.entry(controller).or_insert_with(|| mount.hierarchy(own));
                    }
                }
                _ => {}
            }
        }
        layout
    }
}

/// A line of `/proc/self/cgroup`: `id:controllers:path`, version 2 with no controllers.
struct OwnGroup<'a> {
    controllers: &'a str,
    path: &'a str,
}

impl<'a> OwnGroup<'a> {
    fn parse(line: &'a str) -> Option<OwnGroup<'a>> {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some(OwnGroup { controllers, path })
    }

    fn has(&self, controller: Controller) -> bool {
        self.controllers.split(',').any(|word| word == controller.word())
    }
}

/// A line of `mountinfo`.
struct Mount<'a> {
    /// The folder of the file system that is visible at the mount point.
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        let (root, point) = (unescape(front.next()?), unescape(front.next()?));
        let (kind, _source, options) = (back.next()?, back.next()?, back.next()?);
        Some(Mount { root, point, kind, options })
    }

    /// Our own group's path counts from the hierarchy's root, of which a container may see only a part.
    fn hierarchy(&self, own: Option<&OwnGroup<'_>>) -> Hierarchy {
        let below = own
            .and_then(|group| Path::new(group.path).strip_prefix(&self.root).ok())
            .filter(|path| path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
        let own = match below {
            Some(path) if path.as_os_str().is_empty() => self.point.clone(),
            Some(path) => self.point.join(path),
            None => self.point.clone(),
        };
        Hierarchy { mount: self.point.clone(), own }
    }
}

/// Spaces and some other characters are written as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let octal = others
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match octal {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |value, d| value.wrapping_mul(8).wrapping_add(d - b'0')));
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const HYBRID_OWN: &str = "6:freezer:/\n4:memory:/agent/a1\n2:cpu,cpuacct:/x\n9:name=systemd:/\n0::/\n";

    #[test]
    fn a_hybrid_machine_has_version_1_controllers_and_a_version_2_hierarchy() {
        let layout = Layout::parse(HYBRID_MOUNTS, HYBRID_OWN);
        assert_eq!(layout.v2.expect("version 2").own, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(layout.v1[&Controller::Memory].own, Path::new("/sys/fs/cgroup/memory/agent/a1"));
        assert_eq!(layout.v1[&Controller::Cpu], layout.v1[&Controller::Cpuacct]);
        assert_eq!(layout.v1[&Controller::Cpu].own, Path::new("/sys/fs/cgroup/cpu,cpuacct/x"));
        assert!(!layout.v1.contains_key(&Controller::Pids));
    }

    #[test]
    fn a_container_that_sees_a_part_of_the_hierarchy_finds_its_own_group() {
        let mounts = "50 40 0:30 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n";
        let own = |path: &str| Layout::parse(mounts, &format!("0::{path}\n")).v2.expect("version 2").own;
        assert_eq!(own("/docker/abc/inner"), Path::new("/sys/fs/cgroup/inner"));
        assert_eq!(own("/docker/abc"), Path::new("/sys/fs/cgroup"));
        assert_eq!(own("/../elsewhere"), Path::new("/sys/fs/cgroup"));
        assert_eq!(own("/docker/abc/../../x"), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn mount_points_with_spaces_are_understood() {
        let layout = Layout::parse("1 1 0:1 / /odd\\040place\\134x rw - cgroup2 none rw\n", "0::/a b\n");
        assert_eq!(layout.v2.expect("version 2").own, Path::new("/odd place\\x/a b"));
    }

    #[test]
    fn nonsense_is_no_layout() {
        for text in ["", "x", "a b c", " - ", "1 2 3 4 - cgroup2"] {
            assert_eq!(Layout::parse(text, text), Layout::default(), "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_a_readable_layout() {
        let layout = Layout::detect().expect("readable");
        for hierarchy in layout.v1.values().chain(&layout.v2) {
            assert!(hierarchy.own.starts_with(&hierarchy.mount));
        }
    }
}
