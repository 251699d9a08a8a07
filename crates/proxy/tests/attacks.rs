//! Attacks on the difference between two readers of one request: smuggling, desynchronisation, injected fields. The kinds are
//! those of published advisories and research; every text is ours.
//!
//! The backend reads strictly and keeps what it gets. Of every attack it must get nothing, or one request whose framing leaves
//! no choice. After each, a client of its own must get its own answer. Cache keys without host
//! or scheme are not tried here: these routes keep no answers.

#[path = "support/frames.rs"]
mod frames;
#[path = "attacks/framing.rs"]
mod framing;
#[path = "attacks/heads.rs"]
mod heads;
#[path = "attacks/http2.rs"]
mod http2;
#[path = "support/http2.rs"]
#[expect(dead_code, reason = "only its server is used here")]
mod http2_support;
#[path = "support/recorder.rs"]
mod recorder;
mod support;

use std::time::Duration;

use proxy::control::Upstream;
use recorder::{Recorder, Seen};
use support::{Proxy, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One attack.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    name: &'static str,
    request: &'static [u8],
    expect: Expect,
}

/// What must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// One answer that says it is the client's fault or not done here, the connection closed, nothing for the backend.
    Refused,
    /// One request for the backend: target, framing and body. Nothing else, and the connection closed.
    Passes(&'static str, &'static str, &'static str),
    /// The backend may have got the beginning, and sees that the rest never came. At most one answer, the client's fault.
    Cut,
}

async fn stage() -> (Recorder, Proxy) {
    let recorder = Recorder::start().await;
    let proxy = Proxy::start().await;
    proxy.set(1, proxy.route(&[recorder.spec()])).await;
    (recorder, proxy)
}

/// The same with a backend that speaks HTTP/2.
async fn http2_stage() -> (Recorder, Proxy) {
    let recorder = Recorder::start_http2().await;
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[recorder.spec()]);
    route.protocols.upstream = Upstream::Http2;
    proxy.set(1, route).await;
    (recorder, proxy)
}

/// Everything that comes back until the proxy closes; None if it does not.
async fn converse(proxy: &Proxy, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// What is wrong with how a case went, if anything.
fn fault(case: &Case, answer: Option<&str>, seen: &[Seen]) -> Option<String> {
    let Some(answer) = answer else { return Some("the connection stayed open".to_owned()) };
    let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    let answers = answer.matches("HTTP/1.1 ").count();
    let status = answer.get(9..12).unwrap_or_default();
    let is_refusal = status.starts_with('4') || status == "501" || status == "505";
    let smuggled = seen.iter().any(|request| request.head.contains("smuggled"));
    let is_right = match case.expect {
        Expect::Refused => answers == 1 && is_refusal && seen.is_empty(),
        Expect::Cut => {
            let unfinished = seen.iter().all(|request| request.framing == "unfinished");
            answers <= 1 && (status.is_empty() || is_refusal) && unfinished && seen.len() <= 1
        }
        Expect::Passes(target, framing, body) => {
            let is_it = |request: &Seen| {
                request.target() == target
                    && (request.framing == framing || request.framing == "frames")
                    && request.body == body.as_bytes()
                    && request.values("host") == ["h"]
                    && !request.head.replace("\r\n", "").contains(['\r', '\n', '\0'])
            };
            answers == 1 && status == "200" && matches!(seen, [request] if is_it(request))
        }
    };
    (!is_right || smuggled).then(|| format!("answered {answer:?}, the backend has {seen:?}"))
}

async fn play(cases: &[Case]) {
    play_on(stage().await, cases).await;
}

async fn play_on((recorder, proxy): (Recorder, Proxy), cases: &[Case]) {
    let mut faults = Vec::new();
    for case in cases {
        let answer = converse(&proxy, case.request).await;
        let honest = get(proxy.listen, "/honest").await;
        let (mine, seen): (Vec<Seen>, Vec<Seen>) =
            settled(&recorder, case).await.into_iter().partition(|request| request.target() == "/honest");
        if honest.1 != "/honest" || mine.len() != 1 {
            faults.push(format!("{}: another client got {honest:?}", case.name));
        }
        if let Some(fault) = fault(case, answer.as_deref(), &seen) {
            faults.push(format!("{}: expected {:?}, {fault}", case.name, case.expect));
        }
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// What the backend has; where a request was cut, it may learn of that a moment after the client.
async fn settled(recorder: &Recorder, case: &Case) -> Vec<Seen> {
    if case.expect == Expect::Cut {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    recorder.take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_them_towards_http2() {
    let all = [
        framing::LENGTHS,
        framing::CODINGS,
        framing::CHUNKS,
        framing::TRAILERS,
        heads::LINES,
        heads::TARGETS,
    ];
    play_on(http2_stage().await, &all.concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths() {
    play(framing::LENGTHS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfer_codings() {
    play(framing::CODINGS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks() {
    play(framing::CHUNKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers() {
    play(framing::TRAILERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines() {
    play(heads::LINES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets() {
    play(heads::TARGETS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades() {
    play(heads::UPGRADES).await;
}

/// Behind a request to upgrade, bytes must not go on before the backend has agreed; here it never does. The proxy has read them
/// as a request, which is seen by the field that it adds to each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_an_upgrade_are_a_request_of_their_own() {
    let (recorder, proxy) = stage().await;
    let request = b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\
                    GET /behind HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = converse(&proxy, request).await.expect("closed");
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    let seen = recorder.take();
    let targets: Vec<&str> = seen.iter().map(Seen::target).collect();
    assert_eq!(targets, ["/upgrade", "/behind"]);
    assert!(seen.iter().all(|request| request.values("x-forwarded-for") == ["127.0.0.1"]), "{seen:?}");
}

/// What the proxy tells a backend of the client is not for the client to take out by naming it in Connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_proxy_says_of_the_client_cannot_be_declared_hop_by_hop() {
    for (recorder, proxy) in [stage().await, http2_stage().await] {
        let request = "GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close, x-forwarded-for, \
                       X-Forwarded-Host, x-forwarded-proto, x-forwarded-port, host, traceparent, x-kept\r\nX-Kept: 1\r\n\r\n";
        let answer = converse(&proxy, request.as_bytes()).await.expect("closed");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let [seen] = &recorder.take()[..] else { panic!("one request") };
        for (name, value) in
            [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "h"), ("x-forwarded-proto", "http")]
        {
            assert!(seen.values(name).iter().any(|found| found.ends_with(value)), "{name}: {seen:?}");
        }
        assert_eq!((seen.values("host"), seen.values("x-kept")), (vec!["h"], vec![]));
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
