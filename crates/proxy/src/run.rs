//! The proxy process from start to end.

use std::io;
use std::path::PathBuf;

use crate::ProxyOptions;

/// Runs a proxy until it is told to end (by SIGTERM or over its socket) and has drained. Blocks the calling thread.
///
/// # Errors
/// When it cannot start, or a shard has died; see [`RunError`].
pub fn run(options: ProxyOptions) -> Result<(), RunError> {
    Err(RunError::Socket { path: options.control_socket, source: io::ErrorKind::Unsupported.into() })
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
    #[error("cannot start: {operation}")]
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
