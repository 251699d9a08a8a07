//! What the kernel does for a process, without foreshadow: a freezer file, and a plain start.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bed::Survivor;
use super::request::ask_until_answered;
use crate::running::{Running, free_address};

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

/// How long the kernel takes to move a process into a group, in milliseconds.
pub(super) fn moves(times: usize) -> Result<Vec<f64>> {
    let mounted = HIERARCHIES.iter().find_map(|hierarchy| hierarchy.mounted().ok());
    let group = mounted.context("there are no control groups")?.join(format!("bench-{}", std::process::id()));
    fs::create_dir(&group).with_context(|| format!("failed to make {}", group.display()))?;
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        let mut moved = Running::start(Command::new("sleep").arg("60"))?;
        // The kernel is faster right after another move.
        sleep(BETWEEN_MOVES);
        let begin = Instant::now();
        fs::write(group.join("cgroup.procs"), moved.pid().to_string())?;
        measured.push(begin.elapsed().as_secs_f64() * 1e3);
        moved.kill();
    }
    sleep(BETWEEN_MOVES);
    fs::remove_dir(&group)?;
    Ok(measured)
}

const BETWEEN_MOVES: Duration = Duration::from_millis(100);

/// The command line of an instance that runs, to be run again on another port.
pub(super) struct Again {
    command: Vec<String>,
    environment: Vec<(String, String)>,
    pub(super) addr: SocketAddr,
}

impl Again {
    pub(super) fn of(survivor: &Survivor) -> Result<Again> {
        let addr = free_address()?;
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
