//! An instance gets more than its size while a request on it takes more than was reserved, and gives it back.

use crate::sizes::quota;
use crate::support::{Stage, eventually, pids, request, serves};

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_rises_while_a_request_outgrows_its_reservation_and_falls_again_in_steps() {
    let stage = Stage::new(
        "limits = { cpu = 0.5 }\nraise = { cpu = 0.5, cpu_max = 1.0, hold = \"500ms\" }\n\
         admission = { costs = [{ name = \"seconds\", measure = \"duration\", per_instance = 100, initial = 0.1 }] }",
    );
    let daemon = stage.start();
    let client = stage.client();
    serves(&client).await;
    let pid = pids(&client).await[0].1;
    let Some(first) = quota(pid) else {
        return skips::skip("limits that rise with a request", "no quotas of processor time here");
    };
    assert_eq!(first, 50_000);
    let web = stage.web;
    let slow =
        tokio::spawn(
            async move { request(web, "GET", "/?sleep_ms=3000", &[], "").await.expect("answered").0 },
        );
    eventually("a raised quota", async || (quota(pid) == Some(100_000)).then_some(())).await;
    assert!(!slow.is_finished(), "while it runs");
    assert_eq!(slow.await.expect("ran"), 200);
    eventually("the quota of before", async || (quota(pid) == Some(50_000)).then_some(())).await;
    assert_eq!(pids(&client).await[0].1, pid, "the same process");
    let first = eventually("both are explained", async || {
        let explained = client.explain("web", None).await.expect("explained");
        let mut said = explained.sentences.into_iter().filter(|said| said.about == "raise");
        let first = said.next()?.text;
        said.next_back()?.text.contains("may use nothing more").then_some(first)
    })
    .await;
    assert!(first.contains("web-1 may use 0.50 cores more than its size: a request on it has taken more"));
    daemon.terminate();
}
