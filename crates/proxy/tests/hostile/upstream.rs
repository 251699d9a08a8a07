//! Backends that speak HTTP/2, and what they may do with its frames.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::control::{BackendSpec, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::converse;
use super::frames::{END_HEADERS, END_STREAM, Field, HEADERS, PREFACE, block, frame};
use super::support::{Http, Proxy, until};

/// What a backend says to a request on this stream.
type Script = fn(stream: u32) -> Vec<u8>;

/// What the client must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// 502 or 504, or an end in the middle; nothing that the backend has smuggled.
    Fails,
    /// 200 with this body.
    Gets(&'static str),
}

use Expect::{Fails, Gets};

const DATA: u8 = 0;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const OK: Field = (":status", "200");

/// Each with what is said after it again and again.
const CASES: &[(&str, Script, Option<Script>, Expect)] = &[
    // A soundness check of the stage itself.
    ("an answer", |s| answer(s, &[OK], "hello"), None, Gets("hello")),
    // Fields.
    ("no status", |s| answer(s, &[("x", "smuggled")], "hello"), None, Fails),
    ("two statuses", |s| answer(s, &[OK, (":status", "404")], "hello"), None, Fails),
    ("a status of letters", |s| answer(s, &[(":status", "2xx")], "hello"), None, Fails),
    ("a status of two digits", |s| answer(s, &[(":status", "20")], "hello"), None, Fails),
    ("a status with a line break", |s| answer(s, &[(":status", "200\r\nx: smuggled")], "hello"), None, Fails),
    ("a status behind other fields", |s| answer(s, &[("x", "smuggled"), OK], "hello"), None, Fails),
    // Malformed by the letter; the parser drops it, so nobody is misled.
    ("a request's pseudo field", |s| answer(s, &[OK, (":path", "/smuggled")], "hello"), None, Gets("hello")),
    ("an unknown pseudo field", |s| answer(s, &[OK, (":evil", "smuggled")], "hello"), None, Fails),
    (
        "a line break in a value",
        |s| answer(s, &[OK, ("x", "1\r\nset-cookie: smuggled")], "hello"),
        None,
        Fails,
    ),
    ("LF in a value", |s| answer(s, &[OK, ("x", "1\nset-cookie: smuggled")], "hello"), None, Fails),
    ("CR in a value", |s| answer(s, &[OK, ("x", "1\rset-cookie: smuggled")], "hello"), None, Fails),
    ("NUL in a value", |s| answer(s, &[OK, ("x", "1\0smuggled")], "hello"), None, Fails),
    ("a line break in a name", |s| answer(s, &[OK, ("x: 1\r\ny", "smuggled")], "hello"), None, Fails),
    ("a colon in a name", |s| answer(s, &[OK, ("x: y", "smuggled")], "hello"), None, Fails),
    ("capitals in a name", |s| answer(s, &[OK, ("X", "smuggled")], "hello"), None, Fails),
    ("a connection field", |s| answer(s, &[OK, ("connection", "smuggled")], "hello"), None, Fails),
    ("a transfer coding", |s| answer(s, &[OK, ("transfer-encoding", "chunked")], "hello"), None, Fails),
    ("an upgrade", |s| answer(s, &[OK, ("upgrade", "smuggled")], "hello"), None, Fails),
    ("a switch of protocols", |s| answer(s, &[(":status", "101"), ("x", "smuggled")], "hello"), None, Fails),
    // Lengths.
    ("a length above the body", |s| answer(s, &[OK, ("content-length", "50")], "hello"), None, Fails),
    ("a length below the body", |s| answer(s, &[OK, ("content-length", "1")], "hello"), None, Fails),
    (
        "lengths that differ",
        |s| answer(s, &[OK, ("content-length", "5"), ("content-length", "6")], "hello"),
        None,
        Fails,
    ),
    ("a length that is none", |s| answer(s, &[OK, ("content-length", "+5")], "hello"), None, Fails),
    // Frames out of place.
    ("content before the head", |s| frames(&[(DATA, 0, s, b"smuggled")]), None, Fails),
    (
        "content behind the end",
        |s| [answer(s, &[OK], "hello"), frames(&[(DATA, 0, s, b"smuggled")])].concat(),
        None,
        Gets("hello"),
    ),
    (
        "a second head",
        |s| {
            let head = block(&[OK, ("x", "smuggled")]);
            [frames(&[(HEADERS, END_HEADERS, s, &block(&[OK])), (HEADERS, END_HEADERS, s, &head)])].concat()
        },
        None,
        Fails,
    ),
    (
        "an answer that nobody asked for",
        |s| [answer(s + 2, &[OK], "smuggled"), answer(s, &[OK], "hello")].concat(),
        None,
        Fails,
    ),
    (
        "an answer on a stream of its own",
        |s| [answer(2, &[OK], "smuggled"), answer(s, &[OK], "hello")].concat(),
        None,
        Fails,
    ),
    (
        "a promise",
        |s| {
            let promised =
                [&[0, 0, 0, 2][..], &block(&[(":method", "GET"), (":path", "/smuggled")])].concat();
            [frames(&[(PUSH, END_HEADERS, s, &promised)]), answer(s, &[OK], "hello")].concat()
        },
        None,
        Fails,
    ),
    ("a reset", |s| frames(&[(RESET, 0, s, &[0, 0, 0, 2])]), None, Fails),
    (
        "a reset in the middle",
        |s| {
            frames(&[
                (HEADERS, END_HEADERS, s, &block(&[OK])),
                (DATA, 0, s, b"he"),
                (RESET, 0, s, &[0, 0, 0, 2]),
            ])
        },
        None,
        Fails,
    ),
    ("a goodbye", |_| frames(&[(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])]), None, Fails),
    ("a window of no size", |s| frames(&[(WINDOW, 0, s, &[0; 4])]), None, Fails),
    ("a window beyond all bounds", |s| frames(&[(WINDOW, 0, s, &[0x7f, 255, 255, 255])]), None, Fails),
    ("settings of a wrong size", |_| frames(&[(SETTINGS, 0, 0, &[0; 5])]), None, Fails),
    ("a frame larger than allowed", |s| frames(&[(DATA, 0, s, &[b'x'; 20_000])]), None, Fails),
    (
        "a head behind half a head",
        |s| frames(&[(HEADERS, 0, s, &block(&[OK])), (DATA, 0, s, b"smuggled")]),
        None,
        Fails,
    ),
    ("fields that cannot be unpacked", |s| frames(&[(HEADERS, END_HEADERS, s, &[0xff; 40])]), None, Fails),
    // Trailers.
    (
        "trailers that frame or set cookies end here",
        |s| {
            let late = [("content-length", "50"), ("set-cookie", "smuggled"), ("host", "smuggled")];
            let head = block(&[OK, ("trailer", "content-length, set-cookie, host")]);
            let (body, end) = (b"hello", END_HEADERS | END_STREAM);
            frames(&[(HEADERS, END_HEADERS, s, &head), (DATA, 0, s, body), (HEADERS, end, s, &block(&late))])
        },
        None,
        Gets("hello"),
    ),
    (
        "a line break in a trailer",
        |s| {
            let (head, late) = (block(&[OK, ("trailer", "x")]), block(&[("x", "1\r\n\r\nsmuggled")]));
            let (body, end) = (b"hello", END_HEADERS | END_STREAM);
            frames(&[(HEADERS, END_HEADERS, s, &head), (DATA, 0, s, body), (HEADERS, end, s, &late)])
        },
        None,
        Fails,
    ),
    // Floods.
    (
        "interim heads",
        |_| Vec::new(),
        Some(|s| frames(&[(HEADERS, END_HEADERS, s, &block(&[(":status", "103")]))])),
        Fails,
    ),
    (
        "half a head for ever",
        |s| frames(&[(HEADERS, 0, s, &block(&[OK]))]),
        Some(|s| frames(&[(CONTINUATION, 0, s, &block(&[("x", "smuggled")]))])),
        Fails,
    ),
    (
        "empty pieces of a head for ever",
        |s| frames(&[(HEADERS, 0, s, &block(&[OK]))]),
        Some(|s| frames(&[(CONTINUATION, 0, s, b"")])),
        Fails,
    ),
    ("a head that unpacks to much more", bomb, None, Fails),
    ("settings for ever", |_| Vec::new(), Some(|_| frames(&[(SETTINGS, 0, 0, &[])])), Fails),
    ("pings for ever", |_| Vec::new(), Some(|_| frames(&[(PING, 0, 0, &[0; 8])])), Fails),
    (
        "empty pieces of a body for ever",
        |s| frames(&[(HEADERS, END_HEADERS, s, &block(&[OK]))]),
        Some(|s| frames(&[(DATA, 0, s, b"")])),
        Fails,
    ),
];

fn frames(all: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, stream, payload) in all {
        frame(&mut bytes, *kind, *flags, *stream, payload);
    }
    bytes
}

fn answer(stream: u32, fields: &[Field], body: &str) -> Vec<u8> {
    frames(&[(HEADERS, END_HEADERS, stream, &block(fields)), (DATA, END_STREAM, stream, body.as_bytes())])
}

/// One field of 4,000 bytes, put into the table of the connection and named 15,000 times.
fn bomb(stream: u32) -> Vec<u8> {
    let mut head = vec![0x88, 0x40, 1, b'x', 0x7f];
    // 4,000 less the 127 of the prefix, in groups of seven bits.
    head.extend_from_slice(&[(3873 % 128) as u8 | 0x80, (3873 / 128) as u8]);
    head.extend(std::iter::repeat_n(b'a', 4000));
    // The first of the table that grows is number 62.
    head.extend(std::iter::repeat_n(0x80 | 62, 12_000));
    frames(&[(HEADERS, END_HEADERS | END_STREAM, stream, &head)])
}

/// A backend that does as one of the cases says, or answers as it should.
struct Hostile {
    addr: SocketAddr,
    case: Arc<Mutex<Option<usize>>>,
    open: Arc<AtomicUsize>,
}

impl Hostile {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (case, open) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let (read, count) = (Arc::clone(&case), Arc::clone(&open));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (read, count) = (Arc::clone(&read), Arc::clone(&count));
                tokio::spawn(async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = speak(stream, read).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, case, open }
    }

    fn plays(&self, case: Option<usize>) {
        *self.case.lock().expect("whole") = case;
    }
}

async fn speak(mut stream: TcpStream, case: Arc<Mutex<Option<usize>>>) -> std::io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frames(&[(SETTINGS, 0, 0, &[])])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (SETTINGS, 0) => stream.write_all(&frames(&[(SETTINGS, 1, 0, &[])])).await?,
            (HEADERS, _) => {
                let case = *case.lock().expect("whole");
                let Some((_, script, endless, _)) = case.map(|index| CASES[index]) else {
                    stream.write_all(&answer(id, &[OK], "honest")).await?;
                    continue;
                };
                stream.write_all(&script(id)).await?;
                while let Some(endless) = endless {
                    stream.write_all(&endless(id).repeat(100)).await?;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_misled_by_a_backend_that_speaks_http2() {
    let hostile = Hostile::start().await;
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    let mut route = proxy.route(&[BackendSpec { id: 1, addr: hostile.addr, weight: 1000 }]);
    route.protocols.upstream = Upstream::Http2;
    route.timeouts.response_head = Duration::from_millis(500);
    route.timeouts.body_idle = Duration::from_millis(500);
    proxy.set(1, route).await;
    let mut faults = Vec::new();
    for (index, (name, _, _, expect)) in CASES.iter().enumerate() {
        hostile.plays(Some(index));
        let text = "GET /evil HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close\r\n\r\n";
        let answers = converse(proxy.listen, &["GET"], text).await;
        let is_right = match (expect, &answers[..]) {
            (Gets(body), [one]) => one.status == 200 && one.is_whole && one.body == *body,
            (Fails, [one]) => matches!(one.status, 502 | 504) || !one.is_whole,
            (Fails, []) => true,
            _ => false,
        };
        if !is_right
            || format!("{answers:?}").contains("smuggled")
            || format!("{answers:?}").contains("stayed")
        {
            faults.push(format!("{name}: expected {expect:?}, got {answers:?}"));
        }
        hostile.plays(None);
        let honest = Http::connect(proxy.listen).await.get("/honest").await;
        if honest.status() != 200 || honest.body() != "honest" {
            faults.push(format!("{name}: another client got {honest:?}"));
        }
    }
    assert!(faults.is_empty(), "{} faults in {} cases:\n{}", faults.len(), CASES.len(), faults.join("\n"));
    until(&proxy, "nothing is under way", |stats| {
        stats.workload("web").is_some_and(|web| web.in_flight == 0)
    })
    .await;
    // Connections that flood are not kept to the end of days.
    until(&proxy, "most connections are closed", |_| hostile.open.load(Ordering::SeqCst) <= 2).await;
}
