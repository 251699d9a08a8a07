//! The proxy's end of the control socket.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::control::{
    FRAME_BYTES_MAX, FrameError, PROTOCOL_VERSION, Refusal, Request, Response, decode, encode, read_frame,
    write_frame,
};
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

/// The right to a control socket's path, held for the life of the proxy.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    _lock: File,
}

impl ControlSocket {
    /// Claims `path`: locks the file beside it and replaces the socket of a dead proxy. The socket takes calls once
    /// this returns; it is renamed into place, so nobody ever finds it with wider permissions.
    ///
    /// # Errors
    /// [`RunError::AlreadyRunning`] while another proxy lives on it.
    pub(crate) fn claim(path: &Path) -> Result<(Self, std::os::unix::net::UnixListener), RunError> {
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
        Ok((Self { path: path.to_path_buf(), _lock: lock }, listener))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Still locked, so it is ours; a leftover would only be replaced by the next proxy.
        let _ = fs::remove_file(&self.path);
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

/// Takes calls from any number of clients, [`CLIENTS_MAX`] at a time, and puts them into `calls`.
pub(crate) async fn serve_control(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = serve_client(stream, calls).await {
                        tracing::warn!(%error, "control client dropped");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_client(mut stream: UnixStream, calls: mpsc::Sender<Call>) -> Result<(), FrameError> {
    loop {
        let request = match read_frame(&mut stream).await {
            Ok(None) => return Ok(()),
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
        let asked = calls.send(Call { request, reply, written }).await;
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

/// Control clients at once; more wait to be accepted.
const CLIENTS_MAX: usize = 32;
/// A client that does not take its answer is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long a client that sent nonsense may take to stop.
const LINGER: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
