//! Request bodies that are looked into before they are sent on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::body::{BodyError, Content, RequestBody};

/// A body of which the beginning, or all, has been read.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    frames: VecDeque<Frame<Bytes>>,
    rest: RequestBody,
}

/// Reads `body` until it ends or more than `bytes_max` have come, and leaves in its place one that begins anew. Returns what was
/// read; nothing when it was not all, because a part of a document says nothing.
///
/// # Errors
/// When its sender broke off or went silent.
pub(crate) async fn read_ahead(body: &mut RequestBody, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let announced = body.size_hint().lower();
    if matches!(body, RequestBody::Empty) || announced > bytes_max as u64 {
        return Ok(Vec::new());
    }
    let mut frames = VecDeque::new();
    let mut read = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    let is_whole = loop {
        let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.transpose()? else {
            break true;
        };
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(data);
        }
        frames.push_back(frame);
        if read.len() > bytes_max || frames.len() > FRAMES_MAX {
            break false;
        }
    };
    let rest = if is_whole { RequestBody::Empty } else { std::mem::replace(body, RequestBody::Empty) };
    *body = RequestBody::Content(Box::new(Content::ReadAhead(ReadAhead { frames, rest })));
    Ok(if is_whole { read } else { Vec::new() })
}

impl ReadAhead {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let read: u64 = self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }

    /// What is still to be read of the client, if anything is.
    pub(crate) fn rest(&self) -> &RequestBody {
        &self.rest
    }
}

/// A body that comes byte by byte is not gathered without end.
const FRAMES_MAX: usize = 1024;
