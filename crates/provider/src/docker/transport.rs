//! How bytes get to an engine and back: a Unix socket, a port with or without TLS, or the standard streams of ssh.
//!
//! The client library could do the first two by itself, but not without a second cryptographic library in the build,
//! and not with connections that are kept for ssh, where opening one takes a second. So it gets this transport: a few
//! idle connections that are used again, and a new one when there is none.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::BollardRequest;
use bollard::errors::Error as ClientError;
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http_body_util::{Either, Full, StreamBody};
use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::{Endpoint, TlsFiles};
use super::error::EngineError;

/// The library's type of a request body, which it does not name.
type Body = Either<
    Full<Bytes>,
    StreamBody<Pin<Box<dyn futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send>>>,
>;
type Sender = SendRequest<Body>;
type Connection = JoinHandle<Result<(), hyper::Error>>;

/// Connections to one engine.
pub(super) struct Transport {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<Sender>>,
    /// What ssh said last.
    complaint: Arc<Mutex<String>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Transport {
    /// Reads certificates; connects nowhere yet.
    pub(super) fn new(endpoint: Endpoint) -> Result<Transport, EngineError> {
        let tls = match &endpoint {
            Endpoint::Tcp { tls: Some(files), .. } => {
                Some(connector(files).map_err(EngineError::Certificates)?)
            }
            Endpoint::Tcp { tls: None, .. } | Endpoint::Unix(_) | Endpoint::Ssh { .. } => None,
        };
        Ok(Transport { endpoint, tls, idle: Mutex::default(), complaint: Arc::default() })
    }

    /// One request and its answer.
    pub(super) async fn request(
        self: Arc<Transport>,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, ClientError> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
        *request.uri_mut() = target.parse()?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("engine"));
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut sender) = idle.filter(Sender::is_ready) {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.keep(sender, response)),
                // Closed by the engine while it was idle; nothing has been sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let (mut sender, connection) = self.connect().await?;
        match sender.send_request(request).await {
            Ok(response) => Ok(self.keep(sender, response)),
            Err(error) => Err(self.explain(error, connection).await),
        }
    }

    /// A question without a body.
    pub(super) async fn get(self: Arc<Transport>, target: &str) -> Result<Response<Incoming>, ClientError> {
        let request = http::Request::get(target).body(Either::Left(Full::default()))?;
        self.request(request).await
    }

    /// The connection is idle again when the answer has been read.
    fn keep(self: Arc<Transport>, mut sender: Sender, response: Response<Incoming>) -> Response<Incoming> {
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.retain(Sender::is_ready);
                if idle.len() < IDLE_MAX {
                    idle.push(sender);
                }
            }
        });
        response
    }

    /// Why a request on a new connection failed: the connection knows better than the request, and ssh, which ends when it
    /// cannot connect, better still.
    async fn explain(&self, error: hyper::Error, connection: Connection) -> ClientError {
        let broken = timeout(EXPLAIN_TIME_MAX, connection).await;
        let complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match broken {
            _ if !complaint.is_empty() => io::Error::other(complaint).into(),
            Ok(Ok(Err(reason))) => reason.into(),
            Ok(_) | Err(_) => error.into(),
        }
    }

    async fn connect(&self) -> Result<(Sender, Connection), ClientError> {
        let stream = self.dial().await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        Ok((sender, tokio::spawn(connection)))
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let with_path = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot connect to {}: {error}", path.display()))
                };
                Ok(Box::new(UnixStream::connect(path).await.map_err(with_path)?))
            }
            Endpoint::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
            Endpoint::Ssh { destination, port, socket, arguments } => {
                let mut command = Command::new("ssh");
                command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-T"]);
                command.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]);
                if let Some(port) = port {
                    command.args(["-p", &port.to_string()]);
                }
                command.args(arguments).arg("--").arg(destination).arg("docker");
                if let Some(socket) = socket {
                    command.arg("--host").arg(format!("unix://{}", socket.display()));
                }
                command.args(["system", "dial-stdio"]);
                self.run(command)
            }
        }
    }

    /// The standard streams of a program as a connection; it ends with it.
    fn run(&self, mut command: Command) -> io::Result<Box<dyn Stream>> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a standard stream is missing");
        let (input, output) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let errors = child.stderr.take().ok_or_else(missing)?;
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clear();
        tokio::spawn(listen(errors, Arc::clone(&self.complaint)));
        // It ends by itself when its input does; waiting for it reaps it.
        tokio::spawn(async move { child.wait().await });
        Ok(Box::new(tokio::io::join(output, input)))
    }
}

/// Keeps the last line.
async fn listen(errors: ChildStderr, complaint: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = line.trim();
        if !line.is_empty() {
            tracing::debug!(line, "ssh");
            let mut last = complaint.lock().unwrap_or_else(PoisonError::into_inner);
            last.clear();
            last.extend(line.chars().take(COMPLAINT_MAX));
        }
    }
}

fn connector(files: &TlsFiles) -> Result<TlsConnector, String> {
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(format!("{} has no certificate", path.display())),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    };
    let mut roots = rustls::RootCertStore::empty();
    for root in certificates(&files.ca)? {
        roots.add(root).map_err(|error| format!("{}: {error}", files.ca.display()))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| format!("{}: {error}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.cert)?, key)
        .map_err(|error| format!("{}: {error}", files.cert.display()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// How long a broken connection may take to say why.
const EXPLAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// Connections that are kept.
const IDLE_MAX: usize = 8;
/// Most characters of what ssh says.
const COMPLAINT_MAX: usize = 300;
