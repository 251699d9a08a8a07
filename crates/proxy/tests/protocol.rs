//! What crosses the proxy and what must not: versions, framing, hop-by-hop fields, bodies, upgrades.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy::control::Stats;
use support::{Backend, Http, Proxy, get, raw, text, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers with the head it received, one field per line.
async fn mirror() -> Backend {
    Backend::answering(1, |_, request| async move {
        let mut lines = vec![format!("{} {} {:?}", request.method(), request.uri(), request.version())];
        for (name, value) in request.headers() {
            lines.push(format!("{name}: {}", value.to_str().unwrap_or("?")));
        }
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        lines.push(format!("body {}", String::from_utf8_lossy(&body)));
        text(lines.join("\n"))
    })
    .await
}

async fn proxy_over(backend: &Backend) -> Proxy {
    let proxy = Proxy::start().await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    proxy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hop_by_hop_fields_end_here_and_the_client_is_named() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let answer = raw(
        proxy.listen,
        b"GET /path?q=1 HTTP/1.1\r\nHost: site\r\nConnection: close, x-private\r\nX-Private: 1\r\nKeep-Alive: 9\r\n\
          TE: trailers\r\nProxy-Authorization: x\r\nX-Public: 2\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && head.to_lowercase().contains("connection: close"),
        "{head}"
    );
    let mut lines: Vec<_> = body.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /path?q=1 HTTP/1.1",
            "body ",
            "host: site",
            "x-forwarded-for: 9.9.9.9, 127.0.0.1",
            "x-forwarded-host: site",
            &format!("x-forwarded-port: {}", proxy.listen.port()),
            "x-forwarded-proto: http",
            "x-public: 2"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_requests_are_refused_or_made_unambiguous() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let status = |answer: &str| answer.get(9..12).unwrap_or("none").to_owned();
    for (name, request) in [
        ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("a bad length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
        (
            "an unknown coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        ("a disguised coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a coding in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX-Field : 1\r\n\r\n"),
        ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX-Field: 1\r\n 2\r\n\r\n"),
        ("a bare CR", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
        ("a NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("an unknown version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ] {
        let answer = raw(proxy.listen, request.as_bytes()).await;
        assert_eq!(status(&answer), "400", "{name}: {answer}");
    }
    assert_eq!(backend.requests(), 0);
    // Both framings: the coding decides, and the backend is not told the length.
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = raw(proxy.listen, both.as_bytes()).await;
    assert!(answer.contains("body hello") && !answer.contains("content-length: 4"), "{answer}");
    assert!(!answer.contains("/smuggled"), "{answer}");
    assert_eq!(backend.requests(), 1);
    // A chunk that lies about its size breaks the request, not the next one.
    raw(
        proxy.listen,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(get(proxy.listen, "/after").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_and_oversized_heads_are_refused() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let answer = raw(proxy.listen, b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    let upgrade = raw(
        proxy.listen,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    )
    .await;
    assert!(upgrade.starts_with("HTTP/1.1 200") && !upgrade.contains("h2c"), "{upgrade}");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(80 * 1024));
    let answer = raw(proxy.listen, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200));
    let answer = raw(proxy.listen, many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_without_tls_is_served_with_many_requests_at_once() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let stream = TcpStream::connect(proxy.listen).await.expect("connected");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.expect("speaks HTTP/2");
    tokio::spawn(connection);
    let requests: Vec<_> = (0..20)
        .map(|index| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request = Request::post(format!("http://site/{index}"))
                    .header("cookie", "a=1")
                    .header("cookie", "b=2");
                let request =
                    request.body(Full::new(Bytes::from(format!("hello {index}")))).expect("a request");
                let response = sender.send_request(request).await.expect("an answer");
                assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                let body = String::from_utf8_lossy(&body).into_owned();
                assert!(
                    body.contains(&format!("POST /{index} HTTP/1.1"))
                        && body.contains(&format!("body hello {index}")),
                    "{body}"
                );
                assert!(body.contains("host: site") && body.contains("cookie: a=1; b=2"), "{body}");
            })
        })
        .collect();
    for request in requests {
        request.await.expect("right");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let stream = TcpStream::connect(proxy.listen).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let body = StreamBody::new(futures_util::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|piece| (piece, body))
    }));
    let request = Request::put("/").header("host", "a").body(BodyExt::boxed(body)).expect("a request");
    let answer = tokio::spawn(async move { sender.send_request(request).await });
    for _ in 0..1000 {
        pieces.send(Ok(Frame::data(Bytes::from(vec![b'x'; 1024])))).await.expect("read");
    }
    drop(pieces);
    let body = answer
        .await
        .expect("joined")
        .expect("an answer")
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let body = String::from_utf8_lossy(&body);
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    let web = &stats.workloads[0];
    assert_eq!((web.bytes_in, web.bytes_out), (1024 * 1000, body.len() as u64));
    assert!(body.contains("transfer-encoding: chunked"), "{}", &body[..200]);
    assert_eq!(
        body.matches('x').count(),
        // One in the name of each of the four forwarding fields.
        1024 * 1000 + 4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_arrives_piece_by_piece_with_its_trailers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\none\r\n")
            .await
            .expect("sent");
        let _ = gone.await;
        stream.write_all(b"3\r\ntwo\r\n0\r\nx-sum: 6\r\n\r\n").await.expect("sent");
        let _ = stream.read(&mut buffer).await;
    });
    let proxy = Proxy::start().await;
    proxy.set(1, proxy.route(&[proxy::control::BackendSpec { id: 1, addr, weight: 1000 }])).await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").await.expect("sent");
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains("one") {
        let count = stream.read(&mut buffer).await.expect("the first piece");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    go.send(()).expect("waiting");
    while !seen.contains("x-sum: 6") {
        let count = stream.read(&mut buffer).await.expect("the rest");
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(seen.contains("two"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_crosses_and_counts_as_in_flight_until_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.expect("a request");
        let head = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: k\r\n\r\n";
        stream.write_all(answer).await.expect("sent");
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count].to_ascii_uppercase()).await.expect("sent");
        }
    });
    let proxy = Proxy::start().await;
    proxy.set(1, proxy.route(&[proxy::control::BackendSpec { id: 1, addr, weight: 1000 }])).await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    stream
        .write_all(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .expect("sent");
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains("\r\n\r\n") {
        let count = stream.read(&mut buffer).await.expect("an answer");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(seen.starts_with("HTTP/1.1 101") && seen.contains("sec-websocket-accept: k"), "{seen}");
    stream.write_all(b"hello").await.expect("sent");
    let count = stream.read(&mut buffer).await.expect("an echo");
    assert_eq!(&buffer[..count], b"HELLO");
    let in_flight = |stats: &proxy::control::Stats| {
        (stats.workloads[0].in_flight, stats.workloads[0].backends[0].in_flight)
    };
    assert_eq!(in_flight(&proxy.stats().await), (1, 1));
    drop(stream);
    let stats = until(&proxy, "ended", |stats| in_flight(stats) == (0, 0)).await;
    let web = &stats.workloads[0];
    assert_eq!((web.completed, web.bytes_in, web.bytes_out), (1, 5, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_is_counted_and_its_backend_connection_closed() {
    let backend = Backend::slow(1, Duration::from_secs(20)).await;
    let proxy = proxy_over(&backend).await;
    let listen = proxy.listen;
    let leaving = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "in flight", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    leaving.abort();
    // Counters of one request are written one after the other.
    let gone = |stats: &Stats| {
        let workload = &stats.workloads[0];
        (workload.backends[0].in_flight, workload.cancelled, stats.connections) == (0, 1, 0)
    };
    let stats = until(&proxy, "left", gone).await;
    assert_eq!(stats.workloads[0].failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_empty_bodies_cross_unchanged() {
    let backend = Backend::answering(1, |_, request| async move {
        let mut response = if request.uri().path() == "/none" { text("") } else { text("four") };
        if request.uri().path() == "/none" {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        response
    })
    .await;
    let proxy = proxy_over(&backend).await;
    let mut http = Http::connect(proxy.listen).await;
    let request = Request::head("/").header("host", "a").body(Full::default()).expect("a request");
    let answer = http.send(request).await.expect("an answer");
    assert_eq!((answer.headers()["content-length"].to_str().ok(), answer.body().len()), (Some("4"), 0));
    assert_eq!(http.get("/none").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(http.get("/").await.body(), "four");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_its_head_too_slowly_is_cut() {
    let backend = Backend::start(1).await;
    let proxy = Proxy::start_with(|options| options.limits.client_idle = Duration::from_millis(300)).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("sent");
    let mut buffer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.expect("cut");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let backend = Backend::start(1).await;
    let proxy = Proxy::start_with(|options| (options.workers, options.limits.connections_max) = (1, 2)).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let (mut first, mut second) = (Http::connect(proxy.listen).await, Http::connect(proxy.listen).await);
    first.get("/").await;
    second.get("/").await;
    let listen = proxy.listen;
    let third = tokio::spawn(async move { get(listen, "/").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!third.is_finished());
    drop(first);
    assert_eq!(third.await.expect("answered").0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_upgrades_that_the_route_allows_are_passed_on_and_only_the_one_asked_for_is_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).await.expect("a request");
                let head = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
                let becomes = if head.starts_with("get /liar") { "other" } else { "mqtt" };
                let answer = if head.contains("\r\nupgrade: mqtt\r\n") {
                    format!(
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {becomes}\r\n\r\nhello"
                    )
                } else {
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain".to_owned()
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[proxy::control::BackendSpec { id: 1, addr, weight: 1000 }]);
    route.protocols.upgrades = vec!["mqtt".to_owned()];
    proxy.set(1, route).await;
    let ask = async |path: &str, protocol: &str| {
        let asked =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        raw(proxy.listen, asked.as_bytes()).await
    };
    let answer = ask("/", "MQTT").await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("hello"), "{answer}");
    let answer = ask("/", "websocket").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("plain"), "{answer}");
    let answer = ask("/liar", "mqtt").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_longer_than_the_route_allows_are_refused() {
    let backend = mirror().await;
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.protocols.body_bytes_max = Some(5);
    proxy.set(1, route).await;
    let post = async |framing: &str, body: &str| {
        raw(proxy.listen, format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}").as_bytes()).await
    };
    assert!(post("Content-Length: 5", "hello").await.starts_with("HTTP/1.1 200"));
    assert!(post("Content-Length: 6", "hello!").await.starts_with("HTTP/1.1 413"));
    assert_eq!(backend.requests(), 1);
    let chunked = "Transfer-Encoding: chunked";
    assert!(post(chunked, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert!(post(chunked, "3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_heads_have_no_more_fields_than_others() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let stream = TcpStream::connect(proxy.listen).await.expect("connected");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("speaks HTTP/2");
    tokio::spawn(connection);
    for (fields, status) in [(80, StatusCode::OK), (200, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
        let request = (0..fields).fold(Request::get("http://site/"), |request, _| request.header("x", "1"));
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        assert_eq!(sender.send_request(request).await.expect("an answer").status(), status);
    }
}
