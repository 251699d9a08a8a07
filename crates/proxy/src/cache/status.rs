//! `Cache-Status` (RFC 9211): how the cache dealt with a request, for whoever reads the response.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Why a request was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing is kept under its address.
    UriMiss,
    /// Nothing for such a request.
    VaryMiss,
    /// What is kept is stale.
    Stale,
    /// The client wanted it newer.
    Request,
    /// Its method.
    Method,
}

/// A request that was passed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) why: Why,
    pub(super) is_stored: bool,
    /// It waited for another request's response.
    pub(super) is_collapsed: bool,
    /// What the backend answered, where the client is told something else.
    pub(super) status: Option<u16>,
}

impl Passed {
    pub(super) fn new(why: Why) -> Self {
        Self { why, is_stored: false, is_collapsed: false, status: None }
    }

    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let why = match self.why {
            Why::UriMiss => "uri-miss",
            Why::VaryMiss => "vary-miss",
            Why::Stale => "stale",
            Why::Request => "request",
            Why::Method => "method",
        };
        let mut text = format!("{NAME}; fwd={why}");
        if let Some(status) = self.status {
            // Writing to a string does not fail.
            let _ = write!(text, "; fwd-status={status}");
        }
        text.push_str(if self.is_stored { "; stored" } else { "" });
        text.push_str(if self.is_collapsed { "; collapsed" } else { "" });
        append(headers, text);
    }
}

/// The request was answered here, with what is fresh for so many seconds.
pub(super) fn tell_hit(headers: &mut HeaderMap, ttl_s: i64) {
    append(headers, format!("{NAME}; hit; ttl={ttl_s}"));
}

fn append(headers: &mut HeaderMap, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append(CACHE_STATUS, value);
    }
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The name of this cache.
const NAME: &str = "foreshadow";
