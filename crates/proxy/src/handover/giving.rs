//! The side of the running proxy: it gives, and takes back when nothing comes of it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::descriptors;
use super::message::{Answer, Estate, Question, Report, next_question, send};
use crate::control::FrameError;

/// A handover that is under way.
#[derive(Debug)]
pub(crate) struct Giving {
    task: JoinHandle<Option<Given>>,
    withdraw: oneshot::Sender<()>,
}

/// A successor that serves, and waits to be told that all is its own.
#[derive(Debug)]
pub(crate) struct Given {
    stream: UnixStream,
    /// How long open connections may go on.
    pub(crate) drain: Duration,
}

impl Giving {
    /// Gives to whoever has asked on `stream`.
    pub(crate) fn begin(stream: UnixStream, estate: Estate, report: Report, files: Vec<OwnedFd>) -> Self {
        let (withdraw, withdrawn) = oneshot::channel();
        Self { task: tokio::task::spawn_local(give(stream, estate, report, files, withdrawn)), withdraw }
    }

    /// Waits until the successor serves; None when it never will.
    pub(crate) async fn outcome(&mut self) -> Option<Given> {
        (&mut self.task).await.unwrap_or_default()
    }

    /// Takes everything back, and has said so when this returns.
    pub(crate) async fn withdraw(self) {
        // It may be over already.
        let _ = self.withdraw.send(());
        if let Ok(Some(Given { mut stream, .. })) = self.task.await {
            let _ = send(&mut stream, &withdrawn(ENDING)).await;
        }
    }
}

async fn give(
    mut stream: UnixStream,
    estate: Estate,
    report: Report,
    files: Vec<OwnedFd>,
    withdrawal: oneshot::Receiver<()>,
) -> Option<Given> {
    let exchange = async {
        check_owner(&stream)?;
        send(&mut stream, &Answer::Estate(estate)).await?;
        send(&mut stream, &Answer::Report(report)).await?;
        descriptors::send(&stream, &files).await?;
        drop(files);
        next_question(&mut stream).await
    };
    let reason = tokio::select! {
        // Sent, or dropped with a proxy that ends.
        _ = withdrawal => ENDING.to_owned(),
        answered = timeout(GIVING_LIMIT, exchange) => match answered {
            Ok(Ok(Some(Question::Serving { drain }))) => return Some(Given { stream, drain }),
            Ok(Ok(None)) => "it is gone".to_owned(),
            Ok(Ok(Some(question))) => format!("it says {question:?} instead of serving"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it does not serve after {GIVING_LIMIT:?}"),
        },
    };
    tracing::warn!(reason, "a successor has failed; this proxy goes on");
    // It may be gone.
    let _ = send(&mut stream, &withdrawn(&reason)).await;
    None
}

fn withdrawn(reason: &str) -> Answer {
    Answer::Withdrawn { reason: reason.to_owned() }
}

/// The permissions of the control socket let nobody else in; but who has the listening sockets has all traffic.
fn check_owner(stream: &UnixStream) -> Result<(), FrameError> {
    let peer = socket_peercred(stream).map_err(std::io::Error::from)?;
    if peer.uid == rustix::process::geteuid() || peer.uid.is_root() {
        return Ok(());
    }
    Err(FrameError::Io(std::io::ErrorKind::PermissionDenied.into()))
}

/// The successor, once it has everything.
#[derive(Debug)]
pub(crate) struct Heir {
    questions: mpsc::Receiver<Question>,
    writer: OwnedWriteHalf,
}

impl Given {
    /// Tells the successor that all is its own.
    ///
    /// # Errors
    /// When it is gone, and all is not.
    pub(crate) async fn settle(mut self) -> Result<Heir, FrameError> {
        send(&mut self.stream, &Answer::Yours).await?;
        let (mut reader, writer) = self.stream.into_split();
        let (asked, questions) = mpsc::channel(QUESTIONS_MAX);
        tokio::task::spawn_local(async move {
            while let Ok(Some(question)) = next_question(&mut reader).await {
                if asked.send(question).await.is_err() {
                    return;
                }
            }
        });
        Ok(Heir { questions, writer })
    }
}

impl Heir {
    /// What it asks next; never returns when it is gone.
    pub(crate) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn answer(&mut self, answer: &Answer) {
        if let Err(error) = send(&mut self.writer, answer).await {
            tracing::debug!(%error, "the successor is not told");
        }
    }
}

const ENDING: &str = "the proxy is ending";
/// From the question to a successor that serves, which may have to wait until the control plane tells it what.
const GIVING_LIMIT: Duration = Duration::from_secs(30);
/// The successor waits for each answer.
const QUESTIONS_MAX: usize = 4;
