//! Keeps requests away that no honest client of this machine sends.
//!
//! A web page can make a browser send requests to a loopback address. Two things stop it from reading or changing
//! anything: a name that resolves to this machine by a trick (DNS rebinding) shows in the `Host` header, and a body of
//! type JSON needs a permission (CORS) that is never given.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::failure::Failure;

/// Refuses a request that was meant for another host.
pub(crate) async fn own_host(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let named = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if named.is_some_and(|host| is_own_host(host, api.address)) {
        return next.run(request).await;
    }
    let error = "the Host header names another host";
    let hint = format!("address the daemon as {}", api.address);
    Failure::new(StatusCode::MISDIRECTED_REQUEST, error, hint).into_response()
}

/// On a loopback address only the names of this machine are meant; elsewhere a name may be any that leads there.
fn is_own_host(host: &str, address: SocketAddr) -> bool {
    if !address.ip().is_loopback() {
        return !host.is_empty();
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        Some(_) | None => (host, Some(80)),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let loopback =
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback && port == Some(address.port())
}

/// Refuses a body that is not said to be JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Failure> {
    require_type(headers, "application/json")
}

/// Refuses a body that is not said to be of this type.
pub(crate) fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), Failure> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("the request is not said to be {wanted}"),
        format!("send the header `Content-Type: {wanted}`"),
    ))
}

/// Ends a request that takes too long.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not answered within {} s", REQUEST_TIMEOUT.as_secs()),
            "ask for a shorter range, or try again",
        )
        .into_response(),
    }
}

/// Adds the headers that tell a browser what this is not.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let fresh = request.method() != Method::GET || !request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if fresh {
        headers.insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    }
    response
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        // Plotly inserts a style element.
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_daemon_answers_to_names_of_this_machine_only() {
        let address = "127.0.0.1:7878".parse().expect("a literal address");
        for own in ["127.0.0.1:7878", "localhost:7878", "LOCALHOST:7878", "[::1]:7878"] {
            assert!(is_own_host(own, address), "{own}");
        }
        for foreign in
            ["evil.example:7878", "localhost:7879", "localhost", "", "127.0.0.1.evil.example:7878", "[::1]"]
        {
            assert!(!is_own_host(foreign, address), "{foreign}");
        }
    }

    #[test]
    fn on_port_80_the_port_may_be_left_out() {
        let address = "127.0.0.1:80".parse().expect("a literal address");
        assert!(is_own_host("localhost", address) && is_own_host("[::1]", address));
    }

    #[test]
    fn only_json_is_taken_for_json() {
        let with =
            |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        assert!(require_json(&with("application/json; charset=utf-8")).is_ok());
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            assert!(require_json(&with(other)).is_err(), "{other}");
        }
        assert!(require_json(&HeaderMap::new()).is_err());
    }
}
