//! Requests admitted by their cost with real processes: demand is counted in it, samples are kept, and a proxy that was killed learns
//! again from them.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Stage, eventually, request, serves};

fn stage() -> Stage {
    Stage::new(
        "demand = \"cost\"\nadmission = { numbers = [\"query:size\"], endpoints = [\"GET /work/*\"], samples = 1000, \
         costs = [{ name = \"bytes\", measure = \"response_bytes\", per_instance = 100000, initial = 1 }, \
         { name = \"at_once\", measure = \"one\", per_instance = 20 }] }",
    )
}

async fn ask(stage: &Stage, count: usize) {
    for i in 0..count {
        let path = format!("/work/a?size={}", i % 7);
        let (status, ..) = request(stage.web, "GET", &path, &[], "").await.expect("answered");
        assert_eq!(status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_kept_with_what_they_cost_and_taught_to_a_new_proxy() {
    let stage = stage();
    let daemon = stage.start();
    let client = stage.client();
    serves(&client).await;
    ask(&stage, 60).await;
    let known = eventually("sixty samples", async || {
        let known = client.requests("web", 100).await.ok()?;
        (known.requests.len() >= 60).then_some(known)
    })
    .await;
    let newest = &known.requests[0];
    assert_eq!(
        (newest.endpoint.as_str(), known.numbers.as_slice()),
        ("GET /work/*", &["query:size".to_owned()][..])
    );
    let bytes = newest.measured[0].expect("measured");
    assert!(bytes > 0.0 && newest.measured[1] == Some(1.0), "{newest:?}");
    assert!(newest.numbers[0].is_some_and(|size| size < 7.0), "{newest:?}");
    eventually("demand in bytes", async || {
        let cost = client.requests("web", 1).await.ok()?.costs.into_iter().next()?;
        (cost.measured >= 60.0 * bytes * 0.5 && cost.reserved == 0.0).then_some(())
    })
    .await;

    let pid = client.status().await.expect("the status").proxy.pid.expect("a proxy runs");
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a process"), Signal::KILL).expect("killed");
    eventually("another proxy", async || {
        let proxy = client.status().await.ok()?.proxy;
        (proxy.connected && proxy.pid.is_some_and(|new| new != pid)).then_some(())
    })
    .await;
    // What it was taught is what it reserves; its own guess would be a single byte.
    eventually("a prediction from what was remembered", async || {
        request(stage.web, "GET", "/work/a?size=3", &[], "").await.ok().filter(|answer| answer.0 == 200)?;
        let known = client.requests("web", 1).await.ok()?;
        (known.requests.first()?.reserved[0] > bytes * 0.5).then_some(())
    })
    .await;
    assert!(client.requests("nobody", 1).await.is_err());
    daemon.terminate();
}
