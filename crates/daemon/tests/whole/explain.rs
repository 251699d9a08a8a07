//! Decisions of the past explained, and overrides of the forecast, through a crash.

use std::time::{Duration, SystemTime};

use crate::support::{Load, Stage, eventually, request, serves};

const JSON: (&str, &str) = ("content-type", "application/json");
const PATH: &str = "/api/v1/workloads/web/forecast-overrides";

pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date")
}

fn raised(add: f64) -> api::ForecastOverrideRequest {
    api::ForecastOverrideRequest {
        scale: None,
        add: Some(add),
        replace: None,
        from_ms: None,
        to_ms: now_ms() + 600_000,
        author: "ana".into(),
        reason: "a launch".into(),
    }
}

fn about(explained: &api::Explanation, about: &str) -> String {
    let said = explained.sentences.iter().filter(|sentence| sentence.about == about);
    said.map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_of_the_forecast_is_planned_for_shown_and_outlives_a_crash() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    let load = Load::start(stage.web, 30);
    eventually("demand", async || {
        client.workload("web").await.ok()?.summary.demand_now.filter(|d| *d > 10.0)
    })
    .await;
    let set = client.override_forecast("web", &raised(150.0)).await.expect("taken");
    assert!(set.sentence.contains("overridden by ana because \"a launch\" until"), "{}", set.sentence);
    eventually("four active instances", async || {
        let detail = client.workload("web").await.ok()?;
        (detail.summary.counts.active >= 4).then_some(())
    })
    .await;
    // Demand is seen before the first step is over, a forecast begins after it.
    let forecast = eventually("a forecast", async || {
        let forecast = client.forecast("web", Duration::from_secs(10)).await.ok()?;
        (!forecast.timestamps_ms.is_empty()).then_some(forecast)
    })
    .await;
    assert_eq!(forecast.overrides.len(), 1);
    assert!(forecast.columns[0].iter().all(|low| *low >= 150.0), "{forecast:?}");
    let explained = client.explain("web", None).await.expect("explained");
    assert!(about(&explained, "why").contains(&set.sentence), "{explained:?}");
    assert_eq!(about(&explained, "announced"), "");
    let launch = api::NewCalendarEvent {
        name: "Launch".into(),
        kind: None,
        start_ms: now_ms(),
        end_ms: now_ms() + 600_000,
        magnitude: None,
    };
    let request =
        api::CalendarRequest { author: "ana".into(), reason: "planned".into(), events: vec![launch] };
    client.announce("*", &request).await.expect("taken");
    let explained = client.explain("web", None).await.expect("explained");
    assert!(
        about(&explained, "announced").ends_with("Launch (of kind `launch`), noted by ana."),
        "{explained:?}"
    );
    // What was written down is on disk a second later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon.kill();

    let daemon = stage.start();
    let restored = client.forecast_overrides("web").await.expect("listed").overrides;
    assert_eq!(restored, [set]);
    let second = client.override_forecast("web", &raised(1.0)).await.expect("taken");
    assert!(second.id > restored[0].id);
    for of in [&restored[0], &second] {
        client.remove_forecast_override("web", of.id).await.expect("removed");
    }
    assert!(client.remove_forecast_override("web", second.id).await.is_err(), "it is gone");
    assert!(client.forecast_overrides("web").await.expect("listed").overrides.is_empty());
    load.finish().await;
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_that_make_no_sense_or_are_too_many_are_refused() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let client = stage.client();
    serves(&client).await;
    let body =
        |change: &str, to: i64| format!("{{{change},\"to_ms\":{to},\"author\":\"a\",\"reason\":\"b\"}}");
    let later = now_ms() + 60_000;
    for bad in [
        body("\"scale\":-1", later),
        body("\"scale\":1,\"add\":1", later),
        body("\"scale\":1", now_ms() - 1),
        body("\"scale\":1", i64::MAX),
        body(&format!("\"scale\":1,\"from_ms\":{later}"), later),
        body("\"factor\":1", later),
    ] {
        let (status, answer, _) = request(stage.api, "POST", PATH, &[JSON], &bad).await.expect("answered");
        assert_eq!(status, 400, "{bad}: {answer}");
    }
    for _ in 0..planner::FORECAST_OVERRIDES_MAX {
        client.override_forecast("web", &raised(1.0)).await.expect("taken");
    }
    let (status, answer, _) =
        request(stage.api, "POST", PATH, &[JSON], &body("\"scale\":1", later)).await.expect("answered");
    assert_eq!(status, 409, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_of_the_past_is_explained_after_a_crash() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    let load = Load::start(stage.web, 30);
    eventually("demand", async || {
        client.workload("web").await.ok()?.summary.demand_now.filter(|d| *d > 10.0)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let at = now_ms();
    let then = client.explain("web", Some(at)).await.expect("explained");
    assert_eq!(then.explained_at_ms, at);
    assert!(then.plan.at_ms <= at && then.reaction.is_some());
    tokio::time::sleep(Duration::from_secs(4)).await;
    daemon.kill();

    let daemon = stage.start();
    let later = client.explain("web", Some(at)).await.expect("explained from what was written down");
    assert_eq!((later.plan.generation, later.plan.at_ms), (then.plan.generation, then.plan.at_ms));
    assert_eq!(later.plan, then.plan, "byte for byte what was decided");
    let seen = later.seen.as_ref().expect("seen");
    assert!(seen.step_at_ms <= at && seen.demand.is_some_and(|demand| demand > 5.0), "{seen:?}");
    let cost = later.reaction.as_ref().and_then(|reaction| reaction.cost).expect("those steps are over");
    assert!(cost.demand > 5.0 && cost.missed <= cost.demand, "{cost:?}");
    assert!(about(&later, "without_forecast").contains("Reacting alone"), "{later:?}");
    assert!(client.explain("web", Some(1_000)).await.is_err(), "nothing is known of 1970");
    load.finish().await;
    daemon.terminate();
}
