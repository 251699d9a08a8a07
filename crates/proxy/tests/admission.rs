//! Requests that are admitted and placed by what they are predicted to cost.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use proxy::control::{
    Admission, Amount, Class, CostSpec, CostStats, Endpoint, Measure, Priority, Route, Source,
};
use support::{Backend, Http, Proxy, get, text, until};
use tokio::sync::Semaphore;

/// An instance has a thousand tokens; requests say in their query how many they will take, and the model has to find out that it is
/// this that counts.
fn admission() -> Admission {
    Admission {
        endpoints: vec![Endpoint { template: "/work".parse().expect("template"), class: None }],
        numbers: vec!["query:tokens".parse::<Source>().expect("source")],
        costs: vec![CostSpec {
            name: "tokens".into(),
            measure: Measure::Header("x-tokens".into()),
            per_instance: Amount::from_f64(1000.0),
            quantile_milli: 900,
            is_spent: false,
            initial: Amount::from_f64(100.0),
        }],
        priority: Priority {
            header: "x-priority".into(),
            classes: ["high", "low"].map(|name| Class { name: name.into(), deadline: None }).to_vec(),
            default: 1,
        },
        samples_per_second: 1000,
        ..Admission::new()
    }
}

fn tokens(request: &Request<hyper::body::Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix("tokens=")).unwrap_or("1").to_owned()
}

/// Answers once the gate lets it, and says how many tokens that took.
async fn gated(id: u64, gate: &Arc<Semaphore>) -> Backend {
    let gate = Arc::clone(gate);
    Backend::answering(id, move |_, request| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.expect("open").forget();
            let mut response = text(id.to_string());
            response.headers_mut().insert("x-tokens", tokens(&request).parse().expect("a number"));
            response
        }
    })
    .await
}

fn route(proxy: &Proxy, backends: &[&Backend]) -> Route {
    let mut route = proxy.route(&backends.iter().map(|backend| backend.spec(1000)).collect::<Vec<_>>());
    route.admission = Some(admission());
    route
}

fn cost(stats: &proxy::control::Stats) -> &CostStats {
    &stats.workloads[0].costs[0]
}

/// Teaches the proxy that `tokens` of the query is what a request takes.
async fn teach(proxy: &Proxy, gate: &Semaphore) {
    const LESSONS: usize = 300;
    gate.add_permits(LESSONS);
    let mut http = Http::connect(proxy.listen).await;
    for i in 0..LESSONS {
        assert_eq!(http.get(&format!("/work?tokens={}", 10 + 3 * i)).await.status(), StatusCode::OK);
    }
    let mut samples = proxy.client.samples("web", 0).await.expect("samples").1;
    while samples.len() < LESSONS {
        tokio::time::sleep(Duration::from_millis(10)).await;
        samples = proxy.client.samples("web", 0).await.expect("samples").1;
    }
    assert_eq!(samples[5].numbers[0], 25.0);
    assert_eq!(samples[5].measured[0], 25.0);
    assert_eq!(samples[5].endpoint, "/work");
}

fn ask(proxy: &Proxy, tokens: u32, class: &'static str) -> tokio::task::JoinHandle<Response<bytes::Bytes>> {
    let listen = proxy.listen;
    tokio::spawn(async move {
        let request = Request::get(format!("/work?tokens={tokens}")).header("host", "test");
        let request = request.header("x-priority", class).body(Full::default()).expect("a request");
        Http::connect(listen).await.send(request).await.expect("an answer")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costs_are_learned_and_large_requests_do_not_share_an_instance() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let (first, second) = (gated(1, &gate).await, gated(2, &gate).await);
    proxy.set(1, route(&proxy, &[&first, &second])).await;
    teach(&proxy, &gate).await;
    // Two of 700 fit on two instances, not on one; the third must wait although there is no limit of requests.
    let large: Vec<_> = (0..3).map(|_| ask(&proxy, 700, "low")).collect();
    until(&proxy, "two placed and one waiting", |stats| {
        let web = &stats.workloads[0];
        web.waiting == 1 && web.backends.iter().all(|backend| backend.in_flight == 1)
    })
    .await;
    let stats = proxy.stats().await;
    let reserved = cost(&stats).reserved.as_f64();
    assert!((1300.0..1900.0).contains(&reserved), "{reserved}");
    gate.add_permits(3);
    for request in large {
        assert_eq!(request.await.expect("answered").status(), StatusCode::OK);
    }
    let stats = until(&proxy, "all given back", |stats| cost(stats).reserved == Amount::ZERO).await;
    assert_eq!(cost(&stats).waiting, Amount::ZERO);
    let (expected, measured) = (cost(&stats).expected.as_f64(), cost(&stats).measured.as_f64());
    assert!((0.7..1.4).contains(&(expected / measured)), "{expected} expected, {measured} measured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_higher_class_goes_first_and_the_full_queue_sends_the_lower_one_away() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let backend = gated(1, &gate).await;
    let mut route = route(&proxy, &[&backend]);
    route.max_waiting = 2;
    proxy.set(1, route).await;
    teach(&proxy, &gate).await;
    let running = ask(&proxy, 800, "low");
    until(&proxy, "running", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    let low = ask(&proxy, 800, "low");
    until(&proxy, "one waits", |stats| stats.workloads[0].waiting == 1).await;
    let later = ask(&proxy, 800, "low");
    until(&proxy, "two wait", |stats| stats.workloads[0].waiting == 2).await;
    let high = ask(&proxy, 800, "high");
    let sent_away = later.await.expect("answered");
    assert_eq!(sent_away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(sent_away.headers().contains_key("retry-after"));
    gate.add_permits(2);
    assert_eq!(running.await.expect("answered").status(), StatusCode::OK);
    assert_eq!(high.await.expect("answered").status(), StatusCode::OK);
    assert!(!low.is_finished());
    gate.add_permits(1);
    assert_eq!(low.await.expect("answered").status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_an_instance_runs_alone() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let backend = gated(1, &gate).await;
    proxy.set(1, route(&proxy, &[&backend])).await;
    teach(&proxy, &gate).await;
    let huge = ask(&proxy, 100_000, "low");
    until(&proxy, "running", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    let small = ask(&proxy, 10, "low");
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 1).await;
    gate.add_permits(2);
    assert_eq!(huge.await.expect("answered").status(), StatusCode::OK);
    assert_eq!(small.await.expect("answered").status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_in_vain_is_told_so_by_the_deadline_of_its_class() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let backend = gated(1, &gate).await;
    let mut route = route(&proxy, &[&backend]);
    if let Some(admission) = &mut route.admission {
        admission.priority.classes[1].deadline = Some(Duration::from_millis(200));
        admission.costs[0].initial = Amount::from_f64(900.0);
    }
    proxy.set(1, route).await;
    let running = ask(&proxy, 900, "low");
    until(&proxy, "running", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    let began = Instant::now();
    let refused = ask(&proxy, 900, "low").await.expect("answered");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!((200..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    gate.add_permits(1);
    assert_eq!(running.await.expect("answered").status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_outgrows_its_reservation_holds_more() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let backend = gated(1, &gate).await;
    let mut route = route(&proxy, &[&backend]);
    if let Some(admission) = &mut route.admission {
        let cost = &mut admission.costs[0];
        (cost.measure, cost.initial) = (Measure::Duration, Amount::from_f64(0.1));
        cost.per_instance = Amount::from_f64(0.3);
    }
    proxy.set(1, route).await;
    let long = ask(&proxy, 1, "low");
    let stats = until(&proxy, "grown", |stats| cost(stats).reserved.as_f64() > 0.4).await;
    assert!(cost(&stats).outgrown > 0);
    // What it takes is not there for others.
    let next = ask(&proxy, 1, "low");
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 1).await;
    gate.add_permits(2);
    assert_eq!(long.await.expect("answered").status(), StatusCode::OK);
    assert_eq!(next.await.expect("answered").status(), StatusCode::OK);
    until(&proxy, "given back", |stats| cost(stats).reserved == Amount::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_looked_into_arrive_whole_whatever_their_length() {
    let proxy = Proxy::start().await;
    let backend = Backend::answering(1, |_, request: Request<hyper::body::Incoming>| async move {
        let length = request.headers().get("content-length").cloned();
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        text(format!("{} {sum} {}", body.len(), length.is_some()))
    })
    .await;
    let mut route = route(&proxy, &[&backend]);
    if let Some(admission) = &mut route.admission {
        admission.numbers = vec!["json:/tokens".parse().expect("source")];
        admission.body_bytes_max = 1000;
    }
    proxy.set(1, route).await;
    let mut http = Http::connect(proxy.listen).await;
    for length in [0, 1, 999, 1000, 1001, 300_000] {
        let body: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        let request =
            Request::post("/work").header("host", "test").header("content-type", "application/json");
        let answer = http.send(request.body(Full::from(body)).expect("a request")).await.expect("an answer");
        assert_eq!(
            answer.body(),
            &format!("{length} {sum} {}", length > 0 || answer.body().ends_with(b"true"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_measured_before_a_restart_can_be_taught() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let backend = gated(1, &gate).await;
    proxy.set(1, route(&proxy, &[&backend])).await;
    teach(&proxy, &gate).await;
    let (_, samples) = proxy.client.samples("web", 0).await.expect("samples");
    let other = Proxy::start().await;
    other.set(1, route(&other, &[&backend])).await;
    assert_eq!(other.client.teach("web", samples).await.expect("taught"), 300);
    assert_eq!(other.client.teach("nobody", Vec::new()).await.expect("taught"), 0);
    let running = ask(&other, 800, "low");
    let stats = until(&other, "reserved", |stats| cost(stats).reserved != Amount::ZERO).await;
    let reserved = cost(&stats).reserved.as_f64();
    assert!((700.0..1100.0).contains(&reserved), "{reserved}");
    gate.add_permits(1);
    assert_eq!(running.await.expect("answered").status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_gives_everything_back() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let backend = gated(1, &gate).await;
    proxy.set(1, route(&proxy, &[&backend])).await;
    teach(&proxy, &gate).await;
    let running = ask(&proxy, 800, "low");
    until(&proxy, "running", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    let waiting = ask(&proxy, 800, "low");
    let behind = ask(&proxy, 300, "low");
    until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 2).await;
    waiting.abort();
    running.abort();
    until(&proxy, "the one behind runs", |stats| {
        stats.workloads[0].waiting == 0 && stats.workloads[0].backends[0].in_flight == 1
    })
    .await;
    // Those that were given up may take some before they notice.
    gate.add_permits(20);
    assert_eq!(behind.await.expect("answered").status(), StatusCode::OK);
    until(&proxy, "given back", |stats| cost(stats).reserved == Amount::ZERO).await;
    assert_eq!(get(proxy.listen, "/work?tokens=1").await.0, StatusCode::OK);
}
