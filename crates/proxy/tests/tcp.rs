//! TCP routes.

#[path = "support/tls.rs"]
mod certificates;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use certificates::Certificate;
use proxy::control::{BackendSpec, Protocol, ProxyVersion, Route, Stats};
use support::{Proxy, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Says its name, then everything back in capitals; after the client's end, `bye`.
async fn backend(id: u64) -> BackendSpec {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            tokio::spawn(async move {
                let _ = stream.write_all(format!("{id} ").as_bytes()).await;
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..count].to_ascii_uppercase()).await;
                }
                let _ = stream.write_all(b"bye").await;
            });
        }
    });
    BackendSpec { id, addr, weight: 1000 }
}

fn route(proxy: &Proxy, backends: &[BackendSpec]) -> Route {
    let mut route = proxy.route(backends);
    route.protocols.protocol = Protocol::Tcp;
    route
}

/// Everything that comes until the end.
async fn talk(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("ended");
    let mut seen = String::new();
    let _ = stream.read_to_string(&mut seen).await;
    seen
}

fn in_flight(stats: &Stats) -> (u32, u32) {
    let web = &stats.workloads[0];
    (web.in_flight, web.backends.iter().map(|backend| backend.in_flight).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_cross_both_ways_the_half_close_too_and_are_counted() {
    let backend = backend(1).await;
    let proxy = Proxy::start().await;
    proxy.set(1, route(&proxy, &[backend])).await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    let mut buffer = [0; 64];
    // The server may speak first.
    let count = stream.read(&mut buffer).await.expect("a greeting");
    assert_eq!(&buffer[..count], b"1 ");
    assert_eq!(in_flight(&proxy.stats().await), (1, 1));
    drop(stream);
    assert_eq!(talk(proxy.listen, "hello").await, "1 HELLObye");
    let stats = until(&proxy, "ended", |stats| in_flight(stats) == (0, 0)).await;
    let web = &stats.workloads[0];
    assert_eq!((web.arrivals, web.completed, web.failed, web.bytes_in), (2, 2, 0, 5));
    assert!(web.bytes_out >= 12, "{}", web.bytes_out);
    assert_eq!(web.latency.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_refuses_is_passed_by_and_none_at_all_is_waited_for() {
    let good = backend(2).await;
    let dead = BackendSpec { id: 1, addr: loopback::free_address(), weight: 1000 };
    let proxy = Proxy::start().await;
    proxy.set(1, route(&proxy, &[dead, good])).await;
    for _ in 0..20 {
        assert_eq!(talk(proxy.listen, "x").await, "2 Xbye");
    }
    proxy.set(2, route(&proxy, &[])).await;
    let listen = proxy.listen;
    let waiting = tokio::spawn(async move { talk(listen, "late").await });
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 1).await;
    proxy.set(3, route(&proxy, &[good])).await;
    assert_eq!(waiting.await.expect("served"), "2 LATEbye");
    let mut none = route(&proxy, &[]);
    none.hold = Duration::ZERO;
    proxy.set(4, none).await;
    assert_eq!(talk(listen, "never").await, "");
    let web = &proxy.stats().await.workloads[0];
    assert_eq!((web.held, web.rejected, web.failed), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_gives_its_place_up_and_one_that_has_spoken_keeps_it() {
    let proxy = Proxy::start().await;
    // A place for one, and longer than the test may take.
    proxy.set(1, Route { max_waiting: 1, hold: Duration::from_secs(60), ..route(&proxy, &[]) }).await;
    let silent = TcpStream::connect(proxy.listen).await.expect("connected");
    until(&proxy, "held", |stats| stats.workloads[0].held == 1).await;
    drop(silent);
    until(&proxy, "given up", |stats| stats.workloads[0].cancelled == 1 && in_flight(stats) == (0, 0)).await;
    let listen = proxy.listen;
    let spoken = tokio::spawn(async move { talk(listen, "x").await });
    until(&proxy, "held again", |stats| stats.workloads[0].held == 2).await;
    proxy.set(2, route(&proxy, &[backend(1).await])).await;
    assert_eq!(spoken.await.expect("no panic"), "1 Xbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_backend_keeps_its_connections_and_a_drained_proxy_waits_for_them() {
    let (old, new) = (backend(1).await, backend(2).await);
    let proxy = Proxy::start().await;
    proxy.set(1, route(&proxy, &[old])).await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    let mut buffer = [0; 64];
    let _ = stream.read(&mut buffer).await.expect("a greeting");
    proxy.set(2, route(&proxy, &[BackendSpec { weight: 0, ..old }, new])).await;
    assert_eq!(talk(proxy.listen, "x").await, "2 Xbye");
    proxy.client.shutdown(Duration::from_secs(30)).await.expect("begun");
    let ended = tokio::spawn(proxy.joined());
    stream.write_all(b"still").await.expect("sent");
    let count = stream.read(&mut buffer).await.expect("an echo");
    assert_eq!(&buffer[..count], b"STILL");
    assert!(!ended.is_finished());
    drop(stream);
    ended.await.expect("joined").expect("in good order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_a_connection() {
    let backend = backend(1).await;
    let proxy = Proxy::start().await;
    let mut route = route(&proxy, &[backend]);
    route.protocols.tunnel_idle = Duration::from_millis(200);
    proxy.set(1, route).await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    let mut seen = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut seen)).await;
    assert!(read.is_ok(), "still open");
    until(&proxy, "ended", |stats| in_flight(stats) == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_ends_here_and_the_backend_is_told_of_the_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::write(folder.path());
    let backend = backend(1).await;
    let proxy = Proxy::start().await;
    let mut route = route(&proxy, &[backend]);
    route.protocols.tls = Some(certificate.spec.clone());
    route.protocols.proxy_protocol.send = Some(ProxyVersion::V1);
    proxy.set(1, route).await;
    let mut stream = certificate.connect(proxy.listen, &[]).await.expect("shaken");
    let client = stream.get_ref().0.local_addr().expect("connected");
    stream.write_all(b"hello").await.expect("sent");
    let expected =
        format!("1 PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nHELLO", client.port(), proxy.listen.port());
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while seen.len() < expected.len() {
        let count = stream.read(&mut buffer).await.expect("an echo");
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert_eq!(seen, expected);
}
