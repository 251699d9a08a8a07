//! What happens on a client connection before its first request, on routes where that is anything at all.

use std::io;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::connection::ClientConnection;
use crate::control::Protocol;
use crate::view::ShardRoute;

/// Serves a connection of a route that does not speak plain HTTP from the first byte on.
pub(crate) async fn enter(client: Rc<ClientConnection>, route: Rc<ShardRoute>, stream: TcpStream) {
    if let Err(error) = begin(&client, route, stream).await {
        tracing::debug!(%error, client = %client.peer(), "connection refused before its first byte");
    }
}

async fn begin(client: &Rc<ClientConnection>, route: Rc<ShardRoute>, stream: TcpStream) -> io::Result<()> {
    let client = Rc::clone(client);
    // Boxed: only one of them is made, and each is large.
    match (&route.tls, route.spec.protocols.protocol) {
        (None, Protocol::Http) => Box::pin(client.run(stream)).await,
        (Some(tls), Protocol::Http) => {
            let stream = Box::pin(tls.accept(stream)).await?;
            client.is_encrypted();
            Box::pin(client.run(stream)).await;
        }
        (_, Protocol::Tcp) => {}
    }
    Ok(())
}
