//! Accounting for one request from its head's arrival to the end of its response.
//!
//! Every request that was counted as an arrival ends as exactly one of completed, failed or cancelled, whichever way
//! its future or body is dropped; that is why this is written as guards.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::body::ResponseBody;
use crate::connection::ClientConnection;
use crate::counters::WorkloadCounters;
use crate::lease::Lease;
use crate::link::Link;
use crate::observe::{End, Watch};
use crate::view::ShardRoute;

/// A request that was received and not yet accounted for. Dropped as it is, it counts as cancelled: the client has gone.
#[derive(Debug)]
pub(crate) struct Exchange {
    client: Rc<ClientConnection>,
    route: Rc<ShardRoute>,
    arrived: Instant,
    outcome: End,
    is_grpc: bool,
    /// Where the route tells more of its requests than their number.
    watch: Option<Box<Watch>>,
}

impl Exchange {
    pub(crate) fn begin(client: &Rc<ClientConnection>, route: &Rc<ShardRoute>, arrived: Instant) -> Self {
        route.counters().arrivals.add(1);
        client.begin_request();
        Self {
            client: Rc::clone(client),
            route: Rc::clone(route),
            arrived,
            outcome: End::Cancelled,
            is_grpc: false,
            watch: None,
        }
    }

    /// Notes are to be taken of it.
    pub(crate) fn observe(&mut self, watch: Option<Box<Watch>>) {
        self.watch = watch;
    }

    /// Where notes are taken, if they are.
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// The client reads the outcome from gRPC's own fields.
    pub(crate) fn speaks_grpc(&mut self) {
        self.is_grpc = true;
    }

    pub(crate) fn counters(&self) -> &WorkloadCounters {
        self.route.counters()
    }

    pub(crate) fn client(&self) -> &ClientConnection {
        &self.client
    }

    /// It was answered from what is kept here, to the end.
    pub(crate) fn completed(&mut self) {
        self.outcome = End::Completed;
    }

    /// A request of the proxy's own, made because of this one and accounted for like it.
    pub(crate) fn another(&self) -> Self {
        Self::begin(&self.client, &self.route, Instant::now())
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// An answer of the proxy's own.
    pub(crate) fn answer(mut self, status: StatusCode, text: &'static str) -> Response<ResponseBody> {
        self.outcome = if status.is_server_error() { End::Failed } else { End::Completed };
        if let Some(watch) = &self.watch {
            watch.refused(status.as_u16(), text.len());
        }
        if self.is_grpc { grpc_response(status, text) } else { own_response(status, text) }
    }

    /// The answer for a request that found no capacity; `wait` is how long its turn would have taken, where that is known.
    pub(crate) fn reject(self, text: &'static str, wait: Option<Duration>) -> Response<ResponseBody> {
        self.counters().rejected.add(1);
        let seconds = wait.unwrap_or(self.route.spec.hold).as_secs().clamp(1, RETRY_AFTER_MAX_S);
        let mut response = self.answer(StatusCode::SERVICE_UNAVAILABLE, text);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    /// There is no backend for a connection that cannot be answered.
    pub(crate) fn refuse(mut self, found_no_capacity: bool) {
        if found_no_capacity {
            self.counters().rejected.add(1);
        }
        self.outcome = End::Failed;
    }

    /// How long the response body may be silent.
    pub(crate) fn body_idle(&self) -> Duration {
        self.route.spec.timeouts.body_idle
    }

    /// How long what it becomes by an upgrade may be silent.
    pub(crate) fn tunnel_idle(&self) -> Duration {
        self.route.spec.protocols.tunnel_idle
    }

    /// A backend's response head has come; the rest is counted by its body.
    pub(crate) fn deliver(mut self, status: StatusCode, headed: Instant, lease: Lease) -> Delivery {
        self.counters().latency.record(headed.saturating_duration_since(self.arrived));
        if status.is_server_error() {
            self.outcome = End::Failed;
        }
        if let Some(watch) = &self.watch {
            watch.answered(status.as_u16(), headed, lease.backend().state.id);
        }
        Delivery { is_ended: false, exchange: self, lease, clock: None }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let counters = self.route.counters();
        match self.outcome {
            End::Completed => counters.completed.add(1),
            End::Failed => counters.failed.add(1),
            End::Cancelled => counters.cancelled.add(1),
        }
        self.client.end_request();
        if let Some(watch) = self.watch.take() {
            watch.end(&self.client, &self.route, self.arrived, self.outcome);
        }
    }
}

/// A response on its way to the client: the request's account and the backend it came from.
#[derive(Debug)]
pub(crate) struct Delivery {
    is_ended: bool,
    exchange: Exchange,
    lease: Lease,
    /// See [`ClientConnection::taken`].
    clock: Option<Rc<Cell<Instant>>>,
}

impl Delivery {
    /// The connection that it comes on.
    pub(crate) fn connection(&self) -> Option<&Link> {
        self.lease.connection()
    }

    /// The last byte was taken.
    pub(crate) fn ended(&mut self) {
        if !self.is_ended {
            self.is_ended = true;
            if self.exchange.outcome == End::Cancelled {
                self.exchange.outcome = End::Completed;
                // A failure's cost says nothing about that of a success.
                if let Some(charge) = self.lease.charge() {
                    charge.delivered(Instant::now());
                }
            }
            self.lease.keep_connection();
        }
    }

    /// The backend broke off.
    pub(crate) fn broke(&mut self) {
        self.exchange.outcome = End::Failed;
        self.lease.failed();
    }

    /// Counts content that went to the backend and came from it.
    pub(crate) fn passed_on(&self, bytes_in: u64, bytes_out: u64) {
        self.exchange.counters().bytes_in.add(bytes_in);
        self.exchange.counters().bytes_out.add(bytes_out);
        if let Some(charge) = self.lease.charge() {
            charge.passed(bytes_out);
        }
        if let Some(watch) = &self.exchange.watch {
            watch.passed_on(bytes_in, bytes_out);
        }
    }

    /// Trailers came at the end of the response.
    pub(crate) fn trailed(&self, trailers: &HeaderMap) {
        if let Some(charge) = self.lease.charge() {
            charge.told(trailers);
        }
    }

    /// Something was taken, or asked for.
    pub(crate) fn moved(&mut self) {
        self.exchange.client.taken(&mut self.clock);
    }
}

/// A response that the proxy makes itself.
pub(crate) fn own_response(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The same to a call by gRPC: always 200, with the outcome in fields.
fn grpc_response(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let code = match status {
        StatusCode::BAD_REQUEST => GRPC_INTERNAL,
        StatusCode::NOT_IMPLEMENTED => GRPC_UNIMPLEMENTED,
        StatusCode::GATEWAY_TIMEOUT => GRPC_DEADLINE_EXCEEDED,
        _ => GRPC_UNAVAILABLE,
    };
    let mut response = Response::new(ResponseBody::Own(Full::default()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    headers.insert("grpc-message", HeaderValue::from_static(text.trim_ascii_end()));
    response
}

/// Codes of gRPC's own protocol over HTTP/2.
const GRPC_DEADLINE_EXCEEDED: &str = "4";
const GRPC_UNIMPLEMENTED: &str = "12";
const GRPC_INTERNAL: &str = "13";
const GRPC_UNAVAILABLE: &str = "14";
/// However long requests are held, clients are not sent away for longer than this.
const RETRY_AFTER_MAX_S: u64 = 30;
