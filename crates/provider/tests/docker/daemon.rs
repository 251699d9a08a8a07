//! `dockerd`, or Podman's service, as a child of the test program.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The image that every engine of a test has.
pub(crate) const IMAGE: &str = "foreshadow-test:1";

/// Whose engine it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Docker,
    Podman,
}

/// How an engine is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// What runs it, with arguments: a program that brings it into a namespace, say.
    pub(crate) runner: Vec<String>,
}

/// A running engine; stopped, with all it has made, when it is dropped.
pub(crate) struct Daemon {
    dir: TempDir,
    options: Options,
    child: Mutex<Option<Child>>,
}

/// Says that a part of the tests cannot run here, on the standard error and in the summary of the test command.
pub(crate) fn skipped(why: &str) {
    skips::skip("containers on a real engine", why);
}

impl Daemon {
    /// None, said aloud, where it cannot run.
    pub(crate) fn start(options: Options) -> Option<Daemon> {
        if !rustix::process::geteuid().is_root() {
            skipped("an engine of its own needs root");
            return None;
        }
        let (name, package) = options.kind.program();
        if program(name).is_none() {
            skipped(&format!("{name} is not installed (Debian's package {package})"));
            return None;
        }
        let dir = tempfile::Builder::new().prefix("foreshadow-engine-").tempdir().expect("a folder");
        let daemon = Daemon { dir, options, child: Mutex::new(None) };
        if let Err(why) = daemon.run() {
            skipped(&format!("{name} does not run here: {why}"));
            return None;
        }
        daemon.import();
        Some(daemon)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn run(&self) -> Result<(), String> {
        let log = File::create(self.path("log")).map_err(|error| error.to_string())?;
        let mut command = match self.options.kind {
            Kind::Docker => self.dockerd(),
            Kind::Podman => self.podman(&["system", "service", "--time=0"]),
        }
        .map_err(|error| error.to_string())?;
        if self.options.kind == Kind::Podman {
            command.arg(format!("unix://{}", self.socket().display()));
        }
        command.args(&self.options.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if self.get("/_ping").is_some_and(|answer| answer.contains("OK")) {
                *self.child.lock().expect("not poisoned") = Some(child);
                return Ok(());
            }
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(self.path("log")).unwrap_or_default();
                return Err(log.lines().last().unwrap_or("it says nothing").to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn dockerd(&self) -> std::io::Result<Command> {
        let _ = fs::remove_file(self.path("docker.pid"));
        fs::write(self.path("daemon.json"), "{}")?;
        let option = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let dockerd = program("dockerd").expect("looked for");
        let words: Vec<_> =
            self.options.runner.iter().map(Into::into).chain([dockerd.into_os_string()]).collect();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(option("data-root", "data"))
            .arg(option("exec-root", "exec"))
            .arg(option("pidfile", "docker.pid"))
            .arg(option("config-file", "daemon.json"))
            .arg(format!("--host=unix://{}", self.socket().display()))
            // Nothing of the machine's own network is touched.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        Ok(command)
    }

    /// Podman on folders of its own. Debian's crun refuses machines with control groups of both versions, and its own limits
    /// are more than a container of ours may raise; both limits are equal because Podman 4.3 mixes them up.
    fn podman(&self, words: &[&str]) -> std::io::Result<Command> {
        let settings = self.path("containers.conf");
        let limits = r#"default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]"#;
        fs::write(&settings, format!("[containers]\n{limits}\n[engine]\nruntime = \"runc\"\n"))?;
        let option = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let mut command = Command::new(program("podman").expect("looked for"));
        command
            .env("CONTAINERS_CONF", settings)
            .arg(option("root", "data"))
            .arg(option("runroot", "exec"))
            .arg(option("tmpdir", "tmp"))
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"])
            .args(words);
        Ok(command)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().expect("not poisoned").as_ref().map(Child::id).expect("it runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    /// Ends it with this signal, and waits for its end.
    pub(crate) fn end(&self, signal: Signal) {
        self.signal(signal);
        let child = self.child.lock().expect("not poisoned").take();
        child.expect("it ran").wait().expect("reaped");
    }

    /// Builds the image: this test program with the libraries it is linked to, and nothing else.
    fn import(&self) {
        let root = self.path("root");
        let program = std::env::current_exe().expect("we are a file");
        copy(&program, &root.join("service"));
        let libraries = Command::new("ldd").arg(&program).output().expect("ldd runs");
        for path in String::from_utf8_lossy(&libraries.stdout).split_ascii_whitespace() {
            if path.starts_with('/') {
                copy(Path::new(path), &root.join(path.trim_start_matches('/')));
            }
        }
        let tar = self.path("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status();
        assert!(packed.expect("tar runs").success());
        let changes = [
            r#"CMD ["/service","--ignored","--exact","service","--nocapture"]"#,
            r#"HEALTHCHECK --interval=200ms --retries=1000 CMD ["/service","--ignored","--exact","health","--nocapture"]"#,
        ];
        // Podman's import knows no check, and needs none: its images have none either.
        let known = if self.options.kind == Kind::Podman { 1 } else { changes.len() };
        let changes: String =
            changes[..known].iter().map(|change| format!("&changes={}", encoded(change))).collect();
        let (repo, tag) = match self.options.kind {
            Kind::Docker => IMAGE.split_once(':').expect("a tag"),
            // It does not look at the tag.
            Kind::Podman => (IMAGE, ""),
        };
        let body = fs::read(&tar).expect("readable");
        let target = format!("/images/create?fromSrc=-&repo={repo}&tag={tag}{changes}");
        let answer = self.ask("POST", &target, &body).expect("the engine answers");
        assert!(answer.contains("200 OK") && answer.contains("sha256:"), "{answer}");
        fs::remove_dir_all(&root).expect("removed");
        fs::remove_file(&tar).expect("removed");
    }

    /// Identifiers and states of the containers with a label.
    pub(crate) fn containers(&self, label: &str) -> Vec<(String, String)> {
        let filters = encoded(&format!(r#"{{"label":["{label}"]}}"#));
        let answer =
            self.get(&format!("/containers/json?all=1&filters={filters}")).expect("the engine answers");
        let body = answer.split_once("\r\n\r\n").expect("a head and a body").1;
        let list: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        list.as_array().expect("a list").iter().map(|one| (text(&one["Id"]), text(&one["State"]))).collect()
    }

    pub(crate) fn get(&self, target: &str) -> Option<String> {
        self.ask("GET", target, &[])
    }

    /// One request by hand, so that the tests do not see with the eyes of what they test.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &[u8]) -> Option<String> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let head = format!(
            "{method} {target} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut()
            && let Some(mut child) = child.take()
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::CONT);
            // Bridges would outlive it.
            let _ = self.ask("POST", "/networks/prune", &[]);
            let _ = kill_process(pid, Signal::TERM);
            let _ = child.wait();
        }
        if self.options.kind == Kind::Podman
            && let Ok(mut podman) = self.podman(&["rm", "--all", "--force"])
        {
            // Containers have no daemon that they would end with.
            let _ = podman.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        unmount_below(self.dir.path());
    }
}

impl Kind {
    /// Its program, and Debian's package of it.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Kind::Docker => ("dockerd", "docker.io"),
            Kind::Podman => ("podman", "podman"),
        }
    }
}

/// What the engine mounted in its folder and did not unmount, so that the folder can be removed.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    points.retain(|point| Path::new(point).starts_with(dir));
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        let _ = Command::new("umount").arg("-l").arg(point).stderr(Stdio::null()).status();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("made");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

const START_TIME_MAX: Duration = Duration::from_secs(40);
