//! The QEMU Machine Protocol: one JSON object a line, a greeting first, events in between.
//!
//! Written out rather than taken from a crate: a handful of commands is used, each with a deadline, over connections that
//! live as long as one step. QEMU serves one client at a time per socket, so nobody may hold a connection.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::probe::Pauses;

/// A failed talk with QEMU.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The connection could not be made or broke.
    #[error("the connection to QEMU failed")]
    Io(#[from] io::Error),
    /// QEMU hangs, or is as good as hung.
    #[error("QEMU did not answer {command} within {after:?}")]
    Timeout {
        /// The command.
        command: String,
        /// How long was waited.
        after: Duration,
    },
    /// QEMU says no.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// Its words.
        reason: String,
    },
    /// Not what the protocol says.
    #[error("QEMU said something that is not its protocol: {0:?}")]
    Foreign(String),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    time_max: Duration,
}

impl Qmp {
    /// Connects, waiting until QEMU listens; each later command has `time_max` too.
    pub(super) async fn connect(path: &Path, time_max: Duration) -> Result<Qmp, QmpError> {
        let deadline = Instant::now() + time_max;
        let pauses = Pauses::new();
        let stream = loop {
            match timeout_at(deadline, UnixStream::connect(path)).await {
                Ok(Ok(stream)) => break stream,
                Ok(Err(error)) if Instant::now() >= deadline => return Err(error.into()),
                Ok(Err(_)) => pauses.wait(CONNECT_INTERVAL).await,
                Err(_) => return Err(timed_out("the connection", time_max)),
            }
        };
        let mut qmp = Qmp { stream: BufReader::new(stream), time_max };
        match timeout_at(deadline, qmp.line()).await {
            Ok(greeting) if greeting.as_ref().is_ok_and(|line| line.get("QMP").is_some()) => {}
            Ok(greeting) => return Err(QmpError::Foreign(greeting?.to_string())),
            Err(_) => return Err(timed_out("the connection", time_max)),
        }
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Executes one command and returns what it returns.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let deadline = Instant::now() + self.time_max;
        let talk = async {
            let order = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
            self.stream.get_mut().write_all(order.as_bytes()).await?;
            loop {
                let mut line = self.line().await?;
                if let Some(error) = line.get("error") {
                    let reason =
                        error.get("desc").and_then(Value::as_str).unwrap_or("for no reason").to_owned();
                    return Err(QmpError::Refused { command: command.to_owned(), reason });
                }
                // Anything else is an event.
                if let Some(answer) = line.get_mut("return") {
                    return Ok(answer.take());
                }
            }
        };
        timeout_at(deadline, talk).await.unwrap_or_else(|_| Err(timed_out(command, self.time_max)))
    }

    /// Executes a command whose work goes on in the background, and waits for the end of that work.
    pub(super) async fn migrate(
        &mut self,
        command: &str,
        uri: &str,
        time_max: Duration,
    ) -> Result<(), QmpError> {
        let deadline = Instant::now() + time_max;
        let pauses = Pauses::new();
        self.execute(command, json!({ "uri": uri })).await?;
        while Instant::now() < deadline {
            let state = self.execute("query-migrate", json!({})).await?;
            match state.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let reason =
                        state.get("error-desc").and_then(Value::as_str).unwrap_or("it failed").to_owned();
                    return Err(QmpError::Refused { command: command.to_owned(), reason });
                }
                Some(_) | None => pauses.wait(MIGRATE_INTERVAL).await,
            }
        }
        Err(timed_out(command, time_max))
    }

    async fn line(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&line).map_err(|_| {
            QmpError::Foreign(String::from_utf8_lossy(&line[..line.len().min(SHOWN_MAX)]).into_owned())
        })
    }
}

fn timed_out(command: &str, after: Duration) -> QmpError {
    QmpError::Timeout { command: command.to_owned(), after }
}

/// A look for the socket costs next to nothing, a question in the middle of restoring some tens of microseconds.
const CONNECT_INTERVAL: Duration = Duration::from_micros(500);
const MIGRATE_INTERVAL: Duration = Duration::from_millis(1);
/// The longest line that is read, in bytes, and how much of one is shown.
const LINE_MAX: u64 = 1 << 20;
const SHOWN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// Answers the first lines with these texts, and then nothing.
    async fn talk_to(answers: &'static [&'static str]) -> Result<Value, QmpError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).expect("listens");
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = BufReader::new(stream);
            for answer in answers {
                stream.get_mut().write_all(answer.as_bytes()).await.expect("written");
                let mut order = String::new();
                let _ = stream.read_line(&mut order).await;
            }
            std::future::pending::<()>().await;
        });
        let mut talk = Qmp::connect(&path, Duration::from_millis(300)).await?;
        let said = talk.execute("stop", json!({})).await;
        server.abort();
        said
    }

    const GREETING: &str = "{\"QMP\":{\"version\":{}}}\n";
    const FINE: &str = "{\"return\":{}}\n";

    #[tokio::test]
    async fn events_in_between_are_passed_over() {
        let said = talk_to(&[GREETING, FINE, "{\"event\":\"STOP\"}\n{\"return\":{\"a\":1}}\n"]).await;
        assert_eq!(said.expect("an answer"), json!({ "a": 1 }));
    }

    #[tokio::test]
    async fn refusals_silence_and_nonsense_are_told_apart() {
        let refused =
            talk_to(&[GREETING, FINE, "{\"error\":{\"class\":\"X\",\"desc\":\"not now\"}}\n"]).await;
        assert!(
            matches!(&refused, Err(QmpError::Refused { reason, .. }) if reason == "not now"),
            "{refused:?}"
        );
        let silent = talk_to(&[GREETING, FINE]).await;
        assert!(matches!(&silent, Err(QmpError::Timeout { command, .. }) if command == "stop"), "{silent:?}");
        let foreign = talk_to(&["SSH-2.0\n"]).await;
        assert!(matches!(foreign, Err(QmpError::Foreign(_))), "{foreign:?}");
        let nobody = Qmp::connect(Path::new("/nonexistent/qmp"), Duration::from_millis(50)).await;
        assert!(matches!(nobody, Err(QmpError::Io(_))), "{nobody:?}");
    }
}
