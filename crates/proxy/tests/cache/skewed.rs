//! A workload in which few things are asked for often: what is left for the backends.

use std::sync::Arc;

use http::{Method, StatusCode};
use proxy::control::CacheSpec;
use tokio::task::JoinSet;

use super::support::{Backend, Http};
use super::{ask, caching_with, counted, respond};

const KEYS: usize = 10_000;
const BODY_BYTES: usize = 2_000;
const REQUESTS: usize = 60_000;
const CLIENTS: usize = 8;

/// The cumulative shares of a Zipf distribution.
fn zipf(exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

/// Zipf over 10 000 addresses with an exponent of 1, as is usual for what is asked for on the Web; there is room for a tenth. The
/// best that any cache of this size could do is to keep the 1 000 that are asked for most, known in advance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_for_a_tenth_leaves_less_than_a_third_of_the_load() {
    let backend = Backend::answering(1, |_, request| async move {
        let body = format!("{:<width$}", request.uri().path(), width = BODY_BYTES);
        respond("cache-control: max-age=600|etag: \"v1\"", body)
    })
    .await;
    // What one takes: its body, its fields and the cache's own.
    let bytes_max = (KEYS / 10 * (BODY_BYTES + 1_070)) as u64;
    let proxy = Arc::new(caching_with(&backend, CacheSpec::new(bytes_max)).await);
    let shares = Arc::new(zipf(1.0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (proxy, shares) = (Arc::clone(&proxy), Arc::clone(&shares));
        clients.spawn(async move {
            let mut random = fastrand::Rng::with_seed(client as u64);
            let mut http = Http::connect(proxy.listen).await;
            for _ in 0..REQUESTS / CLIENTS {
                let draw = random.f64();
                let rank = shares.partition_point(|&share| share < draw);
                let path = format!("/{rank}");
                let answer = http.send(ask(Method::GET, &path, "")).await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::OK);
                assert!(answer.body().trim_ascii_end() == path.as_bytes(), "an answer to another question");
            }
        });
    }
    clients.join_all().await;
    let counts = counted(&proxy).await;
    let load = backend.requests() as f64 / REQUESTS as f64;
    let best = 1.0 - shares[KEYS / 10 - 1];
    println!(
        "upstream load {load:.3} of {REQUESTS} requests (the best 1000 known in advance: {best:.3}); {} of {KEYS} kept in \
         {} of {bytes_max} bytes, {} evictions",
        counts.entries, counts.bytes, counts.evictions
    );
    assert!(load <= 0.3, "{load}: {counts:?}");
    assert!(counts.entries <= (KEYS / 10) as u64 && counts.bytes <= bytes_max, "{counts:?}");
    assert_eq!(counts.misses, backend.requests() as u64);
    assert_eq!(counts.hits + counts.collapsed + counts.misses, REQUESTS as u64);
}
