//! An attempt on a backend that speaks HTTP/2.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use h2::Reason;
use http::{Request, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;

use super::replay::Replay;
use super::{Attempt, answered, fail, in_time, is_closed, open};
use crate::body::RequestBody;
use crate::choice::Choice;
use crate::gather::Gathering;
use crate::lease::Lease;
use crate::multiplex::{Connection, Place, STREAMS_MAX};
use crate::options::Limits;
use crate::patience::Patience;
use crate::shard::Shard;
use crate::tasks::ConnectionTasks;
use crate::view::ShardRoute;

/// Sends the request to the chosen backend, as [`attempt`](super::attempt) does.
pub(crate) async fn attempt(
    shard: &Shard,
    route: &ShardRoute,
    choice: Choice,
    slot: &mut Option<Request<RequestBody>>,
    began: Instant,
) -> Attempt {
    let mut lease = Lease::begin(choice, began);
    let replay = slot.as_ref().and_then(Replay::of_any);
    let mut tries = 0;
    loop {
        tries += 1;
        let (place, is_reused) = match take(shard, route, &mut lease).await {
            Ok(taken) => taken,
            Err(error) => {
                fail(route, &lease, error.kind());
                return Attempt::NotSent(lease);
            }
        };
        let Some(request) = slot.take() else { return Attempt::Broken(lease) };
        let upload = request.body().upload();
        let mut sender = place.sender();
        let sending = pin!(sender.try_send_request(request));
        let mut error = match in_time(
            sending,
            &mut Patience::default(),
            lease.sent(),
            route.spec.timeouts.response_head,
            upload.as_deref(),
        )
        .await
        {
            Some(Ok(response)) => {
                lease.use_place(place);
                return answered(route, lease, None, response);
            }
            Some(Err(error)) => error,
            None => {
                // Whether the backend or only the connection hangs is unknown; others must not find out.
                lease.backend().multiplex.forget(&place);
                fail(route, &lease, io::ErrorKind::TimedOut);
                return Attempt::TimedOut;
            }
        };
        *slot = error.take_message();
        let error = error.into_error();
        if let Some(fault) = upload.filter(|_| slot.is_none()).and_then(|upload| upload.fault()) {
            return Attempt::ClientFault(fault);
        }
        // Not processed, says the backend or the connection: any request may be sent again if it is still whole.
        let is_refused = slot.is_some() || is_refused(&error);
        if is_refused {
            lease.backend().multiplex.forget(&place);
            *slot = slot.take().or_else(|| replay.as_ref().and_then(Replay::request).map(as_http2));
            if slot.is_some() && is_reused && tries < TRIES_MAX {
                continue;
            }
        } else if let Some(replay) = replay.as_ref().filter(|replay| replay.is_idempotent()) {
            *slot = replay.request().map(as_http2);
            if is_reused && is_closed(&error) && tries < TRIES_MAX {
                continue;
            }
        }
        tracing::debug!(backend = lease.backend().state.id, %error, "no response head");
        fail(route, &lease, io::ErrorKind::ConnectionReset);
        return if is_refused && slot.is_some() { Attempt::NotSent(lease) } else { Attempt::Broken(lease) };
    }
}

fn as_http2(mut request: Request<RequestBody>) -> Request<RequestBody> {
    *request.version_mut() = Version::HTTP_2;
    request
}

/// A place on a connection, and whether that was there before.
async fn take(shard: &Shard, route: &ShardRoute, lease: &mut Lease) -> io::Result<(Place, bool)> {
    if let Some(place) = lease.backend().multiplex.take() {
        return Ok((place, true));
    }
    let (address, limit) = (lease.backend().state.addr, route.spec.timeouts.connect);
    let connect = || {
        let tasks = ConnectionTasks::default();
        connect(builder(tasks.clone(), shard.limits()), tasks, address, limit)
    };
    let place = lease.backend().multiplex.opened(connect).await?;
    lease.connected(Instant::now());
    Ok((place, false))
}

async fn connect(
    builder: http2::Builder<ConnectionTasks>,
    tasks: ConnectionTasks,
    address: std::net::SocketAddr,
    limit: Duration,
) -> io::Result<Connection> {
    let stream = open(address, limit).await?;
    let handshake = builder.handshake(TokioIo::new(Gathering(stream))).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    let (_kept, dropped) = oneshot::channel();
    tokio::task::spawn_local(async move {
        if let (Err(error), _) = tokio::join!(connection, dropped) {
            tracing::debug!(%error, "connection to a backend ended");
        }
        tokio::time::sleep(GOODBYE).await;
        tasks.cut();
    });
    Ok(Connection { sender, _kept })
}

/// How connections to backends behave.
fn builder(tasks: ConnectionTasks, limits: &Limits) -> http2::Builder<ConnectionTasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING))
        .keep_alive_timeout(PING)
        .max_header_list_size(limits.http2_head_bytes_max())
        // The windows of all streams fit into that of the connection: clients that read slowly hold up nobody else.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * STREAMS_MAX)
        .max_local_error_reset_streams(Some(limits.resets_max));
    builder
}

/// Whether the backend says that it has not processed the request: it refused the stream, or was going away.
fn is_refused(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        error.reason() == Some(Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR))
    })
}

/// Connections tried for one attempt.
const TRIES_MAX: u32 = 3;
/// What a backend may send of a response before the client takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// For the last frames on a connection that is used no more.
const GOODBYE: Duration = Duration::from_secs(1);
/// A connection with requests on it is asked for a sign of life this often, and given as long to answer.
const PING: Duration = Duration::from_secs(20);
