//! The proxy process from start to end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use balance::{Drain, DrainState};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::ProxyOptions;
use crate::control::{Request, Response};
use crate::director::Director;
use crate::server::{Call, ControlSocket, serve_control};
use crate::shard::{Command, run_shard};
use crate::state::Process;

/// Runs a proxy until it is told to end (by SIGTERM or over its socket) and has drained. Blocks the calling thread.
///
/// # Errors
/// When it cannot start, or a shard has died; see [`RunError`].
pub fn run(options: ProxyOptions) -> Result<(), RunError> {
    let (socket, listener) = ControlSocket::claim(&options.control_socket)?;
    let workers = match options.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let descriptors = raise_descriptor_limit();
    let connections_max = options.limits.connections_max.min(descriptors / 3).div_ceil(workers).max(1);
    let process = Arc::new(Process::new());
    let (died, deaths) = mpsc::channel(workers);
    let mut shards = Vec::with_capacity(workers);
    let mut threads = Vec::with_capacity(workers);
    for index in 0..workers {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (limits, process, last_words) =
            (options.limits.clone(), Arc::clone(&process), LastWords(died.clone()));
        let body = move || {
            let _last_words = last_words;
            run_shard(index, limits, connections_max, process, receiver)
        };
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(body);
        threads.push(thread.map_err(start("starting a shard"))?);
        shards.push(commands);
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(start("making the control runtime"))?;
    let director = Director::new(process, shards.clone());
    let outcome = runtime.block_on(control(&options, director, listener, deaths));
    for shard in shards {
        // A shard that is gone cannot be stopped again.
        let _ = shard.try_send(Command::Stop);
    }
    for thread in threads {
        match thread.join() {
            Ok(ended) => ended.map_err(start("making a shard's runtime"))?,
            Err(_) => return Err(RunError::ShardDied),
        }
    }
    drop(socket);
    outcome
}

async fn control(
    options: &ProxyOptions,
    mut director: Director,
    listener: std::os::unix::net::UnixListener,
    mut deaths: mpsc::Receiver<()>,
) -> Result<(), RunError> {
    let listener = UnixListener::from_std(listener).map_err(start("registering the control socket"))?;
    let (calls, mut inbox) = mpsc::channel::<Call>(CALLS_MAX);
    tokio::task::spawn_local(serve_control(listener, calls));
    let mut signals = Signals::new(options.detached)?;
    let mut drain: Option<Drain> = None;
    let epoch = Instant::now();
    let mut certificates = tokio::time::interval(options.certificates_every.max(CERTIFICATES_EVERY_MIN));
    certificates.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tracing::info!(socket = %options.control_socket.display(), "proxy started");
    loop {
        if let Some(drain) = &drain {
            match drain.state(epoch.elapsed(), director.connections()) {
                DrainState::Busy { .. } => {}
                DrainState::Done => return Ok(()),
                DrainState::Overdue { in_flight } => {
                    tracing::warn!(connections = in_flight, "cut at the end of the drain");
                    return Ok(());
                }
            }
        }
        tokio::select! {
            Some(call) = inbox.recv() => {
                let (response, shutdown) = answer(&mut director, call.request).await;
                // The client may be gone; what it asked for is done all the same.
                let _ = call.reply.send(response);
                if let Some(deadline) = shutdown {
                    let _ = tokio::time::timeout(ANSWER_LIMIT, call.written).await;
                    director.drain().await;
                    drain = Some(Drain::begin(epoch.elapsed(), deadline));
                }
            }
            () = signals.terminate() => {
                let limit = if drain.is_some() { Duration::ZERO } else { options.drain_deadline };
                director.drain().await;
                drain = Some(Drain::begin(epoch.elapsed(), limit));
            }
            _ = certificates.tick() => director.refresh_certificates(),
            _ = deaths.recv() => return Err(RunError::ShardDied),
            () = tokio::time::sleep(DRAIN_POLL), if drain.is_some() => {}
            () = until(director.next_judgement()) => director.judge(),
        }
    }
}

/// Waits for a moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Does what a client asks; with a deadline when that is to shut down.
async fn answer(director: &mut Director, request: Request) -> (Response, Option<Duration>) {
    match request {
        Request::SetTable(table) => match director.apply(table).await {
            Ok(generation) => (Response::Applied { generation }, None),
            Err(refusal) => (Response::Refused(refusal), None),
        },
        Request::Table => (Response::Table(director.table().clone()), None),
        Request::Stats => (Response::Stats(Box::new(director.stats())), None),
        Request::Samples { workload, after } => (director.samples(&workload, after), None),
        Request::Teach { workload, samples } => {
            (Response::Taught { samples: director.teach(&workload, &samples) }, None)
        }
        Request::Shutdown { deadline } => (Response::ShuttingDown, Some(deadline)),
    }
}

/// The signals that end the proxy; others that a terminal sends are ignored.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    is_detached: bool,
}

impl Signals {
    fn new(is_detached: bool) -> Result<Self, RunError> {
        let on = |kind| signal(kind).map_err(start("handling signals"));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
            is_detached,
        })
    }

    /// Returns when the proxy should end.
    async fn terminate(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => if !self.is_detached { return },
                _ = self.hang_up.recv() => {}
            }
        }
    }
}

/// Tells the control thread that a shard's thread has ended, by panic or otherwise.
struct LastWords(mpsc::Sender<()>);

impl Drop for LastWords {
    fn drop(&mut self) {
        // Full or closed: somebody has already noticed.
        let _ = self.0.try_send(());
    }
}

/// Raises the soft limit of file descriptors to the hard one and returns it: a proxy needs two per request.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    let current = limit.current.unwrap_or(DESCRIPTORS_MAX);
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    let usable =
        if wanted > current && setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { current };
    usize::try_from(usable).unwrap_or(usize::MAX)
}

fn start(operation: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::Start { operation, source }
}

/// Why the proxy could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another proxy lives on this control socket.
    #[error("a proxy is already running on {}", path.display())]
    AlreadyRunning {
        /// The control socket.
        path: PathBuf,
    },
    /// The control socket or its lock file could not be made.
    #[error("cannot open the control socket {}", path.display())]
    Socket {
        /// The control socket.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A thread, runtime or signal handler could not be set up.
    #[error("{operation} failed")]
    Start {
        /// What failed.
        operation: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// A shard's thread has panicked; the others were ended, too.
    #[error("a shard has died")]
    ShardDied,
}

/// Commands on their way to one shard.
const COMMANDS_MAX: usize = 16;
/// Control calls that wait for their turn, over all clients.
const CALLS_MAX: usize = 64;
/// How long the end waits for the client that asked for it to be answered.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);
const CERTIFICATES_EVERY_MIN: Duration = Duration::from_millis(10);
const DESCRIPTORS_MAX: u64 = 1 << 20;
