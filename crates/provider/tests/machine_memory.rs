//! What memory machines take, booted and restored from one snapshot: not a test of anything.
//!
//! `cargo test -p provider --test machine_memory -- --ignored --nocapture`

mod machine;

use std::fs;
use std::time::Duration;

use machine::Fixture;
use provider::contract::{ContractFixture, TestService};
use provider::{Birth, InstanceInfo, InstanceSpec, MachineSpec, Provider};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure() {
    let Some(fixture) = Fixture::new(Birth::Boot).await else { return };
    let provider = fixture.open().await;
    for (name, birth) in
        [("booted", Birth::Boot), ("restored-1", Birth::Snapshot), ("restored-2", Birth::Snapshot)]
    {
        let machine = MachineSpec { birth, ..fixture.machine() };
        let spec = InstanceSpec { machine: Some(machine), ..fixture.spec(name, TestService::Normal) };
        eprintln!("{name}: {}", memory(&provider.start(spec).await.expect("starts")));
    }
    provider.shutdown(Duration::ZERO).await.expect("stops");
}

fn memory(info: &InstanceInfo) -> String {
    let maps = fs::read_to_string(format!("/proc/{}/smaps_rollup", info.pid)).expect("readable");
    let of = |key: &str| -> u64 {
        let line = maps.lines().find(|line| line.starts_with(key)).expect("there");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    };
    format!(
        "resident {} MiB, proportional {} MiB, private {} MiB",
        of("Rss:") >> 10,
        of("Pss:") >> 10,
        (of("Private_Dirty:") + of("Private_Clean:")) >> 10
    )
}
