//! Any metric that is kept is forecast when somebody asks.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::support::{Running, Stage, eventually, request};

const STEP_MS: i64 = 600_000;
const DAY: i64 = 144;
const DAYS: i64 = 21;

fn this_step() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date") / STEP_MS * STEP_MS
}

/// A day with a peak, and noise of which nobody can know.
fn value(step: i64) -> f64 {
    let day = ((step % DAY) as f64 / DAY as f64 * std::f64::consts::TAU).cos();
    300.0 - 200.0 * day + noise(step)
}

/// From 0 to 40 (splitmix64).
fn noise(step: i64) -> f64 {
    let mut bits = (step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) % 41) as f64
}

/// Three weeks of a series that ends with the step under way; of them the steps up to `until`.
fn samples(metric: &str, now: i64, until: i64, zone: Option<&str>) -> api::MetricsRequest {
    let sample = |step: i64| api::MetricSample {
        metric: metric.to_owned(),
        at_ms: now + (step - DAYS * DAY) * STEP_MS,
        value: value(step),
        labels: zone.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect(),
    };
    api::MetricsRequest { samples: (0..until).map(sample).collect() }
}

fn start(stage: &Stage) -> Running {
    let slow = |text: String| text.replace("\nstep = \"1s\"", "\nstep = \"10m\"");
    Running::start(&stage.config("web.toml", slow)).expect("the daemon starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_metric_is_forecast_as_it_comes_and_never_by_what_came_later() {
    let stage = Stage::new("");
    let _daemon = start(&stage);
    let client = stage.client();
    let now = this_step();
    let yesterday = (DAYS - 1) * DAY;
    client.push_metrics("web", &samples("queue_length", now, DAYS * DAY, None)).await.expect("taken");
    client.push_metrics("web", &samples("cut_length", now, yesterday, None)).await.expect("taken");
    let asked = async |metric: &str, further: &[(&str, String)]| {
        let mut asked = vec![("horizon", "24h".to_owned()), ("quantiles", "0.05,0.5,0.95".to_owned())];
        asked.extend(further.iter().cloned());
        client.metric_forecast("web", metric, &asked).await.expect("a forecast")
    };
    let at = [("at", (now - DAY * STEP_MS + 1).to_string())];
    let said = asked("queue_length", &at).await;
    assert_eq!(said.timestamps_ms.first(), Some(&(now - DAY * STEP_MS)));
    assert!(said.trust.trusted, "{}", said.trust.sentence);
    let metric = said.metric.clone().expect("said of what");
    assert_eq!(
        (metric.name.as_str(), metric.series, metric.learned_steps),
        ("queue_length", 1, yesterday as u64)
    );
    let truth: Vec<f64> = (yesterday..DAYS * DAY).map(value).collect();
    let error = |said: &dyn Fn(usize) -> f64| {
        truth.iter().enumerate().map(|(h, truth)| (said(h) - truth).abs()).sum::<f64>() / truth.len() as f64
    };
    let (median, last) = (error(&|h| said.columns[1][h]), error(&|_| value(yesterday - 1)));
    assert!(median < 0.1 * last, "a mean error of {median} beside {last} of the last value");
    let covered =
        truth.iter().enumerate().filter(|(h, v)| said.columns[0][*h] <= **v && **v <= said.columns[2][*h]);
    let covered = covered.count() as f64 / truth.len() as f64;
    assert!((0.8..1.0).contains(&covered), "{covered} of the values are inside of 90 %");
    // Without what came later, and after another question, the answer is the same.
    asked("queue_length", &[]).await;
    assert_eq!(asked("cut_length", &at).await.columns, said.columns);
    assert_eq!(asked("queue_length", &at).await.columns, said.columns);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_measures_is_forecast_and_what_is_unclear_refused_with_the_choice() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let client = stage.client();
    let none: [(&str, String); 0] = [];
    let memory = eventually("a forecast of memory", async || {
        client.metric_forecast("web", "total_memory_bytes", &none).await.ok()
    })
    .await;
    // Too young to be trusted, but about as large as now.
    assert!(!memory.trust.trusted && memory.columns[2][0] > 10_000.0, "{memory:?}");
    let now = this_step();
    for zone in ["a", "b"] {
        client.push_metrics("web", &samples("queue", now, 500, Some(zone))).await.expect("taken");
    }
    let path = "/api/v1/workloads/web/metrics";
    for (rest, expected, part) in [
        ("queue/forecast", 400, "zone=a; zone=b"),
        ("queue/forecast?label=zone%3Dc", 404, "there are zone=a; zone=b"),
        ("queue/forecast?label=zone", 400, "no name and value"),
        ("queue/forecast?aggregate=median", 400, "sum, mean or max"),
        ("queue/forecast?label=zone%3Da&step=5ns", 400, "step"),
        ("queue/forecast?label=zone%3Da&at=9999999999999", 400, "to come"),
        ("queue/forecast?label=zone%3Da&horizon=100000h", 400, "horizon"),
        ("queue/forecast?label=zone%3Da&at=1000", 404, "no value"),
        ("nothing/forecast", 404, "no metric named"),
    ] {
        let (status, answer, _) =
            request(stage.api, "GET", &format!("{path}/{rest}"), &[], "").await.expect("answered");
        assert!(status == expected && answer.contains(part), "{rest}: {status} {answer}");
    }
    let at = ("at", (now - 20 * DAY * STEP_MS).to_string());
    let one = [at.clone(), ("label", "zone=a".to_owned())];
    let one = client.metric_forecast("web", "queue", &one).await.expect("a forecast");
    let labels: BTreeMap<String, String> = [("zone".to_owned(), "a".to_owned())].into();
    assert_eq!(one.metric.expect("said").labels, labels);
    let both = [at, ("aggregate", "sum".to_owned())];
    let both = client.metric_forecast("web", "queue", &both).await.expect("a forecast");
    let twice = both.columns[2][0] / one.columns[2][0];
    assert!((twice - 2.0).abs() < 0.05 && both.step_ms == STEP_MS as u64, "{twice}");
}
