//! Clients that are slow on purpose.

mod support;

use std::time::{Duration, Instant};

use support::{Backend, Http, Proxy, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a byte every 20 ms until the proxy has had enough, and says how long that took.
async fn dribble(stream: &mut TcpStream, bytes: impl Iterator<Item = u8>) -> Duration {
    let began = Instant::now();
    let mut buffer = [0; 1024];
    for byte in bytes {
        let sent = stream.write_all(&[byte]).await;
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut buffer)).await;
        if sent.is_err() || read.is_ok() {
            return began.elapsed();
        }
    }
    panic!("all of it was taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_byte_by_byte_is_cut_and_an_idle_connection_kept() {
    let backend = Backend::start(1).await;
    let proxy = Proxy::start_with(|options| options.limits.head_time = Duration::from_millis(300)).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let mut idle = Http::connect(proxy.listen).await;
    idle.get("/").await;
    let mut slow = TcpStream::connect(proxy.listen).await.expect("connected");
    let head =
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ".iter().copied().chain(std::iter::repeat_n(b'x', 1000));
    let took = dribble(&mut slow, head.clone()).await;
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&took), "{took:?}");
    // The same after a complete request: the limit counts from the first byte of the second.
    let mut second = TcpStream::connect(proxy.listen).await.expect("connected");
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let mut buffer = [0; 1024];
    assert!(second.read(&mut buffer).await.expect("an answer") > 0);
    let took = dribble(&mut second, head).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Silent all the while, and far below `client_idle`.
    assert_eq!(idle.get("/").await.body(), "1");
    assert_eq!(backend.requests(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_below_the_least_rate_is_cut_after_its_grace_and_a_steady_one_is_not() {
    let backend = Backend::answering(1, |_, request| async move {
        use http_body_util::BodyExt;
        let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
        support::text(length.to_string())
    })
    .await;
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.protocols.body_rate_min = 1000;
    route.protocols.body_grace = Duration::from_millis(300);
    proxy.set(1, route).await;
    let mut slow = TcpStream::connect(proxy.listen).await.expect("connected");
    slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n").await.expect("sent");
    let took = dribble(&mut slow, std::iter::repeat_n(b'x', 1999)).await;
    assert!((Duration::from_millis(250)..Duration::from_secs(3)).contains(&took), "{took:?}");

    let mut steady = TcpStream::connect(proxy.listen).await.expect("connected");
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n";
    steady.write_all(head).await.expect("sent");
    for _ in 0..10 {
        steady.write_all(&[b'x'; 200]).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut answer = String::new();
    steady.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("2000"), "{answer}");
    until(&proxy, "settled", |stats| stats.workloads[0].backends[0].in_flight == 0).await;
}
