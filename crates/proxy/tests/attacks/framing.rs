//! Lengths, transfer codings and chunks that two parsers may read differently.

use super::Case;
use super::Expect::{Cut, Passes, Refused};

const fn case(name: &'static str, request: &'static str, expect: super::Expect) -> Case {
    Case { name, request: request.as_bytes(), expect }
}

/// Content-Length.
pub(crate) const LENGTHS: &[Case] = &[
    case(
        "two lengths that differ",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 30\r\n\r\nhelloGET /smuggled HTTP/1.1\r\n\r\n",
        Refused,
    ),
    case(
        "two lengths that agree",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        Passes("/a", "length", "hello"),
    ),
    case("a list of lengths", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", Refused),
    case("a length with a sign", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", Refused),
    case("a length below zero", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nhello", Refused),
    case("a length in base 16", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello", Refused),
    case("a length with words", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5 6\r\n\r\nhello", Refused),
    case("no digits", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\nhello", Refused),
    case(
        "a length beyond 64 bits",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        Refused,
    ),
    case(
        "a body on a request that seldom has one (CL.0)",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 37\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nab",
        Passes("/a", "length", "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nab"),
    ),
    case(
        "a body of unknown length on such a request",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "a body and Expect",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        Passes("/a", "length", "hello"),
    ),
    case(
        "the length named in Connection, to have it dropped",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close, content-length\r\nContent-Length: 5\r\n\r\nhello",
        Passes("/a", "length", "hello"),
    ),
    case(
        "an underscore for the hyphen is another field",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent_Length: 50\r\n\r\n",
        Passes("/a", "none", ""),
    ),
];

/// Transfer-Encoding, alone and beside Content-Length.
pub(crate) const CODINGS: &[Case] = &[
    case(
        "CL.TE: the coding decides, and nothing follows on the connection",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Passes("/a", "chunked", ""),
    ),
    case(
        "TE.CL: the same in the other order",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n25\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nab\r\n0\r\n\r\n",
        Passes("/a", "chunked", "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nab"),
    ),
    case(
        "TE.TE: a second coding that is none",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "TE.TE: a first coding that is none",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "chunked twice",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "a coding that the proxy does not undo",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "chunked, then another",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "an empty member before it",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "a quoted coding",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "a longer word",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "a parameter",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "a vertical tab before it",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    case(
        "space and tab around it are no part of it",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: \t chunked \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "capitals",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTRANSFER-encoding: cHuNkEd\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "a coding in HTTP/1.0",
        "POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Refused,
    ),
    case(
        "the coding named in Connection, to have it dropped",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "a coding hidden behind another field's bare CR",
        "POST /a HTTP/1.1\r\nHost: h\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
];

/// Chunks. What is wrong with them shows only after the head has gone on.
pub(crate) const CHUNKS: &[Case] = &[
    case(
        "an extension is not passed on",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "a bare LF in an extension",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;\nxhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "a bare LF after a size",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "a size beyond 64 bits",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "a size with a prefix",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "a size with a sign",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "a size with a gap",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1 0\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "no size",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "a chunk longer than it says",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "other bytes where a chunk ends",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
    case(
        "no line break where a chunk ends",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
];

/// Fields behind a body. Those that frame, route or authorise must not be believed there.
pub(crate) const TRAILERS: &[Case] = &[
    case(
        "trailers that nobody announced end here",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "forbidden ones end here even if announced",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTrailer: content-length, host, transfer-encoding, authorization\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 50\r\nHost: evil\r\nTransfer-Encoding: chunked\r\nAuthorization: x\r\n\r\n",
        Passes("/a", "chunked", "hello"),
    ),
    case(
        "a folded trailer",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n GET /smuggled HTTP/1.1\r\n\r\n",
        Cut,
    ),
    case(
        "a trailer without a colon",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        Cut,
    ),
];
