//! Sizes of real processes: given at the start, and changed while they run.

use crate::support::{Running, Stage, eventually, pids, serves};

/// The quota of processor time of a process's group, in microseconds per 100 ms; `None` where there are no such groups.
pub(crate) fn quota(pid: u32) -> Option<u64> {
    limit(pid, "cpu", ["cpu.max", "cpu.cfs_quota_us"])
}

/// A limit of a process's group, from the file of this name in version 2, or else in version 1 with this controller.
pub(crate) fn limit(pid: u32, controller: &str, files: [&str; 2]) -> Option<u64> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let file = match controllers {
            "" => format!("/sys/fs/cgroup{path}/{}", files[0]),
            names if names.split(',').any(|name| name == controller) => {
                format!("/sys/fs/cgroup/{names}{path}/{}", files[1])
            }
            _ => return None,
        };
        std::fs::read_to_string(file).ok()?.split_whitespace().next()?.parse().ok()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_gets_its_size_and_a_running_one_another_without_a_restart() {
    let stage = Stage::new("sizing = { cpu_max = 2, memory_max = \"64MiB\", cpu_bound = false }");
    let daemon = stage.start();
    let client = stage.client();
    serves(&client).await;
    let plan = client.plan("web", None).await.expect("a plan");
    assert_eq!(plan.size, Some(api::Size { cpu_cores: 2.0, memory_bytes: 64 << 20 }));
    let before = pids(&client).await;
    let Some(first) = quota(before[0].1) else {
        return skips::skip("sizes of processes", "no quotas of processor time here");
    };
    assert_eq!(first, 200_000);

    daemon.kill();
    let smaller = stage.config("web.toml", |text| text.replace("cpu_max = 2", "cpu_max = 1"));
    let _daemon = Running::start(&smaller).expect("the next one starts");
    let now = eventually("the new quota", async || {
        let now = pids(&client).await;
        now.iter().all(|(_, pid)| quota(*pid) == Some(100_000)).then_some(now)
    })
    .await;
    assert!(now.iter().any(|instance| before.contains(instance)), "the same process: {before:?} {now:?}");
}
