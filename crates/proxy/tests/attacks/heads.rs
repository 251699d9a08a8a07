//! Lines, names, targets and upgrades that two parsers may read differently.

use super::Case;
use super::Expect::{Passes, Refused};

const fn case(name: &'static str, request: &'static str, expect: super::Expect) -> Case {
    Case { name, request: request.as_bytes(), expect }
}

/// Lines and fields.
pub(crate) const LINES: &[Case] = &[
    case(
        "bare LF ends lines, as a recipient may let it; what is sent on has CR LF",
        "POST /a HTTP/1.1\nHost: h\nConnection: close\nContent-Length: 5\n\nhello",
        Passes("/a", "length", "hello"),
    ),
    case("a folded field", "GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n 2\r\n\r\n", Refused),
    case(
        "a folded field by tab",
        "GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n\tContent-Length: 5\r\n\r\n",
        Refused,
    ),
    case("a folded first field", "GET /a HTTP/1.1\r\n X: 1\r\nHost: h\r\n\r\n", Refused),
    case(
        "a space before the colon",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello",
        Refused,
    ),
    case(
        "a tab before the colon",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case("a space in a name", "GET /a HTTP/1.1\r\nHost: h\r\nX Y: 1\r\n\r\n", Refused),
    case("no name", "GET /a HTTP/1.1\r\nHost: h\r\n: 1\r\n\r\n", Refused),
    case("no colon", "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length\r\n\r\n", Refused),
    case("a NUL in a value", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", Refused),
    case("a NUL in a name", "GET /a HTTP/1.1\r\nHost: h\r\nX\0Y: a\r\n\r\n", Refused),
    case("a NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
    case("a bare CR in a value", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\rY: b\r\n\r\n", Refused),
    case("a bare CR before the end", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\r\r\n\r\n", Refused),
    case("an escape in a value", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\x1b[2J\r\n\r\n", Refused),
    case("an unknown version", "GET /a HTTP/1.2\r\nHost: h\r\n\r\n", Refused),
    case("HTTP/2 as text", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", Refused),
    case("a version with more digits", "GET /a HTTP/1.10\r\nHost: h\r\n\r\n", Refused),
    case("no version", "GET /a\r\nHost: h\r\n\r\n", Refused),
    case("a version in lower case", "GET /a http/1.1\r\nHost: h\r\n\r\n", Refused),
    case("a method with a bracket", "GE(T /a HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
    case("a space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
    case(
        "encoded line breaks stay encoded",
        "GET /a%0d%0aX:%201 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        Passes("/a%0d%0aX:%201", "none", ""),
    ),
];

/// Whom a request is for.
pub(crate) const TARGETS: &[Case] = &[
    case("no host", "GET /a HTTP/1.1\r\n\r\n", Refused),
    case("two hosts", "GET /a HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n", Refused),
    case("two hosts that agree", "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", Refused),
    case(
        "two hosts beside an absolute target",
        "GET http://h/a HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n",
        Refused,
    ),
    case("no host beside an absolute target", "GET http://h/a HTTP/1.1\r\n\r\n", Refused),
    case("a list of hosts", "GET /a HTTP/1.1\r\nHost: h, evil\r\n\r\n", Refused),
    case("a path in the host", "GET /a HTTP/1.1\r\nHost: h/evil\r\n\r\n", Refused),
    case("a user in the host", "GET /a HTTP/1.1\r\nHost: evil@h\r\n\r\n", Refused),
    case("a space in the host", "GET /a HTTP/1.1\r\nHost: h evil\r\n\r\n", Refused),
    case(
        "an absolute target overrides the host",
        "GET http://h/a HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n",
        Passes("/a", "none", ""),
    ),
    case(
        "the host named in Connection, to have it dropped",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close, host\r\n\r\n",
        Passes("/a", "none", ""),
    ),
    case("a target that is no path", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
    case("an authority as the target of a GET", "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
    case("a fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Passes("/a", "none", "")),
    case("an asterisk for GET", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
    case(
        "two slashes are a path, not an authority",
        "GET //evil/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        Passes("//evil/a", "none", ""),
    ),
    case("another scheme", "GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
];

/// Connections that are to become something else: what follows must not pass by the proxy before the backend has agreed.
pub(crate) const UPGRADES: &[Case] = &[
    case(
        "an upgrade that the route does not have is dropped, and what follows is a request of its own",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade, close\r\nUpgrade: anything\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Passes("/a", "none", ""),
    ),
    case(
        "a WebSocket that the backend does not agree to: nothing that came too early reaches it",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Passes("/a", "none", ""),
    ),
    case(
        "h2c",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        Passes("/a", "none", ""),
    ),
    case(
        "an upgrade with a body",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhelloGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Passes("/a", "length", "hello"),
    ),
    case(
        "a tunnel",
        "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Refused,
    ),
];
