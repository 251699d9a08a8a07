//! Why HAProxy did not do what it was asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use proxy::control::Refusal;

use crate::stat::StatError;

/// A failure, with the socket and the command that it concerns.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// Nobody listens on the socket, or it may not be used.
    #[error("no HAProxy answers on {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The exchange broke off. Whether HAProxy acted is unknown.
    #[error("HAProxy on {}: `{command}` broke off", socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// No answer in time. Whether HAProxy acted is unknown.
    #[error("HAProxy on {}: `{command}` was not answered within {after:?}", socket.display())]
    Timeout {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
        /// The limit that passed.
        after: Duration,
    },
    /// HAProxy declined.
    #[error("HAProxy on {}: `{command}` was answered: {answer}", socket.display())]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
        /// The beginning of what it said.
        answer: String,
    },
    /// The answer is not what this command is answered with.
    #[error("HAProxy on {}: `{command}` was answered with something else", socket.display())]
    Unreadable {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        command: String,
        /// What is wrong with the answer.
        source: StatError,
    },
    /// Every command succeeded, and yet the servers are not those of the table: somebody else changes them, too.
    #[error("HAProxy on {}: backend {backend} does not have the servers that it was given", socket.display())]
    NotInForce {
        /// The socket.
        socket: PathBuf,
        /// The backend.
        backend: String,
    },
    /// The table is refused; nothing was done.
    #[error(transparent)]
    Refused(Refusal),
}
