//! A bounded pool of keep-alive HTTP/1.1 connections to one address, for one thread.

use std::cell::RefCell;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    #[error("the request could not be built")]
    Request(#[source] hyper::http::Error),
    #[error("the pool is closed")]
    Closed,
}

/// The connections.
pub(crate) struct Pool {
    address: SocketAddr,
    authority: String,
    idle: RefCell<Vec<SendRequest<Empty<Bytes>>>>,
    permits: Semaphore,
}

impl Pool {
    /// A pool of at most `connections_max` connections, opened when they are needed.
    pub(crate) fn new(address: SocketAddr, connections_max: usize) -> Pool {
        Pool {
            address,
            authority: address.to_string(),
            idle: RefCell::new(Vec::new()),
            permits: Semaphore::new(connections_max),
        }
    }

    /// Sends `GET path` and reads the whole answer. Dropping the future closes the connection it used, because half an answer may
    /// still be on its way there.
    pub(crate) async fn request(&self, path: &str) -> Result<StatusCode, ClientError> {
        let _permit = self.permits.acquire().await.map_err(|_| ClientError::Closed)?;
        let mut request = Request::get(path)
            .header(hyper::header::HOST, self.authority.as_str())
            .body(Empty::new())
            .map_err(ClientError::Request)?;
        let (sender, response) = loop {
            let mut sender = self.connection().await?;
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                // An idle connection that closed under our hands: nothing was sent, so any client would take another one.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        };
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        self.idle.borrow_mut().push(sender);
        Ok(status)
    }

    /// The most recently used idle connection that is still open, or a new one.
    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
        loop {
            let Some(mut sender) = self.idle.borrow_mut().pop() else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.address).await.map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Errors reach the request that uses the connection.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
