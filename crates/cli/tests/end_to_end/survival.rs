//! Kills and restarts under load.

use std::time::Duration;

use super::world::{Shape, WORKLOAD, World, lives, runtime, signal};

const ACTIVE: u32 = 2;

fn pids(detail: &api::WorkloadDetail) -> Vec<u32> {
    let mut pids: Vec<u32> = detail.instances.iter().filter_map(|instance| instance.pid).collect();
    pids.sort_unstable();
    pids
}

fn pin(active: u32, standby: u32) -> api::OverrideRequest {
    api::OverrideRequest {
        active: Some(active),
        standby: Some(standby),
        author: "test".into(),
        reason: "a known number of instances".into(),
        expires_in_s: None,
    }
}

async fn pinned(world: &World, active: u32, standby: u32) -> api::WorkloadDetail {
    world.wait_until("the daemon answers", |_| true).await;
    world.client.set_override(WORKLOAD, &pin(active, standby)).await.expect("the override is taken");
    world
        .wait_until("the pinned instances are ready", |detail| {
            let counts = detail.summary.counts;
            let ready = detail.instances.iter().filter(|i| i.weight > 0 && i.pid.is_some()).count();
            counts.active == active && counts.parked == standby && ready == active as usize
        })
        .await
}

#[test]
fn killed_control_plane_loses_no_request_and_adopts_the_same_processes() {
    let mut world = World::new(&Shape { replicas_min: ACTIVE, replicas_max: 4 });
    world.start();
    runtime().block_on(async {
        let before = pids(&pinned(&world, ACTIVE, 1).await);
        let load = world.load(500, Duration::from_secs(8));
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.start();
        let detail = world
            .wait_until("all instances are adopted", |detail| {
                detail.summary.counts.active == ACTIVE && detail.instances.len() == before.len()
            })
            .await;
        assert_eq!(pids(&detail), before, "the same processes go on");
        let counted = tokio::task::spawn_blocking(|| load.finish()).await.expect("the load ends");
        assert!(counted.requests > 3_000, "only {} requests were sent", counted.requests);
        assert_eq!(counted.failed, 0, "of {} requests; log:\n{}", counted.requests, world.log());
        assert_eq!(pids(&world.wait_until("it still answers", |_| true).await), before);
    });
}

/// Children of a process that have ended and that nobody waited for.
fn zombies(of: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("readable").flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit(')').next().unwrap_or_default();
        rest.split_whitespace().take(2).eq(["Z", of.to_string().as_str()])
    };
    pids.filter(is_one).collect()
}

#[test]
fn a_changed_configuration_is_taken_on_by_the_same_process_and_rolled_out_without_a_failed_request() {
    let mut world = World::new(&Shape { replicas_min: ACTIVE, replicas_max: 4 });
    world.start();
    runtime().block_on(async {
        let before = pids(&pinned(&world, ACTIVE, 1).await);
        let (daemon, load) = (world.pid(), world.load(200, Duration::from_secs(45)));
        world.reconfigure(|text| text.replace("capacity = 2000", "capacity = \"many\""));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.log().contains("stays in force"), "{}", world.log());
        assert_eq!(pids(&world.wait_until("it goes on", |_| true).await), before);

        world.reconfigure(|text| {
            text.replace("capacity = \"many\"", "capacity = 2000").replace("\"200ms\"]", "\"100ms\"]")
        });
        let all_others = |detail: &api::WorkloadDetail| {
            let counts = detail.summary.counts;
            let others = pids(detail).iter().all(|pid| !before.contains(pid));
            others && (counts.active, counts.parked, counts.starting) == (ACTIVE, 1, 0)
        };
        world.wait_until("all instances are others", all_others).await;
        assert!(lives(daemon) && world.pid() == daemon, "the same process");
        let counted = tokio::task::spawn_blocking(|| load.finish()).await.expect("the load ends");
        assert_eq!(counted.failed, 0, "of {} requests; log:\n{}", counted.requests, world.log());
        assert_eq!(zombies(daemon), [0; 0]);
    });
}

#[test]
fn what_is_asked_for_while_it_starts_anew_is_heard() {
    let mut world = World::new(&Shape { replicas_min: 1, replicas_max: 2 });
    world.start();
    runtime().block_on(async {
        let detail = pinned(&world, 1, 1).await;
        for round in 1..=3 {
            world.reconfigure(|text| text);
            while world.log().matches("starting anew").count() < round {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for _ in 0..20 {
                signal("-HUP", world.pid());
            }
        }
        world.stop();
        assert!(
            pids(&detail).iter().all(|pid| !lives(*pid)),
            "the end of all was heard; log:\n{}",
            world.log()
        );
    });
}

#[test]
fn proxy_restarted_on_the_command_line_loses_no_request() {
    let mut world = World::new(&Shape { replicas_min: ACTIVE, replicas_max: 4 });
    world.start();
    runtime().block_on(async {
        pinned(&world, ACTIVE, 0).await;
        let load = world.load(500, Duration::from_secs(6));
        let mut seen = Vec::new();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let output = world.command(&["proxy", "restart", "--reason", "to see it done", "--json"]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{told}; log:\n{}", world.log());
            let proxy: api::ProxyStatus = serde_json::from_slice(&output.stdout).expect("JSON");
            seen.extend(proxy.pid.filter(|pid| lives(*pid)));
        }
        let counted = tokio::task::spawn_blocking(|| load.finish()).await.expect("the load ends");
        assert!(counted.requests > 2_500, "only {} requests were sent", counted.requests);
        assert_eq!(counted.failed, 0, "of {} requests; log:\n{}", counted.requests, world.log());
        let last = world.client.status().await.expect("a status").proxy.pid;
        seen.dedup();
        assert!(seen.len() == 3 && seen.last().copied() == last, "{seen:?}, then {last:?}");
        assert!(!lives(seen[0]), "the first successor has ended");
    });
}

#[test]
fn killed_instance_is_replaced_by_a_standby() {
    let mut world = World::new(&Shape { replicas_min: ACTIVE, replicas_max: 4 });
    world.start();
    runtime().block_on(async {
        let before = pinned(&world, ACTIVE, 1).await;
        let victim =
            before.instances.iter().find(|i| i.weight > 0).and_then(|i| i.pid).expect("an active one");
        let promotions = before.counters.promotions;
        let load = world.load(500, Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(2)).await;
        signal("-KILL", victim);
        world
            .wait_until("a standby took over", |detail| {
                let routed = detail.instances.iter().filter(|i| i.weight > 0).count();
                routed == ACTIVE as usize && detail.counters.promotions > promotions
            })
            .await;
        let counted = tokio::task::spawn_blocking(|| load.finish()).await.expect("the load ends");
        // What was in flight on it: 500/s x 5 ms over two instances is one or two requests; GET is retried.
        assert!(counted.failed <= 5, "{} of {} requests failed", counted.failed, counted.requests);
    });
}

#[test]
fn orderly_end_leaves_no_process_behind() {
    let mut world = World::new(&Shape { replicas_min: ACTIVE, replicas_max: 4 });
    world.start();
    let pids = runtime().block_on(async { pids(&pinned(&world, ACTIVE, 1).await) });
    assert_eq!(pids.len(), ACTIVE as usize + 1);
    world.stop();
    let left: Vec<u32> = pids.into_iter().filter(|pid| lives(*pid)).collect();
    assert!(left.is_empty(), "still running: {left:?}; log:\n{}", world.log());
    assert!(std::net::TcpStream::connect(world.proxy).is_err(), "the proxy still listens");
}
