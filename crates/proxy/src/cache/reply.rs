//! The answer that a kept response makes to a request: whole, in part, without its body, or the word that the client has it
//! already (RFC 9110 sections 13 and 14).

use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::directives::parts;
use super::policy::date;
use super::status::{Passed, tell_hit};
use super::store::Stored;
use crate::body::ResponseBody;
use crate::exchange::Exchange;

/// It.
#[derive(Debug)]
pub(crate) struct Reply(Response<Bytes>);

impl Reply {
    /// To a GET or HEAD with these fields; `passed` says how it was passed on before, if it was.
    pub(super) fn new(
        stored: &Stored,
        asked: &HeaderMap,
        is_head: bool,
        passed: Option<Passed>,
        now: Instant,
    ) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = stored.status;
        response.headers_mut().clone_from(&stored.headers);
        response.headers_mut().insert(AGE, HeaderValue::from(stored.age(now).as_secs()));
        let length = stored.body.len();
        if stored.status.is_success() && has_already(stored, asked) {
            not_modified(&mut response);
        } else {
            let range = (stored.status == StatusCode::OK && !is_head).then(|| range(stored, asked)).flatten();
            let (from, until) = match range {
                Some(Ok((first, last))) => {
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                    content_range(&mut response, format!("bytes {first}-{last}/{length}"));
                    (first, last + 1)
                }
                Some(Err(())) => {
                    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                    content_range(&mut response, format!("bytes */{length}"));
                    (0, 0)
                }
                None => (0, length),
            };
            // A HEAD's answer names the length of what it leaves out.
            if stored.status != StatusCode::NO_CONTENT {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(until - from));
            }
            if !is_head {
                *response.body_mut() = stored.body.slice(from..until);
            }
        }
        match passed {
            Some(passed) => passed.tell(response.headers_mut()),
            None => tell_hit(response.headers_mut(), stored.ttl_s(now)),
        }
        Self(response)
    }

    /// The client wanted no other answer than one that is kept, and there is none.
    pub(super) fn nothing_kept() -> Self {
        let mut response = Response::new(Bytes::from_static(b"nothing is kept that answers this\n"));
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        Self(response)
    }

    pub(crate) fn deliver(self, exchange: Exchange) -> Response<ResponseBody> {
        if let Some(watch) = exchange.watch() {
            watch.refused(self.0.status().as_u16(), self.0.body().len());
        }
        self.0.map(|body| ResponseBody::Stored(Box::new(super::StoredBody::new(body, exchange))))
    }
}

fn content_range(response: &mut Response<Bytes>, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
}

fn not_modified(response: &mut Response<Bytes>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    let about_content = headers.keys().filter(|name| name.as_str().starts_with("content-")).cloned();
    let about_content: Vec<_> = about_content.filter(|name| *name != CONTENT_LOCATION).collect();
    for name in about_content {
        headers.remove(name);
    }
    headers.remove(ACCEPT_RANGES);
}

/// Whether the client's conditions say that it has this response.
fn has_already(stored: &Stored, asked: &HeaderMap) -> bool {
    if asked.contains_key(IF_NONE_MATCH) {
        let own = stored.headers.get(ETAG).map(|tag| opaque(tag.as_bytes()));
        let values = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        return values.flat_map(parts).any(|tag| tag == "*" || Some(opaque(tag.as_bytes())) == own);
    }
    // Only exact seconds: a date that the client made up may be in the future of a response that changed since.
    match (date(asked, &IF_MODIFIED_SINCE), date(&stored.headers, &LAST_MODIFIED)) {
        (Some(since), Some(modified)) => modified <= since,
        (Some(_) | None, _) => false,
    }
}

/// An entity tag without its mark of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The one range that is asked for, first and last byte, or that it is none of this body's. Several ranges, and what cannot be
/// read, are answered in full.
fn range(stored: &Stored, asked: &HeaderMap) -> Option<Result<(usize, usize), ()>> {
    let mut values = asked.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    if !is_same(stored, asked) {
        return None;
    }
    let length = stored.body.len();
    let (unit, text) = value.to_str().ok()?.split_once('=')?;
    let (first, last) = text.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || text.contains(',') {
        return None;
    }
    let number = |text: &str| -> Option<usize> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are beyond the end in any case.
        is_number.then(|| text.parse().unwrap_or(usize::MAX))
    };
    if first.is_empty() {
        let count = number(last)?.min(length);
        return Some(if count == 0 { Err(()) } else { Ok((length - count, length - 1)) });
    }
    let first = number(first)?;
    let last = if last.is_empty() { usize::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= length { Err(()) } else { Ok((first, last.min(length - 1))) })
}

/// Whether what the client has a part of is this response (`If-Range`); it is where it does not ask.
fn is_same(stored: &Stored, asked: &HeaderMap) -> bool {
    let Some(condition) = asked.get(IF_RANGE) else { return true };
    let is_strong = |tag: &HeaderValue| !tag.as_bytes().starts_with(b"W/");
    if condition.as_bytes().ends_with(b"\"") {
        return is_strong(condition) && stored.headers.get(ETAG) == Some(condition);
    }
    let dates = date(asked, &IF_RANGE).zip(date(&stored.headers, &LAST_MODIFIED));
    dates.is_some_and(|(asked, modified)| asked == modified)
}
