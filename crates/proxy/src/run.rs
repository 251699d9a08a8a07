//! The proxy process from start to end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use crate::ProxyOptions;
use crate::director::Director;
use crate::handover::Inheritance;
use crate::helm::Helm;
use crate::server::ControlSocket;
use crate::shard::{Command, run_shard};
use crate::state::Process;

/// Runs a proxy until it is told to end (by SIGTERM or over its socket) and has drained. Blocks the calling thread.
///
/// # Errors
/// When it cannot start, or a shard has died; see [`RunError`].
pub fn run(options: ProxyOptions) -> Result<(), RunError> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(start("making the control runtime"))?;
    let descriptors = raise_descriptor_limit();
    keep_pages_small();
    let inheritance = match options.take_over {
        true => runtime.block_on(Inheritance::ask(&options.control_socket)),
        false => Ok(None),
    };
    let (socket, inheritance) = match inheritance.map_err(|reason| RunError::TakeOver { reason })? {
        Some(inheritance) => {
            let Inheritance { socket, estate, sockets, predecessor } = inheritance;
            (socket, Some((estate, sockets, predecessor)))
        }
        None => (ControlSocket::claim(&options.control_socket)?, None),
    };
    let workers = match options.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
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
    let mut director = Director::new(process, shards.clone());
    let estate = inheritance.map(|(estate, sockets, predecessor)| {
        director.inherit(sockets, predecessor);
        estate
    });
    let mut helm = Helm::new(&options, director, socket);
    let outcome = runtime.block_on(helm.run(estate, deaths));
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
    // The control socket goes last: whoever finds none finds no shard either.
    drop(helm);
    outcome
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

/// Asks for no huge pages: idle connections are many small things, and what a burst leaves between them could not be given back.
/// Children inherit it; a proxy has none.
fn keep_pages_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay allowed");
    }
}

pub(crate) fn start(operation: &'static str) -> impl Fn(io::Error) -> RunError {
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
    /// The running proxy cannot be taken over from, and goes on.
    #[error("cannot take over from the running proxy: {reason}")]
    TakeOver {
        /// Why.
        reason: String,
    },
    /// A shard's thread has panicked; the others were ended, too.
    #[error("a shard has died")]
    ShardDied,
}

/// Commands on their way to one shard.
const COMMANDS_MAX: usize = 16;
const DESCRIPTORS_MAX: u64 = 1 << 20;
