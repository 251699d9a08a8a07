//! The side of the successor.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::descriptors;
use super::lineage::Past;
use super::message::{Answer, Estate, Question, next_answer, outlines, send, within};
use crate::control::{FrameError, RouteTable, Stats};
use crate::server::ControlSocket;

/// Listening sockets by address.
pub(crate) type Sockets = BTreeMap<SocketAddr, Vec<TcpListener>>;

/// What a running proxy has handed over.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) socket: ControlSocket,
    pub(crate) estate: Estate,
    pub(crate) sockets: Sockets,
    pub(crate) predecessor: Predecessor,
}

impl Inheritance {
    /// Asks the proxy that runs on `path`; None if there is none, or it died over the question.
    ///
    /// # Errors
    /// Why it hands nothing over.
    pub(crate) async fn ask(path: &Path) -> Result<Option<Self>, String> {
        let connected = timeout(ESTATE_LIMIT, UnixStream::connect(path)).await;
        let stream = match connected.map_err(|_| SILENT.to_owned())? {
            Ok(stream) => stream,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(format!("the running proxy cannot be reached: {error}")),
        };
        let asked = timeout(ESTATE_LIMIT, Self::receive(path, stream)).await;
        match asked.map_err(|_| SILENT.to_owned())? {
            Ok(inheritance) => Ok(Some(inheritance)),
            Err(Failure::Frame(FrameError::Io(error))) if is_gone(&error) => Ok(None),
            Err(Failure::Frame(FrameError::Version(version))) => {
                Err(format!("the running proxy (control protocol {version}) cannot hand over its sockets"))
            }
            Err(Failure::Frame(error)) => Err(format!("the running proxy cannot be understood: {error}")),
            Err(Failure::Withdrawn(reason)) => Err(refused(&reason)),
        }
    }

    async fn receive(path: &Path, mut stream: UnixStream) -> Result<Self, Failure> {
        send(&mut stream, &Question::Sockets).await?;
        let (Answer::Estate(estate), Answer::Report(report)) =
            (understood(&mut stream).await?, understood(&mut stream).await?)
        else {
            return Err(FrameError::Message("another answer than an estate and a report".to_owned()).into());
        };
        let mut files = descriptors::receive(&stream, 2 + estate.listening.len()).await?.into_iter();
        let (Some(control), Some(lock)) = (files.next(), files.next()) else {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()).into());
        };
        let mut sockets = Sockets::new();
        for (address, socket) in estate.listening.iter().zip(files) {
            let socket = TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            sockets.entry(*address).or_default().push(socket);
        }
        Ok(Self {
            socket: ControlSocket::inherit(path, control, lock)?,
            estate,
            sockets,
            predecessor: Predecessor { stream: Some(stream), past: Past::new(report), is_settled: false },
        })
    }
}

/// Why nothing is inherited.
enum Failure {
    Frame(FrameError),
    Withdrawn(String),
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Failure::Frame(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Frame(error.into())
    }
}

async fn understood(stream: &mut UnixStream) -> Result<Answer, Failure> {
    match next_answer(stream).await? {
        Answer::Withdrawn { reason } => Err(Failure::Withdrawn(reason)),
        answer => Ok(answer),
    }
}

/// The proxy that was there before, for as long as it has connections.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// None: it has ended.
    stream: Option<UnixStream>,
    past: Past,
    /// It has stopped accepting, and answers.
    is_settled: bool,
}

impl Predecessor {
    /// Says that this proxy serves, and waits until all is its own.
    ///
    /// # Errors
    /// Why the other goes on instead. One that is dead does not.
    pub(crate) async fn settle(&mut self, drain: Duration) -> Result<(), String> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        // What it has said before it died is still there to be read.
        let sent = send(stream, &Question::Serving { drain }).await;
        match timeout(ESTATE_LIMIT, next_answer(stream)).await {
            Ok(Ok(Answer::Yours)) => self.is_settled = true,
            Ok(Ok(Answer::Withdrawn { reason })) => return Err(refused(&reason)),
            Ok(Ok(answer)) => return Err(format!("the running proxy answered {answer:?}")),
            Ok(Err(error)) => {
                tracing::warn!(%error, sent = sent.is_ok(), "the predecessor died while it handed over");
                self.is_over();
            }
            Err(_) => return Err(SILENT.to_owned()),
        }
        Ok(())
    }

    /// Has it send nothing more to backends that are not in this table.
    pub(crate) async fn follow(&mut self, table: &RouteTable) {
        self.ask(&Question::Follow { routes: outlines(table) }).await;
    }

    /// Reads its counters.
    pub(crate) async fn refresh(&mut self) {
        self.ask(&Question::Report).await;
    }

    /// Has it end within `deadline`.
    pub(crate) async fn end(&mut self, deadline: Duration) {
        self.ask(&Question::End { deadline }).await;
    }

    /// What it said last.
    pub(crate) fn past(&self) -> &Past {
        &self.past
    }

    /// Client connections that it still has to finish.
    pub(crate) fn connections(&self) -> u32 {
        if self.is_settled { self.past.connections() } else { 0 }
    }

    /// Adds its counters to this proxy's own.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        self.past.add_to(stats);
    }

    async fn ask(&mut self, question: &Question) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.is_settled) else { return };
        // Its last words are there even when it takes no more questions.
        let _ = send(stream, question).await;
        let past = &mut self.past;
        let answered = within(async {
            loop {
                match next_answer(stream).await? {
                    Answer::Report(report) => {
                        *past = Past::new(report);
                        if matches!(question, Question::Report) {
                            return Ok(());
                        }
                    }
                    Answer::Followed | Answer::Ending => return Ok(()),
                    answer => return Err(FrameError::Message(format!("{answer:?}"))),
                }
            }
        });
        match answered.await {
            Ok(()) => {}
            Err(FrameError::Io(error)) if is_gone(&error) => {
                tracing::info!("the predecessor has ended");
                self.is_over();
            }
            Err(error) => {
                tracing::warn!(%error, "the predecessor does not answer any more");
                self.is_over();
            }
        }
    }

    fn is_over(&mut self) {
        self.stream = None;
        self.past.is_over = true;
    }
}

/// Whether nobody is there, or not any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof)
}

fn refused(reason: &str) -> String {
    format!("the running proxy hands nothing over: {reason}")
}

const SILENT: &str = "the running proxy does not answer";
/// It answers at once, unless it is just putting a large table in force.
const ESTATE_LIMIT: Duration = Duration::from_secs(10);
