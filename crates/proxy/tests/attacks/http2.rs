//! HTTP/2 requests whose fields would be something else as HTTP/1.1 text. Frames are made by hand: no client library would
//! send them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{END_HEADERS, END_STREAM, Field, HEADERS, PREFACE, block, frame};
use super::{http2_stage, stage};
use crate::recorder::Recorder;
use crate::support::{Proxy, get};

/// One attack: its fields, its body if there is one, its trailers if there are some.
struct Case {
    name: &'static str,
    fields: &'static [Field],
    body: Option<&'static str>,
    trailers: &'static [Field],
    expect: Expect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A 4xx, or the stream or connection reset; nothing whole for the backend.
    Refused,
    /// One request for the backend: target, framing, body.
    Passes(&'static str, &'static str, &'static str),
}

use Expect::{Passes, Refused};

const fn fields(name: &'static str, fields: &'static [Field], expect: Expect) -> Case {
    Case { name, fields, body: None, trailers: &[], expect }
}

const fn body(name: &'static str, fields: &'static [Field], body: &'static str, expect: Expect) -> Case {
    Case { name, fields, body: Some(body), trailers: &[], expect }
}

const M: Field = (":method", "POST");
const S: Field = (":scheme", "http");
const A: Field = (":authority", "h");
const P: Field = (":path", "/a");

const CASES: &[Case] = &[
    fields("line break in a value", &[M, S, A, P, ("x", "1\r\ncontent-length: 50")], Refused),
    fields("LF in a value", &[M, S, A, P, ("x", "1\nx-evil: 1")], Refused),
    fields("CR in a value", &[M, S, A, P, ("x", "1\rx-evil: 1")], Refused),
    fields("NUL in a value", &[M, S, A, P, ("x", "1\0")], Refused),
    fields("line break in a name", &[M, S, A, P, ("x: 1\r\ny", "1")], Refused),
    fields("colon in a name", &[M, S, A, P, ("x: y", "1")], Refused),
    fields("space in a name", &[M, S, A, P, ("content-length ", "5")], Refused),
    fields("capitals in a name", &[M, S, A, P, ("Content-Length", "5")], Refused),
    fields("no name", &[M, S, A, P, ("", "1")], Refused),
    fields(
        "line break in the path",
        &[M, S, A, (":path", "/a HTTP/1.1\r\nhost: h\r\n\r\nGET /smuggled")],
        Refused,
    ),
    fields("space in the path", &[M, S, A, (":path", "/smuggled HTTP/1.1")], Refused),
    fields("path that is none", &[M, S, A, (":path", "smuggled")], Refused),
    fields("empty path", &[M, S, A, (":path", "")], Refused),
    fields("line break in the method", &[(":method", "GET /smuggled HTTP/1.1\r\n"), S, A, P], Refused),
    fields("space in the method", &[(":method", "GET /smuggled"), S, A, P], Refused),
    fields("line break in the authority", &[M, S, (":authority", "h\r\nx: y"), P], Refused),
    fields("path in the authority", &[M, S, (":authority", "h/evil"), P], Refused),
    fields("two paths", &[M, S, A, P, (":path", "/smuggled")], Refused),
    fields("two methods", &[M, (":method", "GET"), S, A, P], Refused),
    fields("a pseudo field behind others", &[M, S, A, ("x", "1"), P], Refused),
    fields("an unknown pseudo field", &[M, S, A, P, (":evil", "1")], Refused),
    fields("a response's pseudo field", &[M, S, A, P, (":status", "200")], Refused),
    fields("no path", &[M, S, A], Refused),
    fields("no method", &[S, A, P], Refused),
    fields("a transfer coding", &[M, S, A, P, ("transfer-encoding", "chunked")], Refused),
    fields("a connection field", &[M, S, A, P, ("connection", "close")], Refused),
    fields("an upgrade", &[M, S, A, P, ("upgrade", "websocket")], Refused),
    fields("a TE that is not trailers", &[M, S, A, P, ("te", "gzip")], Refused),
    fields("another host beside the authority", &[M, S, A, P, ("host", "evil")], Refused),
    fields("two hosts and no authority", &[M, S, P, ("host", "h"), ("host", "evil")], Refused),
    fields("neither host nor authority", &[M, S, P], Refused),
    fields("a user in the authority", &[M, S, (":authority", "evil@h"), P], Refused),
    body("a length above the body", &[M, S, A, P, ("content-length", "50")], "hello", Refused),
    body("a length below the body", &[M, S, A, P, ("content-length", "1")], "helloGET /smuggled", Refused),
    body(
        "lengths that differ",
        &[M, S, A, P, ("content-length", "5"), ("content-length", "6")],
        "hello",
        Refused,
    ),
    body("a length that is none", &[M, S, A, P, ("content-length", "+5")], "hello", Refused),
    fields("a length and no body", &[M, S, A, P, ("content-length", "5")], Refused),
    body(
        "a body without a length",
        &[(":method", "GET"), S, A, P],
        "GET /smuggled HTTP/1.1\r\n\r\n",
        Passes("/a", "chunked", "GET /smuggled HTTP/1.1\r\n\r\n"),
    ),
    body(
        "a body with its length",
        &[M, S, A, P, ("content-length", "5")],
        "hello",
        Passes("/a", "length", "hello"),
    ),
    fields(
        "cookies apart are one",
        &[M, S, A, P, ("cookie", "a=1"), ("cookie", "b=2")],
        Passes("/a", "none", ""),
    ),
    Case {
        name: "trailers that frame end here",
        fields: &[M, S, A, P, ("trailer", "content-length, x-late")],
        body: Some("hello"),
        trailers: &[("content-length", "50"), ("host", "evil")],
        expect: Passes("/a", "chunked", "hello"),
    },
    // Malformed by the letter; the parser drops it, so nobody is misled.
    Case {
        name: "a pseudo field as a trailer ends here",
        fields: &[M, S, A, P],
        body: Some("hello"),
        trailers: &[(":path", "/smuggled")],
        expect: Passes("/a", "chunked", "hello"),
    },
    Case {
        name: "a line break in a trailer",
        fields: &[M, S, A, P, ("trailer", "x")],
        body: Some("hello"),
        trailers: &[("x", "1\r\n\r\nGET /smuggled HTTP/1.1")],
        expect: Refused,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downgrades_to_http1() {
    play(stage().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_http2_to_http2() {
    play(http2_stage().await).await;
}

async fn play((recorder, proxy): (Recorder, Proxy)) {
    let mut faults = Vec::new();
    for case in CASES {
        let outcome = send(proxy.listen, case).await;
        let honest = get(proxy.listen, "/honest").await;
        if case.expect == Refused {
            // The backend may learn a moment later that the rest will not come.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen: Vec<_> = recorder.take().into_iter().filter(|one| one.target() != "/honest").collect();
        let is_right = match case.expect {
            Refused => outcome != "200" && seen.iter().all(|one| one.framing == "unfinished"),
            Passes(target, framing, body) => {
                outcome == "200"
                    && matches!(&seen[..], [one] if one.target() == target && (one.framing == framing || one.framing == "frames")
                        && one.body == body.as_bytes() && one.values("host") == ["h"] && one.values("cookie").len() <= 1)
            }
        };
        if !is_right || honest.1 != "/honest" || seen.iter().any(|one| one.head.contains("smuggled")) {
            faults.push(format!(
                "{}: expected {:?}, got {outcome}, {seen:?}, {honest:?}",
                case.name, case.expect
            ));
        }
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}

/// What came back: a status, or how the stream or the connection ended.
async fn send(address: std::net::SocketAddr, case: &Case) -> &'static str {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, 4, 0, 0, &[]);
    let last_head = if case.body.is_none() && case.trailers.is_empty() { END_STREAM } else { 0 };
    frame(&mut bytes, HEADERS, END_HEADERS | last_head, 1, &block(case.fields));
    if let Some(body) = case.body {
        let last = if case.trailers.is_empty() { END_STREAM } else { 0 };
        frame(&mut bytes, 0, last, 1, body.as_bytes());
    }
    if !case.trailers.is_empty() {
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 1, &block(case.trailers));
    }
    stream.write_all(&bytes).await.expect("sent");
    tokio::time::timeout(Duration::from_secs(3), outcome(&mut stream)).await.unwrap_or("nothing")
}

async fn outcome(stream: &mut TcpStream) -> &'static str {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return "closed";
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return "closed";
        }
        match (head[3], payload.first()) {
            // The first field is the status; 200 and 400 stand in the static table.
            (HEADERS, Some(0x88)) => return "200",
            (HEADERS, Some(0x8c)) => return "400",
            (HEADERS, _) => return "another status",
            (3, _) => return "stream reset",
            (7, _) => return "goodbye",
            _ => {}
        }
    }
}
