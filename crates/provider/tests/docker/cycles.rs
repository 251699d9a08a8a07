//! What thousands of containers leave behind: in us, in the engine, on the machine.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use provider::contract::{ContractFixture, Counts, Cycles, TestService, descriptors, nothing_is_left};
use provider::{DockerProvider, Provider};

use crate::fixture::{Fixture, service_spec};

/// How many are made; without it 10,000.
const NUMBER_VARIABLE: &str = "FORESHADOW_CYCLES";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes an hour: cargo test --release -p provider --test docker cycles -- --ignored --nocapture"]
async fn cycles_leave_nothing_behind() {
    let Some(fixture) = Fixture::new(false).await else { return };
    let number = std::env::var(NUMBER_VARIABLE).map_or(10_000, |number| number.parse().expect("a number"));
    let provider = Arc::new(fixture.open().await);
    let order = |index| service_spec(&format!("cycle-{index}"), TestService::Normal);
    // Each of them may keep two connections to the engine, of which the first few do not open all.
    let cycles = Cycles { number, at_once: 4, kept: 8 };
    let is_clean = nothing_is_left(&provider, cycles, order, || count(&fixture, &provider)).await;
    assert!(is_clean.expect("no step fails"), "something is left");
}

fn count(fixture: &Fixture, provider: &DockerProvider) -> Counts {
    let mut counts = descriptors();
    let engine = fixture.daemon.path("");
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().count();
    let mut set = |what: &str, number: usize| counts.insert(what.to_owned(), number);
    set("listed", provider.list().len());
    set("of the fixture", fixture.leftovers().len());
    set("containers", fixture.daemon.containers("foreshadow.owner").len());
    for folder in ["data/containers", "data/overlay2", "data/vfs/dir", "exec/netns"] {
        set(&format!("engine: {folder}"), entries(&engine.join(folder)));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let of_engine = engine.display().to_string();
    set("mounts", mounts.lines().filter(|line| line.contains(&of_engine)).count());
    let commands = fs::read_dir("/proc").expect("readable").flatten();
    let commands = commands.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    set("processes of the engine", commands.filter(|command| command.contains(&of_engine)).count());
    let descriptors = format!("/proc/{}/fd", fixture.daemon.pid());
    set("descriptors of the engine", entries(Path::new(&descriptors)));
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let roots = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
    set("groups", roots.map(|root| entries(&root.join("docker"))).sum());
    counts
}
