//! Why an engine did not do what it was asked for.

use std::error::Error;
use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why an engine did not do what it was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No connection, or it broke.
    #[error("the engine cannot be reached")]
    NotReachable(#[source] io::Error),
    /// The engine's socket is there and not for us.
    #[error("permission to use the engine is denied (is this user in the group of its socket?)")]
    PermissionDenied(#[source] io::Error),
    /// Certificates cannot be read or used, or one side does not trust the other's.
    #[error("cannot use the certificates: {0}")]
    Certificates(String),
    /// It took the request, and does not answer.
    #[error("the engine did not answer within {0:?}")]
    NoAnswer(Duration),
    /// It does not know what we need.
    #[error(
        "the engine is too old: it speaks version {found} of the API, and {needed} is needed (Docker Engine 20.10, Podman 4)"
    )]
    TooOld {
        /// The version of its API.
        found: String,
        /// The first version that will do.
        needed: &'static str,
    },
    /// Its disk is full.
    #[error("the disk of the engine is full: {0}")]
    DiskFull(String),
    /// It says no; the status is as in HTTP.
    #[error("the engine says ({status}): {message}")]
    Refused {
        /// 400 wrong, 404 unknown, 409 not now, 500 failed.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Its answer cannot be understood.
    #[error("the answer of the engine cannot be understood: {0}")]
    Odd(String),
}

impl EngineError {
    /// Sorts what the client library reports.
    pub(super) fn from_client(error: bollard::errors::Error, deadline: Duration) -> EngineError {
        use bollard::errors::Error as Client;
        match error {
            Client::DockerResponseServerError { status_code, message } => {
                EngineError::refused(status_code, message)
            }
            Client::DockerStreamError { error } => EngineError::refused(500, error),
            Client::RequestTimeoutError => EngineError::NoAnswer(deadline),
            Client::IOError { err } => EngineError::from_io(err),
            Client::HyperResponseError { err } => EngineError::from_io(io_of(&err)),
            other => EngineError::Odd(other.to_string()),
        }
    }

    pub(super) fn refused(status: u16, message: String) -> EngineError {
        if message.contains("no space left on device") {
            return EngineError::DiskFull(message);
        }
        EngineError::Refused { status, message }
    }

    fn from_io(error: io::Error) -> EngineError {
        match error.kind() {
            io::ErrorKind::PermissionDenied => EngineError::PermissionDenied(error),
            // What TLS says about certificates, theirs and ours.
            io::ErrorKind::InvalidData => EngineError::Certificates(error.to_string()),
            _ => EngineError::NotReachable(error),
        }
    }

    /// What it was asked about does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, EngineError::Refused { status: 404, .. })
    }

    /// It has never heard of such an order: Podman 4 cannot change what runs.
    pub(super) fn is_unknown_order(&self) -> bool {
        let EngineError::Refused { status: 404, message } = self else { return false };
        !message.to_ascii_lowercase().contains("container")
    }

    /// The port that was to be published belongs to somebody else. Texts of Docker and Podman.
    pub(super) fn is_port_taken(&self) -> bool {
        let EngineError::Refused { message, .. } = self else { return false };
        let message = message.to_ascii_lowercase();
        ["port is already allocated", "address already in use"].iter().any(|words| message.contains(words))
    }

    /// The command is not in the image. Texts of runc and crun.
    pub(super) fn is_command_missing(&self) -> bool {
        let EngineError::Refused { message, .. } = self else { return false };
        ["executable file not found", "no such file or directory"].iter().any(|words| message.contains(words))
            && message.contains("exec")
    }
}

/// The innermost words of an error of the transport, as an error of its own.
fn io_of(error: &(dyn Error + 'static)) -> io::Error {
    let mut next = error.source();
    let (mut kind, mut text) = (io::ErrorKind::Other, error.to_string());
    while let Some(source) = next {
        if let Some(io) = source.downcast_ref::<io::Error>() {
            kind = io.kind();
        }
        text = format!("{text}: {source}");
        next = source.source();
    }
    io::Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use bollard::errors::Error as Client;

    use super::*;

    fn refused(status_code: u16, message: &str) -> EngineError {
        let error = Client::DockerResponseServerError { status_code, message: message.to_owned() };
        EngineError::from_client(error, Duration::from_secs(1))
    }

    #[test]
    fn the_words_of_engines_are_sorted() {
        let full = "write /var/lib/docker/tmp/x: no space left on device";
        assert!(matches!(refused(500, full), EngineError::DiskFull(_)));
        assert!(refused(404, "No such container: x").is_not_found());
        assert!(!refused(404, "No such container: x").is_unknown_order());
        assert!(refused(404, "Not Found").is_unknown_order());
        assert!(refused(500, "Bind for 127.0.0.1:80 failed: port is already allocated").is_port_taken());
        assert!(refused(400, "exec: \"x\": executable file not found in $PATH").is_command_missing());
        assert!(!refused(500, "something else").is_command_missing());
        let denied = Client::IOError { err: io::ErrorKind::PermissionDenied.into() };
        let denied = EngineError::from_client(denied, Duration::ZERO);
        assert!(matches!(denied, EngineError::PermissionDenied(_)));
        let silent = EngineError::from_client(Client::RequestTimeoutError, Duration::from_secs(3));
        assert_eq!(silent.to_string(), "the engine did not answer within 3s");
    }
}
