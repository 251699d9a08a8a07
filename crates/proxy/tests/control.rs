//! The control socket and what the proxy does without anyone on it.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::StatusCode;
use proxy::control::{Client, ControlError, Refusal, Route, RouteTable};
use proxy::{ProxyOptions, RunError, run};
use support::{Backend, Http, Proxy, get, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn refusal(result: Result<u64, ControlError>) -> Refusal {
    match result {
        Err(ControlError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_or_reused_generation_is_refused_and_the_same_table_accepted() {
    let proxy = Proxy::start().await;
    let backend = Backend::start(1).await;
    let route = proxy.route(&[backend.spec(1000)]);
    proxy.set(5, route.clone()).await;
    proxy.set(5, route.clone()).await;
    let set = |generation, routes| proxy.client.set_table(RouteTable { generation, routes });
    assert_eq!(refusal(set(4, vec![]).await), Refusal::StaleGeneration { offered: 4, applied: 5 });
    assert_eq!(refusal(set(5, vec![]).await), Refusal::GenerationReused { generation: 5 });
    let table = proxy.client.table().await.expect("told");
    assert_eq!(table, RouteTable { generation: 5, routes: vec![route] });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listen_address_in_use_is_named_and_the_old_table_stays() {
    let proxy = Proxy::start().await;
    let backend = Backend::start(1).await;
    let route = proxy.route(&[backend.spec(1000)]);
    proxy.set(1, route.clone()).await;
    let free = Route::new("free", loopback::free_address());
    let taken = Route::new("taken", backend.addr);
    let table = RouteTable { generation: 2, routes: vec![route.clone(), free.clone(), taken] };
    match refusal(proxy.client.set_table(table).await) {
        Refusal::Listen { workload, listen, .. } => {
            assert_eq!((workload.as_str(), listen), ("taken", backend.addr))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(proxy.client.table().await.expect("told").generation, 1);
    assert_eq!(get(proxy.listen, "/").await.0, StatusCode::OK);
    // What was opened for the refused table is closed again.
    assert!(std::net::TcpListener::bind(free.listen).is_ok());
    // Another proxy shares ports among its shards, but not with us.
    let other = Proxy::start().await;
    let table = RouteTable { generation: 1, routes: vec![route] };
    assert!(matches!(refusal(other.client.set_table(table).await), Refusal::Listen { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_table_is_refused_with_every_problem() {
    let proxy = Proxy::start().await;
    let route = Route::new("web", "127.0.0.1:0".parse().expect("literal"));
    let table = RouteTable { generation: 1, routes: vec![route.clone(), route] };
    match refusal(proxy.client.set_table(table).await) {
        Refusal::InvalidTable { problems } => assert_eq!(problems.len(), 4),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_serves_on_without_a_control_plane_and_a_new_one_finds_its_table() {
    let proxy = Proxy::start().await;
    let (mut dying, other) = (Backend::start(1).await, Backend::start(2).await);
    let mut route = proxy.route(&[dying.spec(1000), other.spec(1000)]);
    route.health = proxy::control::HealthSpec {
        interval: Duration::from_millis(20),
        ..proxy::control::HealthSpec::http("/")
    };
    let doomed = Client::connect(&proxy.socket).await.expect("connected");
    let applied = doomed.set_table(RouteTable { generation: 9, routes: vec![route.clone()] }).await;
    assert_eq!(applied.expect("applied"), 9);
    drop(doomed);
    dying.kill().await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..50 {
        assert_eq!(http.get("/").await.body(), "2");
    }
    let next = Client::connect(&proxy.socket).await.expect("connected");
    assert_eq!(next.table().await.expect("told"), RouteTable { generation: 9, routes: vec![route] });
    until(&proxy, "checked", |stats| !stats.workloads[0].backends[0].healthy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_are_answered_and_harm_nobody() {
    let proxy = Proxy::start().await;
    let mut frames: Vec<Vec<u8>> = vec![
        vec![0, 0, 0, 0],
        vec![0xff, 0xff, 0xff, 0xff],
        vec![0, 0, 0, 3, 1, 99, 99],
        vec![0, 0, 0, 2, 77, 2],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let mut random = fastrand::Rng::with_seed(1);
    frames.extend((0..200).map(|_| {
        let body: Vec<u8> = (0..random.usize(1..64)).map(|_| random.u8(..)).collect();
        [&(body.len() as u32).to_be_bytes()[..], &[1], &body[1..]].concat()
    }));
    for frame in frames {
        let mut stream = UnixStream::connect(&proxy.socket).await.expect("connected");
        stream.write_all(&frame).await.expect("sent");
        stream.shutdown().await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("closed in the end");
        assert!(answer.len() > 5, "{frame:?} was not answered");
    }
    // Cut inside a frame, without a word.
    let mut stream = UnixStream::connect(&proxy.socket).await.expect("connected");
    stream.write_all(&[0, 0, 1, 0, 1, 2]).await.expect("sent");
    drop(stream);
    assert_eq!(proxy.stats().await.generation, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_proxy_keeps_its_socket_private_and_a_dead_ones_is_replaced() {
    let proxy = Proxy::start().await;
    let mode = std::fs::metadata(&proxy.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let options = ProxyOptions::new(&proxy.socket);
    let second = tokio::task::spawn_blocking(|| run(options)).await.expect("joined");
    assert!(matches!(second, Err(RunError::AlreadyRunning { path }) if path == proxy.socket));
    assert_eq!(proxy.stats().await.generation, 0);

    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    assert!(socket.exists());
    let replaced = Proxy::start_with(|options| options.control_socket.clone_from(&socket)).await;
    drop(replaced);
    let client = support::eventually(|| Client::connect(&socket)).await;
    assert_eq!(client.stats().await.expect("answers").generation, 0);
    client.shutdown(Duration::ZERO).await.expect("told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_lets_requests_finish_and_refuses_tables() {
    let proxy = Proxy::start().await;
    let backend = Backend::slow(1, Duration::from_millis(400)).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let listen = proxy.listen;
    let running = tokio::spawn(async move { get(listen, "/").await });
    let _idle = Http::connect(listen).await;
    until(&proxy, "in flight", |stats| stats.workloads[0].in_flight == 1).await;
    proxy.client.shutdown(Duration::from_secs(20)).await.expect("told");
    let table = RouteTable { generation: 2, routes: vec![] };
    assert_eq!(refusal(proxy.client.set_table(table).await), Refusal::ShuttingDown);
    let (socket, began) = (proxy.socket.clone(), std::time::Instant::now());
    assert_eq!(running.await.expect("answered"), (StatusCode::OK, "1".into()));
    assert!(proxy.joined().await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(10) && !socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_cuts_what_is_unfinished_at_its_deadline() {
    let proxy = Proxy::start().await;
    let backend = Backend::slow(1, Duration::from_secs(30)).await;
    proxy.set(1, proxy.route(&[backend.spec(1000)])).await;
    let listen = proxy.listen;
    let running =
        tokio::spawn(async move { Http::connect(listen).await.send(support::get_request("/")).await });
    until(&proxy, "in flight", |stats| stats.workloads[0].in_flight == 1).await;
    proxy.client.shutdown(Duration::from_millis(100)).await.expect("told");
    assert!(proxy.joined().await.is_ok());
    assert!(running.await.expect("joined").is_err());
}
