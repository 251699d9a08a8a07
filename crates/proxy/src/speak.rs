//! What is spoken on a client connection: nothing until its first bytes come, then HTTP in the version that they show.
//!
//! Between requests a connection needs none of what HTTP needs: buffers above all. One that is silent for longer gives all of
//! it back and waits for its next byte as it waited for its first, at about a thirtieth of the memory.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::ResponseBody;
use crate::connection::{ClientConnection, Fate};
use crate::forward::serve;
use crate::shard::LocalExecutor;
use crate::stream::Stream;

impl ClientConnection {
    /// Speaks HTTP on `stream` until it ends.
    ///
    /// An async function would hold what it is given twice, and each function that it awaits once more: while it waits for its
    /// next byte, a connection is to be small.
    pub(crate) fn run<T>(self: Rc<Self>, mut stream: T) -> impl Future<Output = ()>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut opening = Opening::default();
        async move {
            while let Some(version) = poll_fn(|cx| opening.poll(&self, &mut stream, cx)).await {
                let opened = Stream::resumed(stream, opening.take());
                // Boxed for the same reason.
                match version {
                    Version::Http1 => match Box::pin(http1(&self, opened)).await {
                        Some(rested) => stream = rested,
                        None => return,
                    },
                    Version::Http2 => return Box::pin(http2(&self, opened)).await,
                }
            }
        }
    }
}

/// Speaks HTTP/1. The stream, if there is nothing more to say for now.
async fn http1<T>(client: &Rc<ClientConnection>, stream: Stream<T>) -> Option<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| serve(client, request));
    let mut stream = stream;
    loop {
        let mut connection =
            client.shard().http1_builder().serve_connection(stream, &service).with_upgrades();
        match drive(client, Pin::new(&mut connection)).await {
            Ended::Over => return None,
            Ended::Rests => {}
        }
        let parts = connection.into_parts()?;
        let inner = parts.io.into_inner();
        if parts.read_buf.is_empty() {
            return Some(inner);
        }
        client.reads_head();
        stream = Stream::resumed(inner, parts.read_buf);
    }
}

async fn http2<T>(client: &Rc<ClientConnection>, stream: Stream<T>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.speaks_http2();
    // Boxed: it becomes part of a task, which is moved about before it runs.
    let service = service_fn(|request| Box::pin(serve(client, request)));
    let mut connection = std::pin::pin!(client.shard().http2_builder().serve_connection(stream, service));
    drive(client, connection.as_mut()).await;
}

/// Why nothing is spoken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Over,
    Rests,
}

/// Polls a connection until it ends or rests, and does to it what it is fated to.
async fn drive<C: Conversation>(client: &Rc<ClientConnection>, mut connection: Pin<&mut C>) -> Ended {
    client.resumes();
    let mut fate = Fate::Open;
    let ended = poll_fn(|cx| {
        if fate != client.fate() {
            fate = client.fate();
            match fate {
                Fate::Open | Fate::Resting => {}
                Fate::Closing => connection.as_mut().shut_down(),
                Fate::Cut => return Poll::Ready(Ok(Ended::Over)),
            }
        }
        client.watched_by(cx);
        let (polled, is_written) = client.polled(|| connection.as_mut().poll(cx));
        if polled.is_pending() && fate == Fate::Resting {
            if is_written && client.is_at_rest() {
                return Poll::Ready(Ok(Ended::Rests));
            }
            client.resumes();
        }
        polled.map_ok(|()| Ended::Over)
    });
    ended.await.unwrap_or_else(|error| {
        tracing::debug!(%error, client = %client.peer(), "client connection ended");
        Ended::Over
    })
}

/// A connection on which HTTP is spoken.
trait Conversation: Future<Output = hyper::Result<()>> {
    /// Ends it after the requests that are under way.
    fn shut_down(self: Pin<&mut Self>);
}

impl<T, S> Conversation for http1::UpgradeableConnection<Stream<T>, S>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<T, S> Conversation for http2::Connection<Stream<T>, S, LocalExecutor>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// The first bytes of a connection, or of a request after a rest.
#[derive(Debug, Default)]
struct Opening {
    bytes: [u8; PREFACE.len()],
    count: u8,
}

impl Opening {
    /// Ready when it is certain which version they begin; with nothing, when the connection ends before.
    fn poll<T: AsyncRead + Unpin>(
        &mut self,
        client: &ClientConnection,
        stream: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Version>> {
        match client.fate() {
            // It may have a request on its way, the first one.
            Fate::Closing if client.has_begun() => return Poll::Ready(None),
            Fate::Cut => return Poll::Ready(None),
            Fate::Open | Fate::Resting | Fate::Closing => {}
        }
        client.watched_by(cx);
        self.poll_read(client, stream, cx)
    }

    fn poll_read<T: AsyncRead + Unpin>(
        &mut self,
        client: &ClientConnection,
        stream: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Version>> {
        loop {
            let count = usize::from(self.count);
            if count > 0 && !PREFACE.starts_with(&self.bytes[..count]) {
                return Poll::Ready(Some(Version::Http1));
            }
            if count == PREFACE.len() {
                return Poll::Ready(Some(Version::Http2));
            }
            let mut buffer = ReadBuf::new(&mut self.bytes[count..]);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            let more = buffer.filled().len();
            if read.is_err() || more == 0 {
                return Poll::Ready(None);
            }
            client.reads_head();
            // No more than a preface is long.
            self.count += more as u8;
        }
    }

    fn take(&mut self) -> Bytes {
        let count = usize::from(std::mem::take(&mut self.count));
        Bytes::copy_from_slice(&self.bytes[..count])
    }
}

/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
