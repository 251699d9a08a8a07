//! A cache that is configured spares the instances requests, and the planner sees what is left.

use std::time::{Duration, SystemTime};

use crate::support::{Stage, eventually, pin, request};

/// Requests of each half: first for as many addresses, then for one of them again and again.
const REQUESTS: u64 = 240;
/// Between two of them.
const EVERY: Duration = Duration::from_millis(25);

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date")
}

/// Asks at a steady rate, and returns when that began and ended.
async fn ask(stage: &Stage, path: impl Fn(u64) -> String, told: &str) -> (i64, i64) {
    let began = now_ms();
    let mut ticks = tokio::time::interval(EVERY);
    for number in 0..REQUESTS {
        ticks.tick().await;
        let (status, _, headers) =
            request(stage.web, "GET", &path(number), &[], "").await.expect("an answer");
        let status_of_cache = headers["cache-status"].to_str().expect("text");
        assert!(status == 200 && status_of_cache.starts_with(told), "{status_of_cache}");
    }
    (began, now_ms())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_answers_is_neither_load_nor_demand() {
    let stage = Stage::new("cache = { size = \"1MiB\" }\nenv = { CACHE_CONTROL = \"max-age=600\" }");
    let _daemon = stage.start();
    let client = stage.client();
    pin(&client, 1, 0).await;
    let filling = ask(&stage, |number| format!("/{number}"), "foreshadow; fwd=uri-miss; stored").await;
    let full = ask(&stage, |_| String::from("/0"), "foreshadow; hit; ttl=5").await;
    eventually("all requests are counted", async || {
        let detail = client.workload("web").await.ok()?;
        (detail.counters.arrivals == 2 * REQUESTS).then_some(())
    })
    .await;
    let (_, metrics, _) = request(stage.api, "GET", "/metrics", &[], "").await.expect("metrics");
    for metric in [
        format!("foreshadow_instance_requests_total{{workload=\"web\",instance=\"1\"}} {REQUESTS}\n"),
        format!("foreshadow_cache_requests_total{{workload=\"web\",outcome=\"hit\"}} {REQUESTS}.0\n"),
        format!("foreshadow_cache_requests_total{{workload=\"web\",outcome=\"miss\"}} {REQUESTS}.0\n"),
    ] {
        assert!(metrics.contains(&metric), "{metric} is not in\n{metrics}");
    }
    // The steps that lie within each half, which are a second long.
    let demand = async |(from, to): (i64, i64)| {
        let series = client.series("web", from - 1000, to + 5000).await.ok()?;
        let whole = series.timestamps_ms.iter().zip(&series.demand);
        let whole = whole.filter(|(at, _)| **at >= from + 500 && **at + 1500 <= to);
        let whole: Vec<f64> = whole.filter_map(|(_, demand)| *demand).collect();
        (whole.len() > 1).then(|| whole.iter().sum::<f64>() / whole.len() as f64)
    };
    let before = eventually("the demand of the first half", async || demand(filling).await).await;
    let after = eventually("the demand of the second half", async || demand(full).await).await;
    assert!(before > 15.0 && after < 5.0, "demand was {before}, then {after} requests per second");
}
