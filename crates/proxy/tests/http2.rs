//! Backends that speak HTTP/2, as gRPC needs.

#[path = "support/http2.rs"]
mod multiplexed;
mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use multiplexed::{Body, Http2Backend, connect, full};
use proxy::control::{CacheSpec, Route, Upstream};
use support::{Proxy, get, raw, until};
use tokio::sync::mpsc;

fn over_http2(proxy: &Proxy, backend: &Http2Backend) -> Route {
    let mut route = proxy.route(&[backend.spec]);
    route.protocols.upstream = Upstream::Http2;
    route
}

async fn proxy_over(backend: &Http2Backend) -> Proxy {
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    proxy.set(1, over_http2(&proxy, backend)).await;
    proxy
}

/// Answers with what it was asked, and the number of bytes of the body.
async fn mirror() -> Http2Backend {
    Http2Backend::start(|request| async move {
        let field = |name: &str| request.headers().get(name).map_or("none", |v| v.to_str().unwrap_or("?"));
        let told = format!(
            "{} {} {:?} te={} host={} from={}",
            request.method(),
            request.uri(),
            request.version(),
            field("te"),
            field("host"),
            field("x-forwarded-for")
        );
        let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
        Response::new(full(format!("{told} length={length}")))
    })
    .await
}

fn grpc(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://site{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

/// What is sent into the channel is a body, piece by piece.
fn pieces() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (Ok::<_, Infallible>(frame), receiver))
    });
    (sender, StreamBody::new(stream).boxed_unsync())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_both_versions_reach_a_backend_over_one_connection() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let (status, body) = get(proxy.listen, "/a?b=1").await;
    let told = "GET http://test/a?b=1 HTTP/2.0 te=none host=none from=127.0.0.1 length=0";
    assert_eq!((status, body.as_str()), (StatusCode::OK, told));
    let client = connect(proxy.listen).await;
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let answer =
                    client.send_request(grpc("/call", full(vec![b'x'; 70_000]))).await.expect("answer");
                assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
                let body = answer.into_body().collect().await.expect("a body").to_bytes();
                assert!(
                    body.starts_with(b"POST http://site/call HTTP/2.0 te=trailers host=none"),
                    "{body:?}"
                );
                assert!(body.ends_with(b"length=70000"), "{body:?}");
            })
        })
        .collect();
    for request in requests {
        request.await.expect("right");
    }
    assert_eq!(backend.connections(), 1);
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    let web = &stats.workloads[0];
    assert_eq!((web.completed, web.backends[0].in_flight, web.bytes_in), (51, 0, 50 * 70_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_streams_both_ways_and_ends_with_its_status_in_trailers() {
    let backend = Http2Backend::start(|request| async move {
        let (pieces, body) = pieces();
        tokio::spawn(async move {
            let mut asked = request.into_body();
            // Every piece is answered before the next one comes.
            while let Some(Ok(frame)) = asked.frame().await {
                let answer = match frame.into_data() {
                    Ok(data) => Frame::data(data.to_ascii_uppercase().into()),
                    Err(frame) => Frame::trailers(frame.into_trailers().expect("trailers")),
                };
                pieces.send(answer).await.expect("read");
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            pieces.send(Frame::trailers(trailers)).await.expect("read");
        });
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        response
    })
    .await;
    let proxy = proxy_over(&backend).await;
    let mut client = connect(proxy.listen).await;
    let (say, body) = pieces();
    let mut answer = client.send_request(grpc("/talk", body)).await.expect("an answer").into_body();
    for word in ["one", "two", "three"] {
        say.send(Frame::data(Bytes::from(word))).await.expect("read");
        let frame = answer.frame().await.expect("more").expect("sound");
        assert_eq!(frame.into_data().expect("data"), word.to_uppercase());
    }
    drop(say);
    let trailers = answer.frame().await.expect("more").expect("sound").into_trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");

    let asked = "POST /talk HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 3\r\n\r\none";
    let answer = raw(proxy.listen, asked.as_bytes()).await;
    assert!(answer.contains("ONE") && answer.ends_with("0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxys_own_answers_to_calls_carry_a_grpc_status() {
    let backend = mirror().await;
    let proxy = Proxy::start().await;
    let mut route = over_http2(&proxy, &backend);
    route.backends.clear();
    route.hold = Duration::ZERO;
    proxy.set(1, route).await;
    let mut client = connect(proxy.listen).await;
    let answer = client.send_request(grpc("/call", full(""))).await.expect("an answer");
    assert_eq!(
        (answer.status(), &answer.headers()["grpc-status"]),
        (StatusCode::OK, &"14".parse().expect("text"))
    );
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let plain = Request::get("http://site/").body(full("")).expect("a request");
    let answer = client.send_request(plain).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let web = &proxy.stats().await.workloads[0];
    assert_eq!((web.failed, web.rejected), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_going_away_finishes_and_is_replaced() {
    let (started, mut starts) = mpsc::channel(1);
    let backend = Http2Backend::start(move |request| {
        let started = started.clone();
        async move {
            if request.uri().path() == "/slow" {
                started.send(()).await.expect("awaited");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Response::new(full("done"))
        }
    })
    .await;
    let proxy = proxy_over(&backend).await;
    let listen = proxy.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow").await });
    starts.recv().await.expect("started");
    backend.say_goodbye();
    for _ in 0..20 {
        assert_eq!(
            support::Http::connect(listen)
                .await
                .send(support::post_request("/", "x"))
                .await
                .expect("ok")
                .status(),
            200
        );
    }
    assert_eq!(slow.await.expect("finished"), (StatusCode::OK, "done".to_owned()));
    assert_eq!(backend.connections(), 2);
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    assert_eq!((stats.workloads[0].completed, stats.workloads[0].failed), (21, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_backend_is_502_and_a_client_that_leaves_resets_its_stream_only() {
    let backend = Http2Backend::start(|request| async move {
        if request.uri().path() == "/hang" {
            std::future::pending::<()>().await;
        }
        Response::new(full("done"))
    })
    .await;
    let proxy = proxy_over(&backend).await;
    let listen = proxy.listen;
    let leaving = tokio::spawn(async move { get(listen, "/hang").await });
    until(&proxy, "in flight", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    leaving.abort();
    let left = |stats: &proxy::control::Stats| {
        (stats.workloads[0].backends[0].in_flight, stats.workloads[0].cancelled) == (0, 1)
    };
    until(&proxy, "left", left).await;
    assert_eq!(get(listen, "/").await.0, StatusCode::OK);
    assert_eq!(backend.connections(), 1);

    let nobody = proxy::control::BackendSpec { id: 9, addr: loopback::free_address(), weight: 1000 };
    let mut route = over_http2(&proxy, &backend);
    (route.backends, route.hold) = (vec![nobody], Duration::from_millis(100));
    proxy.set(2, route).await;
    assert!(get(listen, "/").await.0.is_server_error());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_not_passed_to_an_http2_backend() {
    let backend = mirror().await;
    let proxy = proxy_over(&backend).await;
    let answer =
        raw(proxy.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_asked_by_http2_and_a_rapid_reset_ends_the_connection() {
    let backend = mirror().await;
    let proxy = Proxy::start_with(|options| options.limits.pending_resets_max = 5).await;
    let mut route = over_http2(&proxy, &backend);
    route.health = proxy::control::HealthSpec {
        interval: Duration::from_millis(20),
        ..proxy::control::HealthSpec::http("/")
    };
    proxy.set(1, route).await;
    support::eventually(|| async { if backend.connections() > 3 { Ok(()) } else { Err("no probes") } }).await;
    assert!(proxy.stats().await.workloads[0].backends[0].healthy);

    // Preface, empty settings, then streams that are opened and reset in one breath.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1_u32..2001).step_by(2) {
        // GET / of host a, from the static table.
        let block = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
        bytes.extend([0, 0, block.len() as u8, 1, 5]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(block);
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(8_u32.to_be_bytes());
    }
    let mut stream = tokio::net::TcpStream::connect(proxy.listen).await.expect("connected");
    // It may be closed before all is sent.
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "still open");
    let arrivals = proxy.stats().await.workloads[0].arrivals;
    assert!(arrivals < 500, "{arrivals} of 1000 resets were served");
    assert_eq!(get(proxy.listen, "/").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_over_http2_becomes_one_over_http1() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for status in ["101 Switching Protocols", "200 OK", "403 Forbidden"] {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.expect("a request");
            let head = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
            assert!(head.starts_with("get /chat http/1.1") && head.contains("upgrade: websocket"), "{head}");
            assert!(head.contains("sec-websocket-key: ") && head.contains("host: site"), "{head}");
            let fields = if status.starts_with("101") {
                "connection: upgrade\r\nupgrade: websocket"
            } else {
                "content-length: 0"
            };
            stream
                .write_all(format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n").as_bytes())
                .await
                .expect("sent");
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..count].to_ascii_uppercase()).await.expect("sent");
            }
        }
    });
    let proxy = Proxy::start().await;
    let route = proxy.route(&[proxy::control::BackendSpec { id: 1, addr, weight: 1000 }]);
    proxy.set(1, route).await;
    let mut client = connect(proxy.listen).await;
    // The first answer brings the server's settings.
    let plain = Request::builder().method("CONNECT").uri("site:443").body(full("")).expect("a request");
    assert_eq!(client.send_request(plain).await.expect("an answer").status(), StatusCode::NOT_IMPLEMENTED);
    let ask = || {
        let mut asked =
            Request::builder().method("CONNECT").uri("http://site/chat").body(full("")).expect("a request");
        asked.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        asked
    };
    let mut answer = client.send_request(ask()).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("upgrade"));
    let upgraded = hyper::upgrade::on(&mut answer).await.expect("upgraded");
    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
    stream.write_all(b"hello").await.expect("sent");
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer).await.expect("an echo");
    assert_eq!(&buffer[..count], b"HELLO");
    drop(stream);
    until(&proxy, "ended", |stats| stats.workloads[0].in_flight == 0).await;
    for status in [StatusCode::BAD_GATEWAY, StatusCode::FORBIDDEN] {
        assert_eq!(client.send_request(ask()).await.expect("an answer").status(), status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_never_read_does_not_hold_its_backend_however_busy_the_others_are() {
    let backend = support::Backend::answering(1, |_, request| async move {
        let length = if request.uri().path() == "/large" { 8 << 20 } else { 1 };
        support::text("x".repeat(length))
    })
    .await;
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    let short = Duration::from_millis(200);
    route.timeouts = proxy::control::Timeouts { response_head: short, body_idle: short, ..route.timeouts };
    route.hold = Duration::ZERO;
    proxy.set(1, route).await;
    let mut client = connect(proxy.listen).await;
    let ask = |path: &str| Request::get(format!("http://site{path}")).body(full("")).expect("a request");
    let unread = client.send_request(ask("/large")).await.expect("a head");
    let began = std::time::Instant::now();
    // The connection is never idle; it is taken out of use nevertheless.
    while let Ok(answer) = client.send_request(ask("/small")).await {
        drop(answer);
        assert!(began.elapsed() < Duration::from_secs(20), "still served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&proxy, "free", |stats| stats.workloads[0].backends[0].in_flight == 0).await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_kept_under_the_name_of_its_host() {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let backend = Http2Backend::start(move |request| {
        let number = counting.fetch_add(1, Ordering::SeqCst) + 1;
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        async move {
            let mut response = Response::new(full(format!("{number} {host}")));
            response.headers_mut().insert("cache-control", "max-age=60".parse().expect("a value"));
            response.headers_mut().insert("content-location", "/".parse().expect("a value"));
            response
        }
    })
    .await;
    let proxy = Proxy::start().await;
    proxy.set(1, Route { cache: Some(CacheSpec::default()), ..over_http2(&proxy, &backend) }).await;
    let mut sender = connect(proxy.listen).await;
    for (method, target, told) in [
        (Method::GET, "http://one/", "1 one"),
        (Method::GET, "http://one/", "1 one"),
        (Method::GET, "http://two/", "2 two"),
        (Method::GET, "http://two/", "2 two"),
        (Method::POST, "http://one/other", "3 one"),
        (Method::GET, "http://one/", "4 one"),
        (Method::GET, "http://two/", "2 two"),
    ] {
        let request = Request::builder().method(method).uri(target).body(full("")).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, told, "{target}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
}
