//! A shift of traffic to a promoted instance, followed step by step, and told again after a crash.

use std::time::Duration;

use crate::explain::now_ms;
use crate::support::{Load, Stage, eventually, pin};

fn shares(steps: &[api::ShiftStep]) -> Vec<(api::ShiftTurn, f64)> {
    steps.iter().map(|step| (step.turn, step.to)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_is_told_step_by_step_in_the_journal_on_its_instance_and_in_explain() {
    let stage = Stage::new("");
    let config = stage.config("web.toml", |text| text.replace("first_share = 1.0", "first_share = 0.25"));
    let daemon = crate::support::Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    pin(&client, 2, 1).await;
    let load = Load::start(stage.web, 40);
    eventually("demand", async || {
        client.workload("web").await.ok()?.summary.demand_now.filter(|demand| *demand > 20.0)
    })
    .await;
    let promoted = now_ms();
    pin(&client, 3, 0).await;
    let steps = eventually("its full share", async || {
        let detail = client.workload("web").await.ok()?;
        let mut shifts = detail.instances.into_iter().map(|instance| instance.shift);
        let shifted = shifts.find(|steps| !steps.is_empty() && steps[0].at_ms >= promoted)?;
        (shifted.last()?.to == 1.0).then_some(shifted)
    })
    .await;
    use api::ShiftTurn::{Began, Grew};
    assert_eq!(shares(&steps), [(Began, 0.25), (Grew, 0.5), (Grew, 1.0)], "{steps:?}");
    let last = steps.last().expect("steps");
    let compared = last.compared.expect("compared");
    assert!(compared.requests > 0.0 && compared.peers_requests > compared.requests, "{compared:?}");
    assert!(
        compared.e_value < compared.e_value_limit && last.sentence.contains("from 50 % to 100 %"),
        "{last:?}"
    );
    let explained = client.explain("web", Some(last.at_ms)).await.expect("explained");
    let of_it = |explained: api::Explanation| {
        let mut told = explained.shifts;
        told.retain(|step| step.instance == last.instance && step.at_ms >= promoted);
        told
    };
    assert_eq!(
        explained.sentences.iter().filter(|said| said.about == "shift").count(),
        explained.shifts.len()
    );
    assert_eq!(of_it(explained), steps);
    let before = client.explain("web", Some(steps[1].at_ms)).await.expect("explained");
    assert_eq!(of_it(before), steps[..2], "what was to come is not told");
    // What was written down is on disk a second later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon.kill();

    let daemon = stage.start();
    let again = client.explain("web", Some(last.at_ms)).await.expect("explained from what was written down");
    assert_eq!(of_it(again), steps);
    load.finish().await;
    daemon.terminate();
}
