//! What a proxy must change in the heads it passes on (RFC 9110 section 7.6, RFC 9112, RFC 9113 section 8).
//!
//! Framing is not passed on but made anew: hyper parses the client's message strictly, and what is sent to the backend
//! is framed by hyper from the parsed body. So a backend never sees a length or coding that the proxy read differently.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

/// Turns a request head as received into one for a backend.
///
/// # Errors
/// The status to answer a request with that must not be passed on.
pub(crate) fn prepare_request(parts: &mut Parts, client: &ClientNames) -> Result<Upgrade, StatusCode> {
    if parts.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    normalise_target(parts, client)?;
    let found = HopByHop::find(&parts.headers);
    let upgrade = if found.upgrade && parts.version == Version::HTTP_11 && wants_websocket(&parts.headers) {
        Upgrade::WebSocket
    } else {
        Upgrade::None
    };
    found.remove(&mut parts.headers);
    if upgrade == Upgrade::WebSocket {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    forwarded(&mut parts.headers, client);
    Ok(upgrade)
}

/// Turns a response head as received into one for the client. A 101 keeps what makes it one.
pub(crate) fn prepare_response(status: StatusCode, headers: &mut HeaderMap) {
    let found = HopByHop::find(headers);
    // A message with both was framed by its transfer coding; the length must not outlive it.
    if found.transfer_encoding {
        headers.remove(CONTENT_LENGTH);
    }
    found.remove(headers);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// What a request asks its connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// Nothing else.
    None,
    /// A WebSocket. The only protocol passed on: an upgrade to h2c would open a tunnel around the proxy.
    WebSocket,
}

/// How a client connection is described to backends; made once per connection.
#[derive(Clone, Debug)]
pub(crate) struct ClientNames {
    /// The client's address.
    pub(crate) ip: HeaderValue,
    /// The address it connected to, for requests without a host.
    pub(crate) host: HeaderValue,
}

/// Whether a failed attempt may be repeated: the method is idempotent (RFC 9110 section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Origin form and exactly one host.
fn normalise_target(parts: &mut Parts, client: &ClientNames) -> Result<(), StatusCode> {
    if let Some(authority) = parts.uri.authority() {
        // An absolute target overrides the Host field (RFC 9112 section 3.2.2).
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| StatusCode::BAD_REQUEST)?;
        parts.headers.insert(HOST, host);
        let path = parts.uri.path_and_query().filter(|path| !path.as_str().is_empty()).cloned();
        parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        return Ok(());
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

/// Whether the bytes could be a host and port; an empty host is allowed by the RFC.
fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\' | b'@' | b',' | b'?' | b'#'))
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    let connection =
        headers.get_all(CONNECTION).iter().any(|value| tokens(value).any(|token| token == "upgrade"));
    connection
        && headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
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

/// Appends the client to X-Forwarded-For, in one field so that no reader stops at a forged first one. The protocol is
/// only set when nobody in front (a TLS terminator) has.
fn forwarded(headers: &mut HeaderMap, client: &ClientNames) {
    let mut names = headers.get_all(X_FORWARDED_FOR).iter();
    let value = match names.next() {
        None => client.ip.clone(),
        Some(first) => {
            let mut joined = first.as_bytes().to_vec();
            for name in names.chain(std::iter::once(&client.ip)) {
                joined.extend_from_slice(b", ");
                joined.extend_from_slice(name.as_bytes());
            }
            HeaderValue::from_bytes(&joined).unwrap_or_else(|_| client.ip.clone())
        }
    };
    headers.insert(X_FORWARDED_FOR, value);
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

/// Which hop-by-hop fields a head has: one pass, since most heads have at most one.
#[derive(Clone, Copy, Debug, Default)]
struct HopByHop {
    connection: bool,
    upgrade: bool,
    transfer_encoding: bool,
    others: bool,
}

impl HopByHop {
    fn find(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match *name {
                CONNECTION => found.connection = true,
                UPGRADE => found.upgrade = true,
                TRANSFER_ENCODING => found.transfer_encoding = true,
                TE | EXPECT | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION => found.others = true,
                ref name => {
                    found.others |=
                        *name == KEEP_ALIVE || *name == PROXY_CONNECTION || *name == HTTP2_SETTINGS
                }
            }
        }
        found
    }

    fn remove(self, headers: &mut HeaderMap) {
        if self.connection {
            // Fields that the sender declares to be for this hop only.
            let listed: Vec<String> = headers.get_all(CONNECTION).iter().flat_map(tokens).collect();
            for name in listed {
                if name != "host" && name != "content-length" {
                    headers.remove(name.as_str());
                }
            }
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

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientNames {
        ClientNames { ip: HeaderValue::from_static("10.1.1.1"), host: HeaderValue::from_static("web.local") }
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
        assert_eq!(prepare_request(&mut parts, &client()), Ok(Upgrade::None));
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "x-forwarded-for", "x-forwarded-proto", "x-kept"]);
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
            (prepare_request(&mut parts, &client()), parts.headers.contains_key(UPGRADE))
        };
        assert_eq!(request("WebSocket"), (Ok(Upgrade::WebSocket), true));
        assert_eq!(request("h2c"), (Ok(Upgrade::None), false));
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_overrides_the_host() {
        let mut parts = parts(http::Request::get("http://user@real.example:81?q=1").header("host", "forged"));
        assert_eq!(prepare_request(&mut parts, &client()), Ok(Upgrade::None));
        assert_eq!(parts.uri.to_string(), "/?q=1");
        assert_eq!(parts.headers[HOST], "real.example:81");
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        let check = |request: http::request::Builder| prepare_request(&mut parts(request), &client());
        assert_eq!(check(http::Request::get("/")), Err(StatusCode::BAD_REQUEST));
        assert_eq!(
            check(http::Request::get("/").header("host", "a").header("host", "b")),
            Err(StatusCode::BAD_REQUEST)
        );
        assert_eq!(check(http::Request::get("/").header("host", "a, b")), Err(StatusCode::BAD_REQUEST));
        assert_eq!(check(http::Request::get("/").version(Version::HTTP_10)), Ok(Upgrade::None));
    }

    #[test]
    fn the_client_is_appended_to_forwarded_names_in_one_field() {
        let mut parts = parts(
            http::Request::get("/")
                .header("host", "a")
                .header("x-forwarded-for", "1.1.1.1")
                .header("x-forwarded-for", "2.2.2.2"),
        );
        assert_eq!(prepare_request(&mut parts, &client()), Ok(Upgrade::None));
        let names: Vec<_> = parts.headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(names, ["1.1.1.1, 2.2.2.2, 10.1.1.1"]);
    }

    #[test]
    fn split_cookies_are_joined_for_the_backend() {
        let mut parts = parts(
            http::Request::get("http://a/")
                .version(Version::HTTP_2)
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        );
        assert_eq!(prepare_request(&mut parts, &client()), Ok(Upgrade::None));
        assert_eq!(parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_length_does_not_outlive_a_transfer_coding() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        prepare_response(StatusCode::OK, &mut headers);
        assert!(headers.is_empty());
    }
}
