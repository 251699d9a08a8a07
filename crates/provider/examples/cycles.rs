//! Shows that nothing is left behind: makes, parks, promotes, parks again and stops instances by the thousand, and counts
//! what there is before and after.
//!
//! `cargo run --release -p provider --example cycles [CYCLES] [ordinary|template]` (10 000 and both by default). Instances are
//! this very program. It ends with an error when there is more of anything afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use provider::contract::{
    Counts, Cycles, SERVICE_KEY, TestService, descriptors, nothing_is_left, serve_if_asked,
};
use provider::{InstanceName, InstanceSpec, Listen, ProcessConfig, ProcessProvider, Provider};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    serve_if_asked();
    let number = std::env::args().nth(1).map_or(Ok(CYCLES), |cycles| cycles.parse())?;
    let wanted = std::env::args().nth(2);
    for (kind, template) in [("ordinary", false), ("template", true)] {
        if wanted.as_deref().is_none_or(|wanted| wanted == kind) {
            println!("{kind}:");
            run(kind, template, Cycles { number, at_once: AT_ONCE, kept: 0 }).await?;
        }
    }
    Ok(())
}

async fn run(kind: &str, template: bool, cycles: Cycles) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let provider = Arc::new(ProcessProvider::open(ProcessConfig::new(dir.path()))?);
    let program = std::env::current_exe()?.display().to_string();
    let order = move |index| order(&program, template, index);
    let measured = nothing_is_left(&provider, cycles, order, || count(&provider, dir.path())).await;
    let id = provider.id().to_owned();
    provider.shutdown(GRACE).await?;
    drop(provider);
    let groups = groups(&id).len();
    println!("  groups after the shutdown: {groups}");
    if !measured? || groups != 0 {
        return Err(format!("{kind}: something is left").into());
    }
    Ok(())
}

fn order(program: &str, template: bool, index: usize) -> InstanceSpec {
    let name = InstanceName::new(format!("cycle-{index}")).expect("a good name");
    let mut spec = InstanceSpec { template, ..InstanceSpec::new(name, "cycles", vec![program.to_owned()]) };
    spec.env.insert(SERVICE_KEY.to_owned(), TestService::Normal.word().to_owned());
    // Other programs of the machine can take a port between its choice and its use, but not a socket.
    spec.listen = Listen::PassedSocket;
    spec
}

/// Everything that could be left, by kind.
fn count(provider: &ProcessProvider, state: &Path) -> Counts {
    let mut counts = descriptors();
    let own = fs::read_link("/proc/self/exe").expect("we are a file");
    let parent = format!("PPid:\t{}\n", std::process::id());
    let pids = fs::read_dir("/proc").expect("readable").flatten();
    let mut pids: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.retain(|pid| *pid != std::process::id());
    // Instances and templates alive, and children of ours that nobody has reaped.
    let of_ours = pids.iter().filter(|pid| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own)
            || fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent))
    });
    counts.insert("processes".to_owned(), of_ours.count());
    counts.insert("groups".to_owned(), groups(provider.id()).len());
    let records = fs::read_dir(state.join("instances")).expect("readable");
    counts.insert("records".to_owned(), records.count());
    counts.insert("listed".to_owned(), provider.list().len());
    counts
}

/// The groups of a provider in all hierarchies.
fn groups(id: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let parents =
        points.filter_map(|line| Some(Path::new(line.split(' ').nth(4)?).join("foreshadow").join(id)));
    let groups = parents.flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten());
    groups.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

const CYCLES: usize = 10_000;
const AT_ONCE: usize = 4;
const GRACE: Duration = Duration::from_secs(10);
