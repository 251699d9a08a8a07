//! Requests that find no usable backend wait for one.

mod support;

use std::time::{Duration, Instant};

use http::StatusCode;
use proxy::control::BackendSpec;
use support::{Backend, Http, Proxy, eventually, get, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_requests_go_on_the_moment_a_table_brings_a_backend() {
    let proxy = Proxy::start().await;
    proxy.set(1, proxy.route(&[])).await;
    let listen = proxy.listen;
    let waiting: Vec<_> = (0..40).map(|_| tokio::spawn(async move { get(listen, "/").await })).collect();
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 40).await;
    let backend = Backend::start(1).await;
    proxy.set(2, proxy.route(&[backend.spec(1000)])).await;
    for request in waiting {
        assert_eq!(request.await.expect("answered"), (StatusCode::OK, "1".into()));
    }
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    let web = &stats.workloads[0];
    assert_eq!((web.held, web.waiting, web.completed, web.rejected), (40, 0, 40, 0));
    assert_eq!(web.hold.count(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_nothing_is_503_with_retry_after() {
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[]);
    route.hold = Duration::from_millis(200);
    proxy.set(1, route).await;
    let began = Instant::now();
    let answer = Http::connect(proxy.listen).await.get("/").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(began.elapsed() >= Duration::from_millis(200));
    let web = &proxy.stats().await.workloads[0];
    assert_eq!((web.arrivals, web.failed, web.rejected, web.held), (1, 1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_requests_wait_than_the_route_allows() {
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[]);
    route.max_waiting = 3;
    proxy.set(1, route.clone()).await;
    let listen = proxy.listen;
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(async move { get(listen, "/").await })).collect();
    until(&proxy, "full", |stats| stats.workloads[0].waiting == 3).await;
    assert_eq!(get(listen, "/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let backend = Backend::start(1).await;
    route.backends = vec![backend.spec(1000)];
    proxy.set(2, route).await;
    for request in waiting {
        assert_eq!(request.await.expect("answered").0, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_leaves_its_place() {
    let proxy = Proxy::start().await;
    proxy.set(1, proxy.route(&[])).await;
    let listen = proxy.listen;
    let waiting = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 1).await;
    waiting.abort();
    let stats = until(&proxy, "left", |stats| stats.workloads[0].waiting == 0).await;
    assert_eq!((stats.workloads[0].cancelled, stats.workloads[0].in_flight), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_a_backends_limit_wait_their_turn_over_all_shards() {
    let proxy = Proxy::start().await;
    let running = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let running_there = std::sync::Arc::clone(&running);
    let backend = Backend::answering(1, move |_, _| {
        let running = std::sync::Arc::clone(&running_there);
        async move {
            let now = running.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            support::text(now.to_string())
        }
    })
    .await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.max_in_flight = 3;
    proxy.set(1, route).await;
    let listen = proxy.listen;
    let clients: Vec<_> = (0..60).map(|_| tokio::spawn(async move { get(listen, "/").await })).collect();
    for client in clients {
        let (status, at_once) = client.await.expect("answered");
        assert_eq!(status, StatusCode::OK);
        assert!(at_once.parse::<usize>().expect("a number") <= 3, "{at_once}");
    }
    let stats = until(&proxy, "settled", |stats| stats.workloads[0].in_flight == 0).await;
    assert!(stats.workloads[0].held > 0);
    assert_eq!((stats.workloads[0].waiting, stats.workloads[0].completed), (0, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_only_backend_died_waits_for_the_next() {
    let proxy = Proxy::start().await;
    let mut dying = Backend::slow(1, Duration::from_secs(20)).await;
    proxy.set(1, proxy.route(&[dying.spec(1000)])).await;
    let listen = proxy.listen;
    let request = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "in flight", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    dying.kill().await;
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 1).await;
    let standby = Backend::start(2).await;
    proxy.set(2, proxy.route(&[standby.spec(1000)])).await;
    assert_eq!(request.await.expect("answered"), (StatusCode::OK, "2".into()));
    assert_eq!(proxy.stats().await.workloads[0].failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_backend_is_tried_again_when_its_ejection_ends() {
    let proxy = Proxy::start().await;
    let addr = loopback::free_address();
    proxy.set(1, proxy.route(&[BackendSpec { id: 1, addr, weight: 1000 }])).await;
    let listen = proxy.listen;
    let request = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "ejected", |stats| stats.workloads[0].backends[0].ejected).await;
    let _late = Backend::at(1, addr, |_, _| async { support::text("late") }).await;
    assert_eq!(request.await.expect("answered"), (StatusCode::OK, "late".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_backend_is_back_as_soon_as_a_probe_succeeds() {
    let proxy = Proxy::start().await;
    let addr = loopback::free_address();
    let mut route = proxy.route(&[BackendSpec { id: 1, addr, weight: 1000 }]);
    route.health = proxy::control::HealthSpec {
        interval: Duration::from_millis(40),
        ..proxy::control::HealthSpec::http("/")
    };
    proxy.set(1, route).await;
    until(&proxy, "unhealthy", |stats| !stats.workloads[0].backends[0].healthy).await;
    let _late = Backend::at(1, addr, |_, _| async { support::text("late") }).await;
    let stats = until(&proxy, "back", |stats| stats.workloads[0].backends[0].healthy).await;
    assert!(!stats.workloads[0].backends[0].ejected);
    assert_eq!(get(proxy.listen, "/").await, (StatusCode::OK, "late".into()));
    eventually(|| async { Ok::<_, ()>(()) }).await;
}
