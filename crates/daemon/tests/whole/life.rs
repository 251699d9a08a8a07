//! The daemon with real instances and a real proxy, every one a process of its own.

use crate::support::{Load, Running, Stage, by, eventually, kill, pids, pin, request, runs, signal};

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_served_promoted_pinned_and_ended_without_a_trace() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    let (status, ..) = request(stage.web, "GET", "/", &[], "").await.expect("answered after a wait");
    assert_eq!(status, 200);

    pin(&client, 1, 2).await;
    let load = Load::start(stage.web, 50);
    pin(&client, 3, 0).await;
    let detail = client.workload("web").await.expect("the workload");
    assert!(detail.promotion_ms.count >= 2, "{:?}", detail.promotion_ms);
    assert!(
        detail.instances.iter().all(|instance| instance.weight == 1000 && !instance.parked),
        "{:?}",
        detail.instances
    );
    assert!(detail.summary.overridden);
    pin(&client, 1, 2).await;
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);

    let status = client.status().await.expect("a status");
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    let mut processes: Vec<u32> = pids(&client).await.into_iter().map(|(_, pid)| pid).collect();
    processes.extend(status.proxy.pid);
    assert_eq!(processes.len(), 4);
    daemon.terminate();
    assert!(!processes.into_iter().any(runs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_an_instance_that_is_killed() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 1).await;
    let before = pids(&client).await;
    let detail = client.workload("web").await.expect("the workload");
    let victim = detail.instances.iter().find(|instance| !instance.parked).expect("an active one");
    let load = Load::start(stage.web, 100);
    eventually("traffic", async || (load.good() > 20).then_some(())).await;
    kill(victim.pid.expect("it runs"));
    eventually("the standby in its place", async || {
        let detail = client.workload("web").await.ok()?;
        let active = detail.instances.iter().filter(|instance| instance.weight > 0).count();
        let gone = detail.instances.iter().all(|i| i.name != victim.name || i.weight == 0);
        (active == 2 && gone).then_some(())
    })
    .await;
    let (good, bad, complaints) = load.finish().await;
    // GET is idempotent: what the victim could not answer is tried again elsewhere.
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    let events = client.events(100).await.expect("events");
    assert!(events.events.iter().any(|event| event.kind == "instance_exited"), "{events:?}");
    pin(&client, 2, 1).await;
    assert_ne!(pids(&client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_costs_no_request_and_the_next_one_adopts_the_same_processes() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 1).await;
    let before = pids(&client).await;
    let proxy = client.status().await.expect("a status").proxy;
    let load = Load::start(stage.web, 200);
    eventually("traffic", async || (load.good() > 50).then_some(())).await;
    daemon.kill();
    let so_far = load.good();
    eventually("traffic without a control plane", async || (load.good() > so_far + 100).then_some(())).await;

    let daemon = stage.start();
    let after = client.status().await.expect("a status").proxy;
    assert_eq!((after.pid.or(proxy.pid), after.restarts), (proxy.pid, 0));
    assert!(after.generation >= proxy.generation, "{after:?} after {proxy:?}");
    // The override outlives the daemon that took it, so the counts stay.
    pin(&client, 2, 1).await;
    assert_eq!(pids(&client).await, before);
    let so_far = load.good();
    eventually("traffic with the next one", async || (load.good() > so_far + 100).then_some(())).await;
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_daemon_replaces_the_proxy_too_and_no_request_is_lost() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 0).await;
    let before = pids(&client).await;
    let old = eventually("the proxy's process id", async || client.status().await.ok()?.proxy.pid).await;
    let load = Load::start(stage.web, 200);
    eventually("traffic", async || (load.good() > 50).then_some(())).await;
    daemon.kill();

    let config = stage.config("web.toml", |text| text);
    let upgraded = stage.upgraded();
    let daemon = Running::start_program(&upgraded, &config).expect("the upgraded daemon starts");
    let new =
        eventually("another proxy", async || client.status().await.ok()?.proxy.pid.filter(|pid| *pid != old))
            .await;
    eventually("the end of the old one", async || (!runs(old)).then_some(())).await;
    assert!(runs(new));
    let so_far = load.good();
    eventually("traffic", async || (load.good() > so_far + 200).then_some(())).await;
    assert_eq!(pids(&client).await, before);
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    // Without another upgrade, the next daemon leaves it alone.
    daemon.kill();
    let daemon = Running::start_program(&upgraded, &config).expect("the daemon starts");
    pin(&client, 2, 0).await;
    let pid = eventually("the proxy's process id", async || client.status().await.ok()?.proxy.pid).await;
    assert_eq!(pid, new);
    daemon.terminate();
    assert!(!runs(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_restarted_at_will_and_no_request_is_lost_or_counted_twice() {
    let stage = Stage::new("");
    let program = stage.upgraded();
    let daemon = Running::start_program(&program, &stage.config("web.toml", |text| text)).expect("it starts");
    let client = stage.client();
    pin(&client, 2, 0).await;
    let instances = pids(&client).await;
    let mut serving =
        eventually("the proxy's process id", async || client.status().await.ok()?.proxy.pid).await;
    let load = Load::start(stage.web, 200);
    for _ in 0..3 {
        let so_far = load.good();
        eventually("traffic", async || (load.good() > so_far + 100).then_some(())).await;
        let proxy = client.restart_proxy(&by("ana")).await.expect("restarted");
        let successor = proxy.pid.expect("a process id");
        assert!(proxy.connected && successor != serving && runs(successor), "{proxy:?} after {serving}");
        eventually("the end of the one before", async || (!runs(serving)).then_some(())).await;
        serving = successor;
    }
    stage.break_program(&program);
    let refused = client.restart_proxy(&by("bob")).await.expect_err("it cannot serve").to_string();
    assert!(refused.contains("exit status: 7") && refused.contains("goes on"), "{refused}");
    let so_far = load.good();
    eventually("traffic", async || (load.good() > so_far + 100).then_some(())).await;
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    let counted = eventually("all are counted", async || {
        let counters = client.workload("web").await.ok()?.counters;
        (counters.arrivals >= good).then_some(counters.arrivals)
    })
    .await;
    assert_eq!((counted, pids(&client).await), (good, instances));
    let status = client.status().await.expect("a status");
    assert_eq!((status.proxy.pid, status.proxy.restarts), (Some(serving), 0));
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    let events = client.events(100).await.expect("events").events;
    let told = |kind: &str, by: &str| {
        events.iter().filter(|event| event.kind == kind && event.message.contains(by)).count()
    };
    assert_eq!((told("proxy_replaced", "(ana: "), told("proxy_kept", "(bob: ")), (3, 1), "{events:?}");
    daemon.terminate();
    assert!(!runs(serving));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_proxy_is_replaced_and_gets_its_table_back() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 0).await;
    let before = pids(&client).await;
    let proxy = eventually("the proxy's process id", async || client.status().await.ok()?.proxy.pid).await;
    kill(proxy);
    eventually("another proxy", async || {
        let now = client.status().await.ok()?.proxy;
        (now.connected && now.pid != Some(proxy) && now.restarts == 1).then_some(())
    })
    .await;
    eventually("requests are served again", async || {
        request(stage.web, "GET", "/", &[], "").await.ok().filter(|(status, ..)| *status == 200)
    })
    .await;
    assert_eq!(pids(&client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_daemon_from_starting_is_said_clearly() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let (other_api, other_web) = (loopback::free_address(), loopback::free_address());
    let second = stage.config("second.toml", |text| {
        text.replace(&stage.api.to_string(), &other_api.to_string())
            .replace(&stage.web.to_string(), &other_web.to_string())
    });
    let refusal = Running::start(&second).err().expect("refused");
    assert!(refusal.contains("is in use by another foreshadow"), "{refusal}");

    let same_api = stage.config("same_api.toml", |text| {
        text.replace("\"state\"", "\"other\"").replace(&stage.web.to_string(), &other_web.to_string())
    });
    let refusal = Running::start(&same_api).err().expect("refused");
    assert!(refusal.contains(&format!("cannot listen on {} for the API", stage.api)), "{refusal}");

    let same_web = stage.config("same_web.toml", |text| {
        text.replace("\"state\"", "\"third\"").replace(&stage.api.to_string(), &other_api.to_string())
    });
    let refusal = Running::start(&same_web).err().expect("refused");
    assert!(refusal.contains(&format!("cannot listen on {} for workload web", stage.web)), "{refusal}");
    assert!(stage.client().status().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_history_but_no_request_and_is_said_until_it_is_over() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 1, 2).await;
    let load = Load::start(stage.web, 50);
    daemon.limit_files(Some(0));
    let state = async || Some(client.status().await.ok()?.history.state);
    eventually("the full disk is noticed", async || {
        let status = client.status().await.ok()?;
        let said = status.problems.iter().any(|problem| problem.kind == "history");
        (state().await? == api::HistoryState::Full && said).then_some(())
    })
    .await;
    pin(&client, 3, 0).await;
    assert_eq!(load.failed(), 0);
    daemon.limit_files(None);
    eventually("history is written again", async || {
        let status = client.status().await.ok()?;
        (status.history.state == api::HistoryState::Ok && status.problems.is_empty()).then_some(())
    })
    .await;
    let events = client.events(100).await.expect("events").events;
    for kind in ["history_full", "history_recovered"] {
        assert!(events.iter().any(|event| event.kind == kind), "{kind} is not in {events:?}");
    }
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_hangs_for_a_while_comes_back_into_traffic() {
    let stage = Stage::new("health = { interval = \"200ms\", timeout = \"500ms\" }");
    let _daemon = stage.start();
    let client = stage.client();
    pin(&client, 2, 0).await;
    let before = pids(&client).await;
    let (name, pid) = before[0].clone();
    let in_traffic = async || {
        let detail = client.workload("web").await.ok()?;
        Some(detail.instances.iter().any(|one| one.name == name && one.weight > 0))
    };
    signal(pid, rustix::process::Signal::STOP);
    eventually("out of traffic", async || (!in_traffic().await?).then_some(())).await;
    signal(pid, rustix::process::Signal::CONT);
    eventually("in traffic again", async || in_traffic().await?.then_some(())).await;
    let events = client.events(100).await.expect("events").events;
    assert!(events.iter().any(|event| event.kind == "instance_healthy"), "{events:?}");
    pin(&client, 2, 0).await;
    assert_eq!(pids(&client).await, before);
}
