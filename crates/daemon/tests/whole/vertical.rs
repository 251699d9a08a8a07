//! The vertical loop with real instances: what is short is seen at once and raised while requests are answered.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemon::client::Client;

use crate::engine::{Daemon, IMAGE, Options};
use crate::guest;
use crate::sizes::{limit, quota};
use crate::support::{Load, Running, Stage, eventually, patiently, pids, request, serves};

/// One instance, which begins with a fifth of a core and 64 MiB.
const SMALL: &str = "limits = { cpu = 0.2, memory = \"64MiB\" }\n\
    sizing = { cpu_min = 0.1, cpu_max = 2, memory_min = \"32MiB\", memory_max = \"512MiB\", cpu_bound = false }";

fn alone(text: String) -> String {
    text.replace("replicas = { min = 1, max = 6 }", "replicas = { min = 1, max = 1 }")
}

/// The limit of memory of a process's group, in bytes; `None` where there are no such groups.
fn memory_limit(pid: u32) -> Option<u64> {
    limit(pid, "memory", ["memory.max", "memory.limit_in_bytes"])
}

/// What an explanation says of sizes, now or since: a sentence that says this.
async fn explained(client: &Client, words: &str) {
    eventually(words, async || {
        let said = client.explain("web", None).await.ok()?;
        said.sentences.iter().any(|sentence| sentence.text.contains(words)).then_some(())
    })
    .await;
}

/// Everything that this needs is here; says so if not.
fn has_groups(pid: u32) -> bool {
    let has = quota(pid).is_some() && memory_limit(pid).is_some();
    if !has {
        skips::skip("sizes under load", "no control groups for processor time and memory here");
    }
    has
}

/// Raises the memory of an instance by what it is made to use, in steps; returns what its group allows in the end.
async fn fill(stage: &Stage, path: impl Fn() -> String, steps: u32, pid: u32) -> Option<u64> {
    for step in 0..steps {
        let (status, ..) = request(stage.web, "GET", &path(), &[], "").await.expect("answered");
        assert_eq!(status, 200, "step {step}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    memory_limit(pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_answered_at_once_with_more_processor_time() {
    let stage = Stage::new(SMALL);
    let daemon = Running::start(&stage.config("web.toml", alone)).expect("the daemon starts");
    let client = stage.client();
    serves(&client).await;
    let pid = pids(&client).await[0].1;
    if !has_groups(pid) {
        return;
    }
    assert_eq!(quota(pid), Some(20_000));
    let load = Load::start(stage.web, 10);
    let begun = Instant::now();
    let web = stage.web;
    let busy = tokio::spawn(async move { request(web, "GET", "/?work_ms=5000", &[], "").await });
    eventually("twice as much", async || (quota(pid) >= Some(40_000)).then_some(())).await;
    let took = begun.elapsed();
    println!("raised after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}, far within a step of the forecast of use");
    let (status, ..) = busy.await.expect("ran").expect("answered");
    assert_eq!(status, 200);
    assert!(begun.elapsed() < Duration::from_secs(20), "with a fifth of a core it takes 25 s");
    explained(&client, "processor time is short in").await;
    let (good, bad, complaints) = load.finish().await;
    assert!(good > 0 && bad == 0, "{bad} of {}: {complaints}", good + bad);
    assert_eq!(pids(&client).await[0].1, pid, "the same process");
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_near_its_limit_is_raised_before_the_kernel_kills() {
    let stage = Stage::new(SMALL);
    let daemon = Running::start(&stage.config("web.toml", alone)).expect("the daemon starts");
    let client = stage.client();
    serves(&client).await;
    let pid = pids(&client).await[0].1;
    if !has_groups(pid) {
        return;
    }
    assert_eq!(memory_limit(pid), Some(64 << 20));
    let load = Load::start(stage.web, 10);
    let limit = fill(&stage, || "/?hold_mib=12".to_owned(), 20, pid).await.expect("it lives");
    assert!(limit > 240 << 20, "{limit} bytes for 240 MiB and the program");
    explained(&client, "MiB at once.").await;
    let (good, bad, complaints) = load.finish().await;
    assert!(good > 0 && bad == 0, "{bad} of {}: {complaints}", good + bad);
    assert_eq!(pids(&client).await[0].1, pid, "the same process");
    let counters = client.workload("web").await.expect("the workload").counters;
    assert_eq!((counters.out_of_memory, counters.exits), (0, 0));
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_raised_no_further_than_the_node_has_room() {
    let stage = Stage::new(SMALL);
    let node = "\n[[node]]\nname = \"local\"\nmemory = \"160MiB\"\n";
    let config = stage.config("web.toml", |text| alone(text) + node);
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    serves(&client).await;
    let pid = pids(&client).await[0].1;
    if !has_groups(pid) {
        return;
    }
    let limit = fill(&stage, || "/?hold_mib=12".to_owned(), 10, pid).await.expect("it lives");
    assert_eq!(limit, 160 << 20, "all that there is, for 120 MiB and the program");
    // On a busy machine it is throttled, too, and has more than 0.2 cores by then.
    explained(&client, " cores and 160 MiB").await;
    assert_eq!(pids(&client).await[0].1, pid, "the same process");
    assert_eq!(client.workload("web").await.expect("the workload").counters.out_of_memory, 0);
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_for_lack_of_memory_is_told_so_and_the_next_one_gets_more() {
    let stage = Stage::new(SMALL);
    let daemon = Running::start(&stage.config("web.toml", alone)).expect("the daemon starts");
    let client = stage.client();
    serves(&client).await;
    let pid = pids(&client).await[0].1;
    if !has_groups(pid) {
        return;
    }
    // More at once than any look could see coming, and on a busy machine, where one does, more than it may ever have; by a
    // request that is not repeated: it would kill the next one, too.
    let _ = request(stage.web, "POST", "/?hold_mib=1000", &[], "").await;
    // One that has just been made may not be in its group yet.
    let (name, limit) = eventually("another instance, with a limit", async || {
        let (name, next) = pids(&client).await.into_iter().find(|(_, other)| *other != pid)?;
        Some((name, memory_limit(next)?))
    })
    .await;
    serves(&client).await;
    assert!(limit >= 164 << 20, "{name} may use {limit} bytes");
    let counters = client.workload("web").await.expect("the workload").counters;
    assert_eq!((counters.out_of_memory, counters.exits), (1, 1));
    explained(&client, "an instance ran out of memory; not below").await;
    let events = client.events(200).await.expect("events").events;
    let said = |words: &str| events.iter().any(|event| event.message.contains(words));
    assert!(said("out of memory: killed by the kernel at its memory limit"), "{events:?}");
    assert!(said("ran out of memory"), "{events:?}");
    let counted = "foreshadow_out_of_memory_total{workload=\"web\"} 1";
    eventually("its metric", async || {
        let metrics = request(stage.api, "GET", "/metrics", &[], "").await.ok()?.1;
        metrics.contains(counted).then_some(())
    })
    .await;
    daemon.terminate();
}

/// A stage whose `web` is of another kind, running the test service of the providers.
fn of_kind(stage: &Stage, server: &str, kind: &str) -> PathBuf {
    // Inside a machine, nothing comes by the loopback.
    let host = if kind.starts_with("machine") { ", HOST = \"0.0.0.0\"" } else { "" };
    stage.config("web.toml", |text| {
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("command = ")).collect();
        let web = lines.iter().position(|line| *line == "[[workload]]").expect("a workload");
        lines.insert(web, server);
        let text = alone(lines.join("\n"));
        let text = text.replace("probe = \"/healthz\"", "probe = \"/\"");
        let text = text.replace("start = \"20s\"", "start = \"4m\"");
        format!("{text}\n{kind}\nenv = {{ FORESHADOW_TEST_SERVICE = \"normal\"{host} }}\n")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_follow_their_sizes_under_load() {
    let engine = tokio::task::spawn_blocking(|| Daemon::start(Options::default())).await.expect("no panic");
    let Some(engine) = engine else { return };
    let stage = Stage::new(SMALL);
    let server = format!("docker = {{ endpoint = \"unix://{}\" }}", engine.socket().display());
    let kind = format!("container = {{ image = {IMAGE:?}, network = \"host\" }}");
    let daemon = Running::start(&of_kind(&stage, &server, &kind)).expect("the daemon starts");
    let client = stage.client();
    serves(&client).await;
    let pid = pids(&client).await[0].1;
    if has_groups(pid) {
        assert_eq!((quota(pid), memory_limit(pid)), (Some(20_000), Some(64 << 20)));
        let load = Load::start(stage.web, 10);
        let limit = fill(&stage, || "/fill?12".to_owned(), 12, pid).await.expect("it lives");
        assert!(limit > 144 << 20, "{limit} bytes for 144 MiB and the program");
        let begun = Instant::now();
        let (status, ..) = request(stage.web, "GET", "/burn", &[], "").await.expect("answered");
        assert_eq!(status, 200);
        eventually("twice as much", async || (quota(pid) >= Some(40_000)).then_some(())).await;
        println!("raised after {:?}", begun.elapsed());
        let (good, bad, complaints) = load.finish().await;
        assert!(good > 0 && bad == 0, "{bad} of {}: {complaints}", good + bad);
        assert_eq!(pids(&client).await[0].1, pid, "the same process");
        explained(&client, "processor time is short in").await;

        // The next one is asked for more at once than any look could see coming.
        let _ = request(stage.web, "GET", "/fill?600", &[], "").await;
        let told = "out of memory: killed by the kernel at its memory limit";
        eventually(told, async || {
            let events = client.events(200).await.ok()?.events;
            events.iter().any(|event| event.message.contains(told)).then_some(())
        })
        .await;
        serves(&client).await;
        assert!(client.workload("web").await.expect("the workload").counters.out_of_memory >= 1);
    }
    daemon.terminate();
    let left = tokio::task::spawn_blocking(move || {
        let left = engine.containers("foreshadow.owner");
        engine.end(rustix::process::Signal::TERM);
        left
    });
    assert_eq!(left.await.expect("no panic"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_follow_their_sizes_under_load() {
    let guest = tokio::task::spawn_blocking(guest::guest).await.expect("no panic");
    let guest = match guest {
        Ok(guest) => guest,
        Err(why) => return skips::skip("sizes of machines under load", why),
    };
    let stage = Stage::new(
        "limits = { cpu = 1.0, memory = \"96MiB\" }\nsizing = { cpu_min = 0.5, cpu_max = 1, \
         memory_min = \"96MiB\", memory_max = \"192MiB\", cpu_bound = false }",
    );
    let kind = format!(
        "machine = {{ kernel = {:?}, initrd = {:?}, memory = \"192MiB\", memory_min = \"96MiB\", start = \"boot\" }}\n\
         command = [\"console=tty0\", \"quiet\"]",
        guest.kernel, guest.initrd
    );
    let config = of_kind(&stage, "", &kind);
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    patiently("a machine that serves", Duration::from_secs(240), async || {
        (client.workload("web").await.ok()?.summary.counts.active > 0).then_some(())
    })
    .await;
    let pid = pids(&client).await[0].1;
    if quota(pid).is_none() {
        return skips::skip("sizes of machines under load", "no quotas of processor time here");
    }
    // It boots with a whole core, and serves with half of one.
    let load = Load::start(stage.web, 2);
    daemon.kill();
    let text = std::fs::read_to_string(&config).expect("written").replace("cpu = 1.0", "cpu = 0.5");
    std::fs::write(&config, text).expect("written");
    let daemon = Running::start(&config).expect("the next daemon starts");
    eventually("half a core", async || (quota(pid) == Some(50_000)).then_some(())).await;
    let planned = async || Some(client.plan("web", None).await.ok()?.size?.memory_bytes);
    assert_eq!(eventually("a plan", async || planned().await).await, 96 << 20);
    // Guests tell of their memory every few seconds.
    for _ in 0..10 {
        let (status, ..) = request(stage.web, "GET", "/fill?6", &[], "").await.expect("answered");
        assert_eq!(status, 200);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    patiently("more memory", Duration::from_secs(60), async || {
        (planned().await > Some(96 << 20)).then_some(())
    })
    .await;
    explained(&client, "MiB at once.").await;
    let (status, ..) = request(stage.web, "GET", "/burn", &[], "").await.expect("answered");
    assert_eq!(status, 200);
    eventually("all its processor time", async || (quota(pid) == Some(100_000)).then_some(())).await;
    let (good, bad, complaints) = load.finish().await;
    assert!(good > 0 && bad == 0, "{bad} of {}: {complaints}", good + bad);
    assert_eq!(pids(&client).await[0].1, pid, "the same machine");
    let counters = client.workload("web").await.expect("the workload").counters;
    assert_eq!((counters.out_of_memory, counters.exits), (0, 0));
    daemon.terminate();
}
