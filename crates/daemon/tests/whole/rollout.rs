//! A changed configuration: what runs is replaced bit by bit, and no request notices.

use std::time::Duration;

use crate::support::{Load, Running, Stage, eventually, patiently, pids, pin, request, runs};

/// The first is watched for half a minute.
const ROLLOUT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_started_with_another_configuration_is_replaced_without_a_failed_request() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 1).await;
    let before = pids(&client).await;
    let load = Load::start(stage.web, 50);
    daemon.kill();
    let same = stage.config("web.toml", |text| text.replace("max = 6", "max = 5"));
    let daemon = Running::start(&same).expect("it starts again");
    eventually("all are found again", async || (pids(&client).await == before).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pids(&client).await, before, "what they are made of is the same");

    daemon.kill();
    let other = stage.config("web.toml", |text| text + "\nenv = { MODE = \"new\" }\n");
    let _daemon = Running::start(&other).expect("it starts again");
    patiently("all are others", ROLLOUT, async || {
        let detail = client.workload("web").await.ok()?;
        let counts = detail.summary.counts;
        let now = pids(&client).await;
        let others = now.iter().all(|one| !before.contains(one));
        (others && (counts.active, counts.parked) == (2, 1)).then_some(())
    })
    .await;
    for (name, pid) in pids(&client).await {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("it runs");
        assert!(String::from_utf8_lossy(&environment).contains("MODE=new"), "{name}");
    }
    let (good, bad, complaints) = load.finish().await;
    assert!(good > 100 && bad == 0, "{bad} of {good} requests: {complaints}");
    let told = client.events(1000).await.expect("events").events;
    assert!(told.iter().any(|event| event.message.ends_with("each when another serves in its place")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_start_is_told_as_a_problem_until_the_one_before_is_back() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 1).await;
    let before = pids(&client).await;
    daemon.kill();
    let slow = "\nenv = { START_MS = \"60000\" }\n";
    let bad = stage.config("web.toml", |text| text.replace("start = \"20s\"", "start = \"2s\"") + slow);
    let daemon = Running::start(&bad).expect("it starts again");
    let problem = async || {
        let status = client.status().await.ok()?;
        let told = status.problems.into_iter().find(|problem| problem.kind == "rollout_halted");
        Some((status.workloads[0].counts.outdated, told.map(|problem| problem.message)))
    };
    let (outdated, message) =
        eventually("a problem", async || problem().await.filter(|(_, told)| told.is_some())).await;
    assert_eq!(outdated, 3);
    assert!(message.as_deref().is_some_and(|told| told.contains(" web ")), "{message:?}");
    daemon.kill();
    let good = stage.config("web.toml", |text| text);
    let _daemon = Running::start(&good).expect("it starts again");
    eventually("it is solved", async || (problem().await? == (0, None)).then_some(())).await;
    assert_eq!(pids(&client).await, before, "they served all along");
    // The last is written down after the first answers are given.
    eventually("the last start is in the journal", async || {
        let told = client.events(1000).await.ok()?.events;
        (told.iter().filter(|event| event.kind == "control_plane_started").count() == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_workload_that_is_no_longer_configured_are_answered_before_it_is_stopped() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 1, 1).await;
    let before: Vec<u32> = pids(&client).await.into_iter().map(|(_, pid)| pid).collect();
    let slow = tokio::spawn(request(stage.web, "GET", "/?sleep_ms=8000", &[], ""));
    tokio::time::sleep(Duration::from_millis(500)).await;
    daemon.kill();
    let renamed = stage.config("web.toml", |text| text.replace("name = \"web\"", "name = \"site\""));
    let daemon = Running::start(&renamed).expect("it starts again");
    eventually("the other serves", async || {
        (client.workload("site").await.ok()?.summary.counts.active > 0).then_some(())
    })
    .await;
    let (status, ..) = slow.await.expect("no panic").expect("answered");
    assert_eq!(status, 200);
    patiently("what is left is stopped", Duration::from_secs(90), async || {
        (!before.iter().any(|pid| runs(*pid))).then_some(())
    })
    .await;
    daemon.terminate();
    assert_eq!(stage.processes(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_measured_of_instances_is_known_again_after_an_orderly_end() {
    let stage = Stage::new("lead_cold = \"20s\"");
    let daemon = stage.start();
    let client = stage.client();
    let cold = async || Some(client.workload("web").await.ok()?.lead_times.cold_ms);
    assert_eq!(eventually("a guess", &cold).await, 20_000.0);
    pin(&client, 3, 1).await;
    let measured = eventually("the workload", &cold).await;
    assert!(measured < 20_000.0, "{measured}");
    daemon.terminate();
    // Nothing can be measured soon.
    let slow = stage.config("web.toml", |text| text + "\nenv = { START_MS = \"10000\" }\n");
    let _daemon = Running::start(&slow).expect("it starts again");
    assert_eq!(eventually("the workload", &cold).await, measured);
}
