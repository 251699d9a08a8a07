//! The bodies that stream through: a request's on its way to a backend and a response's on its way to the client.
//!
//! Both limit the silence between two frames. The timer is only made when a body has to be waited for, so small
//! bodies, which arrive with their heads, cost none.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::admission::ReadAhead;
use crate::cache::{KeepingBody, StoredBody};
use crate::connection::ClientConnection;
use crate::control::Upstream;
use crate::exchange::Delivery;
use crate::headers::prepare_trailers;
use crate::link::Link;
use crate::view::ShardRoute;

/// A request body on its way to a backend.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Nothing to send: may be repeated.
    Empty,
    /// Boxed: a request is copied often on its way to the backend, and most have none.
    Content(Box<Content>),
}

/// What there is to send.
#[derive(Debug)]
pub(crate) enum Content {
    /// Read from the client as the backend takes it.
    Stream(Quiet, Rc<Upload>),
    /// Looked into before it is sent.
    ReadAhead(ReadAhead),
}

impl RequestBody {
    /// Its progress, if there is anything to send.
    pub(crate) fn upload(&self) -> Option<Rc<Upload>> {
        match self.content()? {
            Content::Stream(_, upload) => Some(Rc::clone(upload)),
            Content::ReadAhead(read) => read.rest().upload(),
        }
    }

    fn content(&self) -> Option<&Content> {
        match self {
            Self::Empty => None,
            Self::Content(content) => Some(content),
        }
    }

    pub(crate) fn new(body: Incoming, route: &Rc<ShardRoute>, client: &Rc<ClientConnection>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let upload = Upload::new(Rc::clone(client), Rc::clone(route));
        let quiet = Quiet::new(body, route.spec.timeouts.body_idle);
        Self::Content(Box::new(Content::Stream(quiet, Rc::new(upload))))
    }
}

/// How a client fails to deliver a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// It broke off, sent nonsense or went silent.
    Broken,
    /// More came than the route allows.
    TooLong,
}

impl From<&BodyError> for ClientFault {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::TooLong => Self::TooLong,
            BodyError::Broken(_) | BodyError::Silent => Self::Broken,
        }
    }
}

/// The progress of a request body: time that a backend spends receiving is not time it owes an answer.
#[derive(Debug)]
pub(crate) struct Upload {
    client: Rc<ClientConnection>,
    route: Rc<ShardRoute>,
    moved: Cell<Instant>,
    fault: Cell<Option<ClientFault>>,
    bytes: Cell<u64>,
    /// Since when it is waited for.
    waits_since: Cell<Option<Instant>>,
    /// How long it was waited for before that.
    waited: Cell<Duration>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.client.end_upload();
    }
}

impl Upload {
    fn new(client: Rc<ClientConnection>, route: Rc<ShardRoute>) -> Self {
        client.begin_upload();
        Self {
            client,
            route,
            moved: Cell::new(Instant::now()),
            fault: Cell::new(None),
            bytes: Cell::new(0),
            waits_since: Cell::new(None),
            waited: Cell::new(Duration::ZERO),
        }
    }

    /// When the last piece was passed on.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// How much of it was passed on.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// How the client failed to deliver it, if it did.
    pub(crate) fn fault(&self) -> Option<ClientFault> {
        self.fault.get()
    }

    fn polled(&self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) {
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let now = Instant::now();
                self.route.counters().bytes_in.add(length(frame));
                self.bytes.set(self.bytes.get() + length(frame));
                if let Some(since) = self.waits_since.take() {
                    self.waited.set(self.waited.get() + now.saturating_duration_since(since));
                }
                self.moved.set(now);
                self.client.moved();
            }
            Poll::Ready(Some(Err(_))) => self.fault.set(Some(ClientFault::Broken)),
            Poll::Ready(None) => {}
            Poll::Pending => {
                if self.waits_since.get().is_none() {
                    self.waits_since.set(Some(Instant::now()));
                }
            }
        }
    }

    fn is_too_long(&self) -> bool {
        self.route.spec.protocols.body_bytes_max.is_some_and(|max| self.bytes.get() > max)
    }

    /// How long the next piece may be waited for: `idle`, and no longer than the slowest rate allows for all together.
    fn patience(&self, idle: Duration) -> Duration {
        let protocols = &self.route.spec.protocols;
        if protocols.body_rate_min == 0 || protocols.upstream == Upstream::Http2 {
            return idle;
        }
        let seconds = self.bytes.get() as f64 / f64::from(protocols.body_rate_min);
        let earned = Duration::try_from_secs_f64(seconds).unwrap_or(idle);
        idle.min((protocols.body_grace + earned).saturating_sub(self.waited.get()))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Content(content) = &mut *self else { return Poll::Ready(None) };
        match &mut **content {
            Content::Stream(quiet, upload) => {
                let polled = quiet.poll_frame(cx, None, |idle| upload.patience(idle));
                upload.polled(&polled);
                if upload.is_too_long() {
                    upload.fault.set(Some(ClientFault::TooLong));
                    return Poll::Ready(Some(Err(BodyError::TooLong)));
                }
                polled
            }
            Content::ReadAhead(read) => read.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.content() {
            None => true,
            Some(Content::Stream(quiet, _)) => quiet.body.is_end_stream(),
            Some(Content::ReadAhead(read)) => read.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.content() {
            None => SizeHint::with_exact(0),
            Some(Content::Stream(quiet, _)) => quiet.body.size_hint(),
            Some(Content::ReadAhead(read)) => read.size_hint(),
        }
    }
}

/// A response body on its way to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Made by the proxy.
    Own(Full<Bytes>),
    /// Read from the backend as the client takes it; accounts for the request when it ends.
    Backend(Box<(Quiet, Delivery)>),
    /// The same, kept as it passes.
    Keeping(Box<KeepingBody>),
    /// From the cache.
    Stored(Box<StoredBody>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Backend(backend) => {
                let (quiet, delivery) = &mut **backend;
                let polled = quiet.poll_frame(cx, delivery.connection(), |idle| idle);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    delivery.passed_on(0, length(frame));
                    if let Some(trailers) = frame.trailers_ref() {
                        delivery.trailed(trailers);
                    }
                }
                match &polled {
                    Poll::Ready(None) => delivery.ended(),
                    Poll::Ready(Some(Err(_))) => delivery.broke(),
                    Poll::Ready(Some(Ok(_))) if quiet.body.is_end_stream() => delivery.ended(),
                    Poll::Ready(Some(Ok(_))) | Poll::Pending => delivery.moved(),
                }
                polled
            }
            Self::Keeping(body) => body.poll_frame(cx),
            Self::Stored(body) => body.poll_frame(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::Backend(backend) => backend.0.body.is_end_stream(),
            Self::Keeping(body) => body.is_end_stream(),
            Self::Stored(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::Backend(backend) => backend.0.body.size_hint(),
            Self::Keeping(body) => body.size_hint(),
            Self::Stored(body) => body.size_hint(),
        }
    }
}

/// A body with a limit of silence.
#[derive(Debug)]
pub(crate) struct Quiet {
    body: Incoming,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Quiet {
    pub(crate) fn new(body: Incoming, idle: Duration) -> Self {
        Self { body, idle, timer: None, is_waiting: false }
    }

    /// The next piece; it comes on `connection` if it is of a response by HTTP/1.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        connection: Option<&Link>,
        patience: impl FnOnce(Duration) -> Duration,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = Pin::new(&mut self.body);
        let polled = match connection {
            Some(connection) => connection.take(|| body.poll_frame(cx)),
            None => body.poll_frame(cx),
        };
        if let Poll::Ready(mut frame) = polled {
            self.is_waiting = false;
            if let Some(Ok(frame)) = &mut frame
                && let Some(trailers) = frame.trailers_mut()
            {
                prepare_trailers(trailers);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + patience(self.idle));
        }
        timer.as_mut().poll(cx).map(|()| Some(Err(BodyError::Silent)))
    }
}

/// Bytes of content; trailers have none.
fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Its sender's connection broke or sent nonsense.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// Longer than the route allows.
    #[error("it is too long")]
    TooLong,
    /// Its sender went silent, or is too slow.
    #[error("it did not come in time")]
    Silent,
}
