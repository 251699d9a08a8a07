//! Many short lives of instances, and a count of everything that they could leave behind.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::ProviderError;
use crate::face::Provider;
use crate::spec::InstanceSpec;

/// How many lives, and how many of them at once.
#[derive(Debug, Clone, Copy)]
pub struct Cycles {
    /// In all.
    pub number: usize,
    /// At the same time.
    pub at_once: usize,
    /// How many more descriptors are no leak: connections that are kept.
    pub kept: usize,
}

/// How much there is of everything that could be left.
pub type Counts = BTreeMap<String, usize>;

/// Makes, parks, promotes, parks again and ends instances, and prints how much there was before and after. True when it is
/// as much, but for what may be kept. `order` gets a number that no other instance had.
///
/// # Errors
/// Those of the provider.
///
/// # Panics
/// When a step of the provider panics.
pub async fn nothing_is_left<P: Provider>(
    provider: &Arc<P>,
    cycles: Cycles,
    order: impl Fn(usize) -> InstanceSpec + Send + Sync + 'static,
    count: impl Fn() -> Counts,
) -> Result<bool, ProviderError> {
    let order = Arc::new(order);
    // What is opened once and kept is there before.
    go_round(provider, Cycles { number: WARM_UP.min(cycles.number), ..cycles }, &order, 0).await?;
    let before = count();
    let begin = Instant::now();
    go_round(provider, cycles, &order, WARM_UP).await?;
    let took = begin.elapsed().as_secs_f64();
    let mut after = count();
    // The kernel and the runtime may take a moment to let go.
    let is_left = |after: &Counts| {
        after.iter().any(|(what, number)| {
            let kept = if what.starts_with("descriptors") { cycles.kept } else { 0 };
            *number > before.get(what).copied().unwrap_or_default() + kept
        })
    };
    while is_left(&after) && begin.elapsed().as_secs_f64() < took + LET_GO.as_secs_f64() {
        sleep(Duration::from_millis(50)).await;
        after = count();
    }
    println!("{} cycles in {took:.1} s, {} at once", cycles.number, cycles.at_once);
    for (what, number) in &before {
        println!("  {what:28} before {number:5}  after {:5}", after.get(what).copied().unwrap_or_default());
    }
    Ok(!is_left(&after))
}

async fn go_round<P: Provider>(
    provider: &Arc<P>,
    cycles: Cycles,
    order: &Arc<impl Fn(usize) -> InstanceSpec + Send + Sync + 'static>,
    first: usize,
) -> Result<(), ProviderError> {
    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..cycles.at_once)
        .map(|_| {
            let (provider, order, next) = (Arc::clone(provider), Arc::clone(order), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= cycles.number {
                        return Ok(());
                    }
                    cycle(&*provider, order(first + index)).await?;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    Ok(())
}

async fn cycle(provider: &impl Provider, order: InstanceSpec) -> Result<(), ProviderError> {
    let name = order.name.clone();
    provider.start(order).await?;
    provider.park(&name).await?;
    provider.promote(&name).await?;
    provider.park(&name).await?;
    provider.stop(&name, GRACE).await
}

/// The open descriptors of this process, by kind.
#[must_use]
pub fn descriptors() -> Counts {
    const KINDS: [&str; 3] = ["socket", "pipe", "anon_inode"];
    let mut counts: Counts =
        KINDS.iter().chain(&["other"]).map(|kind| (format!("descriptors: {kind}"), 0)).collect();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        let kind = KINDS.into_iter().find(|kind| target.starts_with(kind));
        *counts.entry(format!("descriptors: {}", kind.unwrap_or("other"))).or_default() += 1;
    }
    counts
}

const WARM_UP: usize = 20;
const GRACE: Duration = Duration::from_secs(10);
const LET_GO: Duration = Duration::from_secs(5);
