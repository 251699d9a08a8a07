//! Connections of TCP routes: a backend is chosen when one arrives, as for a request, and has it until it ends.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attempt::{connected, fail, open};
use crate::connection::ClientConnection;
use crate::exchange::Exchange;
use crate::forward::{BROKEN, Dispatch, Failure};
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
    T: AsyncRead + AsyncWrite + Unpin,
{
    let idle = route.spec.protocols.tunnel_idle;
    let mut exchange = Exchange::begin(&client, &route, Instant::now());
    exchange.observe(route.observer.as_ref().map(|observer| Watch::begin_connection(observer, &client)));
    route.deposit();
    let wish = Wish::of_connection(&route, client.names());
    let found = Dispatch::new(&exchange, wish.as_ref()).connect(route, client.peer(), destination).await;
    let (lease, backend) = match found {
        Ok(found) => found,
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
    /// Connects to a backend that takes connections, waiting for one if there is none.
    async fn connect(
        &mut self,
        mut route: Rc<ShardRoute>,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<(Lease, TcpStream), Failure> {
        let mut now = self.arrived();
        loop {
            let choice = match self.pick(&route, now) {
                Some(choice) => choice,
                None => match self.wait(&route).await? {
                    Some(choice) => choice,
                    None => {
                        (route, now) = (self.refresh()?, Instant::now());
                        continue;
                    }
                },
            };
            self.end_hold(&route);
            let lease = Lease::begin(choice, Instant::now());
            match begin(&route, &lease, source, destination).await {
                Ok(stream) => {
                    connected(&route, &lease);
                    return Ok((lease, stream));
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
