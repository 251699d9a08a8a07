//! What is told of requests: trace context, access log, counts by endpoint.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use proxy::control::{
    AccessLogSpec, BackendSpec, EndpointStats, OTHER_ENDPOINT, Observation, Protocol, Protocols, Route,
    SHARE_WHOLE, TracingSpec,
};
use serde_json::Value;
use support::{Backend, Http, Proxy, get, get_request, post_request, text, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Answers with the trace context that it got; fails, waits or takes its time where the path says so.
async fn backend() -> Backend {
    Backend::answering(1, |_, request| async move {
        let field = |name: &str| {
            let values = request.headers().get_all(name).iter();
            values.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>().join("|")
        };
        let told = format!("{} {}", field("traceparent"), field("tracestate"));
        let path = request.uri().path().to_owned();
        if path.starts_with("/slow") {
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        let mut response = text(told);
        if path.starts_with("/fail") {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        } else if path.starts_with("/none") {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    })
    .await
}

fn observed(proxy: &Proxy, backend: &Backend, observation: Observation) -> Route {
    Route { observation, ..proxy.route(&[backend.spec(1000)]) }
}

/// A log of what this changes of one that has nothing in it.
fn log(path: PathBuf, change: impl FnOnce(&mut AccessLogSpec)) -> Observation {
    let mut log =
        AccessLogSpec { sample_ppm: 0, slower_than: None, errors: false, ..AccessLogSpec::new(path) };
    change(&mut log);
    Observation { access_log: Some(log), ..Observation::default() }
}

fn with(path: &str, headers: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    let mut request = get_request(path);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    request
}

async fn told(proxy: &Proxy, headers: &[(&'static str, &str)]) -> String {
    let answer = Http::connect(proxy.listen).await.send(with("/", headers)).await.expect("an answer");
    String::from_utf8_lossy(answer.body()).into_owned()
}

/// The lines of a log once so many were written.
async fn lines(proxy: &Proxy, path: &Path, count: u64) -> Vec<Value> {
    until(proxy, "logged", |stats| stats.workloads[0].log_written >= count).await;
    let text = std::fs::read_to_string(path).expect("a log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len() as u64, count, "{text}");
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_context_passes_and_is_made_only_where_it_is_asked_for() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    let state = ("tracestate", "a=1,b=2");
    proxy.set(1, observed(&proxy, &backend, Observation::default())).await;
    assert_eq!(told(&proxy, &[]).await, " ");
    assert_eq!(told(&proxy, &[("traceparent", "nonsense"), state]).await, "nonsense a=1,b=2");
    let tracing = Some(TracingSpec { sample_ppm: SHARE_WHOLE });
    proxy.set(2, observed(&proxy, &backend, Observation { tracing, ..Observation::default() })).await;
    assert_eq!(told(&proxy, &[("traceparent", PARENT), state]).await, format!("{PARENT} a=1,b=2"));
    let mut made = BTreeSet::new();
    for headers in [
        vec![],
        vec![state],
        vec![("traceparent", "nonsense"), state],
        vec![("traceparent", PARENT), ("traceparent", PARENT), state],
    ] {
        let told = told(&proxy, &headers).await;
        let parts: Vec<_> = told.trim_end().split('-').collect();
        let [version, id, parent, flags] = parts[..] else { panic!("{told:?}") };
        assert_eq!((version, id.len(), parent.len(), flags), ("00", 32, 16, "01"), "{told}");
        made.insert(id.to_owned());
    }
    assert_eq!(made.len(), 4);
    let tracing = Some(TracingSpec { sample_ppm: 0 });
    proxy.set(3, observed(&proxy, &backend, Observation { tracing, ..Observation::default() })).await;
    assert!(told(&proxy, &[]).await.ends_with("-00 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_endpoint_across_tables() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    let endpoints = |texts: &[&str]| Observation {
        endpoints: texts.iter().map(|text| text.parse().expect("a template")).collect(),
        ..Observation::default()
    };
    proxy.set(1, observed(&proxy, &backend, endpoints(&["GET /items/{id}", "/fail/*", "/slow"]))).await;
    let mut http = Http::connect(proxy.listen).await;
    for path in ["/items/1", "/items/2?q=1", "/fail/a", "/none", "/slow"] {
        http.send(with(path, &[("traceparent", &PARENT.replace("-00", "-01"))])).await.expect("an answer");
    }
    http.send(post_request("/items/1", "body")).await.expect("an answer");
    let stats = until(&proxy, "over", |stats| stats.workloads[0].in_flight == 0).await;
    let of = |stats: &[EndpointStats]| -> Vec<_> {
        stats.iter().map(|e| (e.endpoint.clone(), e.statuses, e.latency.count())).collect()
    };
    let found = of(&stats.workloads[0].endpoints);
    let expected = [
        ("GET /items/{id}", [0, 2, 0, 0, 0], 2),
        ("/fail/*", [0, 0, 0, 0, 1], 1),
        ("/slow", [0, 1, 0, 0, 0], 1),
        (OTHER_ENDPOINT, [0, 1, 0, 1, 0], 2),
    ]
    .map(|(name, statuses, count)| (name.to_owned(), statuses, count));
    assert_eq!(found, expected);
    let slow = stats.workloads[0].endpoints[2].slow.clone().expect("traced");
    assert!(slow.took_us >= 120_000 && slow.trace_id == PARENT[3..35], "{slow:?}");
    proxy.set(2, observed(&proxy, &backend, endpoints(&["/slow", "/fail/*"]))).await;
    http.get("/fail/b").await;
    let stats = until(&proxy, "over", |stats| stats.workloads[0].in_flight == 0).await;
    let found = of(&stats.workloads[0].endpoints);
    assert_eq!(found, [expected[2].clone(), ("/fail/*".into(), [0, 0, 0, 0, 2], 2), expected[3].clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_happened_to_a_request_and_tells_no_secret() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.json");
    let mut observation = log(path.clone(), |log| {
        log.sample_ppm = SHARE_WHOLE;
        log.fields = vec!["user-agent".into()];
    });
    observation.endpoints = vec!["POST /items/{id}".parse().expect("a template")];
    proxy.set(1, observed(&proxy, &backend, observation)).await;
    let mut request = post_request("/items/7?secret=1", "four");
    for (name, value) in [
        ("traceparent", PARENT),
        ("user-agent", "x\"}\\n{\"status\":200"),
        ("cookie", "secret"),
        ("authorization", "secret"),
    ] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let mut http = Http::connect(proxy.listen).await;
    let answer = http.send(request).await.expect("an answer");
    http.get("/none/a%22b?secret").await;
    let lines = lines(&proxy, &path, 2).await;
    let all = format!("{lines:?}");
    assert!(!all.contains("secret"), "{all}");
    let first = &lines[0];
    for (key, value) in [
        ("workload", Value::from("web")),
        ("protocol", "HTTP/1.1".into()),
        ("client", "127.0.0.1".into()),
        ("method", "POST".into()),
        ("endpoint", "POST /items/{id}".into()),
        ("status", 200.into()),
        ("outcome", "completed".into()),
        ("bytes_in", 4.into()),
        ("bytes_out", answer.body().len().into()),
        ("instance", 1.into()),
        ("retries", 0.into()),
        ("waited_ms", 0.0.into()),
        ("trace_id", PARENT[3..35].into()),
    ] {
        assert_eq!(first[key], value, "{key} of {first}");
    }
    assert_eq!(first["fields"]["user-agent"], "x\"}\\n{\"status\":200");
    assert!(first.get("path").is_none() && first["total_ms"].as_f64() >= first["head_ms"].as_f64());
    assert_eq!((&lines[1]["path"], &lines[1]["status"]), (&"/none/a%22b".into(), &404.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_slow_requests_are_logged_whatever_the_sample() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.json");
    let observation = log(path.clone(), |log| {
        (log.errors, log.slower_than) = (true, Some(Duration::from_millis(100)));
    });
    proxy.set(1, observed(&proxy, &backend, observation.clone())).await;
    let mut http = Http::connect(proxy.listen).await;
    for path in ["/", "/none", "/slow", "/", "/fail"] {
        http.get(path).await;
    }
    lines(&proxy, &path, 2).await;
    let mut route = observed(&proxy, &backend, observation);
    (route.backends, route.hold) = (Vec::new(), Duration::from_millis(30));
    proxy.set(2, route).await;
    assert_eq!(get(proxy.listen, "/lost").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let lines = lines(&proxy, &path, 3).await;
    let seen: Vec<_> = lines.iter().map(|line| (line["path"].clone(), line["status"].clone())).collect();
    let expected = [("/slow", 200), ("/fail", 500), ("/lost", 503)];
    assert_eq!(seen, expected.map(|(path, status)| (path.into(), status.into())));
    assert_eq!(lines[2]["outcome"], "failed");
    assert!(lines[2]["waited_ms"].as_f64() >= Some(30.0) && lines[2].get("instance").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_end_is_late_is_slow() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let backend = BackendSpec { id: 1, addr: listener.local_addr().expect("bound"), weight: 1000 };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na").await.expect("sent");
            tokio::time::sleep(Duration::from_millis(150)).await;
            stream.write_all(b"b").await.expect("sent");
        }
    });
    let proxy = Proxy::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.json");
    let observation = log(path.clone(), |log| log.slower_than = Some(Duration::from_millis(100)));
    proxy.set(1, Route { observation, ..proxy.route(&[backend]) }).await;
    assert_eq!(get(proxy.listen, "/late").await.1, "ab");
    let line = &lines(&proxy, &path, 1).await[0];
    assert!(line["total_ms"].as_f64() >= Some(150.0), "{line}");
    assert!(line["head_ms"].as_f64() < Some(100.0), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_log_is_begun_anew_and_one_that_cannot_be_written_harms_nobody() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.json");
    let all = |path: &Path| log(path.to_path_buf(), |log| log.sample_ppm = SHARE_WHOLE);
    proxy.set(1, observed(&proxy, &backend, all(&path))).await;
    get(proxy.listen, "/first").await;
    lines(&proxy, &path, 1).await;
    let moved = folder.path().join("moved.json");
    std::fs::rename(&path, &moved).expect("moved");
    let mut asked = 0;
    while !path.exists() {
        get(proxy.listen, "/next").await;
        asked += 1;
        until(&proxy, "logged", |stats| stats.workloads[0].log_written == 1 + asked).await;
    }
    let count = |path: &Path| std::fs::read_to_string(path).expect("a log").lines().count() as u64;
    assert_eq!(count(&moved) + count(&path), 1 + asked);
    proxy.set(2, observed(&proxy, &backend, all(&folder.path().join("none/log")))).await;
    assert_eq!(get(proxy.listen, "/").await.0, StatusCode::OK);
    until(&proxy, "dropped", |stats| stats.workloads[0].log_dropped == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_connection_is_logged_and_the_log_is_complete_at_the_end() {
    let proxy = Proxy::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).await.expect("read");
        stream.write_all(b"answer").await.expect("sent");
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.json");
    let backend = proxy::control::BackendSpec { id: 4, addr, weight: 1000 };
    let mut route = proxy.route(&[backend]);
    route.protocols = Protocols { protocol: Protocol::Tcp, ..Protocols::default() };
    route.observation = log(path.clone(), |log| log.sample_ppm = SHARE_WHOLE);
    proxy.set(1, route).await;
    let mut stream = tokio::net::TcpStream::connect(proxy.listen).await.expect("connected");
    stream.write_all(b"hello").await.expect("sent");
    stream.shutdown().await.expect("ended");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(answer, "answer");
    proxy.client.shutdown(Duration::from_secs(5)).await.expect("asked");
    proxy.joined().await.expect("ended");
    let line: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("a log")).expect("JSON");
    let seen = ["protocol", "bytes_in", "bytes_out", "instance", "outcome"].map(|key| line[key].clone());
    assert_eq!(seen, ["TCP".into(), 5.into(), 6.into(), 4.into(), Value::from("completed")]);
    assert!(line.get("path").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_and_a_broken_response_are_seen() {
    let proxy = Proxy::start().await;
    let good = Backend::start(2).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.json");
    let mut observation = log(path.clone(), |log| log.sample_ppm = SHARE_WHOLE);
    observation.endpoints = vec!["/half".parse().expect("a template")];
    let mut route = proxy.route(&[proxy::control::BackendSpec { id: 9, addr, weight: 1000 }]);
    route.observation = observation.clone();
    proxy.set(1, route.clone()).await;
    assert!(Http::connect(proxy.listen).await.send(get_request("/half")).await.is_err());
    let seen = lines(&proxy, &path, 1).await;
    assert_eq!((&seen[0]["status"], &seen[0]["outcome"]), (&200.into(), &"failed".into()));
    assert_eq!(seen[0]["bytes_out"], 4);
    let half = &proxy.stats().await.workloads[0].endpoints[0];
    assert_eq!((half.statuses, half.broken, half.errors()), ([0, 1, 0, 0, 0], 1, 1));
    let closed = loopback::free_address();
    route.backends = vec![proxy::control::BackendSpec { id: 8, addr: closed, weight: 60_000 }, good.spec(1)];
    proxy.set(2, route).await;
    let response: Response<Bytes> = Http::connect(proxy.listen).await.get("/").await;
    assert_eq!(response.status(), StatusCode::OK);
    let seen = lines(&proxy, &path, 2).await;
    assert_eq!((&seen[1]["retries"], &seen[1]["instance"]), (&1.into(), &2.into()));
}
