//! What the forecast notices by itself, and what it is told: anomalies, outages, deploys, and the levels of demand to come.

use std::time::{Duration, SystemTime};

use crate::support::{Stage, eventually, request, serves};

/// The first of a thousand steps that end now.
const STEPS: i64 = 1000;
const SPIKE: i64 = 900;
const SILENCE: std::ops::Range<i64> = 940..960;

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date")
}

/// Demand of about 100, once of 900, and once of nothing for a while.
fn demand(step: i64) -> f64 {
    match step {
        SPIKE => 900.0,
        _ if SILENCE.contains(&step) => 0.0,
        _ => 100.0 + (step * 7919 % 101) as f64 / 10.0,
    }
}

fn past() -> api::SamplesRequest {
    let end = now_ms() / 1000 * 1000;
    let sample = |step: i64| api::PushedSample {
        at_ms: end - (STEPS - step) * 1000,
        demand: Some(demand(step)),
        missed: None,
    };
    api::SamplesRequest { samples: (0..STEPS).map(sample).collect() }
}

async fn told(client: &daemon::client::Client, kind: &str) -> api::Event {
    eventually(kind, async || {
        client.events(1000).await.ok()?.events.into_iter().find(|event| event.kind == kind)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn anomalies_and_outages_are_journaled_shown_and_counted() {
    let stage = Stage::new("demand = \"push\"\nmode = \"observe\"");
    let _daemon = stage.start();
    let client = stage.client();
    client.push("web", &past()).await.expect("taken");
    let spike = told(&client, "anomaly").await;
    assert_eq!(spike.workload.as_deref(), Some("web"));
    let all = client.events(1000).await.expect("events").events;
    let spike = all.iter().find(|event| event.message.starts_with("anomaly: 900 requests/s at 20"));
    let spike = spike.unwrap_or_else(|| panic!("{all:?}"));
    assert!(spike.message.contains("expected at most 1") && spike.message.contains("; p "), "{spike:?}");
    assert!(told(&client, "outage_began").await.message.contains("an outage is suspected"));
    assert!(told(&client, "outage_ended").await.message.contains("demand is back"));
    let detail = eventually("the workload", async || {
        client.workload("web").await.ok().filter(|detail| !detail.anomalies.is_empty())
    })
    .await;
    let shown = detail.anomalies.iter().find(|anomaly| anomaly.value == 900.0).expect("the spike");
    assert!(shown.nearest < 200.0 && (90.0..115.0).contains(&shown.expected), "{shown:?}");
    assert!(detail.counters.anomalies >= 1 && detail.summary.outage_since_ms.is_none());
    let (status, metrics, _) = request(stage.api, "GET", "/metrics", &[], "").await.expect("an answer");
    assert_eq!(status, 200);
    let counted = format!("foreshadow_anomalies_total{{workload=\"web\"}} {}", detail.counters.anomalies);
    assert!(metrics.contains(&counted), "{metrics}");
    assert!(metrics.contains("foreshadow_outage_suspected{workload=\"web\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_of_one_more_instance_come_with_the_time_and_the_probability() {
    let stage = Stage::new("demand = \"push\"\nmode = \"observe\"");
    let _daemon = stage.start();
    let client = stage.client();
    client.push("web", &past()).await.expect("taken");
    let levels = eventually("levels", async || {
        let levels = client.levels("web", Duration::from_secs(30)).await.ok()?;
        (levels.timestamps_ms.len() == 30).then_some(levels)
    })
    .await;
    assert_eq!(levels.capacity, 50.0);
    for level in &levels.levels {
        assert_eq!(level.demand, 50.0 * f64::from(level.instances.expect("theirs") - 1));
        assert!(level.crossed.len() == 30 && level.crossed.is_sorted());
    }
    let path = "/api/v1/workloads/web/levels?horizon=30s&levels=50,1000000";
    let (status, body, _) = request(stage.api, "GET", path, &[], "").await.expect("an answer");
    assert_eq!(status, 200);
    let asked: api::Levels = serde_json::from_str(&body).expect("levels");
    let [low, high] = &asked.levels[..] else { panic!("{asked:?}") };
    assert_eq!((low.demand, low.instances, low.likely_at_ms), (50.0, None, Some(asked.timestamps_ms[0])));
    assert_eq!((high.likely_at_ms, high.possible_at_ms), (None, None));
    let path = "/api/v1/workloads/web/levels?levels=2,1";
    let (status, body, _) = request(stage.api, "GET", path, &[], "").await.expect("an answer");
    assert!(status == 400 && body.contains("ascending"), "{status} {body}");
    let forecast = client.forecast("web", Duration::from_secs(5)).await.expect("a forecast");
    assert!(forecast.trust.coverage.is_some_and(|share| share > 0.5) || !forecast.trust.trusted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_is_announced_or_found_at_the_start_is_told() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    serves(&client).await;
    let event = api::NewCalendarEvent {
        name: "checkout 2.4".into(),
        kind: Some("deploy".into()),
        start_ms: now_ms() + 500,
        end_ms: now_ms() + 1500,
        magnitude: None,
    };
    let announcement =
        api::CalendarRequest { author: "ci".into(), reason: "release".into(), events: vec![event] };
    client.announce("web", &announcement).await.expect("announced");
    let deployed = told(&client, "deployed").await;
    assert!(deployed.message.starts_with("`checkout 2.4` was deployed"), "{deployed:?}");
    daemon.terminate();
    let before = client.events(1).await.is_err();
    assert!(before, "it is down");
    let other = stage.config("web.toml", |text| text + "\nenv = { MODE = \"new\" }\n");
    let _daemon = crate::support::Running::start(&other).expect("it starts again");
    let found = eventually("the new configuration", async || {
        let events = client.events(1000).await.ok()?.events;
        events.into_iter().find(|event| event.message.starts_with("`a new configuration` was deployed"))
    })
    .await;
    assert_eq!(found.kind, "deployed");
}
