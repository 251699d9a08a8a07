//! What is kept, how much of it, and that keeping delays nothing.

use std::time::Duration;

use http::StatusCode;
use proxy::control::{BackendSpec, CacheSpec, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::support::{Backend, Http, Proxy, raw};
use super::{ask, body, caching_with, counted, get, respond};

/// A backend that says these pieces on each connection, one after the other, the second when it is told to; then it closes.
async fn speaking(first: &'static str, second: &'static str) -> (BackendSpec, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let (go, gone) = oneshot::channel();
    tokio::spawn(async move {
        let mut gone = Some(gone);
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(first.as_bytes()).await;
            if let Some(gone) = gone.take() {
                let _ = gone.await;
            }
            let _ = stream.write_all(second.as_bytes()).await;
        }
    });
    (BackendSpec { id: 1, addr, weight: 1000 }, go)
}

async fn over(spec: BackendSpec) -> Proxy {
    let proxy = Proxy::start().await;
    proxy.set(1, Route { cache: Some(CacheSpec::default()), ..proxy.route(&[spec]) }).await;
    proxy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_streams_through_while_it_is_kept() {
    let (spec, go) =
        speaking("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\nfirst", "-last")
            .await;
    let proxy = over(spec).await;
    let mut client = TcpStream::connect(proxy.listen).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.ends_with("first") {
        let reading = tokio::time::timeout(Duration::from_secs(5), client.read(&mut buffer));
        let count = reading.await.expect("before the backend has said the rest").expect("read");
        seen.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
    go.send(()).expect("waiting");
    while !seen.ends_with("-last") {
        let count = client.read(&mut buffer).await.expect("read");
        seen.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
    let again = raw(proxy.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(again.contains("; hit;") && again.ends_with("first-last"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_a_body_that_broke_off_or_whose_end_is_not_certain() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";
    for (name, framing, is_kept) in [
        ("a length that is not reached", "content-length: 100\r\n\r\nshort", false),
        ("chunks without an end", "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", false),
        ("only the connection's end", "connection: close\r\n\r\nshort", false),
        ("trailers", "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\nx-trailer: 1\r\n\r\n", false),
        ("a length", "content-length: 5\r\n\r\nshort", true),
        ("chunks", "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n", true),
    ] {
        let whole = format!("{head}{framing}").leak();
        let (spec, go) = speaking(whole, "").await;
        go.send(()).expect("waiting");
        let proxy = over(spec).await;
        raw(proxy.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(counted(&proxy).await.entries, u64::from(is_kept), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_passes_and_is_not_kept() {
    let backend = Backend::answering(1, |count, request| async move {
        let bytes: usize = request.uri().path()[1..].parse().expect("a number");
        respond("cache-control: max-age=60", if count % 2 == 0 { "y" } else { "x" }.repeat(bytes))
    })
    .await;
    let spec = CacheSpec { object_bytes_max: 100_000, ..CacheSpec::new(1 << 20) };
    let proxy = caching_with(&backend, spec).await;
    for (path, is_kept) in [("/90000", true), ("/99990", false), ("/100001", false), ("/500000", false)] {
        let before = backend.requests();
        let bytes: usize = path[1..].parse().expect("a number");
        for _ in 0..2 {
            assert_eq!(get(&proxy, path, "").await.body().len(), bytes);
        }
        assert_eq!(backend.requests() - before, if is_kept { 1 } else { 2 }, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_are_bounded_whatever_is_asked_for() {
    let backend = Backend::answering(1, |_, request| async move {
        let n: usize = request.uri().path()[1..].parse().expect("a number");
        respond("cache-control: max-age=600", "x".repeat(500 + n % 9000))
    })
    .await;
    let bytes_max = 512 << 10;
    let proxy = caching_with(&backend, CacheSpec::new(bytes_max)).await;
    let mut client = Http::connect(proxy.listen).await;
    for n in 0..1000 {
        let answer = client.send(ask(http::Method::GET, &format!("/{n}"), "")).await.expect("an answer");
        assert_eq!(answer.body().len(), 500 + n % 9000);
        if n % 100 == 0 {
            assert!(counted(&proxy).await.bytes <= bytes_max);
        }
    }
    let counts = counted(&proxy).await;
    assert!(counts.bytes <= bytes_max && counts.bytes > bytes_max / 2, "{counts:?}");
    assert!(counts.evictions > 100 && counts.entries > 20, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_from_memory_comes_whole() {
    let whole: String = (0..200_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let told = whole.clone();
    let backend = Backend::answering(1, move |_, _| {
        let told = told.clone();
        async move { respond("cache-control: max-age=60", told) }
    })
    .await;
    let proxy = caching_with(&backend, CacheSpec::default()).await;
    for _ in 0..3 {
        assert!(body(&get(&proxy, "/", "").await) == whole);
    }
    let middle = get(&proxy, "/", "range: bytes=70000-199998").await;
    assert!(body(&middle) == &whole[70_000..199_999]);
    assert_eq!(backend.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_outlives_tables_and_goes_with_its_route() {
    let backend =
        Backend::answering(
            1,
            |count, _| async move { respond("cache-control: max-age=60", format!("{count}")) },
        )
        .await;
    let proxy = caching_with(&backend, CacheSpec::default()).await;
    let route = |cache| Route { cache, ..proxy.route(&[backend.spec(500)]) };
    get(&proxy, "/", "").await;
    proxy.set(2, route(Some(CacheSpec::default()))).await;
    assert_eq!(body(&get(&proxy, "/", "").await), "1");
    // No backend is needed for what is kept.
    proxy.set(3, Route { backends: Vec::new(), ..route(Some(CacheSpec::default())) }).await;
    assert_eq!(get(&proxy, "/", "").await.status(), StatusCode::OK);
    proxy.set(4, route(None)).await;
    let plain = get(&proxy, "/", "").await;
    assert_eq!((body(&plain), plain.headers().contains_key("cache-status")), ("2", false));
    proxy.set(5, route(Some(CacheSpec::new(1 << 20)))).await;
    assert_eq!(body(&get(&proxy, "/", "").await), "3");
}
