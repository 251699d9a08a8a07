//! Overload of a real backend: the highest class is served, the lowest is sent away.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::Full;
use proxy::control::{Class, Endpoint, Priority, Route, Shedding, Stats};
use support::{Backend, Http, Proxy, text, until};
use tokio::sync::Semaphore;

/// Four at a time, twenty milliseconds each: two hundred a second.
async fn backend() -> Backend {
    let places = Arc::new(Semaphore::new(4));
    Backend::answering(1, move |_, _: Request<hyper::body::Incoming>| {
        let places = Arc::clone(&places);
        async move {
            let _place = places.acquire().await.expect("open");
            tokio::time::sleep(Duration::from_millis(20)).await;
            text("done")
        }
    })
    .await
}

fn shedding() -> Shedding {
    Shedding {
        priority: Priority {
            header: "x-priority".into(),
            classes: ["high", "low"].map(|name| Class { name: name.into(), deadline: None }).to_vec(),
            default: 1,
        },
        endpoints: vec![Endpoint { template: "/pay/*".parse().expect("template"), class: Some(0) }],
        ..Shedding::new(Duration::from_millis(100))
    }
}

fn route(proxy: &Proxy, backend: &Backend, shedding: Option<Shedding>) -> Route {
    let mut route = proxy.route(&[backend.spec(1000)]);
    (route.shedding, route.hold, route.max_waiting) = (shedding, Duration::from_secs(1), 100);
    route
}

/// What became of the requests of one class: answered, and how long that took, sorted.
#[derive(Default)]
struct Outcome {
    asked: usize,
    took: Vec<Duration>,
    sent_away: usize,
}

impl Outcome {
    fn p99(&self) -> Duration {
        self.took.get(self.took.len() * 99 / 100).copied().unwrap_or(Duration::MAX)
    }
}

/// Four hundred requests a second, every fifth of the high class; those of the first second are not looked at.
async fn overload(proxy: &Proxy) -> [Outcome; 2] {
    let mut ticks = tokio::time::interval(Duration::from_micros(2500));
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..2000 {
        ticks.tick().await;
        let (listen, is_low) = (proxy.listen, n % 5 != 0);
        asked.spawn(async move {
            let began = Instant::now();
            let (path, class) = match (is_low, n % 2) {
                (true, _) => ("/", "low"),
                (false, 0) => ("/", "high"),
                (false, _) => ("/pay/it", "low"),
            };
            let request = Request::get(path).header("host", "test").header("x-priority", class);
            let request = request.body(Full::default()).expect("a request");
            let answer = Http::connect(listen).await.send(request).await.expect("an answer");
            (n >= 400).then(|| {
                let told = answer.headers().contains_key("retry-after");
                assert!(answer.status() == StatusCode::OK || told, "{answer:?}");
                (usize::from(is_low), answer.status() == StatusCode::OK, began.elapsed())
            })
        });
    }
    let mut outcomes = [Outcome::default(), Outcome::default()];
    for (class, answered, took) in asked.join_all().await.into_iter().flatten() {
        let outcome = &mut outcomes[class];
        outcome.asked += 1;
        if answered { outcome.took.push(took) } else { outcome.sent_away += 1 }
    }
    outcomes.iter_mut().for_each(|outcome| outcome.took.sort());
    outcomes
}

fn shed(stats: &Stats) -> &proxy::control::SheddingStats {
    stats.workloads[0].shedding.as_ref().expect("it sheds")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_twice_the_capacity_the_high_class_is_served_in_time_and_the_low_one_is_shed() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    proxy.set(1, route(&proxy, &backend, Some(shedding()))).await;
    let [high, low] = overload(&proxy).await;
    let (p99, share) = (high.p99(), high.took.len() as f64 / high.asked as f64);
    eprintln!(
        "high: {:.1} % answered, p99 {p99:?}; low: {} of {} shed",
        100.0 * share,
        low.sent_away,
        low.asked
    );
    assert!(share > 0.99, "{share}");
    assert!(p99 < Duration::from_millis(400), "{p99:?}");
    // It is asked for 320 a second, and 120 are left of what there is.
    assert!(low.sent_away > low.asked * 4 / 10 && !low.took.is_empty(), "{} of {}", low.sent_away, low.asked);
    let stats = proxy.stats().await;
    let counted = shed(&stats);
    assert!((1..60).contains(&counted.limit), "{counted:?}");
    assert_eq!((counted.shed[0].0.as_str(), counted.shed[1].0.as_str()), ("high", "low"));
    assert!(
        counted.shed[1].1 >= low.sent_away as u64 && counted.shed[0].1 * 100 < high.asked as u64,
        "{counted:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_it_all_are_late_alike() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    proxy.set(1, route(&proxy, &backend, None)).await;
    let [high, _] = overload(&proxy).await;
    eprintln!("high without shedding: p99 {:?}", high.p99());
    assert!(
        high.p99() > Duration::from_secs(2),
        "what the other test shows would be nothing: {:?}",
        high.p99()
    );
    assert!(proxy.stats().await.workloads[0].shedding.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_limit_nobody_waits_and_the_limit_goes_with_the_table() {
    let (proxy, backend) = (Proxy::start().await, backend().await);
    proxy.set(1, route(&proxy, &backend, Some(shedding()))).await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..30 {
        assert_eq!(http.get("/").await.status(), StatusCode::OK);
    }
    let stats = until(&proxy, "all over", |stats| stats.workloads[0].in_flight == 0).await;
    assert_eq!((shed(&stats).limit, stats.workloads[0].held), (20, 0));
    proxy.set(2, route(&proxy, &backend, None)).await;
    assert_eq!(http.get("/").await.status(), StatusCode::OK);
    assert!(proxy.stats().await.workloads[0].shedding.is_none());
}
