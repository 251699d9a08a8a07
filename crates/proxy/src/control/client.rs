//! The control plane's end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{
    FrameError, Refusal, Request, RequestSample, Response, RouteTable, Stats, decode, encode, read_frame,
    write_frame,
};

/// A connection to a running proxy. Calls may be made from several tasks; they are answered one after another. A
/// connection that breaks is opened again by the next call, so one client outlives restarts of the proxy (whose
/// table is then empty: see [`Stats::started_at`] and [`Stats::generation`]). A call whose connection is closed unanswered, as
/// when a successor takes over, is made once more; no call does more when it is made twice.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: Mutex<Option<UnixStream>>,
}

impl Client {
    /// Connects to the proxy that listens on `path`.
    ///
    /// # Errors
    /// [`ControlError::Connect`] when nobody listens there.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Client, ControlError> {
        let path = path.as_ref().to_path_buf();
        let stream = open(&path).await?;
        Ok(Client { path, stream: Mutex::new(Some(stream)) })
    }

    /// Puts a table in force and returns its generation. When this returns, every shard uses it: no new request
    /// goes to a backend it does not list or lists with weight 0, and requests that waited for a backend are on
    /// their way.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the reason; the old table is then still in force.
    pub async fn set_table(&self, table: RouteTable) -> Result<u64, ControlError> {
        match self.call("setting the route table", Request::SetTable(table), APPLY_TIMEOUT).await? {
            Response::Applied { generation } => Ok(generation),
            other => Err(unexpected(other)),
        }
    }

    /// The table in force: generation 0 and no routes before the first.
    ///
    /// # Errors
    /// When the proxy cannot be asked.
    pub async fn table(&self) -> Result<RouteTable, ControlError> {
        match self.call("reading the route table", Request::Table, CALL_TIMEOUT).await? {
            Response::Table(table) => Ok(table),
            other => Err(unexpected(other)),
        }
    }

    /// A reading of all counters.
    ///
    /// # Errors
    /// When the proxy cannot be asked.
    pub async fn stats(&self) -> Result<Stats, ControlError> {
        match self.call("reading statistics", Request::Stats, CALL_TIMEOUT).await? {
            Response::Stats(stats) => Ok(*stats),
            other => Err(unexpected(other)),
        }
    }

    /// Requests of a workload that are over, with what they cost: those numbered above `after`, oldest first. The proxy keeps some
    /// thousand of the latest. The first of the answer says when the proxy started, in milliseconds since the Unix epoch: another value
    /// means that numbers began anew.
    ///
    /// # Errors
    /// When the proxy cannot be asked.
    pub async fn samples(
        &self,
        workload: &str,
        after: u64,
    ) -> Result<(u64, Vec<RequestSample>), ControlError> {
        let request = Request::Samples { workload: workload.to_owned(), after };
        match self.call("reading request samples", request, CALL_TIMEOUT).await? {
            Response::Samples { started_at, samples } => Ok((started_at, samples)),
            other => Err(unexpected(other)),
        }
    }

    /// Has a workload's cost models learn from requests that were measured before, as after a restart of the proxy. Returns how
    /// many they learned from: none where the workload is not admitted by cost.
    ///
    /// # Errors
    /// When the proxy cannot be asked.
    pub async fn teach(&self, workload: &str, samples: Vec<RequestSample>) -> Result<usize, ControlError> {
        let request = Request::Teach { workload: workload.to_owned(), samples };
        match self.call("teaching request costs", request, CALL_TIMEOUT).await? {
            Response::Taught { samples } => Ok(samples),
            other => Err(unexpected(other)),
        }
    }

    /// Begins an orderly end: listeners close, requests in flight finish, the process exits when the last one is
    /// done or `deadline` is over. Returns as soon as the drain has begun.
    ///
    /// # Errors
    /// When the proxy cannot be asked.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ControlError> {
        match self.call("shutting down", Request::Shutdown { deadline }, CALL_TIMEOUT).await? {
            Response::ShuttingDown => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn call(
        &self,
        operation: &'static str,
        request: Request,
        limit: Duration,
    ) -> Result<Response, ControlError> {
        let frame = encode(&request).map_err(|source| ControlError::Frame { operation, source })?;
        let mut slot = self.stream.lock().await;
        let mut attempts = 0;
        let (stream, answer) = loop {
            attempts += 1;
            // Taken out, so that a call that is abandoned half-way leaves no stream with half an answer in it.
            let mut stream = match slot.take() {
                Some(stream) if !is_closed(&stream) => stream,
                Some(_) | None => open(&self.path).await?,
            };
            let exchange = timeout(limit, exchange(&mut stream, &frame)).await;
            match exchange.map_err(|_| ControlError::Timeout { operation, after: limit })? {
                Ok(answer) => break (stream, answer),
                Err(FrameError::Io(error)) if attempts == 1 && is_unanswered(&error) => {}
                Err(source) => return Err(ControlError::Frame { operation, source }),
            }
        };
        *slot = Some(stream);
        match answer {
            Response::Refused(refusal) => Err(ControlError::Refused(refusal)),
            answer => Ok(answer),
        }
    }
}

async fn exchange(stream: &mut UnixStream, frame: &[u8]) -> Result<Response, FrameError> {
    write_frame(stream, frame).await?;
    let answer = read_frame(stream).await?;
    decode(&answer.ok_or(FrameError::Io(io::ErrorKind::UnexpectedEof.into()))?)
}

/// Whether the other side closed the connection.
fn is_unanswered(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

async fn open(path: &Path) -> Result<UnixStream, ControlError> {
    let connect = |source| ControlError::Connect { path: path.to_path_buf(), source };
    let opened = timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await;
    opened.map_err(|_| connect(io::ErrorKind::TimedOut.into()))?.map_err(connect)
}

/// Whether the proxy has closed its end. Nothing is ever sent unasked, so readable means closed.
fn is_closed(stream: &UnixStream) -> bool {
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn unexpected(response: Response) -> ControlError {
    ControlError::Unexpected { answer: format!("{response:.120?}") }
}

/// Why a call to the proxy did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No proxy listens on the socket.
    #[error("no proxy answers on {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The exchange broke off. Whether the proxy acted is unknown: read its table.
    #[error("{operation} failed")]
    Frame {
        /// What was asked.
        operation: &'static str,
        /// What broke.
        source: FrameError,
    },
    /// No answer in time. Whether the proxy acted is unknown: read its table.
    #[error("{operation}: no answer within {after:?}")]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// The limit that passed.
        after: Duration,
    },
    /// The proxy declined and changed nothing.
    #[error(transparent)]
    Refused(Refusal),
    /// An answer to another question.
    #[error("the proxy answered something else: {answer}")]
    Unexpected {
        /// The beginning of the answer.
        answer: String,
    },
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Opening many listeners takes longer than reading.
const APPLY_TIMEOUT: Duration = Duration::from_secs(15);
