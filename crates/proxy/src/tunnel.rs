//! Connections that have become something else: WebSockets and what else a route allows. Bytes are copied both ways until both
//! sides end; the backend counts it in flight for as long, so that a drain waits for its last session.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::attempt::Answer;
use crate::body::ResponseBody;
use crate::exchange::Exchange;
use crate::extended;
use crate::headers::prepare_switch;
use crate::relay::relay;

/// A request to upgrade the connection.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The client's end.
    pub(crate) client_side: OnUpgrade,
    /// What it is to become.
    pub(crate) protocol: HeaderValue,
    /// It was asked for by CONNECT: see [`extended`].
    pub(crate) is_connect: bool,
}

/// Answers the client's upgrade, which the backend has agreed to, and connects both sides once the client has the answer.
pub(crate) fn tunnel(upgrade: Upgrade, exchange: Exchange, answer: Box<Answer>) -> Response<ResponseBody> {
    let Upgrade { client_side, protocol, is_connect } = upgrade;
    let Answer { mut response, headed, lease } = *answer;
    let backend_side = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    if prepare_switch(&mut parts.headers, protocol).is_err() {
        lease.failed();
        return exchange.answer(StatusCode::BAD_GATEWAY, "unexpected switch of protocols\n");
    }
    if is_connect {
        extended::consent(&mut parts.status, &mut parts.headers);
    }
    if let Some(watch) = exchange.watch() {
        watch.becomes_a_session();
    }
    let idle = exchange.tunnel_idle();
    let mut delivery = exchange.deliver(parts.status, headed, lease);
    tokio::task::spawn_local(async move {
        let (Ok(client), Ok(backend)) = tokio::join!(client_side, backend_side) else {
            return delivery.broke();
        };
        // However it ends, a session has been served; how, only its two ends know.
        if let Err(error) = relay(TokioIo::new(client), TokioIo::new(backend), idle, &delivery).await {
            tracing::debug!(%error, "tunnel broke");
        }
        delivery.ended();
    });
    Response::from_parts(parts, ResponseBody::Own(Full::new(Bytes::new())))
}
