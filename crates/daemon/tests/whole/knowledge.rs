//! What is known beside demand reaches the forecast: events by the API, metrics with values of the future.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::support::{Running, Stage};

const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 10 * 168;
/// The last of the hours that are tested, from now.
const AHEAD: usize = 10;

/// The hour that is under way, in milliseconds since 1970.
fn this_hour() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date") / HOUR_MS * HOUR_MS
}

/// Beginnings of past campaigns of four hours, counted from the first hour: one a week, when no season can tell.
fn campaigns() -> impl Iterator<Item = i64> {
    (0..HOURS / 168).map(|week| week * 168 + week * 5 % 7 * 24 + week * 7 % 20)
}

fn is_on(hour: i64) -> bool {
    campaigns().any(|begin| (begin..begin + 4).contains(&hour))
}

/// Ten weeks of hours up to `now` in which campaigns double demand, and a daemon that learns from them.
fn stage(lines: &str, now: i64) -> Stage {
    let stage = Stage::new(&format!("history = \"demand.csv\"\n{lines}"));
    let mut rows = String::from("timestamp,requests\n");
    for hour in 0..HOURS {
        let day = ((hour % 24) as f64 / 24.0 * std::f64::consts::TAU).cos();
        let demand =
            (60.0 - 20.0 * day + (hour * 7919 % 11) as f64 / 4.0) * if is_on(hour) { 2.0 } else { 1.0 };
        rows.push_str(&format!("{},{demand}\n", (now + (hour - HOURS) * HOUR_MS) / 1000));
    }
    let root = stage.history().ancestors().nth(2).expect("a folder").to_owned();
    std::fs::write(root.join("demand.csv"), rows).expect("written");
    stage
}

fn start(stage: &Stage) -> Running {
    let hourly = |text: String| text.replace("\nstep = \"1s\"", "\nstep = \"1h\"");
    Running::start(&stage.config("web.toml", hourly)).expect("the daemon starts")
}

/// Medians of the hours to come.
async fn medians(stage: &Stage) -> Vec<f64> {
    let horizon = Duration::from_millis(HOUR_MS as u64) * (AHEAD as u32);
    let said = stage.client().forecast("web", horizon).await.expect("a forecast");
    let median = said.quantiles.iter().position(|tau| *tau == 0.5).expect("the median");
    said.columns[median].clone()
}

fn campaign(start_ms: i64) -> api::NewCalendarEvent {
    api::NewCalendarEvent {
        name: format!("campaign {start_ms}"),
        kind: Some("campaign".into()),
        start_ms,
        end_ms: start_ms + 4 * HOUR_MS,
        magnitude: None,
    }
}

fn request(events: Vec<api::NewCalendarEvent>) -> api::CalendarRequest {
    api::CalendarRequest { author: "ana".into(), reason: "plan of marketing".into(), events }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_posted_over_the_api_changes_the_forecast_by_what_those_before_it_did() {
    let now = this_hour();
    let stage = stage("", now);
    let daemon = start(&stage);
    let client = stage.client();
    let past = campaigns().map(|begin| campaign(now + (begin - HOURS) * HOUR_MS)).collect();
    client.announce("web", &request(past)).await.expect("taken");
    daemon.terminate();
    let _daemon = start(&stage);
    let before = medians(&stage).await;
    // Known at the start, the past ones were learned from with the history.
    let accepted = client.announce("web", &request(vec![campaign(now + 4 * HOUR_MS)])).await.expect("taken");
    let with = medians(&stage).await;
    // Steps are counted from the end of the last one, which may be an hour later by now.
    let ratio = |said: &[f64]| said[5] / before[5];
    assert!((1.5..2.5).contains(&ratio(&with)), "{before:?} {with:?}");
    assert!((with[1] / before[1] - 1.0).abs() < 0.25, "{before:?} {with:?}");
    client.remove_event("web", accepted.added[0].id, "ana", "rain").await.expect("gone");
    assert!((ratio(&medians(&stage).await) - 1.0).abs() < 0.1);
    // One that concerns everybody is felt as well.
    client.announce("*", &request(vec![campaign(now + 4 * HOUR_MS)])).await.expect("taken");
    assert!(ratio(&medians(&stage).await) > 1.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_metric_that_is_a_covariate_brings_its_future_into_the_forecast() {
    let now = this_hour();
    let stage = stage("covariates = [\"promo\"]", now);
    let daemon = start(&stage);
    let client = stage.client();
    let sample = |hour: i64, value: f64| api::MetricSample {
        metric: "promo".into(),
        at_ms: now + (hour - HOURS) * HOUR_MS,
        value,
        labels: BTreeMap::new(),
    };
    let past = (0..HOURS).map(|hour| sample(hour, f64::from(u8::from(is_on(hour)))));
    let quiet = (0..AHEAD as i64).map(|ahead| sample(HOURS + ahead, 0.0));
    let samples = past.chain(quiet).collect();
    client.push_metrics("web", &api::MetricsRequest { samples }).await.expect("taken");
    daemon.terminate();
    let _daemon = start(&stage);
    let before = medians(&stage).await;
    let planned = (4..8).map(|ahead| sample(HOURS + ahead, 1.0)).collect();
    client.push_metrics("web", &api::MetricsRequest { samples: planned }).await.expect("taken");
    let with = medians(&stage).await;
    assert!((1.5..2.5).contains(&(with[5] / before[5])), "{before:?} {with:?}");
    assert!((with[1] / before[1] - 1.0).abs() < 0.25, "{before:?} {with:?}");
}
