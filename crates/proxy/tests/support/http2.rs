//! An HTTP/2 server without TLS that counts, and a client for it.

#![expect(unreachable_pub, reason = "each test file uses its own part of this")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy::control::BackendSpec;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
type Handler =
    Arc<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// The server; its connections say goodbye when told to.
pub struct Http2Backend {
    pub spec: BackendSpec,
    pub connections: Arc<AtomicUsize>,
    goodbye: Arc<Notify>,
}

impl Http2Backend {
    pub async fn start<F>(handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (connections, goodbye) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        tokio::spawn(serve(listener, handler, Arc::clone(&connections), Arc::clone(&goodbye)));
        Self { spec: BackendSpec { id: 1, addr, weight: 1000 }, connections, goodbye }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Sends GOAWAY on every open connection.
    pub fn say_goodbye(&self) {
        self.goodbye.notify_waiters();
    }
}

async fn serve(listener: TcpListener, handler: Handler, count: Arc<AtomicUsize>, goodbye: Arc<Notify>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        count.fetch_add(1, Ordering::SeqCst);
        let (handler, goodbye) = (Arc::clone(&handler), Arc::clone(&goodbye));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = connection.as_mut() => return,
                () = goodbye.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

pub async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("speaks HTTP/2");
    tokio::spawn(connection);
    sender
}
