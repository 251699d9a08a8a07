//! Real sockets for the tests: a proxy in a thread of its own, backends that can be counted and killed, and clients.

#![expect(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proxy::control::{BackendSpec, Client, Route, RouteTable, Stats};
use proxy::{ProxyOptions, RunError, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A proxy in this process.
pub struct Proxy {
    pub client: Client,
    pub socket: PathBuf,
    pub listen: SocketAddr,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    _folder: tempfile::TempDir,
}

impl Proxy {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ProxyOptions)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control");
        let mut options = ProxyOptions { workers: 2, ..ProxyOptions::new(&socket) };
        change(&mut options);
        let socket = options.control_socket.clone();
        let thread = std::thread::spawn(|| run(options));
        let client = eventually(|| Client::connect(&socket)).await;
        Self { client, socket, listen: loopback::free_address(), thread: Some(thread), _folder: folder }
    }

    /// A route named "web" over these backends, with short limits.
    pub fn route(&self, backends: &[BackendSpec]) -> Route {
        let mut route = Route::new("web", self.listen);
        route.backends = backends.to_vec();
        route.hold = Duration::from_secs(10);
        route
    }

    pub async fn set(&self, generation: u64, route: Route) {
        let applied = self.client.set_table(RouteTable { generation, routes: vec![route] }).await;
        assert_eq!(applied.expect("applied"), generation);
    }

    pub async fn stats(&self) -> Stats {
        self.client.stats().await.expect("statistics")
    }

    /// Waits for its end and returns what `run` returned.
    pub async fn joined(mut self) -> Result<(), RunError> {
        let thread = self.thread.take().expect("running");
        tokio::task::spawn_blocking(|| thread.join().expect("no panic")).await.expect("joined")
    }
}

/// What a backend does with a request; `usize` counts its requests from 1.
pub type Handler = Arc<dyn Fn(usize, Request<Incoming>) -> HandlerFuture + Send + Sync>;
pub type HandlerFuture = std::pin::Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// An HTTP/1.1 server that counts.
pub struct Backend {
    pub id: u64,
    pub addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// Answers every request with its id as the body.
    pub async fn start(id: u64) -> Self {
        Self::answering(id, move |_, _| async move { text(id.to_string()) }).await
    }

    /// Answers its id after `delay`.
    pub async fn slow(id: u64, delay: Duration) -> Self {
        Self::answering(id, move |_, _| async move {
            tokio::time::sleep(delay).await;
            text(id.to_string())
        })
        .await
    }

    pub async fn answering<F>(
        id: u64,
        handler: impl Fn(usize, Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::at(id, SocketAddr::from(([127, 0, 0, 1], 0)), handler).await
    }

    pub async fn at<F>(
        id: u64,
        addr: SocketAddr,
        handler: impl Fn(usize, Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = listen(addr).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (requests, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handler: Handler = Arc::new(move |count, request| Box::pin(handler(count, request)));
        let task = tokio::spawn(serve(listener, handler, Arc::clone(&requests), Arc::clone(&connections)));
        Self { id, addr, requests, connections, task }
    }

    pub fn spec(&self, weight: u32) -> BackendSpec {
        BackendSpec { id: self.id, addr: self.addr, weight }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Dies as a killed process does: the port closes, all connections break.
    pub async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As a server does that expects many at once. With the 128 that are usual here, a burst of two hundred connections overflows the
/// queue when a busy machine has not let the backend accept yet; the kernel drops the rest, and sends nothing again for a second.
fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn serve(
    listener: TcpListener,
    handler: Handler,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
) {
    // Dropped with this task: its connections die with it.
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.fetch_add(1, Ordering::SeqCst);
        let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
        serving.spawn(async move {
            let service = service_fn(|request| {
                let count = requests.fetch_add(1, Ordering::SeqCst) + 1;
                let answer = handler(count, request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

pub fn text(text: impl Into<String>) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(text.into())))
}

/// A keep-alive client connection.
pub struct Http(SendRequest<Full<Bytes>>);

impl Http {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, hyper::Error> {
        self.0.ready().await?;
        let (parts, body) = self.0.send_request(request).await?.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    }

    pub async fn get(&mut self, path: &str) -> Response<Bytes> {
        self.send(get_request(path)).await.expect("an answer")
    }
}

pub fn get_request(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "test").body(Full::default()).expect("a request")
}

pub fn post_request(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "test").body(Full::from(body)).expect("a request")
}

/// One request on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let response = Http::connect(address).await.get(path).await;
    (response.status(), String::from_utf8_lossy(response.body()).into_owned())
}

/// Sends bytes and returns everything that comes back until the connection ends or stays silent.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count @ 1..)) =
        tokio::time::timeout(Duration::from_millis(700), stream.read(&mut buffer)).await
    {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A backend that a test plays itself.
pub async fn listener() -> (tokio::net::TcpListener, BackendSpec) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    (listener, BackendSpec { id: 1, addr, weight: 1000 })
}

/// Tries until it succeeds, for ten seconds.
pub async fn eventually<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
) -> T {
    for _ in 0..1000 {
        if let Ok(value) = attempt().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    attempt().await.expect("within ten seconds")
}

/// Waits until the statistics satisfy `condition`, for ten seconds.
pub async fn until(proxy: &Proxy, what: &str, condition: impl Fn(&Stats) -> bool) -> Stats {
    for _ in 0..1000 {
        let stats = proxy.stats().await;
        if condition(&stats) {
            return stats;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}: {:?}", proxy.stats().await);
}

/// Connections that may wait for a backend to accept them.
const BACKLOG: u32 = 4096;
