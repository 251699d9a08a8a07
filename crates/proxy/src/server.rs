//! The proxy's end of the control socket.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::control::{
    FRAME_BYTES_MAX, FrameError, PROTOCOL_VERSION, Refusal, Request, Response, decode, encode, read_frame,
    write_frame,
};
use crate::handover::is_successor;
use crate::run::RunError;

/// A question of a client.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    /// Where its answer goes.
    pub(crate) reply: oneshot::Sender<Response>,
    /// Resolves, either way, once the answer is on its way to the client or the client is gone.
    pub(crate) written: oneshot::Receiver<()>,
}

/// Who comes to the control socket.
#[derive(Debug)]
pub(crate) enum Visit {
    Call(Call),
    /// A successor that wants the listening sockets.
    Successor(UnixStream),
}

/// Those that are let in. When this is dropped, none is any more; what they asked and was not answered yet, they ask again, of
/// whoever takes the socket's calls next.
#[derive(Debug)]
pub(crate) struct Visitors {
    pub(crate) inbox: mpsc::Receiver<Visit>,
    task: JoinHandle<()>,
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The right to a control socket's path, held for the life of the proxy or until a successor has it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    listener: std::os::unix::net::UnixListener,
    lock: File,
    is_ours: bool,
}

impl ControlSocket {
    /// Claims `path`: locks the file beside it and replaces the socket of a dead proxy. The socket takes calls once
    /// this returns; it is renamed into place, so nobody ever finds it with wider permissions.
    ///
    /// # Errors
    /// [`RunError::AlreadyRunning`] while another proxy lives on it.
    pub(crate) fn claim(path: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::Socket { path: path.to_path_buf(), source };
        let lock = beside(path, "lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(lock)
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(RunError::AlreadyRunning { path: path.to_path_buf() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let listener = bind_private(path).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), listener, lock, is_ours: true })
    }

    /// That of a predecessor, which has it until it says otherwise.
    ///
    /// # Errors
    /// When it is no socket.
    pub(crate) fn inherit(path: &Path, listener: OwnedFd, lock: OwnedFd) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        Ok(Self { path: path.to_path_buf(), listener, lock: lock.into(), is_ours: false })
    }

    /// Whether to clear the path away at the end.
    pub(crate) fn set_ours(&mut self, is_ours: bool) {
        self.is_ours = is_ours;
    }

    /// Socket and lock for a successor, in the order in which it inherits them.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn lend(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.listener.as_fd().try_clone_to_owned()?, self.lock.as_fd().try_clone_to_owned()?])
    }

    /// Begins to take calls. Must be called on the control thread's runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with it.
    pub(crate) fn open(&self) -> io::Result<Visitors> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let (visits, inbox) = mpsc::channel(CALLS_MAX);
        Ok(Visitors { inbox, task: tokio::task::spawn_local(serve_control(listener, visits)) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.is_ours {
            // Still locked; a leftover would only be replaced by the next proxy.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_private(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let unfinished = beside(path, "new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

/// Takes calls from any number of clients, [`CLIENTS_MAX`] at a time, and puts them into `visits`.
async fn serve_control(listener: UnixListener, visits: mpsc::Sender<Visit>) {
    // Dropped, and its tasks with it, when this is ended.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        if clients.len() >= CLIENTS_MAX {
            clients.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let visits = visits.clone();
                clients.spawn_local(async move {
                    if let Err(error) = serve_client(stream, visits).await {
                        tracing::warn!(%error, "control client dropped");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_client(mut stream: UnixStream, visits: mpsc::Sender<Visit>) -> Result<(), FrameError> {
    loop {
        let request = match read_frame(&mut stream).await {
            Ok(None) => return Ok(()),
            Ok(Some(frame)) if is_successor(&frame) => {
                // Not taken where the proxy is ending: then it sees the connection close.
                let _ = visits.send(Visit::Successor(stream)).await;
                return Ok(());
            }
            Ok(Some(frame)) => decode(&frame),
            Err(error) => Err(error),
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let refusal = Response::Refused(refusal_of(&error));
                answer(&mut stream, &refusal).await?;
                linger(stream).await;
                return Err(error);
            }
        };
        let (reply, replied) = oneshot::channel();
        // Dropped at the end of this round, whether it succeeds or not.
        let (_writing, written) = oneshot::channel();
        let asked = visits.send(Visit::Call(Call { request, reply, written })).await;
        let response = match (asked, replied.await) {
            (Ok(()), Ok(response)) => response,
            (Ok(()) | Err(_), _) => Response::Refused(Refusal::ShuttingDown),
        };
        answer(&mut stream, &response).await?;
    }
}

fn refusal_of(error: &FrameError) -> Refusal {
    match error {
        FrameError::Version(client) => Refusal::Version { proxy: PROTOCOL_VERSION, client: *client },
        FrameError::Io(_) | FrameError::TooLong(_) | FrameError::Empty | FrameError::Message(_) => {
            Refusal::Malformed { reason: error.to_string() }
        }
    }
}

async fn answer(stream: &mut UnixStream, response: &Response) -> Result<(), FrameError> {
    let frame = match encode(response) {
        Ok(frame) => frame,
        Err(error) => encode(&Response::Refused(Refusal::Failed { reason: error.to_string() }))?,
    };
    let written = timeout(WRITE_LIMIT, write_frame(stream, &frame)).await;
    written.map_err(|_| FrameError::Io(io::ErrorKind::TimedOut.into()))?
}

/// Takes what the client may still be sending: closing with unread bytes would reset the connection, and the answer with it.
async fn linger(mut stream: UnixStream) {
    let mut buffer = [0; 4096];
    let discard = async {
        stream.shutdown().await?;
        let mut left = FRAME_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok::<_, io::Error>(())
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(LINGER, discard).await;
}

/// Control calls that wait for their turn, over all clients.
const CALLS_MAX: usize = 64;
/// Control clients at once; more wait to be accepted.
const CLIENTS_MAX: usize = 32;
/// A client that does not take its answer is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long a client that sent nonsense may take to stop.
const LINGER: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
