//! Which backend gets a request, by every policy; sticky clients, slow starts, outliers and retries.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use proxy::control::{
    BackendSpec, Balancing, KeySource, OutlierSpec, PolicySpec, RetrySpec, Route, Stats, StickySpec,
};
use support::{Backend, Http, Proxy, get, get_request, text, until};

async fn backends(count: u64) -> Vec<Backend> {
    let mut backends = Vec::new();
    for id in 1..=count {
        backends.push(Backend::start(id).await);
    }
    backends
}

fn route(proxy: &Proxy, backends: &[Backend], balancing: Balancing) -> Route {
    let specs: Vec<BackendSpec> = backends.iter().map(|backend| backend.spec(1000)).collect();
    Route { balancing, ..proxy.route(&specs) }
}

fn policy(policy: PolicySpec) -> Balancing {
    Balancing { policy, ..Balancing::default() }
}

fn hashing(key: KeySource) -> Balancing {
    policy(PolicySpec::Hash { key, load_percent: 125 })
}

fn request(headers: &[(&'static str, String)]) -> Request<Full<Bytes>> {
    let mut request = get_request("/");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    request
}

fn body(response: &Response<Bytes>) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

/// The backend that answers for each of 40 keys, asked by three clients each; clients land on either shard.
async fn homes(
    proxy: &Proxy,
    headers: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> BTreeMap<usize, String> {
    let mut homes = BTreeMap::new();
    for round in 0..3 {
        for key in 0..40 {
            let mut http = Http::connect(proxy.listen).await;
            let answer = body(&http.send(request(&headers(key))).await.expect("an answer"));
            let home = homes.entry(key).or_insert_with(|| answer.clone());
            assert_eq!(*home, answer, "key {key} in round {round}");
        }
    }
    homes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_go_round_by_weight() {
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    let backends = backends(3).await;
    let mut route = route(&proxy, &backends, policy(PolicySpec::RoundRobin));
    route.backends[0].weight = 2000;
    proxy.set(1, route).await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..40 {
        http.get("/").await;
    }
    let counts: Vec<_> = backends.iter().map(Backend::requests).collect();
    assert_eq!(counts, [20, 10, 10]);
}

/// Answers its id, but only after a long time where the request asks for it.
async fn hanging(id: u64) -> Backend {
    Backend::answering(id, move |_, request| async move {
        if request.headers().contains_key("x-hang") {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        text(id.to_string())
    })
    .await
}

/// A client whose request hangs for as long as it is not aborted.
fn hang(listen: SocketAddr, cost: &str) -> tokio::task::JoinHandle<()> {
    let headers = [("x-hang", "1".to_owned()), ("x-cost", cost.to_owned())];
    tokio::spawn(async move {
        let _ = Http::connect(listen).await.send(request(&headers)).await;
    })
}

/// Requests on each backend.
fn in_flight(stats: &Stats) -> Vec<u32> {
    stats.workloads[0].backends.iter().map(|backend| backend.in_flight).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_where_the_fewest_are() {
    let proxy = Proxy::start().await;
    let backends = [hanging(1).await, hanging(2).await, hanging(3).await];
    proxy.set(1, route(&proxy, &backends, policy(PolicySpec::LeastConnections))).await;
    let clients: Vec<_> = (0..4).map(|_| hang(proxy.listen, "1")).collect();
    // Counted by the proxy before they have come to the backend.
    let have_come = || backends.iter().map(Backend::requests).sum::<usize>() == 4;
    let hanging = |stats: &_| in_flight(stats).iter().sum::<u32>() == 4 && have_come();
    let stats = until(&proxy, "hanging", hanging).await;
    let full = in_flight(&stats).iter().position(|&load| load == 2).expect("two of four on one of three");
    let before = backends[full].requests();
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..50 {
        http.get("/").await;
    }
    assert_eq!(backends[full].requests(), before);
    assert!(backends.iter().filter(|backend| backend.requests() > 10).count() == 2, "idle ones share");
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_one_home_on_all_shards_and_keeps_it_when_another_backend_leaves() {
    let proxy = Proxy::start().await;
    let backends = backends(4).await;
    let keyed = |key: usize| vec![("x-user", format!("user-{key}"))];
    proxy.set(1, route(&proxy, &backends, hashing(KeySource::Header("X-User".into())))).await;
    let before = homes(&proxy, keyed).await;
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 4, "{before:?}");
    let mut fewer = route(&proxy, &backends, hashing(KeySource::Header("X-User".into())));
    // In another order, with one gone.
    fewer.backends = [3, 0, 1].map(|index: usize| backends[index].spec(1000)).to_vec();
    proxy.set(2, fewer).await;
    let after = homes(&proxy, keyed).await;
    for (key, home) in before {
        assert!(after[&key] == home || home == "3", "{key}: {home} {}", after[&key]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_from_cookies_paths_and_addresses() {
    let proxy = Proxy::start().await;
    let backends = backends(4).await;
    proxy.set(1, route(&proxy, &backends, hashing(KeySource::Cookie("session".into())))).await;
    let by_cookie = homes(&proxy, |key| vec![("cookie", format!("theme=dark; session={key}"))]).await;
    assert!(by_cookie.values().collect::<BTreeSet<_>>().len() > 2);
    proxy.set(2, route(&proxy, &backends, hashing(KeySource::Path))).await;
    let mut http = Http::connect(proxy.listen).await;
    let mut by_path = BTreeSet::new();
    for path in 0..20 {
        let first = body(&http.get(&format!("/{path}?a=1")).await);
        assert_eq!(first, body(&http.get(&format!("/{path}?b=2")).await));
        by_path.insert(first);
    }
    assert!(by_path.len() > 1);
    proxy.set(3, route(&proxy, &backends, hashing(KeySource::Address))).await;
    let by_address = homes(&proxy, |_| Vec::new()).await;
    assert_eq!(by_address.values().collect::<BTreeSet<_>>().len(), 1, "one address");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_has_more_than_its_share_passes_requests_on() {
    let proxy = Proxy::start().await;
    let backends = [
        Backend::slow(1, Duration::from_millis(500)).await,
        Backend::slow(2, Duration::from_millis(500)).await,
        Backend::slow(3, Duration::from_millis(500)).await,
    ];
    proxy.set(1, route(&proxy, &backends, hashing(KeySource::Header("x-user".into())))).await;
    let listen = proxy.listen;
    let clients: Vec<_> = (0..30)
        .map(|_| {
            tokio::spawn(async move {
                let mut http = Http::connect(listen).await;
                http.send(request(&[("x-user", "the only one".into())])).await.expect("an answer").status()
            })
        })
        .collect();
    let stats = until(&proxy, "all in flight", |stats| stats.workloads[0].in_flight == 30).await;
    let loads: Vec<_> = stats.workloads[0].backends.iter().map(|backend| backend.in_flight).collect();
    // 1.25 of ten is 13 in whole requests; two shards may both have taken the last place.
    assert!(loads.iter().all(|&load| load <= 14), "{loads:?}");
    assert!(loads.iter().all(|&load| load >= 3), "{loads:?}");
    for client in clients {
        assert_eq!(client.await.expect("answered"), StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn predicted_work_counts_until_the_response_has_ended() {
    let proxy = Proxy::start().await;
    let backends = [hanging(1).await, hanging(2).await];
    let by_work = policy(PolicySpec::LeastWork { header: Some("X-Cost".into()) });
    proxy.set(1, route(&proxy, &backends, by_work)).await;
    let _large = hang(proxy.listen, "1000");
    let stats = until(&proxy, "one hanging", |stats| in_flight(stats).iter().sum::<u32>() == 1).await;
    let (full, free) = if in_flight(&stats)[0] == 1 { (0, 1) } else { (1, 0) };
    // Many small ones are less than one large one.
    let small: Vec<_> = (0..8).map(|_| hang(proxy.listen, "10")).collect();
    until(&proxy, "all hanging", |stats| in_flight(stats)[free] == 8 && in_flight(stats)[full] == 1).await;
    // A client that leaves takes its work away; then the other has less again.
    small.iter().for_each(tokio::task::JoinHandle::abort);
    until(&proxy, "small ones gone", |stats| in_flight(stats)[free] == 0).await;
    let mut http = Http::connect(proxy.listen).await;
    for _ in 0..10 {
        let cost = [("x-cost", "900".to_owned())];
        let answer = body(&http.send(request(&cost)).await.expect("an answer"));
        assert_eq!(answer, (free + 1).to_string());
    }
}

fn sticky() -> Balancing {
    let sticky = StickySpec { cookie: "home".into(), lasts: Duration::from_secs(3600), secret: [7; 16] };
    Balancing { sticky: Some(sticky), ..Balancing::default() }
}

/// The cookie that an answer sets: the pair to send back, and its attributes.
fn set_cookie(response: &Response<Bytes>) -> Option<(String, String)> {
    let text = response.headers().get("set-cookie")?.to_str().expect("text");
    let (pair, attributes) = text.split_once("; ").expect("attributes");
    Some((pair.to_owned(), attributes.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_client_comes_back_until_its_home_drains() {
    let proxy = Proxy::start().await;
    let backends = backends(4).await;
    proxy.set(1, route(&proxy, &backends, sticky())).await;
    let mut http = Http::connect(proxy.listen).await;
    let first = http.get("/").await;
    let (cookie, attributes) = set_cookie(&first).expect("a cookie");
    assert_eq!(attributes, "Max-Age=3600; Path=/; HttpOnly; SameSite=Lax");
    let home = body(&first);
    for _ in 0..30 {
        let mut http = Http::connect(proxy.listen).await;
        let again = http.send(request(&[("cookie", cookie.clone())])).await.expect("an answer");
        assert_eq!((body(&again), set_cookie(&again)), (home.clone(), None));
    }
    let mut draining = route(&proxy, &backends, sticky());
    draining.backends[home.parse::<usize>().expect("an id") - 1].weight = 0;
    proxy.set(2, draining).await;
    let moved = http.send(request(&[("cookie", cookie.clone())])).await.expect("an answer");
    assert_ne!(body(&moved), home);
    let (other, _) = set_cookie(&moved).expect("a new home");
    assert_ne!(other, cookie);
    // A value that nobody gave out is no home.
    let forged = http.send(request(&[("cookie", "home=0123456789abcdef".into())])).await.expect("an answer");
    assert!(set_cookie(&forged).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_cookie_outlives_the_proxy_and_is_secure_behind_tls() {
    let backends = backends(4).await;
    let first = Proxy::start().await;
    first.set(1, route(&first, &backends, sticky())).await;
    let headers = [("x-forwarded-proto", "https".to_owned())];
    let answer = Http::connect(first.listen).await.send(request(&headers)).await.expect("an answer");
    let (cookie, attributes) = set_cookie(&answer).expect("a cookie");
    assert!(attributes.ends_with("; Secure"), "{attributes}");
    drop(first);
    let second = Proxy::start().await;
    second.set(1, route(&second, &backends, sticky())).await;
    for _ in 0..10 {
        let mut http = Http::connect(second.listen).await;
        let again = http.send(request(&[("cookie", cookie.clone())])).await.expect("an answer");
        assert_eq!((body(&again), set_cookie(&again)), (body(&answer), None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_backend_starts_slowly_and_an_only_one_serves_all_the_same() {
    for policy in [PolicySpec::P2c, PolicySpec::RoundRobin, PolicySpec::LeastConnections] {
        let proxy = Proxy::start_with(|options| options.workers = 1).await;
        let backends = backends(2).await;
        let slow = Balancing { policy, slow_start: Duration::from_secs(600), ..Balancing::default() };
        let both = route(&proxy, &backends, slow);
        proxy.set(1, Route { backends: both.backends[..1].to_vec(), ..both.clone() }).await;
        proxy.set(2, both.clone()).await;
        let mut http = Http::connect(proxy.listen).await;
        for _ in 0..200 {
            http.get("/").await;
        }
        // A twentieth of a weight beside a whole one: 10 of 200.
        assert!(backends[1].requests() < 30, "{:?}: {}", both.balancing, backends[1].requests());
        proxy.set(3, Route { backends: both.backends[1..].to_vec(), ..both }).await;
        for _ in 0..20 {
            assert_eq!(http.get("/").await.body(), "2");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_fails_more_than_its_peers_is_left_out_and_never_more_than_a_third() {
    let proxy = Proxy::start().await;
    let failing = |id| async move {
        Backend::answering(id, |count, _| async move {
            let mut response = text("broken");
            // Never many in a row, which would be found without this.
            if count % 2 == 0 {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            response
        })
        .await
    };
    let backends = [
        failing(1).await,
        failing(2).await,
        Backend::start(3).await,
        Backend::start(4).await,
        Backend::start(5).await,
    ];
    let outliers = OutlierSpec {
        interval: Duration::from_millis(200),
        requests_min: 10,
        error_percent: 10,
        lasts: Duration::from_secs(60),
        ..OutlierSpec::default()
    };
    let balancing =
        Balancing { policy: PolicySpec::RoundRobin, outliers: Some(outliers), ..Balancing::default() };
    proxy.set(1, route(&proxy, &backends, balancing)).await;
    let listen = proxy.listen;
    let clients = tokio::spawn(async move {
        let mut http = Http::connect(listen).await;
        loop {
            http.get("/").await;
        }
    });
    let ejected = |stats: &Stats| -> Vec<u64> {
        stats.workloads[0]
            .backends
            .iter()
            .filter(|backend| backend.ejected)
            .map(|backend| backend.id)
            .collect()
    };
    let stats = until(&proxy, "ejected", |stats| !ejected(stats).is_empty()).await;
    let out = ejected(&stats);
    assert!(out == [1] || out == [2], "{out:?}");
    // Two of five would be more than a third: the other one stays, window after window.
    let answered = stats.workloads[0].completed;
    let stats = until(&proxy, "more windows", |stats| stats.workloads[0].completed > answered + 1000).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ejected(&stats), out);
    assert_eq!(ejected(&proxy.stats().await), out);
    clients.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_retry_budget_is_the_routes_own() {
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    let good = Backend::start(1).await;
    let nobody = BackendSpec { id: 2, addr: loopback::free_address(), weight: 1_000_000 };
    let retries = RetrySpec { percent: 0, per_second_min: 0 };
    let balancing = Balancing { retries, ..Balancing::default() };
    proxy.set(1, Route { balancing, ..proxy.route(&[good.spec(1), nobody]) }).await;
    assert_eq!(get(proxy.listen, "/").await.0, StatusCode::BAD_GATEWAY);
    // The same, with the usual budget; another id, so that nothing is held against it.
    let other = BackendSpec { id: 3, ..nobody };
    proxy.set(2, proxy.route(&[good.spec(1), other])).await;
    // A budget of a thousand a second at least fills within the second that it is short of one.
    support::eventually(|| async {
        match get(proxy.listen, "/").await.0 {
            StatusCode::OK => Ok(()),
            status => Err(status),
        }
    })
    .await;
    assert!(proxy.stats().await.workloads[0].backend(3).is_some_and(|backend| backend.retries <= 1));
}
