//! Many that ask the same at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use proxy::control::CacheSpec;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::support::{Backend, Http, Proxy, until};
use super::{ask, asked, body, caching, caching_with, counted, get, respond};

/// A backend that answers when it is allowed to.
async fn gated(fields: &'static str) -> (Backend, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inside = Arc::clone(&gate);
    let backend = Backend::answering(1, move |count, _| {
        let gate = Arc::clone(&inside);
        async move {
            gate.acquire().await.expect("open").forget();
            respond(fields, format!("{count}"))
        }
    })
    .await;
    (backend, gate)
}

fn crowd(proxy: &Arc<Proxy>, count: usize, path: &'static str) -> JoinSet<String> {
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        let proxy = Arc::clone(proxy);
        crowd.spawn(async move { body(&get(&proxy, path, "").await).to_owned() });
    }
    crowd
}

async fn arrived(proxy: &Proxy, count: u64) {
    until(proxy, "arrived", |stats| stats.workload("web").is_some_and(|web| web.arrivals >= count)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_asks_for_all() {
    let (backend, gate) = gated("cache-control: max-age=60").await;
    let proxy = Arc::new(caching(&backend).await);
    let crowd = crowd(&proxy, 50, "/");
    arrived(&proxy, 50).await;
    gate.add_permits(50);
    assert!(crowd.join_all().await.iter().all(|body| body == "1"));
    assert_eq!(backend.requests(), 1);
    let counts = counted(&proxy).await;
    assert_eq!((counts.misses, counts.spared()), (1, 49), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_one_only_lets_the_others_ask_at_once() {
    let (backend, gate) = gated("cache-control: private").await;
    let proxy = Arc::new(caching(&backend).await);
    let crowd_one = crowd(&proxy, 10, "/");
    arrived(&proxy, 10).await;
    asked(&backend, 1).await;
    gate.add_permits(1);
    // All the others are asked for together: nobody waits for the second answer.
    asked(&backend, 10).await;
    gate.add_permits(9);
    let mut bodies = crowd_one.join_all().await;
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 10);
    // The next do not even wait for the first.
    let crowd_two = crowd(&proxy, 5, "/");
    asked(&backend, 15).await;
    gate.add_permits(5);
    crowd_two.join_all().await;
    assert_eq!(counted(&proxy).await.misses, 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_strands_nobody() {
    let (backend, gate) = gated("cache-control: max-age=60").await;
    let proxy = Arc::new(caching(&backend).await);
    let first = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { Http::connect(proxy.listen).await.send(ask(http::Method::GET, "/", "")).await.is_ok() }
    });
    asked(&backend, 1).await;
    let crowd = crowd(&proxy, 10, "/");
    arrived(&proxy, 11).await;
    first.abort();
    let _ = first.await;
    until(&proxy, "cancelled", |stats| stats.workload("web").is_some_and(|web| web.cancelled == 1)).await;
    asked(&backend, 2).await;
    gate.add_permits(10);
    let bodies = crowd.join_all().await;
    assert!(bodies.iter().all(|body| body == "2"), "{bodies:?}");
    assert_eq!(backend.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_longer_than_configured() {
    let (backend, gate) = gated("cache-control: max-age=60").await;
    let spec = CacheSpec { collapse_wait: Duration::from_millis(50), ..CacheSpec::default() };
    let proxy = Arc::new(caching_with(&backend, spec).await);
    let crowd = crowd(&proxy, 3, "/");
    asked(&backend, 3).await;
    gate.add_permits(3);
    crowd.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_are_asked_for_side_by_side() {
    let (backend, gate) = gated("cache-control: max-age=60|vary: accept").await;
    let proxy = Arc::new(caching(&backend).await);
    gate.add_permits(1);
    get(&proxy, "/", "accept: known").await;
    let mut crowd = JoinSet::new();
    for n in 0..20 {
        let proxy = Arc::clone(&proxy);
        crowd.spawn(async move {
            let answer = get(&proxy, "/", if n % 2 == 0 { "accept: a" } else { "accept: b" }).await;
            (n % 2, body(&answer).to_owned())
        });
    }
    arrived(&proxy, 21).await;
    asked(&backend, 3).await;
    gate.add_permits(2);
    let mut found = crowd.join_all().await;
    found.sort_unstable();
    found.dedup();
    assert_eq!((found.len(), backend.requests()), (2, 3), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_before_a_change_is_not_kept_after_it() {
    let gate = Arc::new(Semaphore::new(0));
    let inside = Arc::clone(&gate);
    let backend = Backend::answering(1, move |count, request| {
        let gate = Arc::clone(&inside);
        async move {
            if request.method() == http::Method::GET {
                gate.acquire().await.expect("open").forget();
            }
            respond("cache-control: max-age=60", format!("{count}"))
        }
    })
    .await;
    let proxy = Arc::new(caching(&backend).await);
    let before = crowd(&proxy, 1, "/");
    asked(&backend, 1).await;
    // Changed while the answer is under way, which may be from before.
    let change = super::send(&proxy, http::Method::POST, "/", "").await;
    assert_eq!((change.status(), backend.requests()), (StatusCode::OK, 2));
    gate.add_permits(1);
    assert_eq!(before.join_all().await, ["1"]);
    gate.add_permits(1);
    assert_eq!(body(&get(&proxy, "/", "").await), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_stale_hits_renews_once() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let gate = Arc::new(Semaphore::new(0));
    let (slow, inside) = (Arc::clone(&is_slow), Arc::clone(&gate));
    let backend = Backend::answering(1, move |count, _| {
        let (slow, gate) = (Arc::clone(&slow), Arc::clone(&inside));
        async move {
            if slow.load(Ordering::SeqCst) {
                gate.acquire().await.expect("open").forget();
            }
            respond("cache-control: max-age=60, stale-while-revalidate=60|age: 60", format!("{count}"))
        }
    })
    .await;
    let proxy = Arc::new(caching(&backend).await);
    get(&proxy, "/", "").await;
    is_slow.store(true, Ordering::SeqCst);
    let bodies = crowd(&proxy, 30, "/").join_all().await;
    assert!(bodies.iter().all(|body| body == "1"));
    asked(&backend, 2).await;
    assert_eq!(counted(&proxy).await.refreshes, 1);
    gate.add_permits(1);
}
