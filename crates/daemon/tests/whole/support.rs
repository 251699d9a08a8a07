//! A daemon as a process, its configuration, and clients that count what they get.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daemon::client::Client;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A configuration for one workload, `web`, in a folder of its own.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    pub(crate) api: SocketAddr,
    pub(crate) web: SocketAddr,
    lines: String,
}

impl Stage {
    pub(crate) fn new(lines: &str) -> Stage {
        let (api, web) = (loopback::free_address(), loopback::free_address());
        Stage { dir: tempfile::tempdir().expect("a folder"), api, web, lines: lines.to_owned() }
    }

    /// Writes the configuration file, with `replace` applied to its text.
    pub(crate) fn config(&self, name: &str, replace: impl Fn(String) -> String) -> PathBuf {
        let path = self.dir.path().join(name);
        let stage = stage_program();
        let text = format!(
            "[server]\nlisten = \"{}\"\nstate_dir = \"state\"\n[[workload]]\nname = \"web\"\n\
             command = [{:?}, \"service\", \"{{port}}\"]\nlisten = \"{}\"\ncapacity = 50\nstep = \"1s\"\n\
             tick = \"100ms\"\nhold = \"2s\"\nprobe = \"/healthz\"\nreplicas = {{ min = 1, max = 6 }}\n\
             shift = {{ first_share = 1.0, step_every = \"1s\" }}\n\
             deadlines = {{ start = \"20s\", drain = \"5s\", stop = \"5s\" }}\n{}\n",
            self.api,
            stage.display().to_string(),
            self.web,
            self.lines
        );
        std::fs::write(&path, replace(text)).expect("the configuration is written");
        path
    }

    pub(crate) fn start(&self) -> Running {
        Running::start(&self.config("web.toml", |text| text)).expect("the daemon starts")
    }

    /// Where the daemon keeps its history.
    pub(crate) fn history(&self) -> PathBuf {
        self.dir.path().join("state/history")
    }

    /// Where a HAProxy of this stage takes commands.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// The program as an installer would put it: the same in a file of its own.
    pub(crate) fn upgraded(&self) -> PathBuf {
        let path = self.dir.path().join("upgraded");
        std::fs::copy(stage_program(), &path).expect("copied");
        path
    }

    /// A program that ends at once, in the place of `program`.
    pub(crate) fn break_program(&self, program: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let broken = self.dir.path().join("broken");
        std::fs::write(&broken, "#!/bin/sh\nexit 7\n").expect("written");
        std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).expect("made a program");
        std::fs::rename(&broken, program).expect("put in its place");
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.api)
    }

    /// Processes that run in this folder or were told it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = self.dir.path().display().to_string();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let here = processes.filter_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let folder = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
            let text = format!("{} {}", String::from_utf8_lossy(&command), folder.display());
            text.contains(&mark).then_some(pid)
        });
        here.collect()
    }

    /// Files that instances have while they exist, of whatever kind they are.
    pub(crate) fn instance_files(&self) -> Vec<PathBuf> {
        let state = self.dir.path().join("state");
        let machines = ["machines", "templates"]
            .into_iter()
            .flat_map(|part| ["instances", "files"].map(|kind| format!("machines/{part}/{kind}")));
        let folders = ["instances/instances", "containers/engine/instances"].map(str::to_owned);
        let entries =
            folders.into_iter().chain(machines).flat_map(|folder| std::fs::read_dir(state.join(folder)));
        entries.flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Stage {
    /// A failed test must leave nothing running: whatever runs in this folder or was told it is ended.
    fn drop(&mut self) {
        self.processes().into_iter().for_each(kill);
    }
}

/// A daemon in a process of its own.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    /// Starts a daemon; an error is what it said.
    pub(crate) fn start(config: &Path) -> Result<Running, String> {
        Running::start_program(&stage_program(), config)
    }

    /// The same with another program.
    pub(crate) fn start_program(program: &Path, config: &Path) -> Result<Running, String> {
        let mut child = Command::new(program)
            .arg("daemon")
            .arg(config)
            .current_dir(config.parent().expect("a folder"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stage starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        if line.starts_with("ready ") {
            return Ok(Running { child });
        }
        child.wait().expect("it ended");
        Err(line)
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }

    /// Lets no file grow beyond `bytes`, as a full disk would not; `None`: no limit.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).expect("limited");
    }

    /// An orderly end.
    pub(crate) fn terminate(mut self) {
        signal(self.child.id(), rustix::process::Signal::TERM);
        assert!(self.child.wait().expect("waited for").success());
    }
}

impl Drop for Running {
    /// An orderly end, so that its instances and their control groups go with it.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        signal(self.child.id(), rustix::process::Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    let _ = rustix::process::kill_process(pid, signal);
}

/// Whether a process runs; one that has ended and waits for its parent does not.
pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Waits until `condition` yields something.
pub(crate) async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    patiently(what, PATIENCE, condition).await
}

/// The same for what takes longer.
pub(crate) async fn patiently<T>(
    what: &str,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until an instance serves. A daemon that is killed while it forks leaves its locks to the child for a moment.
pub(crate) async fn serves(client: &Client) {
    eventually("an instance that serves", async || {
        let counts = client.workload("web").await.ok()?.summary.counts;
        (counts.active > 0 && counts.starting == 0).then_some(())
    })
    .await;
}

/// Pins counts and waits until they are reached.
pub(crate) async fn pin(client: &Client, active: u32, standby: u32) {
    pin_workload(client, "web", active, standby).await;
}

/// The same for a workload of another name.
pub(crate) async fn pin_workload(client: &Client, workload: &str, active: u32, standby: u32) {
    let request = api::OverrideRequest {
        active: Some(active),
        standby: Some(standby),
        author: "test".into(),
        reason: "a known number".into(),
        expires_in_s: None,
    };
    client.set_override(workload, &request).await.expect("pinned");
    eventually("the pinned counts", async || {
        let detail = client.workload(workload).await.ok()?;
        let counts = detail.summary.counts;
        let still = counts.starting + counts.draining + counts.stopping == 0;
        (counts.active == active && counts.parked == standby && counts.standby == standby && still)
            .then_some(())
    })
    .await;
}

/// Who asks for a restart of the proxy.
pub(crate) fn by(author: &str) -> api::ProxyRestartRequest {
    api::ProxyRestartRequest { author: author.into(), reason: "to see it done".into() }
}

/// The process ids of the instances, by name.
pub(crate) async fn pids(client: &Client) -> Vec<(String, u32)> {
    let detail = client.workload("web").await.expect("the workload");
    let mut pids: Vec<_> = detail.instances.iter().filter_map(|i| Some((i.name.clone(), i.pid?))).collect();
    pids.sort();
    pids
}

/// One request on a connection of its own: status and body.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<(u16, String, http::HeaderMap), Box<dyn std::error::Error + Send + Sync>> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = http::Request::builder().method(method).uri(path).header("connection", "close");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            sender.send_request(request.body(Full::new(bytes::Bytes::from(body.to_owned())))?).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned(), headers))
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err("no answer in time".into()),
    }
}

/// Requests at a steady rate, whatever becomes of those before.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    good: AtomicU64,
    bad: AtomicU64,
    complaints: std::sync::Mutex<String>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, per_second: u32) -> Load {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let (stopped, counted) = (stop.clone(), counts.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
            let mut open = tokio::task::JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                let counts = counted.clone();
                open.spawn(async move {
                    match request(address, "GET", "/", &[], "").await {
                        Ok((200, ..)) => counts.good.fetch_add(1, Ordering::Relaxed),
                        other => {
                            let mut complaints = counts.complaints.lock().expect("not poisoned");
                            let _ =
                                writeln!(complaints, "{:?}", other.map(|(status, body, _)| (status, body)));
                            counts.bad.fetch_add(1, Ordering::Relaxed)
                        }
                    }
                });
            }
            open.join_all().await;
        });
        Load { stop, counts, task }
    }

    pub(crate) fn good(&self) -> u64 {
        self.counts.good.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.counts.bad.load(Ordering::Relaxed)
    }

    /// Ends the load: how many were answered, how many were not, and what was wrong.
    pub(crate) async fn finish(self) -> (u64, u64, String) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the load ran");
        let complaints = self.counts.complaints.lock().expect("not poisoned").clone();
        (self.counts.good.load(Ordering::Relaxed), self.counts.bad.load(Ordering::Relaxed), complaints)
    }
}

/// The example `stage`, which the test runner builds beside the tests.
fn stage_program() -> PathBuf {
    let test = std::env::current_exe().expect("the test's path");
    let program = test.parent().and_then(Path::parent).expect("a target folder").join("examples/stage");
    assert!(
        program.exists(),
        "{} is missing: build it with `cargo build -p daemon --examples`",
        program.display()
    );
    program
}

const PATIENCE: Duration = Duration::from_secs(90);
