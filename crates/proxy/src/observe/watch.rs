//! Notes about one request, taken while it is worked on and accounted for when it is over.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;

use super::line::{Entry, Head};
use super::observer::RouteObserver;
use super::trace::Trace;
use crate::body::Upload;
use crate::connection::ClientConnection;
use crate::control::SHARE_WHOLE;
use crate::view::ShardRoute;

/// How a request ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Failed,
    Cancelled,
}

/// The notes. Boxed, as everything is that most requests do not have.
#[derive(Debug)]
pub(crate) struct Watch {
    endpoint: usize,
    /// A number below [`SHARE_WHOLE`], by chance.
    draw: u32,
    trace: Option<Trace>,
    /// Kept where it may have to be logged.
    head: Option<Box<Head>>,
    upload: Option<Rc<Upload>>,
    /// 0: not answered.
    status: Cell<u16>,
    headed: Cell<Option<Instant>>,
    waited: Cell<Duration>,
    retries: Cell<u16>,
    backend: Cell<Option<u64>>,
    /// Bytes pass both ways for as long as its two ends like: how long says nothing about how fast.
    is_session: Cell<bool>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
}

impl Watch {
    /// Looks at a request whose head is ready for a backend, and gives it a trace where it should have one.
    pub(crate) fn begin(
        observer: &RouteObserver,
        client: &ClientConnection,
        parts: &mut Parts,
        version: http::Version,
    ) -> Box<Self> {
        let random = || client.shard().random();
        let draw = draw(observer, random);
        let found = Trace::of(&parts.headers);
        let trace = match observer.spec.tracing {
            Some(tracing) if found.is_none() => {
                Trace::begin(&mut parts.headers, draw < tracing.sample_ppm, random)
            }
            Some(_) | None => found,
        };
        let log = observer.spec.access_log.as_ref();
        Box::new(Self {
            endpoint: observer.endpoint_of(&parts.method, parts.uri.path()),
            trace,
            head: log.map(|_| Box::new(Head::of(observer, parts, version))),
            ..Self::new(draw)
        })
    }

    /// Looks at a TCP connection.
    pub(crate) fn begin_connection(observer: &RouteObserver, client: &ClientConnection) -> Box<Self> {
        let watch = Self::new(draw(observer, || client.shard().random()));
        watch.becomes_a_session();
        Box::new(watch)
    }

    fn new(draw: u32) -> Self {
        Self {
            endpoint: 0,
            draw,
            trace: None,
            head: None,
            upload: None,
            status: Cell::new(0),
            headed: Cell::new(None),
            waited: Cell::default(),
            retries: Cell::new(0),
            backend: Cell::new(None),
            is_session: Cell::new(false),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
        }
    }

    /// It becomes a connection of its own.
    pub(crate) fn becomes_a_session(&self) {
        self.is_session.set(true);
    }

    /// Its body is passed on.
    pub(crate) fn uploads(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    /// It waited for a backend, this time for so long.
    pub(crate) fn waited(&self, time: Duration) {
        self.waited.set(self.waited.get() + time);
    }

    /// A backend failed it, and it is tried again.
    pub(crate) fn retried(&self) {
        self.retries.set(self.retries.get().saturating_add(1));
    }

    /// The proxy answers it itself.
    pub(crate) fn refused(&self, status: u16, bytes: usize) {
        self.status.set(status);
        self.bytes_out.set(bytes as u64);
    }

    /// A backend has answered.
    pub(crate) fn answered(&self, status: u16, headed: Instant, backend: u64) {
        self.status.set(status);
        self.headed.set(Some(headed));
        self.backend.set(Some(backend));
    }

    /// Content went by.
    pub(crate) fn passed_on(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.set(self.bytes_in.get() + bytes_in);
        self.bytes_out.set(self.bytes_out.get() + bytes_out);
    }

    /// It is over: counted, and given to the log.
    pub(crate) fn end(self, client: &ClientConnection, route: &ShardRoute, arrived: Instant, end: End) {
        let Some(observer) = &route.observer else { return };
        let now = Instant::now();
        let total = now.saturating_duration_since(arrived);
        let head = self.headed.get().map(|headed| headed.saturating_duration_since(arrived));
        let (status, latency) = (self.status.get(), head.unwrap_or(total));
        let is_logged = self.is_wanted(observer, if self.is_session.get() { latency } else { total }, end);
        if let Some(endpoint) = observer.endpoints.get(self.endpoint) {
            let shard = route.shard();
            match status {
                0 => endpoint.unanswered(shard),
                status => endpoint.answered(shard, status, end == End::Failed, latency),
            }
            // One that nobody keeps would be a trace that leads nowhere.
            if let Some(trace) = self.trace.filter(|trace| status != 0 && (trace.is_sampled || is_logged)) {
                endpoint.traced(shard, trace, latency, now);
            }
        }
        if let Some(writer) = route.process().log().filter(|_| is_logged) {
            let bytes_in = self.upload.as_ref().map_or(0, |upload| upload.bytes());
            writer.write(Box::new(Entry {
                observer: Arc::clone(observer),
                endpoint: self.endpoint,
                total,
                head_after: head,
                waited: self.waited.get(),
                status,
                end,
                bytes_in: bytes_in + self.bytes_in.get(),
                bytes_out: self.bytes_out.get(),
                backend: self.backend.get(),
                retries: self.retries.get(),
                trace: self.trace,
                client: client.peer().ip(),
                head: self.head,
            }));
        }
    }

    fn is_wanted(&self, observer: &RouteObserver, took: Duration, end: End) -> bool {
        observer.spec.access_log.as_ref().is_some_and(|log| {
            self.draw < log.sample_ppm
                || (log.errors && end == End::Failed)
                || log.slower_than.is_some_and(|limit| took > limit)
        })
    }
}

/// A number for all choices by chance; where there are none, none is drawn.
fn draw(observer: &RouteObserver, random: impl Fn() -> u64) -> u32 {
    let spec = &observer.spec;
    if spec.access_log.is_none() && spec.tracing.is_none() {
        return SHARE_WHOLE;
    }
    u32::try_from(random() % u64::from(SHARE_WHOLE)).unwrap_or(SHARE_WHOLE)
}
