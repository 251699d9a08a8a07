//! Weeks of demand pushed in several requests, oldest first.

use std::time::{Duration, SystemTime};

use crate::support::{Running, Stage, eventually};

const STEP_MS: i64 = 60_000;
const STEPS: i64 = 4000;
const REQUESTS: i64 = 5;

fn this_step() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date") / STEP_MS * STEP_MS
}

fn start(stage: &Stage) -> Running {
    let minutes = |text: String| text.replace("\nstep = \"1s\"", "\nstep = \"1m\"");
    Running::start(&stage.config("web.toml", minutes)).expect("the daemon starts")
}

/// One of the requests, as if all had been prepared at `now`.
fn part(now: i64, part: i64) -> api::SamplesRequest {
    let each = STEPS / REQUESTS;
    let sample = |step: i64| api::PushedSample {
        at_ms: now + (step - STEPS) * STEP_MS,
        demand: Some(50.0 + (step % 1440) as f64 / 100.0),
        missed: None,
    };
    api::SamplesRequest { samples: (part * each..(part + 1) * each).map(sample).collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_pushed_in_several_requests_across_a_crash_and_none_of_it_is_lost() {
    let stage = Stage::new("demand = \"push\"\nmode = \"observe\"");
    let daemon = start(&stage);
    let (client, now) = (stage.client(), this_step());
    client.push("web", &part(now, 0)).await.expect("taken");
    // Ticks pass, in which steps up to now would be given up.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let said = client.push("web", &part(now, 1)).await.expect("taken");
    daemon.kill();
    let _daemon = start(&stage);
    let again = client.push("web", &part(now, 1)).await.expect_err("it was acknowledged, so it is there");
    assert!(again.to_string().contains("not later than the last step"), "{again}");
    let next = part(now, 2);
    assert_eq!(next.samples[0].at_ms, said.last_at_ms + STEP_MS);
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.push("web", &next).await.expect("taken");
    client.push("web", &part(now, 3)).await.expect("taken");
    client.push("web", &part(now, 4)).await.expect("taken");
    let none: [(&str, String); 0] = [];
    eventually("every step on disk", async || {
        let said = client.metric_forecast("web", "demand", &none).await.ok()?;
        (said.metric?.learned_steps == STEPS as u64).then_some(())
    })
    .await;
    let status = client.status().await.expect("the status");
    assert_eq!(status.history.records_dropped, 0);
    let said = client.forecast("web", Duration::from_secs(600)).await.expect("a forecast");
    assert!(said.trust.trusted && (50.0..66.0).contains(&said.columns[2][0]), "{said:?}");
}
