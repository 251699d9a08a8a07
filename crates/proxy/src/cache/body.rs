//! Bodies on their way out of the cache, and those that are kept on their way through.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use super::flight::Leader;
use super::key::Key;
use super::policy::Terms;
use super::room::Room;
use super::store::{RouteCache, Stored};
use crate::body::{BodyError, ResponseBody};
use crate::exchange::Exchange;

/// A body from memory. Given in pieces, so that a client that takes it slowly is seen to take it.
#[derive(Debug)]
pub(crate) struct StoredBody {
    rest: Bytes,
    exchange: Exchange,
    clock: Option<Rc<Cell<std::time::Instant>>>,
}

impl StoredBody {
    pub(super) fn new(body: Bytes, mut exchange: Exchange) -> Self {
        if body.is_empty() {
            exchange.completed();
        }
        Self { rest: body, exchange, clock: None }
    }

    pub(crate) fn poll_frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.exchange.client().taken(&mut self.clock);
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        if self.rest.is_empty() {
            self.exchange.completed();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A backend's body that is kept while it passes.
#[derive(Debug)]
pub(crate) struct KeepingBody {
    body: ResponseBody,
    filling: Option<Filling>,
}

impl KeepingBody {
    pub(super) fn new(body: ResponseBody, filling: Filling) -> Self {
        let mut keeping = Self { body, filling: Some(filling) };
        if keeping.body.is_end_stream() {
            keeping.ended();
        }
        keeping
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => self.passed(data),
                // A message with trailers is more than a head and a body.
                None => self.give_up(),
            },
            Poll::Ready(Some(Err(_))) => self.filling = None,
            Poll::Ready(None) => self.ended(),
            Poll::Pending => {}
        }
        polled
    }

    fn passed(&mut self, data: &Bytes) {
        if let Some(filling) = &mut self.filling {
            if filling.room.reach((filling.body.len() + data.len()) as u64) {
                filling.body.extend_from_slice(data);
            } else {
                self.give_up();
            }
        }
        if self.body.is_end_stream() {
            self.ended();
        }
    }

    fn ended(&mut self) {
        if let Some(filling) = self.filling.take() {
            filling.keep();
        }
    }

    fn give_up(&mut self) {
        if let Some(filling) = self.filling.take() {
            filling.give_up();
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response that is to be kept once it is complete. Dropped before, nothing of it is.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) cache: Arc<RouteCache>,
    pub(super) key: Key,
    /// When it was asked for.
    pub(super) began: Instant,
    pub(super) received: Instant,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) terms: Terms,
    pub(super) secondary: Box<[u8]>,
    pub(super) leader: Option<Leader>,
    pub(super) room: Room,
    pub(super) body: Vec<u8>,
    /// As announced.
    pub(super) length: Option<u64>,
}

impl Filling {
    fn keep(self) {
        let Self {
            cache, key, began, received, status, headers, terms, secondary, leader, body, length, ..
        } = self;
        if length.is_some_and(|length| length != body.len() as u64) {
            return;
        }
        // Not a byte more than it weighs.
        let body = Bytes::from(body.into_boxed_slice());
        let stored = Stored { status, headers, body, terms, received, secondary };
        let is_kept = cache.put(&key, began, Arc::new(stored));
        match leader {
            Some(leader) if is_kept => leader.landed(),
            Some(leader) => leader.alone(),
            None => {}
        }
    }

    fn give_up(self) {
        if let Some(leader) = self.leader {
            leader.alone_from(&self.cache, &self.key);
        }
    }
}

const PIECE_BYTES: usize = 64 * 1024;
