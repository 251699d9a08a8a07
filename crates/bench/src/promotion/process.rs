//! What the kernel does for a process, without foreshadow: a freezer file, and a plain start.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bed::Survivor;
use super::request::ask_until_answered;
use crate::running::Running;

/// The file that freezes a process with its group, and what is written to it.
pub(super) struct Freezer {
    file: PathBuf,
    words: [&'static str; 2],
}

impl Freezer {
    /// That of the group in which the process is.
    pub(super) fn of(pid: u32) -> Result<Freezer> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        for hierarchy in &HIERARCHIES {
            let path =
                groups.lines().find_map(|group| group.split_once(hierarchy.line)).map(|(_, path)| path);
            let Some(path) = path.filter(|path| *path != "/") else { continue };
            let file = hierarchy.mounted()?.join(&path[1..]).join(hierarchy.file);
            if file.exists() {
                return Ok(Freezer { file, words: hierarchy.words });
            }
        }
        bail!("process {pid} is in no group that could be frozen")
    }

    pub(super) fn set(&self, is_frozen: bool) -> Result<()> {
        fs::write(&self.file, self.words[usize::from(is_frozen)])
            .with_context(|| format!("failed to write {}", self.file.display()))
    }
}

/// Where groups are that can be frozen.
struct Hierarchy {
    /// In `/proc/PID/cgroup`.
    line: &'static str,
    /// In `/proc/self/mountinfo`.
    mount: &'static str,
    file: &'static str,
    words: [&'static str; 2],
}

const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy { line: ":freezer:", mount: ",freezer", file: "freezer.state", words: ["THAWED", "FROZEN"] },
    Hierarchy { line: "0::", mount: " - cgroup2 ", file: "cgroup.freeze", words: ["0", "1"] },
];

impl Hierarchy {
    fn mounted(&self) -> Result<PathBuf> {
        let mounted = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounted.lines().find(|mount| mount.contains(self.mount));
        let point = mount.and_then(|mount| mount.split(' ').nth(4));
        point.map(PathBuf::from).with_context(|| format!("nothing is mounted as {}", self.mount))
    }
}

/// A group for processes; removed in the end.
pub(super) struct Group(PathBuf);

impl Group {
    pub(super) fn make() -> Result<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mounted = HIERARCHIES.iter().rev().find_map(|hierarchy| hierarchy.mounted().ok());
        let folder = mounted.context("there are no control groups")?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = folder.join(format!("bench-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(Group(folder))
    }

    pub(super) fn folder(&self) -> Result<File> {
        Ok(File::open(&self.0)?)
    }

    /// Moves a process there that was born elsewhere.
    pub(super) fn enter(&self, pid: i32) -> Result<()> {
        let (file, pid) = (self.0.join("cgroup.procs"), pid.to_string());
        let is_inside = fs::read_to_string(&file)?.lines().any(|member| member == pid);
        if is_inside { Ok(()) } else { Ok(fs::write(&file, pid)?) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let begin = Instant::now();
        // What was killed a moment ago is still in it.
        while let Err(error) = fs::remove_dir(&self.0) {
            if begin.elapsed() > Duration::from_secs(2) {
                return eprintln!("  failed to remove {}: {error}", self.0.display());
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// The command line of an instance that runs, to be run again on another port.
pub(super) struct Again {
    command: Vec<String>,
    environment: Vec<(String, String)>,
    pub(super) addr: SocketAddr,
}

impl Again {
    pub(super) fn of(survivor: &Survivor) -> Result<Again> {
        let addr = loopback::free_address();
        let [old, new] = [survivor.addr, addr].map(|addr| addr.port().to_string());
        let texts = |file: &str| -> Result<Vec<String>> {
            let text = fs::read_to_string(format!("/proc/{}/{file}", survivor.pid))?.replace(&old, &new);
            Ok(text.split_terminator('\0').map(str::to_owned).collect())
        };
        let environment = texts("environ")?.into_iter();
        // The mark by which a daemon knows its own.
        let environment = environment.filter(|entry| !entry.starts_with("FORESHADOW_INSTANCE="));
        let environment = environment
            .filter_map(|entry| entry.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
        Ok(Again { command: texts("cmdline")?, environment: environment.collect(), addr })
    }

    pub(super) fn run(&self, dir: &Path) -> Result<Running> {
        let (program, arguments) = self.command.split_first().context("it has no command line")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned()).current_dir(dir);
        Running::start(&mut command)
    }
}

/// From a plain start to the first byte, in milliseconds.
pub(super) async fn cold(survivor: &Survivor, times: usize) -> Result<Vec<f64>> {
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        let again = Again::of(survivor)?;
        let begin = Instant::now();
        let mut running = again.run(Path::new("/"))?;
        let answered = ask_until_answered(again.addr).await;
        running.kill();
        measured.push(answered?.duration_since(begin).as_secs_f64() * 1e3);
    }
    Ok(measured)
}
