//! Sessions on real processes: placed, waited for, and known again after the control plane was killed.

use std::time::Duration;

use daemon::client::{Client, ClientError};

use crate::support::{Stage, eventually, request, serves};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Instances of four slots in two processes.
fn stage(more: &str) -> Stage {
    Stage::new(&format!(
        "sessions = {{ types = {{ casual = {{ weight = 1 }}, tournament = {{ weight = 2, class = 200 }} }}, \
         processes = 2, wait_max = \"20s\", drain = \"10m\", {more} }}"
    ))
}

fn config(stage: &Stage) -> std::path::PathBuf {
    stage
        .config("web.toml", |text| text.replace("{port}", "{ports}").replace("capacity = 50", "capacity = 4"))
}

fn start(stage: &Stage) -> crate::support::Running {
    crate::support::Running::start(&config(stage)).expect("the daemon starts")
}

fn ask(session: &str, kind: &str) -> api::SessionRequest {
    api::SessionRequest { session: session.into(), kind: kind.into(), wait_s: None }
}

/// Asks until it has a place.
async fn placed(client: &Client, session: &str, kind: &str) -> api::Session {
    eventually("a place", async || {
        let session = client.open_session("web", &ask(session, kind)).await.ok()?;
        (session.state == api::SessionState::Placed).then_some(session)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_survive_a_killed_control_plane_where_they_were_and_instances_wait_for_them() {
    let stage = stage("lease = \"1m\"");
    let daemon = start(&stage);
    let client = stage.client();
    serves(&client).await;
    let mut before = Vec::new();
    for (session, kind) in [("a", "casual"), ("b", "casual"), ("t", "tournament"), ("u", "tournament")] {
        let session = placed(&client, session, kind).await;
        assert!(session.durable, "{session:?}");
        before.push(session);
    }
    let mut processes: Vec<String> = before.iter().filter_map(|session| session.address.clone()).collect();
    processes.sort();
    processes.dedup();
    assert!(processes.len() >= 3, "six slots are on two instances of two processes each: {before:?}");
    for address in &processes {
        let (status, ..) =
            request(address.parse().expect("an address"), "GET", "/", &[], "").await.expect("answered");
        assert_eq!(status, 200, "every process listens at {address}");
    }

    daemon.kill();
    let daemon = start(&stage);
    for was in &before {
        let is = client.session("web", &was.session).await.expect("known again");
        assert_eq!((&is.instance, is.process, &is.address), (&was.instance, was.process, &was.address));
    }
    let summary = client.workload("web").await.expect("the workload").summary.sessions.expect("it has some");
    let held: Vec<u64> = summary.types.iter().map(|kind| kind.held).collect();
    assert_eq!(held, [2, 2]);

    // A pin for one instance: the other is waited for as long as its sessions last.
    let pinned = api::OverrideRequest {
        active: Some(1),
        standby: Some(0),
        author: "test".into(),
        reason: "scale in".into(),
        expires_in_s: None,
    };
    client.set_override("web", &pinned).await.expect("pinned");
    let (leaving, others): (Vec<_>, Vec<_>) = {
        eventually("an instance that leaves", async || {
            let sessions = client.sessions("web", 100).await.ok()?.sessions;
            let leaving = sessions.iter().any(|session| session.leaves_by_ms.is_some());
            leaving.then(|| sessions.into_iter().partition(|session| session.leaves_by_ms.is_some()))
        })
        .await
    };
    let _: &Vec<api::Session> = &others;
    tokio::time::sleep(Duration::from_secs(7)).await;
    for session in leaving.iter().chain(&others) {
        let is =
            client.session("web", &session.session).await.expect("not cut after the usual time to drain");
        assert_eq!(is.instance, session.instance);
    }
    let plan = client.plan("web", None).await.expect("a plan");
    assert!(plan.reasons.iter().any(|reason| reason.rule == "sessions"), "{:?}", plan.reasons);
    for session in &leaving {
        client.close_session("web", &session.session).await.expect("it ends");
    }
    eventually("the instance gone", async || {
        (client.workload("web").await.ok()?.instances.len() == 1).then_some(())
    })
    .await;
    for session in &others {
        assert_eq!(client.session("web", &session.session).await.expect("there").instance, session.instance);
    }
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_renewed_loses_the_slot_and_whoever_finds_none_is_told_when_to_ask_again() {
    let stage = stage("lease = \"2s\", queue_max = 1");
    let config = stage.config("web.toml", |text| {
        text.replace("{port}", "{ports}")
            .replace("capacity = 50", "capacity = 4")
            .replace("max = 6", "max = 1")
    });
    let _daemon = crate::support::Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    serves(&client).await;
    let path = "/api/v1/workloads/web/sessions";
    let first = placed(&client, "t", "tournament").await;
    placed(&client, "u", "tournament").await;
    let post = |body: &'static str| request(stage.api, "POST", path, &JSON, body);
    let (status, body, headers) = post("{\"session\":\"c\",\"type\":\"casual\"}").await.expect("answered");
    assert_eq!((status, headers.get("retry-after").is_some()), (202, true), "{body}");
    let (status, body, headers) = post("{\"session\":\"d\",\"type\":\"casual\"}").await.expect("answered");
    assert_eq!((status, headers.get("retry-after").is_some()), (503, true), "{body}");
    assert!(body.contains("the queue is full"), "{body}");
    let (status, body, _) = post("{\"session\":\"e\",\"type\":\"chess\"}").await.expect("answered");
    assert!(status == 400 && body.contains("casual, tournament"), "{status} {body}");
    let (status, ..) = post("{\"session\":\"e/f\",\"type\":\"casual\"}").await.expect("answered");
    assert_eq!(status, 400);

    // `t` and `c` are renewed, `u` has died.
    let c = eventually("the slot of the dead one", async || {
        client.renew_session("web", "t").await.expect("it is there");
        let c = client.renew_session("web", "c").await.expect("it is there");
        tokio::time::sleep(Duration::from_millis(100)).await;
        (c.state == api::SessionState::Placed).then_some(c)
    })
    .await;
    assert_eq!(c.instance, first.instance);
    let gone = client.renew_session("web", "u").await.expect_err("it has ended");
    assert!(matches!(gone, ClientError::Refused { status: 404, .. }), "{gone}");
    client.close_session("web", "c").await.expect("it ends");
    let (status, ..) = request(stage.api, "DELETE", &format!("{path}/c"), &JSON, "").await.expect("answered");
    assert_eq!(status, 404);
    // What sessions ask for is the demand, and recorded by type.
    eventually("the series", async || {
        let metrics = client.metrics("web").await.ok()?;
        format!("{metrics:?}").contains("sessions_held").then_some(())
    })
    .await;
}
