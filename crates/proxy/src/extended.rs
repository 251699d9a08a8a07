//! WebSockets over HTTP/2 (RFC 8441): a CONNECT with a protocol becomes the upgrade that an HTTP/1.1 backend knows, and the
//! backend's consent the 200 that the client waits for.

use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use hyper::ext::Protocol;

use crate::control::{Protocols, Upstream};

/// Rewrites such a request.
///
/// # Errors
/// The status for any other CONNECT: the proxy opens no tunnels to where clients say.
pub(crate) fn to_upgrade(parts: &mut Parts, protocols: &Protocols) -> Result<(), StatusCode> {
    let protocol = parts.extensions.remove::<Protocol>().ok_or(StatusCode::NOT_IMPLEMENTED)?;
    let is_allowed = protocols.upgrades.iter().any(|allowed| allowed == WEBSOCKET);
    let is_websocket = protocol.as_ref() == WEBSOCKET.as_bytes();
    if !is_websocket || !is_allowed || protocols.upstream == Upstream::Http2 {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    parts.method = Method::GET;
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    headers.insert(SEC_WEBSOCKET_KEY, key());
    headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    Ok(())
}

/// What HTTP/2 does not have in a consent.
pub(crate) fn consent(status: &mut StatusCode, headers: &mut HeaderMap) {
    const FIELDS: [HeaderName; 3] = [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT];
    for name in FIELDS {
        headers.remove(name);
    }
    *status = StatusCode::OK;
}

/// Sixteen bytes in base 64: 21 digits of six bits, and one that has two.
fn key() -> HeaderValue {
    let digits: String = std::iter::repeat_with(fastrand::alphanumeric).take(21).collect();
    HeaderValue::try_from(format!("{digits}A=="))
        .unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

const WEBSOCKET: &str = "websocket";
