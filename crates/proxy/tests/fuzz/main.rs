//! Mutated bytes as HTTP/1.1, through the real proxy to a backend that reads strictly.
//!
//! Whatever comes, the backend must see requests as the proxy makes them and no other: the field that the proxy adds to each tells
//! them from bytes that were meant to be a body. Nobody gets another's answer, nothing panics, and the proxy goes on serving.

#[path = "../support/http2.rs"]
#[expect(dead_code, reason = "only its server is used here")]
mod http2_support;
#[path = "../support/recorder.rs"]
#[expect(dead_code, reason = "backends speak HTTP/1.1 here")]
mod recorder;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fuzzing::{Target, did};
use recorder::{Recorder, Seen};
use support::{Proxy, get, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Stands for something that no other input has.
const TOKEN: &str = "@@";

const SEEDS: &[&str] = &[
    "GET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /@@?a=b&c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nCookie: a=1; b=2\r\nAccept: */*\r\n\r\n",
    "POST /@@ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /@@ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nX-Late: 1\r\n\r\nGET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /@@ HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /@@ HTTP/1.1\r\nHost: h\r\nContent-Length: 38\r\n\r\nGET /@@smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    "PUT /@@ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "GET http://h/@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /@@ HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /@@ HTTP/1.0\r\n\r\n",
    "GET /@@ HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nGET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\nGET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
];

const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    "\r\n ",
    ": ",
    ":",
    ",",
    ";",
    "\0",
    "GET /@@ HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST ",
    "HEAD ",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "Host: h\r\n",
    "Host: evil\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "transfer-encoding",
    "chunked",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: content-length\r\n",
    "Connection: transfer-encoding, host\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\n",
    "Trailer: x\r\n",
    "TE: trailers\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff",
    "http://evil/",
    "/@@",
    "..",
    "%0d%0a",
];

/// Panics anywhere in this process, the proxy's threads included.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            usual(info);
        }));
    });
}

/// Everything that comes back until the proxy closes or is silent.
async fn converse(address: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let mut answer = Vec::new();
    if stream.write_all(&bytes).await.is_err() {
        return answer;
    }
    let mut buffer = [0; 4096];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    answer
}

/// The tokens in a text.
fn tokens(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let is_token = |part: &&[u8]| part[0] == b'T' && part[1..].iter().all(u8::is_ascii_hexdigit);
    text.windows(TOKEN_LENGTH).filter(is_token).map(<[u8]>::to_vec).collect()
}

/// What is wrong with a request as the backend has got it.
fn fault(seen: &Seen, sent: &[Vec<u8>]) -> Option<String> {
    let is_whole = !matches!(seen.framing, "unfinished" | "nonsense");
    let is_ours = seen.values("x-forwarded-for") == ["127.0.0.1"] && seen.values("host").len() == 1;
    let is_clean = !seen.head.replace("\r\n", "").contains(['\r', '\n', '\0']);
    // An absolute target without a path, `http://h?a`, is sent on as `/?a`.
    let target =
        seen.target().strip_prefix('/').filter(|rest| rest.starts_with('?')).unwrap_or(seen.target());
    let target = target.as_bytes();
    let is_sent = seen.target() == "/"
        || seen.target() == "*"
        || sent.iter().any(|sent| sent.windows(target.len().max(1)).any(|part| part == target));
    let is_right = seen.framing != "nonsense" && (!is_whole || (is_ours && is_clean && is_sent));
    (!is_right).then(|| format!("the backend has got {seen:?}"))
}

/// What was sent of late, since a backend may get a request a moment after its client has left.
#[derive(Default)]
struct Recent(Vec<Vec<Vec<u8>>>);

impl Recent {
    fn add(&mut self, sent: Vec<Vec<u8>>) {
        self.0.insert(0, sent);
        self.0.truncate(8);
    }
}

async fn check(
    proxy: &Proxy,
    recorder: &Recorder,
    inputs: &[Vec<u8>],
    (number, recent): (usize, &mut Recent),
) -> Result<Vec<u64>, String> {
    let token = |index: usize| format!("T{:010x}", number + index);
    let sent: Vec<Vec<u8>> =
        inputs.iter().enumerate().map(|(index, input)| replaced(input, token(index).as_bytes())).collect();
    let talks: Vec<_> =
        sent.iter().map(|bytes| tokio::spawn(converse(proxy.listen, bytes.clone()))).collect();
    let mut answers = Vec::new();
    for talk in talks {
        answers.push(talk.await.map_err(|error| error.to_string())?);
    }
    let seen = recorder.take();
    recent.add(sent);
    if let Some(fault) = seen.iter().find_map(|seen| fault(seen, &recent.0.concat())) {
        return Err(fault);
    }
    if PANICS.load(Ordering::SeqCst) > 0 {
        PANICS.store(0, Ordering::SeqCst);
        return Err("something has panicked".to_owned());
    }
    let mut done = Vec::new();
    for (index, (answer, input)) in answers.iter().zip(inputs).enumerate() {
        let own = token(index).into_bytes();
        if let Some(other) = tokens(answer)
            .iter()
            .find(|found| **found != own && !input.windows(TOKEN_LENGTH).any(|part| part == **found))
        {
            let (other, answer) = (String::from_utf8_lossy(other), String::from_utf8_lossy(answer));
            return Err(format!("the answer to another, {other}: {answer}"));
        }
        let text = String::from_utf8_lossy(answer);
        let statuses: Vec<&str> =
            text.split("HTTP/1.1 ").skip(1).take(4).filter_map(|rest| rest.get(..3)).collect();
        let own = String::from_utf8_lossy(&own).into_owned();
        let framings: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.target().contains(&own))
            .map(|seen| seen.framing)
            .take(4)
            .collect();
        done.push(did(&(statuses, framings)));
    }
    Ok(done)
}

fn replaced(input: &[u8], token: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(input.len() + 64);
    let mut rest = input;
    while let Some(at) = rest.windows(TOKEN.len()).position(|part| part == TOKEN.as_bytes()) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(token);
        rest = &rest[at + TOKEN.len()..];
    }
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn http1() {
    count_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (proxy, recorder) = runtime.block_on(async {
        let (proxy, recorder) = (Proxy::start().await, Recorder::start().await);
        proxy.set(1, proxy.route(&[recorder.spec()])).await;
        (proxy, recorder)
    });
    let seeds = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let (mut number, mut recent) = (0, Recent::default());
    Target { name: "http1", seeds, words: WORDS, inputs: 6000 }.run_together(TOGETHER, |inputs| {
        number += inputs.len();
        runtime.block_on(check(&proxy, &recorder, inputs, (number, &mut recent)))
    });
    runtime.block_on(async {
        assert_eq!(get(proxy.listen, "/honest").await.1, "/honest");
        until(&proxy, "nothing is under way", |stats| {
            stats.workload("web").is_some_and(|web| web.in_flight == 0)
        })
        .await;
    });
}

const TOGETHER: usize = 32;
const TOKEN_LENGTH: usize = 11;
/// After which nothing more is expected.
const SILENCE: Duration = Duration::from_millis(25);
