//! Where requests go, and what becomes of them when backends come, go and die.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use proxy::control::{HealthSpec, RouteTable};
use support::{Backend, Http, Proxy, eventually, get, get_request, post_request, text, until};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reused_and_every_request_is_counted_once() {
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    let backend = Backend::start(7).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..50 {
        assert_eq!(http.get("/").await.body(), "7");
    }
    assert_eq!((backend.requests(), backend.connections()), (50, 1));
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    let web = stats.workload("web").expect("listed");
    assert_eq!((web.arrivals, web.completed, web.failed, web.cancelled), (50, 50, 0, 0));
    assert_eq!((web.latency.count(), web.backends[0].requests, web.backends[0].errors), (50, 50, 0));
    assert_eq!((web.bytes_in, web.bytes_out), (0, 50), "each answer is one digit");
    assert_eq!(stats.connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_heeded_and_a_draining_backend_gets_no_new_request() {
    let proxy = Proxy::start().await;
    let (full, half, draining) = (Backend::start(1).await, Backend::start(2).await, Backend::start(3).await);
    proxy.set(1, proxy.route(&[full.spec(1000), half.spec(500), draining.spec(0)])).await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..600 {
        http.get("/").await;
    }
    assert_eq!(draining.requests(), 0);
    // How exactly, `balance` tests without the noise of a shared machine.
    assert!((20..400).contains(&half.requests()), "{}", half.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_backend_finishes_its_requests_and_then_has_none() {
    let proxy = Proxy::start().await;
    let (old, new) = (Backend::slow(1, Duration::from_millis(400)).await, Backend::start(2).await);
    proxy.set(1, proxy.route(&[old.spec(1000)])).await;
    let listen = proxy.listen;
    let running = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "in flight", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    proxy.set(2, proxy.route(&[old.spec(0), new.spec(1000)])).await;
    assert_eq!(get(proxy.listen, "/").await, (StatusCode::OK, "2".into()));
    assert_eq!(running.await.expect("answered"), (StatusCode::OK, "1".into()));
    until(&proxy, "drained", |stats| stats.workloads[0].backends[0].in_flight == 0).await;
    assert_eq!(old.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_backend_finishes_its_requests_and_is_then_forgotten() {
    let proxy = Proxy::start().await;
    let (old, new) = (Backend::slow(1, Duration::from_millis(300)).await, Backend::start(2).await);
    proxy.set(1, proxy.route(&[old.spec(1000)])).await;
    let listen = proxy.listen;
    let running = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "in flight", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    proxy.set(2, proxy.route(&[new.spec(1000)])).await;
    let stats = proxy.stats().await;
    let leaving = stats.workloads[0].backend(1).expect("still listed");
    assert_eq!((leaving.in_flight, leaving.routed), (1, false));
    assert_eq!(running.await.expect("answered"), (StatusCode::OK, "1".into()));
    until(&proxy, "forgotten", |stats| stats.workloads[0].backend(1).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_backend_costs_idempotent_requests_nothing() {
    let proxy = Proxy::start().await;
    let mut dying = Backend::slow(1, Duration::from_millis(50)).await;
    let other = Backend::slow(2, Duration::from_millis(50)).await;
    proxy.set(1, proxy.route(&[dying.spec(1000), other.spec(1000)])).await;
    let listen = proxy.listen;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(async move {
                let mut http = Http::connect(listen).await;
                let mut failed = 0;
                for _ in 0..20 {
                    failed += usize::from(http.get("/").await.status() != StatusCode::OK);
                }
                failed
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(275)).await;
    dying.kill().await;
    for client in clients {
        assert_eq!(client.await.expect("done"), 0);
    }
    let stats = proxy.stats().await;
    let web = &stats.workloads[0];
    assert_eq!((web.arrivals, web.failed), (320, 0));
    let dead = web.backend(1).expect("listed");
    assert!(dead.errors > 0 && dead.errors == dead.retries, "{dead:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_was_sent_is_not_repeated_but_one_that_was_not_is() {
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    // Takes the request, then breaks the connection.
    let breaking = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let breaking_addr = breaking.local_addr().expect("bound");
    let seen = Arc::new(AtomicUsize::new(0));
    let seen_there = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = breaking.accept().await {
            let mut buffer = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await;
            seen_there.fetch_add(1, Ordering::SeqCst);
        }
    });
    let good = Backend::start(2).await;
    let broken = proxy::control::BackendSpec { id: 1, addr: breaking_addr, weight: 1000 };
    proxy.set(1, proxy.route(&[broken])).await;
    let mut http = Http::connect(proxy.listen).await;
    let answer = http.send(post_request("/", "x")).await.expect("an answer");
    assert_eq!((answer.status(), seen.load(Ordering::SeqCst)), (StatusCode::BAD_GATEWAY, 1));
    // Nobody listens at all: nothing can have been sent.
    let refused = proxy::control::BackendSpec { id: 3, addr: loopback::free_address(), weight: 100_000 };
    proxy.set(2, proxy.route(&[refused, good.spec(1)])).await;
    let answer = http.send(post_request("/", "x")).await.expect("an answer");
    assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, b"2".as_ref()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooled_connection_that_the_backend_closed_is_nobodys_failure() {
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    // Answers one request per connection without saying so, then closes.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
                // Until the next request is on its way, so that it meets the closing connection.
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await;
            });
        }
    });
    let spec = proxy::control::BackendSpec { id: 1, addr, weight: 1000 };
    proxy.set(1, proxy.route(&[spec])).await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..20 {
        assert_eq!(http.get("/").await.status(), StatusCode::OK);
    }
    let stats = proxy.stats().await;
    assert_eq!((stats.workloads[0].failed, stats.workloads[0].backends[0].errors), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_was_just_listed_is_left_to_its_first_requests() {
    let proxy = Proxy::start().await;
    let (asked, mut first) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::answering(1, move |_, request| {
        let _ = asked.send((request.uri().path().to_owned(), Instant::now()));
        async { text("") }
    })
    .await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.health = HealthSpec::http("/health");
    let listed = Instant::now();
    proxy.set(1, route).await;
    let (path, at) = first.recv().await.expect("it is asked");
    assert!(path == "/health" && at - listed >= Duration::from_millis(100), "{path} {:?}", at - listed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_fail_no_request() {
    let proxy = Proxy::start().await;
    let backends =
        [Backend::start(0).await, Backend::start(1).await, Backend::start(2).await, Backend::start(3).await];
    proxy.set(1, proxy.route(&[backends[0].spec(1000)])).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let listen = proxy.listen;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let mut http = Http::connect(listen).await;
                let mut count = 0u64;
                while !is_over.load(Ordering::Relaxed) {
                    // Every other one may not be repeated.
                    let request =
                        if count.is_multiple_of(2) { get_request("/") } else { post_request("/", "body") };
                    assert_eq!(http.send(request).await.expect("an answer").status(), StatusCode::OK);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for generation in 2..=1001u64 {
        let weight = |index: u64| [0, 100, 1000][((generation * 7 + index * 5) % 3) as usize];
        let listed = backends.iter().filter(|backend| (generation + backend.id) % 4 != 0);
        let mut specs: Vec<_> = listed.map(|backend| backend.spec(weight(backend.id))).collect();
        specs[0].weight = 1000;
        proxy.set(generation, proxy.route(&specs)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for client in clients {
        sent += client.await.expect("no failed request");
    }
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    let web = &stats.workloads[0];
    assert_eq!((web.arrivals, web.completed, web.failed), (sent, sent, 0));
    assert_eq!(stats.generation, 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_backend_that_still_accepts_is_found_by_active_checks_and_comes_back() {
    let proxy = Proxy::start().await;
    let is_frozen = Arc::new(AtomicBool::new(false));
    let frozen_there = Arc::clone(&is_frozen);
    let freezing = Backend::answering(1, move |_, _| {
        let is_frozen = Arc::clone(&frozen_there);
        async move {
            while is_frozen.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            text("1")
        }
    })
    .await;
    let other = Backend::start(2).await;
    let mut route = proxy.route(&[freezing.spec(1000), other.spec(1000)]);
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(100));
    route.health = HealthSpec { interval, timeout, fall: 2, rise: 2, ..HealthSpec::http("/health") };
    proxy.set(1, route).await;
    is_frozen.store(true, Ordering::SeqCst);
    until(&proxy, "unhealthy", |stats| !stats.workloads[0].backends[0].healthy).await;
    for _ in 0..20 {
        assert_eq!(get(proxy.listen, "/").await, (StatusCode::OK, "2".into()));
    }
    is_frozen.store(false, Ordering::SeqCst);
    until(&proxy, "healthy again", |stats| stats.workloads[0].backends[0].healthy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_leaves_its_address_when_it_leaves_the_table() {
    let proxy = Proxy::start().await;
    let backend = Backend::start(1).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    assert_eq!(get(proxy.listen, "/").await.0, StatusCode::OK);
    proxy.client.set_table(RouteTable { generation: 2, routes: vec![] }).await.expect("applied");
    eventually(|| async { TcpListener::bind(proxy.listen).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_response_head_is_504_and_a_server_error_is_passed_on() {
    let proxy = Proxy::start().await;
    let backend = Backend::answering(1, |_, request| async move {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        let mut response = text("broken");
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
    .await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.timeouts.response_head = Duration::from_millis(150);
    proxy.set(1, route).await;
    assert_eq!(get(proxy.listen, "/slow").await.0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(get(proxy.listen, "/").await, (StatusCode::INTERNAL_SERVER_ERROR, "broken".into()));
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    assert_eq!((stats.workloads[0].failed, stats.workloads[0].backends[0].errors), (2, 2));
}
