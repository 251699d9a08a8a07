//! One command to HAProxy's Runtime API and its answer.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::error::HaproxyError;
use crate::stat::{StatError, beginning};

/// The socket. Every command has a connection of its own, which HAProxy closes behind its answer.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) socket: PathBuf,
}

impl Runtime {
    /// The whole answer to a command.
    pub(crate) async fn ask(&self, command: &str) -> Result<String, HaproxyError> {
        let connect = |source| HaproxyError::Connect { socket: self.socket.clone(), source };
        let opened = timeout(CONNECT_TIMEOUT, UnixStream::connect(&self.socket)).await;
        let stream = opened.map_err(|_| connect(io::ErrorKind::TimedOut.into()))?.map_err(connect)?;
        let answer = timeout(ANSWER_TIMEOUT, exchange(stream, command)).await;
        let answer = answer.map_err(|_| HaproxyError::Timeout {
            socket: self.socket.clone(),
            command: command.to_owned(),
            after: ANSWER_TIMEOUT,
        })?;
        answer.map_err(|source| HaproxyError::Io {
            socket: self.socket.clone(),
            command: command.to_owned(),
            source,
        })
    }

    /// A command that succeeded if it is answered with exactly `expected`: there is no status beside the text.
    pub(crate) async fn order(&self, command: &str, expected: &str) -> Result<(), HaproxyError> {
        let answer = self.ask(command).await?;
        if answer.trim() == expected { Ok(()) } else { Err(self.declined(command, &answer)) }
    }

    pub(crate) fn declined(&self, command: &str, answer: &str) -> HaproxyError {
        let answer = beginning(answer);
        HaproxyError::Answer { socket: self.socket.clone(), command: command.to_owned(), answer }
    }

    /// The answer to a question, read by `parse`.
    pub(crate) async fn read<T>(
        &self,
        command: &str,
        parse: impl Fn(&str) -> Result<T, StatError>,
    ) -> Result<T, HaproxyError> {
        let answer = self.ask(command).await?;
        parse(&answer).map_err(|error| match error {
            StatError::Other(said) => self.declined(command, &said),
            source => {
                HaproxyError::Unreadable { socket: self.socket.clone(), command: command.to_owned(), source }
            }
        })
    }
}

async fn exchange(mut stream: UnixStream, command: &str) -> io::Result<String> {
    stream.write_all(command.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("an answer of more than {ANSWER_BYTES_MAX} bytes"),
        ));
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Some 20 000 lines of statistics.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
