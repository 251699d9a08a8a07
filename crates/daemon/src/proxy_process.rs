//! The proxy as a process: found or started, asked for its counters, started anew when it is gone.
//!
//! It is a session of its own with its output in a file, so that it outlives this process; only an orderly shutdown
//! ends it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use proxy::control::{Client, ControlError, FrameError, Refusal, Router as _, Stats};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::control_loop::ProxyRestart;
use crate::data_plane::DataPlane;
use crate::error::{DaemonError, SOCKET_PATH_MAX, chain};

/// What is known about the proxy from the outside.
#[derive(Debug)]
pub(crate) enum ProxyNews {
    /// A reading of its counters.
    Read(Box<Stats>),
    /// It did not answer.
    Silent(String),
    /// A new one was started because the old one was gone: its table is empty.
    Restarted,
    /// A restart that was asked for is over: the successor's process serves, or why it does not.
    Succeeded { restart: Box<ProxyRestart>, result: Result<Option<u32>, String> },
}

/// Whether there is a proxy to take over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    First,
    Successor,
}

/// Whether it is this process that answers, rather than the one before it.
async fn is_served_by(client: &Client, process: &Child) -> bool {
    client.stats().await.is_ok_and(|stats| Some(stats.pid) == process.id())
}

/// How to reach the proxy and how to start it.
#[derive(Clone, Debug)]
pub(crate) struct ProxyPlace {
    command: Vec<OsString>,
    socket: PathBuf,
    log: PathBuf,
}

impl ProxyPlace {
    pub(crate) fn new(command: Vec<OsString>, state_dir: &Path) -> Result<ProxyPlace, DaemonError> {
        let socket = state_dir.join("proxy.sock");
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(DaemonError::SocketPath { path: socket });
        }
        Ok(ProxyPlace { command, socket, log: state_dir.join("proxy.log") })
    }

    /// A connection to the proxy that runs.
    pub(crate) async fn connect(&self) -> Result<Client, ControlError> {
        Client::connect(&self.socket).await
    }

    /// Finds the proxy that an earlier daemon left running, or starts one; then the process is ours to wait for. One that runs
    /// another program than a new one would is replaced by a successor, which loses no connection; where that fails, it goes on.
    pub(crate) async fn find_or_start(&self) -> Result<(Client, Option<Child>), DaemonError> {
        let found = match self.connect().await {
            Ok(client) => client,
            Err(_) => return self.start(Start::First).await.map(|(client, child)| (client, Some(child))),
        };
        if !self.is_outdated(&found).await {
            return Ok((found, None));
        }
        match self.start(Start::Successor).await {
            Ok((client, child)) => {
                tracing::info!(
                    pid = child.id(),
                    "a proxy of this version has taken over from the one that ran"
                );
                Ok((client, Some(child)))
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the proxy that runs is of another version, and goes on"
                );
                Ok((found, None))
            }
        }
    }

    /// Whether the running proxy is of another version than this program, as after an upgrade.
    async fn is_outdated(&self, running: &Client) -> bool {
        match running.stats().await {
            Ok(stats) => !self.is_program_of(stats.pid),
            Err(ControlError::Frame { source: FrameError::Version(_), .. }) => true,
            Err(ControlError::Refused(Refusal::Version { .. })) => true,
            // Whatever ails it, it may still serve.
            Err(_) => false,
        }
    }

    /// Whether a process runs the very file that a new proxy would run. An installer puts a new file in the place of the old one,
    /// which stays what the process runs. Where it cannot be told, yes.
    fn is_program_of(&self, pid: u32) -> bool {
        let file = |path: &Path| std::fs::metadata(path).map(|data| (data.dev(), data.ino()));
        let running = file(Path::new(&format!("/proc/{pid}/exe")));
        let program = self.command.first().map(|program| file(Path::new(program)));
        match (running, program) {
            (Ok(running), Some(Ok(program))) => running == program,
            _ => true,
        }
    }

    async fn start(&self, start: Start) -> Result<(Client, Child), DaemonError> {
        let refused = |reason: String| DaemonError::ProxyStart { command: self.command.clone(), reason };
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| refused("no command".to_owned()))?;
        let state = |source| DaemonError::State { step: "open", path: self.log.clone(), source };
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(state)?;
        // A log that only grows is cut when a new proxy starts; the proxy itself writes little.
        if log.metadata().map_err(state)?.len() > LOG_BYTES_MAX {
            log.set_len(0).map_err(state)?;
        }
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--control-socket")
            .arg(&self.socket)
            .args((start == Start::Successor).then_some("--take-over"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(state)?)
            .stderr(log);
        // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into));
        }
        let mut child = command.spawn().map_err(|error| refused(error.to_string()))?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Ok(client) = self.connect().await
                && (start == Start::First || is_served_by(&client, &child).await)
            {
                return Ok((client, child));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(refused(format!("it ended with {status}{}", self.log_tail())));
            }
            if Instant::now() > deadline {
                let _ = child.start_kill();
                return Err(refused(format!(
                    "it did not answer within {START_DEADLINE:?}{}",
                    self.log_tail()
                )));
            }
            sleep(START_POLL).await;
        }
    }

    fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let begin = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
            file.seek(SeekFrom::Start(begin))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).trim().to_owned())
        };
        match read() {
            Ok(tail) if !tail.is_empty() => format!("; it wrote: {tail}"),
            Ok(_) | Err(_) => "; it wrote nothing".to_owned(),
        }
    }
}

/// Asks the router for its counters every `every`, starts a new proxy when ours is gone, and a successor for each of `restarts`. Ends
/// with its reader.
pub(crate) async fn watch(
    place: ProxyPlace,
    plane: DataPlane,
    mut child: Option<Child>,
    every: Duration,
    news: mpsc::Sender<ProxyNews>,
    mut restarts: mpsc::Receiver<ProxyRestart>,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut failures = 0;
    loop {
        let gone = tokio::select! {
            _ = ticks.tick() => match plane.stats().await {
                Ok(stats) => {
                    failures = 0;
                    if news.send(ProxyNews::Read(Box::new(stats))).await.is_err() {
                        return;
                    }
                    false
                }
                Err(error) => {
                    failures += 1;
                    if news.send(ProxyNews::Silent(chain(&error))).await.is_err() {
                        return;
                    }
                    // One that is there and does not answer is left alone: it may still serve.
                    matches!(plane, DataPlane::Builtin(_)) && error.is_gone() && failures >= CONNECT_FAILURES_MAX
                }
            },
            Some(restart) = restarts.recv() => {
                let result = match place.start(Start::Successor).await {
                    Ok((_, successor)) => Ok(child.insert(successor).id()),
                    Err(error) => Err(chain(&error)),
                };
                let restart = Box::new(restart);
                if news.send(ProxyNews::Succeeded { restart, result }).await.is_err() {
                    return;
                }
                false
            }
            () = ended(&mut child) => true,
        };
        if !gone {
            continue;
        }
        child = None;
        match place.find_or_start().await {
            Ok((_, started)) => {
                failures = 0;
                let restarted = started.is_some();
                child = started;
                if restarted && news.send(ProxyNews::Restarted).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if news.send(ProxyNews::Silent(chain(&error))).await.is_err() {
                    return;
                }
                sleep(RESTART_PAUSE).await;
            }
        }
    }
}

/// Completes when the process has ended; never when it is not ours.
async fn ended(child: &mut Option<Child>) {
    match child {
        Some(child) => {
            let _ = child.wait().await;
        }
        None => std::future::pending().await,
    }
}

const START_DEADLINE: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(5);
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Refused connections in a row after which a proxy that is not our child counts as gone.
const CONNECT_FAILURES_MAX: u32 = 2;
const LOG_BYTES_MAX: u64 = 4 << 20;
const LOG_TAIL_BYTES: u64 = 2000;
