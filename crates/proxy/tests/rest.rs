//! Connections that give their buffers back while they are silent: whatever else is under way on one must not be lost with them.

mod support;

use std::time::Duration;

use support::{Backend, Proxy, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than it takes a silent connection to rest, here.
const REST: Duration = Duration::from_millis(1300);

async fn proxy() -> Proxy {
    Proxy::start_with(|options| options.limits.rest_after = Duration::ZERO).await
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.listen).await.expect("connected")
}

async fn send(stream: &mut TcpStream, bytes: &str) {
    stream.write_all(bytes.as_bytes()).await.expect("sent");
}

/// Reads until the answer's last byte, which is `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut answer)).await;
        assert!(read.expect("in time").expect("a connection") > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_after_each_rest_and_before_its_first_request() {
    let backend = Backend::start(1).await;
    let proxy = proxy().await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let mut stream = connect(&proxy).await;
    for _ in 0..3 {
        tokio::time::sleep(REST).await;
        send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        answer(&mut stream, "\r\n\r\n1").await;
    }
    // Two at once, and a method that begins as the preface of HTTP/2 does.
    tokio::time::sleep(REST).await;
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\nPROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let both = answer(&mut stream, "\r\n\r\n1").await;
    if both.matches("HTTP/1.1 200").count() < 2 {
        answer(&mut stream, "\r\n\r\n1").await;
    }
    assert_eq!(backend.requests(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_in_pieces_is_waited_for() {
    let backend = Backend::start(1).await;
    let proxy = proxy().await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let mut stream = connect(&proxy).await;
    // The first piece might still become HTTP/2.
    for piece in ["P", "RI", "VATE / HTTP/1.1\r\nHo", "st: a\r\n\r\n"] {
        send(&mut stream, piece).await;
        tokio::time::sleep(REST).await;
    }
    answer(&mut stream, "\r\n\r\n1").await;
    // The second head came in part with the first: it lies in a buffer.
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT").await;
    answer(&mut stream, "\r\n\r\n1").await;
    tokio::time::sleep(REST).await;
    send(&mut stream, "TP/1.1\r\nHost: a\r\n\r\n").await;
    answer(&mut stream, "\r\n\r\n1").await;
    assert_eq!(backend.requests(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_the_client_does_not_take_is_kept_for_it() {
    const LENGTH: usize = 8_000_000;
    let backend = Backend::answering(1, |_, _| async { text("x".repeat(LENGTH) + "end") }).await;
    let proxy = proxy().await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let mut stream = connect(&proxy).await;
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(REST).await;
    let response = answer(&mut stream, "end").await;
    assert!(response.len() > LENGTH);
    tokio::time::sleep(REST).await;
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    answer(&mut stream, "end").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_after_its_answer_is_no_request() {
    let (listener, spec) = support::listener().await;
    let proxy = proxy().await;
    proxy.set(1, proxy.route(&[spec])).await;
    // Answers at the head, and reads on.
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut received = Vec::new();
        while !received.windows(4).any(|four| four == b"\r\n\r\n") {
            stream.read_buf(&mut received).await.expect("a head");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await.expect("answered");
        while !received.ends_with(b"the end") {
            assert!(stream.read_buf(&mut received).await.expect("a body") > 0, "cut off");
        }
        String::from_utf8(received).expect("text")
    });
    let mut stream = connect(&proxy).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len() + "the end".len();
    send(&mut stream, &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).await;
    answer(&mut stream, "early").await;
    tokio::time::sleep(REST).await;
    send(&mut stream, smuggled).await;
    tokio::time::sleep(REST).await;
    // Both ways are right: to pass the rest on as a body, or to end the connection; never to read it as a request.
    let _ = stream.write_all(b"the end").await;
    match tokio::time::timeout(Duration::from_secs(5), backend).await {
        Ok(Ok(received)) => assert!(received.contains(smuggled) && received.matches("POST").count() == 1),
        Ok(Err(_)) | Err(_) => {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "answered as a request: {}", String::from_utf8_lossy(&rest));
        }
    }
}
