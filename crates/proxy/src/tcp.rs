//! Connections of TCP routes: a backend is chosen when one arrives, as for a request, and has it until it ends.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::attempt::{connected, fail, open};
use crate::connection::ClientConnection;
use crate::exchange::Exchange;
use crate::forward::{BROKEN, Dispatch, Failure};
use crate::gather::Gathering;
use crate::lease::Lease;
use crate::observe::Watch;
use crate::proxy_protocol;
use crate::relay::relay;
use crate::view::ShardRoute;
use crate::wish::Wish;

/// Serves one connection, that the client made to `destination`.
pub(crate) async fn serve<T>(
    client: Rc<ClientConnection>,
    route: Rc<ShardRoute>,
    stream: T,
    destination: SocketAddr,
) where
    T: AsyncRead + AsyncWrite + Unpin + Socket,
{
    let idle = route.spec.protocols.tunnel_idle;
    let mut exchange = Exchange::begin(&client, &route, Instant::now());
    exchange.observe(route.observer.as_ref().map(|observer| Watch::begin_connection(observer, &client)));
    route.deposit();
    let wish = Wish::of_connection(&route, &client.names());
    let mut dispatch = Dispatch::new(&exchange, wish.as_ref());
    let found = dispatch.connect(route, client.peer(), destination, stream.socket()).await;
    drop(dispatch);
    let (lease, backend) = match found {
        Ok(Some(found)) => found,
        // Counted as cancelled.
        Ok(None) => return,
        Err(failure) => return exchange.refuse(matches!(failure, Failure::NoCapacity(_))),
    };
    let mut delivery = exchange.deliver(StatusCode::OK, Instant::now(), lease);
    // However it ends, the connection has been served; how well, only its two ends know.
    if let Err(error) = relay(stream, backend, idle, &delivery).await {
        tracing::debug!(%error, client = %client.peer(), "connection broke");
    }
    delivery.ended();
}

impl Dispatch<'_> {
    /// Connects to a backend that takes connections, waiting for one if there is none. None if the client has left meanwhile.
    async fn connect(
        &mut self,
        mut route: Rc<ShardRoute>,
        source: SocketAddr,
        destination: SocketAddr,
        socket: &TcpStream,
    ) -> Result<Option<(Lease, TcpStream)>, Failure> {
        let mut now = self.arrived();
        loop {
            let choice = match self.pick(&route, now) {
                Some(choice) => choice,
                None => {
                    let waited = tokio::select! {
                        biased;
                        waited = self.wait(&route) => waited?,
                        () = left(socket) => return Ok(None),
                    };
                    match waited {
                        Some(choice) => choice,
                        None => {
                            (route, now) = (self.refresh()?, Instant::now());
                            continue;
                        }
                    }
                }
            };
            self.end_hold();
            let lease = Lease::begin(choice, Instant::now());
            match begin(&route, &lease, source, destination).await {
                Ok(stream) => {
                    connected(&route, &lease);
                    return Ok(Some((lease, stream)));
                }
                Err(error) => fail(&route, &lease, error.kind()),
            }
            now = Instant::now();
            if !self.may_retry(&route, now) {
                return Err(BROKEN);
            }
            self.retry(lease);
            route = self.refresh()?;
        }
    }
}

/// A stream over a socket that can be looked at.
pub(crate) trait Socket {
    fn socket(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl<T: Socket> Socket for Gathering<T> {
    fn socket(&self) -> &TcpStream {
        self.0.socket()
    }
}

impl<T: Socket> Socket for TlsStream<T> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0.socket()
    }
}

/// Comes back when the client has left without a word. One that has said something may have ended its own direction, and may still
/// be waiting for an answer.
async fn left(socket: &TcpStream) {
    if let Ok(1..) = socket.peek(&mut [0]).await {
        std::future::pending::<()>().await;
    }
}

/// Connects, and says on whose behalf where that is asked for.
async fn begin(
    route: &ShardRoute,
    lease: &Lease,
    source: SocketAddr,
    destination: SocketAddr,
) -> io::Result<TcpStream> {
    let limit = route.spec.timeouts.connect;
    let mut stream = open(lease.backend().state.addr, limit).await?;
    if let Some(version) = route.spec.protocols.proxy_protocol.send {
        let header = proxy_protocol::encode(version, source, destination);
        timeout(limit, stream.write_all(&header)).await??;
    }
    Ok(stream)
}
