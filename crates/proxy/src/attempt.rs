//! One attempt to have a request answered by one backend: over a pooled connection if there is one, over a fresh one if
//! not or if the pooled one turns out to be closed.

pub(crate) mod http2;
mod replay;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::replay::Replay;
use crate::body::{ClientFault, RequestBody, Upload};
use crate::choice::Choice;
use crate::headers::is_decoded;
use crate::lease::Lease;
use crate::link::Link;
use crate::patience::Patience;
use crate::shard::Shard;
use crate::view::ShardRoute;

/// A response head, the moment it came, and the use of the backend that its body is still to come from. Boxed wherever it goes:
/// it passes through many hands.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) headed: Instant,
    pub(crate) lease: Lease,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// With an answer.
    Answered(Box<Answer>),
    /// Nothing was sent: the request is back and may go elsewhere, whatever its method.
    NotSent(Lease),
    /// Something was sent and no response head came back. The request is back if it may be repeated.
    Broken(Lease),
    /// No response head in time.
    TimedOut,
    /// The client did not deliver its request body.
    ClientFault(ClientFault),
}

/// Sends the request to the chosen backend. It is taken out of `slot` and put back where [`Attempt`] says so.
pub(crate) async fn attempt(
    shard: &Shard,
    route: &ShardRoute,
    choice: Choice,
    slot: &mut Option<Request<RequestBody>>,
    began: Instant,
) -> Attempt {
    let mut lease = Lease::begin(choice, began);
    let replay = slot.as_ref().and_then(Replay::of);
    let mut is_fresh_only = false;
    loop {
        let pooled = if is_fresh_only { None } else { lease.backend().pool.take() };
        let is_reused = pooled.is_some();
        let mut connection = match pooled {
            Some(connection) => connection,
            // Boxed because it is rare: see `serve`.
            None => match Box::pin(connect(shard, route, &lease)).await {
                Ok(connection) => {
                    lease.connected(Instant::now());
                    connection
                }
                Err(error) => {
                    fail(route, &lease, error.kind());
                    return Attempt::NotSent(lease);
                }
            },
        };
        let Some(request) = slot.take() else { return Attempt::Broken(lease) };
        let upload = request.body().upload();
        let sending = pin!(connection.send(request));
        let mut error = match in_time(
            sending,
            &mut connection.patience,
            lease.sent(),
            route.spec.timeouts.response_head,
            upload.as_deref(),
        )
        .await
        {
            Some(Ok(response)) if !is_decoded(response.headers()) => {
                fail(route, &lease, io::ErrorKind::InvalidData);
                return Attempt::Broken(lease);
            }
            Some(Ok(response)) => return answered(route, lease, Some(connection), response),
            Some(Err(error)) => error,
            None => {
                fail(route, &lease, io::ErrorKind::TimedOut);
                return Attempt::TimedOut;
            }
        };
        *slot = error.take_message();
        if slot.is_some() {
            if is_reused {
                continue;
            }
            fail(route, &lease, io::ErrorKind::ConnectionReset);
            return Attempt::NotSent(lease);
        }
        let error = error.into_error();
        if let Some(fault) = upload.and_then(|upload| upload.fault()) {
            return Attempt::ClientFault(fault);
        }
        *slot = replay.as_ref().and_then(Replay::request);
        // A pooled connection that the backend has closed meanwhile is nobody's failure.
        if slot.is_some() && is_reused && is_closed(&error) {
            is_fresh_only = true;
            continue;
        }
        tracing::debug!(backend = lease.backend().state.id, %error, "no response head");
        fail(route, &lease, io::ErrorKind::ConnectionReset);
        return Attempt::Broken(lease);
    }
}

/// Awaits the head of a response to what is sent at `sent`; the limit runs from the last piece of the request's body.
async fn in_time<F: Future>(
    mut sending: Pin<&mut F>,
    patience: &mut Patience,
    sent: Instant,
    limit: Duration,
    upload: Option<&Upload>,
) -> Option<F::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        let moved = upload.map_or(sent, |upload| sent.max(upload.moved().into_std()));
        ready!(patience.poll(cx, moved + limit));
        Poll::Ready(None)
    })
    .await
}

fn answered(
    route: &ShardRoute,
    mut lease: Lease,
    connection: Option<Link>,
    response: Response<Incoming>,
) -> Attempt {
    let now = Instant::now();
    let is_error = response.status().is_server_error();
    let backend = lease.backend();
    backend.state.answered();
    backend.counters().responses.add(1);
    backend.counters().latency.record(lease.elapsed(now));
    if let Some(charge) = lease.charge() {
        charge.told(response.headers());
    }
    route.observe(backend, now, lease.latency(now), is_error);
    if is_error {
        lease.failed();
    }
    if let Some(connection) = connection.filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) {
        lease.use_connection(connection);
    }
    Attempt::Answered(Box::new(Answer { response, headed: now, lease }))
}

/// Counts a connection that a backend has taken, where that is all that can be known of it.
pub(crate) fn connected(route: &ShardRoute, lease: &Lease) {
    let now = Instant::now();
    let backend = lease.backend();
    backend.state.answered();
    backend.counters().responses.add(1);
    backend.counters().latency.record(lease.elapsed(now));
    route.observe(backend, now, lease.latency(now), false);
}

/// Counts a failure and draws the consequence for the backend.
pub(crate) fn fail(route: &ShardRoute, lease: &Lease, kind: io::ErrorKind) {
    lease.failed();
    let backend = lease.backend();
    let elapsed = route.process().elapsed(Instant::now());
    backend.pool.clear();
    match kind {
        io::ErrorKind::ConnectionRefused => backend.state.refused(elapsed),
        _ => backend.state.failed(elapsed, route.is_alone(backend, elapsed)),
    }
}

/// A fresh connection to a backend.
pub(crate) async fn open(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let opening = timeout(limit, TcpStream::connect(address));
    let stream = opening.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect(shard: &Shard, route: &ShardRoute, lease: &Lease) -> io::Result<Link> {
    let stream = open(lease.backend().state.addr, route.spec.timeouts.connect).await?;
    Link::open(shard.client_builder(), stream).await
}

/// Whether the connection ended without a byte of an answer, as one that was closed while idle does.
fn is_closed(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return true;
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionAborted];
    source.is_some_and(|source| kinds.contains(&source.kind()))
}
