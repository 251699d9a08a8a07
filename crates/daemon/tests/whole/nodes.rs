//! Two nodes, each an engine in a network namespace of its own: what becomes of traffic and instances when one of them
//! vanishes, is cut off, hangs, restarts, or is not there from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use daemon::client::Client;
use rustix::process::Signal;

use crate::engine::IMAGE;
use crate::hosts::Host;
use crate::registry::Registry;
use crate::support::{Load, Running, Stage, pids, request};

/// A configuration of one workload on two nodes of this size; `lines` follow the nodes.
fn configuration(stage: &Stage, [a, b]: [&Host; 2], size: &str, lines: &str) -> std::path::PathBuf {
    stage.config("web.toml", |text| {
        let container = format!(
            "container = {{ image = {IMAGE:?}, network = \"host\" }}\nneeds = {{ cpu = 0.5, memory = \"256MiB\" }}\n\
             env = {{ FORESHADOW_TEST_SERVICE = \"normal\" }}"
        );
        let own = text.lines().map(|line| if line.starts_with("command =") { &container } else { line });
        let own = own.collect::<Vec<_>>().join("\n");
        format!("{own}\n{}{}{lines}\n", a.node("a", size), b.node("b", size))
    })
}

/// Waits for something that takes as long as a machine does, and says for how long it took.
async fn within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return (found, begin.elapsed());
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn instances(client: &Client) -> Vec<api::Instance> {
    client.workload("web").await.expect("the workload").instances
}

/// Instances in traffic by node, when none is on its way.
async fn serving(client: &Client) -> Option<BTreeMap<String, usize>> {
    let detail = client.workload("web").await.ok()?;
    let counts = detail.summary.counts;
    let mut by_node = BTreeMap::new();
    for instance in detail.instances.iter().filter(|i| i.weight > 0 && i.healthy == Some(true)) {
        *by_node.entry(instance.node.clone()?).or_default() += 1;
    }
    (counts.starting + counts.draining + counts.stopping == 0).then_some(by_node)
}

async fn pin(client: &Client, workload: &str, active: u32) {
    let request = api::OverrideRequest {
        active: Some(active),
        standby: Some(0),
        author: "test".into(),
        reason: "a known number".into(),
        expires_in_s: None,
    };
    client.set_override(workload, &request).await.expect("pinned");
}

/// Pins a number of instances and waits until so many serve on each node.
async fn pinned(client: &Client, active: u32, a: usize, b: usize) {
    pin(client, "web", active).await;
    let wanted: BTreeMap<String, usize> = [("a", a), ("b", b)]
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(node, n)| (node.to_owned(), n))
        .collect();
    within(PATIENCE, "the instances in traffic", async || (serving(client).await? == wanted).then_some(()))
        .await;
}

async fn is_up(client: &Client, node: &str) -> Option<bool> {
    client.status().await.ok()?.nodes.iter().find(|one| one.name == node).map(|one| one.up)
}

async fn has_problem(client: &Client, kind: &str) -> Option<bool> {
    Some(client.status().await.ok()?.problems.iter().any(|problem| problem.kind == kind))
}

async fn starts(client: &Client) -> u64 {
    client.workload("web").await.expect("the workload").counters.starts
}

async fn has_happened(client: &Client, kind: &str) -> bool {
    client.events(200).await.expect("events").events.iter().any(|event| event.kind == kind)
}

/// What the engines have is what the daemon has, and no name is there twice.
async fn nothing_is_left_over(client: &Client, a: &Host, b: &Host) {
    within(PATIENCE, "engines and daemon agree", async || {
        let known = instances(client).await;
        let names: BTreeSet<&str> = known.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names.len(), known.len(), "{known:?}");
        let states = [a.states().await, b.states().await].concat();
        let all_run = states.iter().all(|state| state == "running");
        (all_run && states.len() == known.len()).then_some(())
    })
    .await;
}

/// Lets a node vanish by `vanish` in the middle of traffic: it is noticed and made up for within the bound, and requests fail
/// only until then. How many failed.
async fn loses_a(client: &Client, api: SocketAddr, load: &Load, vanish: impl FnOnce()) -> u64 {
    within(PATIENCE, "traffic", async || (load.good() > 50).then_some(())).await;
    assert_eq!(load.failed(), 0);
    vanish();
    let begin = Instant::now();
    within(NOTICED_WITHIN + SLACK, "the loss is noticed", async || {
        (!is_up(client, "a").await?).then_some(())
    })
    .await;
    let noticed = begin.elapsed();
    let wanted = BTreeMap::from([("b".to_owned(), 2)]);
    within(PATIENCE, "the replacement", async || (serving(client).await? == wanted).then_some(())).await;
    let replaced = begin.elapsed();
    // Who asked before may still be waiting for an answer.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (failed, good) = (load.failed(), load.good());
    within(PATIENCE, "traffic goes on", async || (load.good() > good + 100).then_some(())).await;
    assert_eq!(load.failed(), failed, "after the replacement none fails");
    assert_eq!(has_problem(client, "node_lost").await, Some(true));
    let (_, metrics, _) = request(api, "GET", "/metrics", &[], "").await.expect("metrics");
    for line in ["foreshadow_node_up{node=\"a\"} 0", "foreshadow_node_up{node=\"b\"} 1"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    eprintln!("noticed after {noticed:?}, replaced after {replaced:?}; {failed} of {good} failed");
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_replaced_in_time_and_used_again_when_it_is_back() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    let daemon = Running::start(&configuration(&stage, [&a, &b], SIZE, "")).expect("the daemon starts");
    let client = stage.client();
    pinned(&client, 2, 1, 1).await;
    let load = Load::start(stage.web, 50);
    let failed = loses_a(&client, stage.api, &load, || a.crash()).await;
    // Nobody listens there any more, which is known at once: they are tried again elsewhere.
    assert_eq!(failed, 0, "{}", load.finish().await.2);

    tokio::task::block_in_place(|| a.engine.run()).expect("the engine runs again");
    within(PATIENCE, "the node is back", async || is_up(&client, "a").await?.then_some(())).await;
    assert_eq!(has_problem(&client, "node_lost").await, Some(false));
    // What the dead engine left is cleared away, and new ones go to the emptier node.
    nothing_is_left_over(&client, &a, &b).await;
    pinned(&client, 4, 2, 2).await;
    nothing_is_left_over(&client, &a, &b).await;

    // An engine that ends in order takes its containers with it.
    tokio::task::block_in_place(|| b.engine.end(Signal::TERM));
    tokio::task::block_in_place(|| b.engine.run()).expect("the engine runs again");
    nothing_is_left_over(&client, &a, &b).await;
    within(PATIENCE, "all four again", async || {
        (serving(&client).await?.values().sum::<usize>() == 4).then_some(())
    })
    .await;
    nothing_is_left_over(&client, &a, &b).await;
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_replaced_and_what_still_runs_there_is_taken_over_later() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    let daemon = Running::start(&configuration(&stage, [&a, &b], SIZE, "")).expect("the daemon starts");
    let client = stage.client();
    pinned(&client, 2, 1, 1).await;
    let before = instances(&client).await;
    let there = before.iter().find(|one| one.node.as_deref() == Some("a")).expect("one on a").name.clone();
    let load = Load::start(stage.web, 50);
    let failed = loses_a(&client, stage.api, &load, || a.plug(false)).await;
    let (good, all_failed, complaints) = load.finish().await;
    assert_eq!(failed, all_failed);
    // Half of what came until the proxy's own checks took it out, were nothing tried again.
    assert!(failed < 50 * 6 / 2, "{failed} of {}: {complaints}", good + failed);
    assert_eq!(a.containers().await, 1, "it runs on");

    a.plug(true);
    within(PATIENCE, "the node is back", async || is_up(&client, "a").await?.then_some(())).await;
    assert!(has_happened(&client, "node_back").await);
    nothing_is_left_over(&client, &a, &b).await;
    // It was adopted under its name, and serves again where more are wanted or was ended where not.
    let events = client.events(200).await.expect("events").events;
    let adopted = events.iter().find(|event| event.kind == "instance_adopted").expect("adopted");
    assert_eq!(adopted.instance.as_deref(), Some(there.as_str()));
    pinned(&client, 4, 2, 2).await;
    nothing_is_left_over(&client, &a, &b).await;
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_or_restarts_costs_no_request_and_no_instance() {
    let (Some(a), Some(b)) = (Host::new(&["--live-restore"]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    let config = configuration(&stage, [&a, &b], SIZE, "");
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    pinned(&client, 2, 1, 1).await;
    let (before, started) = (pids(&client).await, starts(&client).await);
    let load = Load::start(stage.web, 50);
    within(PATIENCE, "traffic", async || (load.good() > 50).then_some(())).await;

    a.engine.signal(Signal::STOP);
    let hangs_since = Instant::now();
    within(PATIENCE, "it is noticed", async || has_problem(&client, "engine_silent").await?.then_some(()))
        .await;
    // Meanwhile others go where an engine answers, although the other node is emptier.
    pinned(&client, 3, 1, 2).await;
    pin(&client, "web", 2).await;
    tokio::time::sleep(HANGS_FOR.saturating_sub(hangs_since.elapsed())).await;
    assert_eq!(is_up(&client, "a").await, Some(true), "its instance answers");
    a.engine.signal(Signal::CONT);
    let solved = async || (!has_problem(&client, "engine_silent").await?).then_some(());
    within(PATIENCE, "it is heard again", solved).await;
    within(PATIENCE, "one too many is gone", async || (pids(&client).await.len() == 2).then_some(())).await;

    let engine = &a.engine;
    tokio::task::block_in_place(|| engine.end(Signal::TERM));
    within(PATIENCE, "it is noticed", async || has_problem(&client, "engine_silent").await?.then_some(()))
        .await;
    tokio::time::sleep(HANGS_FOR).await;
    assert_eq!(is_up(&client, "a").await, Some(true), "its instance answers");
    tokio::task::block_in_place(|| engine.run()).expect("the engine runs again");
    within(PATIENCE, "it is heard again", solved).await;
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    assert!(!has_happened(&client, "node_lost").await);
    assert!(starts(&client).await - started <= 1, "only the one that was asked for");
    let after = pids(&client).await;
    assert!(after.iter().filter(|one| before.contains(one)).count() >= 1, "{before:?} {after:?}");
    nothing_is_left_over(&client, &a, &b).await;

    // The next daemon finds each of them on its node.
    let nodes = async || -> BTreeMap<String, Option<String>> {
        instances(&client).await.into_iter().map(|one| (one.name, one.node)).collect()
    };
    let placed = nodes().await;
    daemon.kill();
    let daemon = Running::start(&config).expect("the next daemon starts");
    within(PATIENCE, "they are adopted", async || (pids(&client).await == after).then_some(())).await;
    assert_eq!(nodes().await, placed);
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_begins_while_an_engine_is_silent_leaves_its_instances_in_traffic() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    // Nothing fits on the other node: nobody else can answer.
    let config = configuration(&stage, [&a, &b], SIZE, "");
    let text = std::fs::read_to_string(&config).expect("written");
    let (first, last) = text.rsplit_once(SIZE).expect("two sizes");
    std::fs::write(&config, format!("{first}{TINY}{last}")).expect("written");
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    pinned(&client, 1, 1, 0).await;
    let before = pids(&client).await;
    let load = Load::start(stage.web, 50);
    within(PATIENCE, "traffic", async || (load.good() > 50).then_some(())).await;

    daemon.kill();
    a.engine.signal(Signal::STOP);
    let daemon = Running::start(&config).expect("the next daemon starts");
    assert_eq!(is_up(&client, "a").await, Some(false), "nobody can look at it");
    let served = load.good();
    within(PATIENCE, "traffic goes on", async || (load.good() > served + 100).then_some(())).await;
    assert_eq!(pids(&client).await, []);

    a.engine.signal(Signal::CONT);
    within(PATIENCE, "it is taken over", async || (pids(&client).await == before).then_some(())).await;
    within(PATIENCE, "in traffic", async || serving(&client).await?.contains_key("a").then_some(())).await;
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    assert_eq!(starts(&client).await, 0);
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_from_the_beginning_is_used_when_it_comes() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    a.crash();
    let daemon =
        Running::start(&configuration(&stage, [&a, &b], "", "")).expect("the daemon starts with one node");
    let client = stage.client();
    assert_eq!(is_up(&client, "a").await, Some(false));
    let cores = std::thread::available_parallelism().expect("known").get() as f64;
    let sizes = async || -> Vec<(f64, bool)> {
        let nodes = client.status().await.expect("a status").nodes;
        nodes
            .iter()
            .map(|node| (node.cores, node.memory_bytes > 1 << 28 && node.memory_bytes < 1 << 45))
            .collect()
    };
    assert_eq!(sizes().await[1], (cores, true), "as the engine says");
    pinned(&client, 2, 0, 2).await;
    let (status, ..) = request(stage.web, "GET", "/", &[], "").await.expect("answered");
    assert_eq!(status, 200);
    tokio::task::block_in_place(|| a.engine.run()).expect("the engine runs");
    within(PATIENCE, "the node is there", async || is_up(&client, "a").await?.then_some(())).await;
    assert_eq!(sizes().await, [(cores, true); 2], "it was asked when it came");
    pinned(&client, 4, 2, 2).await;
    nothing_is_left_over(&client, &a, &b).await;
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_nodes_are_out_of_reach_nothing_is_given_up() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    let daemon = Running::start(&configuration(&stage, [&a, &b], SIZE, "")).expect("the daemon starts");
    let client = stage.client();
    pinned(&client, 2, 1, 1).await;
    let before = pids(&client).await;
    a.plug(false);
    b.plug(false);
    within(PATIENCE, "it is noticed", async || has_problem(&client, "engine_silent").await?.then_some(()))
        .await;
    // Longer than it takes to lose one, shorter than what an unwell instance is given.
    tokio::time::sleep(CUT_FOR).await;
    a.plug(true);
    b.plug(true);
    let begin = Instant::now();
    let answered =
        async || request(stage.web, "GET", "/", &[], "").await.is_ok_and(|(status, ..)| status == 200);
    within(PATIENCE, "it serves again", async || answered().await.then_some(())).await;
    eprintln!("served again {:?} after the return", begin.elapsed());
    let solved = async || (!has_problem(&client, "engine_silent").await?).then_some(());
    within(PATIENCE, "the engines are heard again", solved).await;
    assert!(!has_happened(&client, "node_lost").await);
    assert_eq!(pids(&client).await, before);
    nothing_is_left_over(&client, &a, &b).await;
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_node_is_warm_and_so_is_one_that_comes_late() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    let registry = Registry::start(b.outside());
    let other = format!(
        "spare = true\n[[workload]]\nname = \"other\"\nlisten = \"{}\"\ncapacity = 50\n\
         container = {{ image = {:?}, pull = \"missing\" }}\nneeds = {{ cpu = 1, memory = \"256MiB\" }}\n\
         replicas = {{ min = 0, max = 1 }}\nmode = \"observe\"\n",
        loopback::free_address(),
        registry.image()
    );
    b.engine.end(Signal::TERM);
    let daemon = Running::start(&configuration(&stage, [&a, &b], SIZE, &other)).expect("the daemon starts");
    tokio::task::block_in_place(|| b.engine.run()).expect("the engine runs");
    let client = stage.client();
    within(PATIENCE, "the node is there", async || is_up(&client, "b").await?.then_some(())).await;
    for (name, host) in [("a", &a), ("b", &b)] {
        let there = async || host.has_image(&registry.image()).await.then_some(());
        within(PATIENCE, &format!("the image is on {name}"), there).await;
    }
    let nodes = client.status().await.expect("a status").nodes;
    assert_eq!(
        nodes.iter().map(|node| (node.spare, node.instances)).collect::<Vec<_>>(),
        [(false, 1), (true, 0)]
    );
    daemon.terminate();
}

/// Two small ones fill half of each node, and one that needs a whole node comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_another_node_makes_before_it_breaks() {
    let (Some(a), Some(b)) = (Host::new(&[]).await, Host::new(&[]).await) else { return };
    let stage = Stage::new("");
    let listen = loopback::free_address();
    let big = format!(
        "[[workload]]\nname = \"big\"\nlisten = \"{listen}\"\nprobe = \"/\"\ncapacity = 50\nstep = \"1s\"\n\
         container = {{ image = {IMAGE:?}, network = \"host\" }}\nneeds = {{ cpu = 1, memory = \"256MiB\" }}\n\
         env = {{ FORESHADOW_TEST_SERVICE = \"normal\" }}\nreplicas = {{ min = 0, max = 1 }}\npriority = 200\n\
         tick = \"100ms\"\n"
    );
    let config = configuration(&stage, [&a, &b], "cores = 1\nmemory = \"4GiB\"", &big);
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    pin(&client, "big", 0).await;
    // While it is there, the small ones have room on one node only, and stay there.
    let gone = async || client.workload("big").await.ok()?.instances.is_empty().then_some(());
    within(PATIENCE, "the big one is not there", gone).await;
    pinned(&client, 2, 1, 1).await;
    let load = Load::start(stage.web, 50);
    within(PATIENCE, "traffic", async || (load.good() > 50).then_some(())).await;

    pin(&client, "big", 1).await;
    let mut fewest = usize::MAX;
    within(PATIENCE, "both small ones on one node, and the big one on the other", async || {
        let small = instances(&client).await;
        // What has just come into traffic has passed its probe, and the proxy has not said anything about it yet.
        let serve = small.iter().filter(|one| one.weight > 0 && one.healthy != Some(false)).count();
        fewest = fewest.min(serve);
        let big = client.workload("big").await.ok()?;
        let big = big.instances.iter().find(|one| one.weight > 0)?.node.clone()?;
        let away = small.iter().all(|one| one.node.as_ref() != Some(&big));
        (small.len() == 2 && serve == 2 && away).then_some(())
    })
    .await;
    assert_eq!(fewest, 2, "one serves elsewhere before the other goes");
    let events = client.events(200).await.expect("events").events;
    let mut of_small = events.iter().filter(|event| event.workload.as_deref() == Some("web"));
    let drained =
        of_small.clone().find(|event| event.kind == "instance_drained").expect("the old one drained");
    let ready: Vec<i64> = of_small.clone().filter(|e| e.kind == "instance_ready").map(|e| e.at_ms).collect();
    let stopped = of_small.find(|event| event.kind == "instance_stopped").expect("and ended");
    assert_eq!((ready.len(), &stopped.instance), (3, &drained.instance), "{events:?}");
    assert!(ready.iter().all(|at| *at <= drained.at_ms) && drained.at_ms <= stopped.at_ms, "{events:?}");
    let (status, ..) = request(listen, "GET", "/", &[], "").await.expect("answered");
    assert_eq!(status, 200);
    let (good, bad, complaints) = load.finish().await;
    assert_eq!(bad, 0, "of {}: {complaints}", good + bad);
    assert_eq!(a.containers().await + b.containers().await, 3, "what moved was removed");
    daemon.terminate();
    assert_eq!((a.containers().await, b.containers().await), (0, 0));
}

const SIZE: &str = "cores = 4\nmemory = \"4GiB\"";
/// Less than an instance needs.
const TINY: &str = "cores = 0.25\nmemory = \"4GiB\"";
/// What the documentation promises, with the default settings.
const NOTICED_WITHIN: Duration = Duration::from_secs(12);
/// Other tests and two engines share two cores.
const SLACK: Duration = Duration::from_secs(8);
const CUT_FOR: Duration = Duration::from_secs(14);
const HANGS_FOR: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(90);
