//! What a proxy must change in the heads it passes on (RFC 9110 section 7.6, RFC 9112, RFC 9113 section 8).
//!
//! Framing is not passed on but made anew: hyper parses the client's message strictly, and what is sent to the backend
//! is framed by hyper from the parsed body. So a backend never sees a length or coding that the proxy read differently.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, EXPECT, FORWARDED, HOST, HeaderName, LOCATION, MAX_FORWARDS, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use crate::control::{Protocols, Upstream};
use crate::extended;
use crate::forwarded::{self, ClientNames};

/// Turns a request head as received into one for a backend. The protocol that the connection is asked to become, if that
/// is one of the route's.
///
/// # Errors
/// The status to answer a request with that must not be passed on.
pub(crate) fn prepare_request(
    parts: &mut Parts,
    client: &ClientNames,
    protocols: &Protocols,
) -> Result<Option<HeaderValue>, StatusCode> {
    let version = parts.version;
    if parts.method == Method::CONNECT {
        join_cookies(&mut parts.headers);
        extended::to_upgrade(parts, protocols)?;
    }
    normalise_target(parts, client, version)?;
    let found = HopByHop::find(&parts.headers);
    if found.transfer_encoding && !is_only_chunked(&parts.headers) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let upgrade = if found.upgrade && parts.version == Version::HTTP_11 {
        wanted_upgrade(&parts.headers, &protocols.upgrades)
    } else {
        None
    };
    let is_http2 = protocols.upstream == Upstream::Http2;
    let trailers = is_http2 && accepts_trailers(&parts.headers);
    found.remove(&mut parts.headers);
    if let Some(protocol) = &upgrade {
        if is_http2 {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    forwarded::tell(&mut parts.headers, client, protocols.forwarded, found.forwarded);
    if is_http2 {
        to_http2(parts, trailers)?;
    }
    Ok(upgrade)
}

/// Takes out of trailers what would change how the message is read, for whom it is or who sent it: whoever merges trailers into the
/// head would believe it (RFC 9110 section 6.5.1). To HTTP/1.1, hyper sends only announced ones, and few of these.
pub(crate) fn prepare_trailers(trailers: &mut HeaderMap) {
    for name in NO_TRAILERS {
        trailers.remove(name);
    }
    HopByHop {
        connection: true,
        names_fields: true,
        upgrade: true,
        transfer_encoding: true,
        others: true,
        ..HopByHop::default()
    }
    .remove(trailers);
}

/// Names the trailers of a response by gRPC, which HTTP/1.1 passes on only when it has heard of them before.
pub(crate) fn announce_trailers(headers: &mut HeaderMap) {
    if is_grpc(headers) {
        headers
            .entry(TRAILER)
            .or_insert(HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin"));
    }
}

/// The form that HTTP/2 has: the target in full, no host beside it.
fn to_http2(parts: &mut Parts, trailers: bool) -> Result<(), StatusCode> {
    let host = parts.headers.remove(HOST).ok_or(StatusCode::BAD_REQUEST)?;
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme("http").authority(host.as_bytes()).path_and_query(path).build();
    parts.uri = uri.map_err(|_| StatusCode::BAD_REQUEST)?;
    parts.version = Version::HTTP_2;
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let is_trailers = |token: String| token == "trailers" || token.starts_with("trailers;");
    headers.get_all(TE).iter().any(|value| tokens(value).any(is_trailers))
}

/// Whether it is a call by gRPC, which reads its outcome from fields of its own.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Turns a response head as received into one for the client.
pub(crate) fn prepare_response(headers: &mut HeaderMap) {
    let found = HopByHop::find(headers);
    // A message with both was framed by its transfer coding; the length must not outlive it.
    if found.transfer_encoding {
        headers.remove(CONTENT_LENGTH);
    } else if found.lengths {
        unite_lengths(headers);
    }
    found.remove(headers);
}

/// One length in place of several that the parser has found to agree: not everybody reads a list (RFC 9112 section 6.3).
fn unite_lengths(headers: &mut HeaderMap) {
    let first = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.split(',').next());
    let first = first.and_then(|first| HeaderValue::from_str(first.trim()).ok());
    if let Some(first) = first {
        headers.insert(CONTENT_LENGTH, first);
    }
}

/// Whether the parser has undone all that was done to the body of a response for its way here. Another coding would be passed on
/// without its name.
pub(crate) fn is_decoded(headers: &HeaderMap) -> bool {
    !headers.contains_key(TRANSFER_ENCODING) || is_only_chunked(headers)
}

/// The same for a 101, which keeps what makes it one.
///
/// # Errors
/// When the backend switches to another protocol than it was asked to.
pub(crate) fn prepare_switch(headers: &mut HeaderMap, protocol: HeaderValue) -> Result<(), ()> {
    let is_other = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(protocol.as_bytes());
    if headers.get_all(UPGRADE).iter().any(is_other) {
        return Err(());
    }
    prepare_response(headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    Ok(())
}

/// Whether a failed attempt may be repeated: the method is idempotent (RFC 9110 section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Origin form and exactly one host.
fn normalise_target(parts: &mut Parts, client: &ClientNames, version: Version) -> Result<(), StatusCode> {
    if let Some(authority) = parts.uri.authority() {
        is_request_for(authority.as_str(), parts, version)?;
        // An absolute target overrides the Host field (RFC 9112 section 3.2.2).
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| StatusCode::BAD_REQUEST)?;
        parts.headers.insert(HOST, host);
        let path = parts.uri.path_and_query().filter(|path| !path.as_str().is_empty()).cloned();
        parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        return Ok(());
    }
    if !parts.uri.path().starts_with('/') && parts.method != Method::OPTIONS {
        return Err(StatusCode::BAD_REQUEST);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (None, None) if parts.version == Version::HTTP_10 => {
            parts.headers.insert(HOST, client.host.clone());
            Ok(())
        }
        (Some(_), _) | (None, _) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Whether a request may name its authority like this: in a URI of HTTP, without a second opinion on whom it is for.
fn is_request_for(authority: &str, parts: &Parts, version: Version) -> Result<(), StatusCode> {
    let is_http =
        parts.uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let is_one = match version {
        // RFC 9113 section 8.3.1: no user, and a Host field that says the same.
        Version::HTTP_2 => {
            let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
            second.is_none() && host.is_none_or(is_same) && !authority.contains('@')
        }
        // RFC 9112 section 3.2: there must be one, even where it is overridden.
        Version::HTTP_11 => host.is_some() && second.is_none(),
        _ => second.is_none(),
    };
    if is_http && is_one { Ok(()) } else { Err(StatusCode::BAD_REQUEST) }
}

/// Whether the body has no other coding than the one that the parser undoes: any other would be passed on without its name.
fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(is_chunked) && codings.next().is_none()
}

/// Whether the bytes could be a host and port; an empty host is allowed by the RFC.
fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\' | b'@' | b',' | b'?' | b'#'))
}

/// The protocol that the client wants on this connection, if it is one of `allowed`. Of several only the first is considered.
fn wanted_upgrade(headers: &HeaderMap, allowed: &[String]) -> Option<HeaderValue> {
    if !headers.get_all(CONNECTION).iter().any(|value| tokens(value).any(|token| token == "upgrade")) {
        return None;
    }
    let wanted = headers.get(UPGRADE)?.as_bytes();
    let wanted = allowed.iter().find(|allowed| wanted.eq_ignore_ascii_case(allowed.as_bytes()))?;
    HeaderValue::from_str(wanted).ok()
}

/// The lower-case tokens of a comma-separated field.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = String> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(|token| token.trim().to_ascii_lowercase()).filter(|token| !token.is_empty())
}

/// HTTP/2 may split cookies over several fields, HTTP/1.1 must not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let mut joined = first.as_bytes().to_vec();
        for cookie in std::iter::once(second).chain(cookies) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Which hop-by-hop fields a head has: one pass, since most heads have at most one.
#[derive(Clone, Copy, Debug, Default)]
struct HopByHop {
    connection: bool,
    /// The connection field may name others.
    names_fields: bool,
    upgrade: bool,
    transfer_encoding: bool,
    others: bool,
    /// A list of lengths, in one field or in several.
    lengths: bool,
    /// Not of that kind, but looked for on the same way: whether it says where it comes from.
    forwarded: bool,
}

impl HopByHop {
    fn find(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let mut has_length = false;
        for (name, value) in headers {
            match *name {
                CONTENT_LENGTH => {
                    found.lengths |= has_length || value.as_bytes().contains(&b',');
                    has_length = true;
                }
                CONNECTION => {
                    found.connection = true;
                    found.names_fields |= !CONNECTION_ALONE.contains(&value.as_bytes());
                }
                UPGRADE => found.upgrade = true,
                TRANSFER_ENCODING => found.transfer_encoding = true,
                TE | EXPECT | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION => found.others = true,
                ref name => match name.as_str() {
                    "keep-alive" | "proxy-connection" | "http2-settings" => found.others = true,
                    name => found.forwarded |= forwarded::is_said_in(name),
                },
            }
        }
        found
    }

    fn remove(self, headers: &mut HeaderMap) {
        if self.names_fields {
            // Fields that the sender declares to be for this hop only.
            let listed: Vec<String> = headers.get_all(CONNECTION).iter().flat_map(tokens).collect();
            for name in listed {
                if name != "host" && name != "content-length" {
                    headers.remove(name.as_str());
                }
            }
        }
        if self.connection {
            headers.remove(CONNECTION);
        }
        if self.upgrade {
            headers.remove(UPGRADE);
        }
        if self.transfer_encoding {
            headers.remove(TRANSFER_ENCODING);
        }
        if self.others {
            // Expect: hyper has answered the client's 100-continue itself.
            for name in [
                TE,
                EXPECT,
                PROXY_AUTHENTICATE,
                PROXY_AUTHORIZATION,
                KEEP_ALIVE,
                PROXY_CONNECTION,
                HTTP2_SETTINGS,
            ] {
                headers.remove(name);
            }
        }
    }
}

/// What the field nearly always says, spelled as it nearly always is.
const CONNECTION_ALONE: [&[u8]; 3] = [b"keep-alive", b"close", b"Keep-Alive"];
const NO_TRAILERS: [HeaderName; 19] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    FORWARDED,
    HOST,
    LOCATION,
    MAX_FORWARDS,
    RANGE,
    SET_COOKIE,
    TRAILER,
    VARY,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientNames {
        let address = |text: &str| text.parse().expect("a literal address");
        ClientNames::new(address("10.1.1.1:9"), address("10.0.0.1:80"), false)
    }

    fn prepared(parts: &mut Parts) -> Result<Option<HeaderValue>, StatusCode> {
        prepare_request(parts, &client(), &Protocols::default())
    }

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).expect("a sound request").into_parts().0
    }

    #[test]
    fn hop_by_hop_fields_and_those_listed_in_connection_are_removed() {
        let mut parts = parts(
            http::Request::get("/x")
                .header("host", "a")
                .header("connection", "keep-alive, X-Secret, host")
                .header("x-secret", "1")
                .header("keep-alive", "5")
                .header("te", "trailers")
                .header("proxy-connection", "close")
                .header("proxy-authorization", "basic")
                .header("upgrade", "h2c")
                .header("http2-settings", "AA")
                .header("x-kept", "1"),
        );
        assert_eq!(prepared(&mut parts), Ok(None));
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-port",
                "x-forwarded-proto",
                "x-kept"
            ]
        );
    }

    #[test]
    fn a_websocket_upgrade_is_passed_on_and_no_other() {
        let request = |protocol| {
            let mut parts = parts(
                http::Request::get("/")
                    .header("host", "a")
                    .header("connection", "Upgrade")
                    .header("upgrade", protocol),
            );
            (prepared(&mut parts), parts.headers.contains_key(UPGRADE))
        };
        assert_eq!(request("WebSocket"), (Ok(Some(HeaderValue::from_static("websocket"))), true));
        assert_eq!(request("h2c"), (Ok(None), false));
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_overrides_the_host() {
        let mut parts = parts(http::Request::get("http://user@real.example:81?q=1").header("host", "forged"));
        assert_eq!(prepared(&mut parts), Ok(None));
        assert_eq!(parts.uri.to_string(), "/?q=1");
        assert_eq!(parts.headers[HOST], "real.example:81");
    }

    #[test]
    fn a_target_is_a_path_or_a_uri_of_http() {
        let check = |uri: &str| prepared(&mut parts(http::Request::get(uri).header("host", "a")));
        for refused in ["a", "a:80", "*", "ftp://a/b"] {
            assert_eq!(check(refused), Err(StatusCode::BAD_REQUEST), "{refused}");
        }
        assert_eq!(check("https://b/"), Ok(None));
        let over_http2 = |uri: &str| {
            prepared(&mut parts(http::Request::get(uri).version(Version::HTTP_2).header("host", "a")))
        };
        assert_eq!(over_http2("http://b/"), Err(StatusCode::BAD_REQUEST));
        assert_eq!(over_http2("http://u@a/"), Err(StatusCode::BAD_REQUEST));
        assert_eq!(over_http2("http://A/"), Ok(None));
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        let check = |request: http::request::Builder| prepared(&mut parts(request));
        assert_eq!(check(http::Request::get("/")), Err(StatusCode::BAD_REQUEST));
        assert_eq!(
            check(http::Request::get("/").header("host", "a").header("host", "b")),
            Err(StatusCode::BAD_REQUEST)
        );
        assert_eq!(check(http::Request::get("/").header("host", "a, b")), Err(StatusCode::BAD_REQUEST));
        assert_eq!(check(http::Request::get("/").version(Version::HTTP_10)), Ok(None));
    }

    #[test]
    fn split_cookies_are_joined_for_the_backend() {
        let mut parts = parts(
            http::Request::get("http://a/")
                .version(Version::HTTP_2)
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        );
        assert_eq!(prepared(&mut parts), Ok(None));
        assert_eq!(parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn trailers_neither_frame_nor_route_nor_authorise() {
        let mut trailers = HeaderMap::new();
        for name in ["content-length", "host", "authorization", "x-forwarded-for", "te", "grpc-status"] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        prepare_trailers(&mut trailers);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["grpc-status"]);
    }

    #[test]
    fn a_length_does_not_outlive_a_transfer_coding() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        prepare_response(&mut headers);
        assert!(headers.is_empty());
    }
}
