//! What happens on a client connection before its first request, on routes where that is anything at all.

use std::io;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::connection::ClientConnection;
use crate::control::Protocol;
use crate::proxy_protocol::{self, Header};
use crate::tcp;
use crate::view::ShardRoute;

/// Serves a connection of a route that does not speak plain HTTP from the first byte on.
pub(crate) async fn enter(client: Rc<ClientConnection>, route: Rc<ShardRoute>, stream: TcpStream) {
    if let Err(error) = begin(&client, route, stream).await {
        tracing::debug!(%error, client = %client.peer(), "connection refused before its first byte");
    }
}

async fn begin(
    client: &Rc<ClientConnection>,
    route: Rc<ShardRoute>,
    mut stream: TcpStream,
) -> io::Result<()> {
    if route.spec.protocols.proxy_protocol.accept
        && let Header::Proxied { source, destination } = proxy_protocol::read(&mut stream).await?
    {
        client.is_made_for(source, destination);
    }
    let client = Rc::clone(client);
    // Boxed: only one of them is made, and each is large.
    match (&route.tls, route.spec.protocols.protocol) {
        (None, Protocol::Http) => Box::pin(client.run(stream)).await,
        (Some(tls), Protocol::Http) => {
            let stream = Box::pin(tls.accept(stream)).await?;
            client.is_encrypted();
            Box::pin(client.run(stream)).await;
        }
        (None, Protocol::Tcp) => {
            let destination = client.destination_of(&stream)?;
            Box::pin(tcp::serve(client, Rc::clone(&route), stream, destination)).await;
        }
        (Some(tls), Protocol::Tcp) => {
            let destination = client.destination_of(&stream)?;
            let stream = Box::pin(tls.accept(stream)).await?;
            Box::pin(tcp::serve(client, Rc::clone(&route), stream, destination)).await;
        }
    }
    Ok(())
}
