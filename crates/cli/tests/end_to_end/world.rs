//! A running `foreshadow run` with one workload of sample services, in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon::client::Client;

pub(super) const WORKLOAD: &str = "web";
const BINARY: &str = env!("CARGO_BIN_EXE_foreshadow");
/// Generous: test machines are shared.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a test may change.
pub(super) struct Shape {
    pub(super) replicas_min: u32,
    pub(super) replicas_max: u32,
}

pub(super) struct World {
    pub(super) client: Client,
    pub(super) api: SocketAddr,
    pub(super) proxy: SocketAddr,
    config: PathBuf,
    daemon: Option<Child>,
    folder: tempfile::TempDir,
}

impl World {
    pub(super) fn new(shape: &Shape) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (api, proxy) = (loopback::free_address(), loopback::free_address());
        let config = folder.path().join("foreshadow.toml");
        fs::write(&config, configuration(shape, api, proxy)).expect("the configuration is written");
        World { client: Client::new(api), api, proxy, config, daemon: None, folder }
    }

    pub(super) fn start(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"));
        let child = Command::new(BINARY)
            .arg("run")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn();
        self.daemon = Some(child.expect("foreshadow starts"));
    }

    /// SIGKILL: what a crash or the kernel's out-of-memory killer does.
    pub(super) fn kill(&mut self) {
        let mut child = self.daemon.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it is gone");
    }

    /// Writes another configuration and has the daemon read it.
    pub(super) fn reconfigure(&self, change: impl Fn(String) -> String) {
        let text = fs::read_to_string(&self.config).expect("readable");
        fs::write(&self.config, change(text)).expect("written");
        signal("-HUP", self.pid());
    }

    /// Of the daemon.
    pub(super) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").id()
    }

    /// SIGTERM, and the wait for its end.
    pub(super) fn stop(&mut self) {
        let Some(mut child) = self.daemon.take() else { return };
        signal("-TERM", child.id());
        let begin = Instant::now();
        while begin.elapsed() < DEADLINE {
            if child.try_wait().expect("its state can be read").is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it is gone");
        panic!("no orderly end within {} s; its log:\n{}", DEADLINE.as_secs(), self.log());
    }

    /// The folder of the configuration, and the one of the history in it.
    pub(super) fn folders(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().to_owned(), self.folder.path().join("state/history"))
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The workload, once `wanted` holds.
    pub(super) async fn wait_until(
        &self,
        what: &str,
        wanted: impl Fn(&api::WorkloadDetail) -> bool,
    ) -> api::WorkloadDetail {
        let begin = Instant::now();
        let mut last = None;
        while begin.elapsed() < DEADLINE {
            if let Ok(detail) = self.client.workload(WORKLOAD).await {
                if wanted(&detail) {
                    return detail;
                }
                last = Some(detail.instances);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited in vain until {what}; last seen: {last:#?}\nlog:\n{}", self.log());
    }

    /// What a command says to this daemon.
    pub(super) fn command(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new(BINARY);
        command.args(words).args(["--api", &self.api.to_string()]).output().expect("foreshadow starts")
    }

    /// Open-loop load in a process of its own; `finish` waits for it and reads what it counted.
    pub(super) fn load(&self, rate: u32, duration: Duration) -> Load {
        let child = Command::new(BINARY)
            .args(["load", &self.proxy.to_string(), "--rate", &rate.to_string()])
            .args(["--duration", &format!("{}ms", duration.as_millis()), "--timeout", "10s"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Load(child.expect("the load generator starts"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            return;
        }
        if !std::thread::panicking() {
            return self.stop();
        }
        // A failing test has said why already; what is left is to leave nothing behind.
        let mut child = self.daemon.take().expect("checked above");
        signal("-TERM", child.id());
        std::thread::sleep(Duration::from_secs(3));
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub(super) struct Load(Child);

/// What the load generator counted.
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) failed: u64,
}

impl Load {
    pub(super) fn finish(self) -> Counted {
        let output = self.0.wait_with_output().expect("the load generator ends");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let number = |key: &str| json[key].as_u64().expect("a count");
        Counted { requests: number("requests"), failed: number("failed") }
    }
}

/// Sends a signal by name.
pub(super) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill can be run");
    assert!(status.success(), "kill {name} {pid} ended with {status}");
}

/// Whether a process lives (a zombie does not).
pub(super) fn lives(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn configuration(shape: &Shape, api: SocketAddr, proxy: SocketAddr) -> String {
    let Shape { replicas_min, replicas_max } = shape;
    format!(
        r#"
[server]
listen = "{api}"
state_dir = "state"

[[workload]]
name = "{WORKLOAD}"
command = ["{BINARY}", "sample-service", "--port", "{{port}}", "--concurrency", "100", "--service-time", "5ms", "--startup", "200ms"]
listen = "{proxy}"
step = "1s"
tick = "250ms"
capacity = 2000
replicas = {{ min = {replicas_min}, max = {replicas_max} }}
probe = "/healthz"
probe_interval = "200ms"
hold = "5s"
shift = {{ first_share = 1 }}
"#
    )
}
