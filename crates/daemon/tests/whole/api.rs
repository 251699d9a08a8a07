//! The HTTP API as clients meet it, nonsense included.

use std::time::{Duration, SystemTime};

use crate::support::{Load, Stage, eventually, request};

/// Method, path, headers, body, and the status it must be answered with.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, u16);

const JSON: (&str, &str) = ("content-type", "application/json");
const PIN: &str = r#"{"active":1,"author":"a","reason":"b"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_with_a_hint() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let cases: [Case; 26] = [
        ("GET", "/api/v1/nothing", &[], "", 404),
        ("GET", "/api/v1/workloads/nobody", &[], "", 404),
        ("GET", "/api/v1/workloads/%00", &[], "", 404),
        ("GET", "/api/v1/workloads/nobody/series", &[], "", 404),
        ("GET", "/api/v1/workloads/web/series?from=2000&to=1000", &[], "", 400),
        ("GET", "/api/v1/workloads/web/series?from=yesterday", &[], "", 400),
        ("GET", "/api/v1/workloads/web/series?form=1", &[], "", 400),
        ("GET", "/api/v1/workloads/web/forecast?horizon=30+parsecs", &[], "", 400),
        ("GET", "/api/v1/workloads/web/forecast?horizon=10000000h", &[], "", 400),
        ("GET", "/api/v1/workloads/web/forecast?quantiles=0.9,0.1", &[], "", 400),
        ("GET", "/api/v1/workloads/web/forecast?windows=mean", &[], "", 400),
        ("GET", "/api/v1/workloads/web/forecast?paths=1000000", &[], "", 400),
        ("GET", "/api/v1/workloads/web/plan?at=1000", &[], "", 404),
        ("GET", "/api/v1/events?limit=0", &[], "", 400),
        ("GET", "/api/v1/events?workload=nobody", &[], "", 404),
        ("DELETE", "/api/v1/status", &[], "", 405),
        ("PUT", "/api/v1/workloads/web/override", &[], PIN, 415),
        ("PUT", "/api/v1/workloads/web/override", &[JSON], "{\"active\":", 400),
        ("PUT", "/api/v1/workloads/web/override", &[JSON], r#"{"active":-1,"author":"a","reason":"b"}"#, 400),
        ("PUT", "/api/v1/workloads/web/override", &[JSON], r#"{"active":99,"author":"a","reason":"b"}"#, 400),
        ("PUT", "/api/v1/workloads/web/override", &[JSON], r#"{"actve":1,"author":"a","reason":"b"}"#, 400),
        ("PUT", "/api/v1/workloads/nobody/override", &[JSON], PIN, 404),
        ("POST", "/api/v1/workloads/web/samples", &[JSON], r#"{"samples":[{"at_ms":0,"demand":1}]}"#, 409),
        ("POST", "/api/v1/proxy/restart", &[], r#"{"author":"a","reason":"b"}"#, 415),
        ("POST", "/api/v1/proxy/restart", &[JSON], r#"{"author":"a","reason":" "}"#, 400),
        ("GET", "/api/v1/status", &[("host", "evil.example")], "", 421),
    ];
    for (method, path, headers, body, expected) in cases {
        let (status, answer, _) = request(stage.api, method, path, headers, body).await.expect("answered");
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let refusal: api::ErrorBody =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert!(!refusal.error.is_empty() && !refusal.hint.is_empty(), "{path}: {refusal:?}");
    }
    let large = format!("{{\"samples\":[{}]}}", " ".repeat(2 << 20));
    let answer = request(stage.api, "POST", "/api/v1/workloads/web/samples", &[JSON], &large).await;
    assert!(answer.is_ok_and(|(status, ..)| status == 413));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_documented_answers() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let client = stage.client();
    let load = Load::start(stage.web, 40);
    eventually("two steps of demand", async || {
        let now = now_ms();
        let series = client.series("web", now - 60_000, now).await.ok()?;
        let demand: Vec<f64> =
            series.demand.iter().flatten().copied().filter(|demand| *demand > 0.0).collect();
        assert_eq!(series.demand.len(), series.timestamps_ms.len());
        (demand.len() >= 2).then_some(())
    })
    .await;
    let detail = client.workload("web").await.expect("the workload");
    assert!(detail.counters.arrivals > 0 && detail.counters.starts > 0, "{:?}", detail.counters);
    assert!(detail.summary.demand_now.is_some_and(|demand| demand > 10.0), "{:?}", detail.summary);
    let plan = client.plan("web", None).await.expect("a plan");
    assert!(plan.active_wanted >= 1 && !plan.reasons.is_empty(), "{plan:?}");
    assert_eq!(client.plan("web", Some(now_ms())).await.expect("a plan").workload, "web");
    assert!(!client.plans("web", 10).await.expect("plans").plans.is_empty());
    let forecast = client.forecast("web", Duration::from_secs(10)).await.expect("a forecast");
    assert_eq!((forecast.timestamps_ms.len(), forecast.columns.len()), (10, 5));
    assert_eq!((forecast.windows.len(), forecast.paths.len()), (0, 0));
    let path = "/api/v1/workloads/web/forecast?horizon=10s&quantiles=0.5,0.9&windows=max,sum&paths=3&seed=1";
    let (_, answer, _) = request(stage.api, "GET", path, &[], "").await.expect("answered");
    let joint: api::Forecast = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(joint.paths.iter().map(Vec::len).collect::<Vec<_>>(), [10; 3]);
    let [max, sum] = &joint.windows[..] else { panic!("two windows: {answer}") };
    assert!((max.of.as_str(), sum.of.as_str()) == ("max", "sum") && max.columns[1].is_sorted(), "{answer}");
    assert!(sum.columns[1][9] >= max.columns[1][9], "{answer}");
    let events = client.events(50).await.expect("events").events;
    assert!(events.iter().any(|event| event.kind == "instance_ready"), "{events:?}");
    assert!(events.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
    load.finish().await;

    let (status, text, _) = request(stage.api, "GET", "/metrics", &[], "").await.expect("metrics");
    assert_eq!(status, 200);
    for metric in [
        "foreshadow_demand{workload=\"web\"}",
        "foreshadow_active_wanted{workload=\"web\"}",
        "foreshadow_requests_total{workload=\"web\"}",
        "foreshadow_cold_start_seconds_bucket",
        "foreshadow_plan_duration_seconds_count",
        "foreshadow_instances{workload=\"web\",state=\"active\"}",
    ] {
        assert!(text.contains(metric), "{metric} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));

    let (_, text, headers) = request(stage.api, "GET", "/", &[], "").await.expect("the dashboard");
    assert!(text.contains("/assets/app.js"));
    assert!(headers["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));
    let (status, _, headers) =
        request(stage.api, "GET", "/assets/plotly.min.js", &[], "").await.expect("an asset");
    assert_eq!(status, 200);
    let tag = headers["etag"].to_str().expect("text").to_owned();
    let again = [("if-none-match", tag.as_str())];
    let (status, body, _) =
        request(stage.api, "GET", "/assets/plotly.min.js", &again, "").await.expect("an asset");
    assert_eq!((status, body.len()), (304, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_demand_drives_a_workload() {
    let stage = Stage::new("demand = \"push\"");
    let _daemon = stage.start();
    let client = stage.client();
    let second = now_ms() / 1000 * 1000;
    let sample = |back: i64, demand: f64| api::PushedSample {
        at_ms: second - back * 1000,
        demand: Some(demand),
        missed: None,
    };
    let request = api::SamplesRequest { samples: vec![sample(2, 120.0), sample(1, 130.0)] };
    let accepted = client.push("web", &request).await.expect("taken");
    assert_eq!((accepted.accepted, accepted.last_at_ms), (2, second - 1000));
    let refused = client.push("web", &request).await.expect_err("the same again");
    assert!(refused.to_string().contains("not later than the last step taken"), "{refused}");
    eventually("capacity for 130", async || {
        let detail = client.workload("web").await.ok()?;
        (detail.summary.counts.active >= 3).then_some(())
    })
    .await;
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date")
}
