//! Clients that flood by HTTP/2: what the proxy keeps for them is bounded, and others are served meanwhile.
//!
//! The only test of its program: it measures the memory of the whole process.

#[path = "support/frames.rs"]
mod frames;
mod support;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use frames::{END_HEADERS, END_STREAM, HEADERS, PREFACE, block, frame};
use support::{Backend, Proxy, get, until};

/// What is sent again and again; the number counts up.
type Piece = fn(u32) -> Vec<u8>;

struct Flood {
    name: &'static str,
    begin: Piece,
    again: Piece,
    /// Whether the client takes what comes back.
    reads: bool,
    /// Whether the proxy must end the connection, however well it could bear it.
    is_ended: bool,
}

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const FLOODS: &[Flood] = &[
    Flood {
        name: "rapid reset",
        begin: none,
        again: |n| [request(n, END_STREAM), one(RESET, 0, stream(n), &[0, 0, 0, 8])].concat(),
        reads: true,
        is_ended: true,
    },
    Flood {
        name: "rapid reset, nothing read",
        begin: none,
        again: |n| [request(n, END_STREAM), one(RESET, 0, stream(n), &[0, 0, 0, 8])].concat(),
        reads: false,
        is_ended: true,
    },
    // A window of no size is an error of the stream, which the proxy resets itself.
    Flood {
        name: "streams that make the proxy reset them",
        begin: none,
        again: |n| [request(n, 0), one(WINDOW, 0, stream(n), &[0; 4])].concat(),
        reads: true,
        is_ended: true,
    },
    Flood {
        name: "a head for ever",
        begin: |_| one(HEADERS, END_STREAM, 1, &block(HEAD)),
        again: |_| {
            one(CONTINUATION, 0, 1, &block(&[("x", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")]))
        },
        reads: true,
        is_ended: true,
    },
    Flood {
        name: "empty pieces of a head for ever",
        begin: |_| one(HEADERS, END_STREAM, 1, &block(HEAD)),
        again: |_| one(CONTINUATION, 0, 1, b""),
        reads: true,
        is_ended: true,
    },
    Flood { name: "heads that unpack to much more", begin: none, again: bomb, reads: true, is_ended: false },
    Flood {
        name: "settings",
        begin: none,
        again: |_| one(SETTINGS, 0, 0, &[]),
        reads: false,
        is_ended: false,
    },
    Flood {
        name: "settings that change the window of all streams",
        begin: |n| request(n, 0),
        again: |n| one(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, n as u8]),
        reads: false,
        is_ended: false,
    },
    Flood {
        name: "settings that change the table",
        begin: none,
        again: |n| one(SETTINGS, 0, 0, &[0, 1, 0, 0, (n % 16) as u8, 0]),
        reads: false,
        is_ended: false,
    },
    Flood { name: "pings", begin: none, again: |_| one(PING, 0, 0, &[0; 8]), reads: false, is_ended: false },
    Flood {
        name: "pings, answers read",
        begin: none,
        again: |_| one(PING, 0, 0, &[0; 8]),
        reads: true,
        is_ended: false,
    },
    Flood {
        name: "priorities",
        begin: none,
        again: |n| one(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 1]),
        reads: true,
        is_ended: false,
    },
    Flood {
        name: "windows",
        begin: |n| request(n, 0),
        again: |_| one(WINDOW, 0, 1, &[0, 0, 0, 1]),
        reads: true,
        is_ended: false,
    },
    Flood {
        name: "empty pieces of a body",
        begin: |_| request(0, 0),
        again: |_| one(DATA, 0, 1, b""),
        reads: true,
        is_ended: false,
    },
    Flood {
        name: "answers that are never read",
        begin: none,
        again: |n| request(n, END_STREAM),
        reads: false,
        is_ended: false,
    },
];

const HEAD: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", "/flood")];

fn none(_: u32) -> Vec<u8> {
    Vec::new()
}

fn one(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, kind, flags, stream, payload);
    bytes
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

fn request(number: u32, flags: u8) -> Vec<u8> {
    one(HEADERS, END_HEADERS | flags, stream(number), &block(HEAD))
}

/// A field of 4,000 bytes that is put into the table of the connection, and named 4,000 times.
fn bomb(number: u32) -> Vec<u8> {
    let mut head = block(HEAD);
    head.extend_from_slice(&[0x40, 1, b'x', 0x7f, (3873 % 128) as u8 | 0x80, (3873 / 128) as u8]);
    head.extend(std::iter::repeat_n(b'a', 4000));
    head.extend(std::iter::repeat_n(0x80 | 62, 4000));
    one(HEADERS, END_HEADERS | END_STREAM, stream(number), &head)
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The proxy closed the connection.
    Ended,
    /// The proxy took no more for a while: the flood fills the client's own buffers.
    HeldBack,
    /// All of it was taken.
    Taken,
}

async fn pour(address: std::net::SocketAddr, flood: &Flood) -> Outcome {
    let mut begin = PREFACE.to_vec();
    frame(&mut begin, SETTINGS, 0, 0, &[]);
    begin.extend_from_slice(&(flood.begin)(0));
    let (mut read, mut write) = TcpStream::connect(address).await.expect("connected").into_split();
    let reads = flood.reads;
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while reads && matches!(read.read(&mut buffer).await, Ok(1..)) {}
        // What is not read is kept open.
        (!reads).then_some(read)
    });
    let mut outcome = Outcome::Taken;
    let (mut sent, mut number) = (0, 0);
    let mut bytes = begin;
    while sent < FLOOD_BYTES {
        match tokio::time::timeout(HELD_BACK, write.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Outcome::Ended,
            Err(_) => {
                outcome = Outcome::HeldBack;
                break;
            }
        }
        sent += bytes.len();
        bytes.clear();
        while bytes.len() < 16 << 10 {
            bytes.extend_from_slice(&(flood.again)(number));
            number += 1;
        }
    }
    // One that was ended just now is seen by its reader.
    if reads && tokio::time::timeout(HELD_BACK, reader).await.is_ok() { Outcome::Ended } else { outcome }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_stops_nobody_and_fills_nothing() {
    let backend = Backend::start(1).await;
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    assert_eq!(get(proxy.listen, "/").await.0, 200);
    let mut faults = Vec::new();
    for flood in FLOODS {
        let before = resident_bytes();
        let pouring = pour(proxy.listen, flood);
        let mut pouring = std::pin::pin!(pouring);
        let mut slowest = Duration::ZERO;
        let outcome = loop {
            let probe = async {
                let began = Instant::now();
                assert_eq!(get(proxy.listen, "/honest").await.0, 200, "beside {}", flood.name);
                let took = began.elapsed();
                tokio::time::sleep(Duration::from_millis(5)).await;
                took
            };
            tokio::select! {
                outcome = &mut pouring => break outcome,
                took = probe => slowest = slowest.max(took),
            }
        };
        let grown = resident_bytes().saturating_sub(before) >> 20;
        println!("{}: {outcome:?}, another waited {slowest:?} at most, {grown} MiB more", flood.name);
        if flood.is_ended && outcome != Outcome::Ended {
            faults.push(format!("{}: {outcome:?}", flood.name));
        }
        if slowest > SLOWEST || grown > GROWN_MIB_MAX {
            faults.push(format!("{}: another waited {slowest:?}, {grown} MiB more", flood.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    until(&proxy, "nothing is under way", |stats| {
        stats.workload("web").is_some_and(|web| web.in_flight == 0)
    })
    .await;
}

/// Memory of this process, the proxy in it included.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is told");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Of each flood.
const FLOOD_BYTES: usize = 16 << 20;
const HELD_BACK: Duration = Duration::from_millis(300);
/// On a machine that builds at the same time.
const SLOWEST: Duration = Duration::from_secs(2);
const GROWN_MIB_MAX: u64 = 64;
