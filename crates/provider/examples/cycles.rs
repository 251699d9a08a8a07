//! Shows that nothing is left behind: makes, parks, promotes, parks again and stops instances by the thousand, and counts
//! what there is before and after.
//!
//! `cargo run --release -p provider --example cycles [CYCLES] [ordinary|template]` (10 000 and both by default). Instances are
//! this very program. It ends with an error when there is more of anything afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use provider::contract::{SERVICE_KEY, TestService, serve_if_asked};
use provider::{InstanceName, InstanceSpec, Listen, ProcessConfig, ProcessProvider, Provider};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    serve_if_asked();
    let cycles = std::env::args().nth(1).map_or(Ok(CYCLES), |cycles| cycles.parse())?;
    let wanted = std::env::args().nth(2);
    for (kind, template) in [("ordinary", false), ("template", true)] {
        if wanted.as_deref().is_none_or(|wanted| wanted == kind) {
            run(kind, template, cycles).await?;
        }
    }
    Ok(())
}

async fn run(kind: &str, template: bool, cycles: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let provider = Arc::new(ProcessProvider::open(ProcessConfig::new(dir.path()))?);
    let measured = measure(kind, &provider, dir.path(), template, cycles).await;
    let id = provider.id().to_owned();
    provider.shutdown(GRACE).await?;
    drop(provider);
    let groups = groups(&id)?.len();
    println!("  groups after the shutdown: {groups}");
    if !measured? || groups != 0 {
        return Err(format!("{kind}: something is left").into());
    }
    Ok(())
}

/// True when there is as much of everything after the cycles as before.
async fn measure(
    kind: &str,
    provider: &Arc<ProcessProvider>,
    state: &Path,
    template: bool,
    cycles: usize,
) -> Result<bool, Failure> {
    // What is opened once and kept is there before.
    go_round(provider, template, 20).await?;
    let before = count(provider, state)?;
    let begin = Instant::now();
    go_round(provider, template, cycles).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let mut after = count(provider, state)?;
    // The kernel and the runtime may take a moment to let go.
    for _ in 0..100 {
        if after == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        after = count(provider, state)?;
    }
    println!("{kind}: {cycles} cycles in {seconds:.1} s, {AT_ONCE} at once");
    for (what, number) in &before {
        println!("  {what:22} before {number:5}  after {:5}", after[what]);
    }
    Ok(after == before)
}

async fn go_round(provider: &Arc<ProcessProvider>, template: bool, cycles: usize) -> Result<(), Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (provider, next) = (Arc::clone(provider), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= cycles {
                        return Ok(());
                    }
                    cycle(&provider, template, index).await?;
                }
            })
        })
        .collect();
    for worker in workers {
        let ended: Result<(), Failure> = worker.await?;
        ended?;
    }
    Ok(())
}

async fn cycle(provider: &ProcessProvider, template: bool, index: usize) -> Result<(), Failure> {
    let name = InstanceName::new(format!("cycle-{index}"))?;
    let program = std::env::current_exe()?.display().to_string();
    let mut spec = InstanceSpec { template, ..InstanceSpec::new(name.clone(), "cycles", vec![program]) };
    spec.env.insert(SERVICE_KEY.to_owned(), TestService::Normal.word().to_owned());
    // Other programs of the machine can take a port between its choice and its use, but not a socket.
    spec.listen = Listen::PassedSocket;
    provider.start(spec).await?;
    provider.park(&name).await?;
    provider.promote(&name).await?;
    provider.park(&name).await?;
    provider.stop(&name, GRACE).await?;
    Ok(())
}

/// Everything that could be left, by kind.
fn count(provider: &ProcessProvider, state: &Path) -> Result<BTreeMap<String, usize>, Failure> {
    let mut counts = BTreeMap::new();
    for kind in ["socket", "pipe", "anon_inode", "other"] {
        counts.insert(format!("descriptors: {kind}"), 0);
    }
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        let kind = ["socket", "pipe", "anon_inode"].into_iter().find(|kind| target.starts_with(kind));
        *counts.entry(format!("descriptors: {}", kind.unwrap_or("other"))).or_default() += 1;
    }
    let own = fs::read_link("/proc/self/exe")?;
    let parent = format!("PPid:\t{}\n", std::process::id());
    let mut pids: Vec<u32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.retain(|pid| *pid != std::process::id());
    // Instances and templates alive, and children of ours that nobody has reaped.
    let of_ours = pids.iter().filter(|pid| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own)
            || fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent))
    });
    counts.insert("processes".to_owned(), of_ours.count());
    counts.insert("groups".to_owned(), groups(provider.id())?.len());
    counts.insert("records".to_owned(), fs::read_dir(state.join("instances"))?.count());
    counts.insert("listed".to_owned(), provider.list().len());
    Ok(counts)
}

/// The groups of a provider in all hierarchies.
fn groups(id: &str) -> Result<Vec<PathBuf>, Failure> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let parents =
        points.filter_map(|line| Some(Path::new(line.split(' ').nth(4)?).join("foreshadow").join(id)));
    let groups = parents.flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten());
    Ok(groups.map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

const CYCLES: usize = 10_000;
const AT_ONCE: usize = 4;
const GRACE: Duration = Duration::from_secs(10);
