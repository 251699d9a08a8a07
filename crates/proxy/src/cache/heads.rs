//! What the cache reads from and writes into the heads of messages between it and the backends.

use http::header::{
    CONTENT_LENGTH, CONTENT_LOCATION, ETAG, HOST, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, Version};

use super::store::{Stored, with_date};
use crate::headers::prepare_response;

/// Asks for the response only if it is not the one that is kept.
pub(super) fn validate(headers: &mut HeaderMap, stored: &Stored) {
    let mut own = |name: HeaderName, validator: Option<&HeaderValue>| match validator {
        Some(validator) => drop(headers.insert(name, validator.clone())),
        None => drop(headers.remove(name)),
    };
    own(IF_NONE_MATCH, stored.headers.get(ETAG));
    own(IF_MODIFIED_SINCE, stored.headers.get(LAST_MODIFIED));
}

/// The fields of a kept response with those that a 304 brings anew; what describes the content stays (RFC 9111 section 3.2).
pub(super) fn updated(kept: &HeaderMap, brought: &HeaderMap) -> HeaderMap {
    let mut brought = brought.clone();
    prepare_response(&mut brought);
    let mut headers = kept.clone();
    // How old the kept one was says nothing about the new word.
    headers.remove(http::header::AGE);
    headers.remove(http::header::DATE);
    let is_about_content =
        |name: &HeaderName| name.as_str().starts_with("content-") && *name != CONTENT_LOCATION;
    for name in brought.keys().filter(|name| !is_about_content(name)) {
        headers.remove(name);
        for value in brought.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    with_date(headers)
}

/// Whether a body that breaks off can be told from one that ends: not where only the connection's end ends it.
pub(super) fn has_an_end<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    response.version() == Version::HTTP_2
        || headers.contains_key(CONTENT_LENGTH)
        || headers.contains_key(TRANSFER_ENCODING)
        || response.status() == StatusCode::NO_CONTENT
}

pub(super) fn authority(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    match uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => headers.get(HOST).cloned(),
    }
}
