//! What keeps the daemon from serving.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// A failure to start or to end in an orderly way. [`chain`] prints it with its causes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// A file or folder of the state folder cannot be used.
    #[error("failed to {step} {}", path.display())]
    State {
        /// What was being done.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon works with this state folder.
    #[error(
        "the state folder {} is in use by another foreshadow{}; stop that one, or set another `state_dir`",
        path.display(),
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, where known.
        holder: Option<u32>,
    },
    /// The path of the control socket is longer than the system allows.
    #[error(
        "the state folder's path is too long for a control socket in it: {} has more than {SOCKET_PATH_MAX} bytes; \
         set a shorter `state_dir`",
        path.display()
    )]
    SocketPath {
        /// The socket.
        path: PathBuf,
    },
    /// The history cannot be opened or read.
    #[error("failed to open the history")]
    History(#[source] history::HistoryError),
    /// The file that `history` names cannot be learned from.
    #[error("workload {workload}: failed to read the history file {}", path.display())]
    Import {
        /// The workload.
        workload: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API's address cannot be bound.
    #[error(
        "cannot listen on {address} for the API and dashboard; free the port, or set another `server.listen`"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A workload's address cannot be bound by the proxy.
    #[error(
        "cannot listen on {address} for workload {workload}: {reason}; free the port, or set another `listen`"
    )]
    WorkloadListen {
        /// The address.
        address: SocketAddr,
        /// The workload.
        workload: String,
        /// Why, in the system's words.
        reason: String,
    },
    /// The proxy process could not be started.
    #[error("failed to start the proxy {command:?}: {reason}")]
    ProxyStart {
        /// What was executed.
        command: Vec<std::ffi::OsString>,
        /// Why, with the end of its log.
        reason: String,
    },
    /// The router did not take the route table.
    #[error("the router did not take the first route table")]
    ProxyTable(#[source] crate::data_plane::DataPlaneError),
    /// The provider cannot work here.
    #[error("the process provider failed")]
    Provider(#[source] provider::ProviderError),
    /// The planner refused the policy; the configuration should have.
    #[error("the policy is refused")]
    Policy(#[source] planner::PolicyErrors),
    /// A task of the daemon ended that must not.
    #[error("the {task} has stopped unexpectedly")]
    Stopped {
        /// Which one.
        task: &'static str,
    },
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Longest path of a Unix socket that every system accepts.
pub(crate) const SOCKET_PATH_MAX: usize = 100;
