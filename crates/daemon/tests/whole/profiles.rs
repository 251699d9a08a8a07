//! Standbys of another size: promoted, they take their larger share of traffic.

use std::collections::BTreeMap;

use crate::sizes::quota;
use crate::support::{Stage, eventually, pids, pin, request, serves};

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_two_profiles_share_traffic_by_what_they_can_serve() {
    let stage = Stage::new(
        "limits = { cpu = 0.25, memory = \"128MiB\" }\n\
         profiles = { standby = { cpu = 0.75, memory = \"256MiB\" } }",
    );
    let daemon = stage.start();
    let client = stage.client();
    serves(&client).await;
    pin(&client, 1, 1).await;
    let detail = client.workload("web").await.expect("the workload");
    let of = |parked: bool| detail.instances.iter().find(|i| i.parked == parked).and_then(|i| i.pid);
    let (small, large) = (of(false).expect("an active one"), of(true).expect("a standby"));
    match (quota(small), quota(large)) {
        (Some(small), Some(large)) => assert_eq!((small, large), (25_000, 75_000)),
        (None, _) | (_, None) => skips::skip("sizes of profiles", "no quotas of processor time here"),
    }
    pin(&client, 2, 0).await;
    assert_eq!(pids(&client).await.len(), 2);
    eventually("their full weights", async || {
        let instances = client.workload("web").await.ok()?.instances;
        let weight = |pid| instances.iter().find(|i| i.pid == Some(pid)).map(|i| f64::from(i.weight));
        (weight(large)? > 2.9 * weight(small)?).then_some(())
    })
    .await;
    let mut answered: BTreeMap<u32, u32> = BTreeMap::new();
    for _ in 0..600 {
        let (status, body, _) = request(stage.web, "GET", "/", &[], "").await.expect("answered");
        assert_eq!(status, 200);
        *answered.entry(body.parse().expect("a process id")).or_default() += 1;
    }
    let [few, many] = [small, large].map(|pid| f64::from(answered.get(&pid).copied().unwrap_or(0)));
    println!("{answered:?}");
    assert!((2.4..3.75).contains(&(many / few)), "three times as many: {answered:?}");
    let said =
        "one that serves counts as 3.00 active instances, by its share of processor time; 1 of them serve";
    eventually(said, async || {
        let explained = client.explain("web", None).await.ok()?;
        explained.sentences.iter().any(|sentence| sentence.text.contains(said)).then_some(())
    })
    .await;
    daemon.terminate();
}
