//! The dashboard in a real browser, on live data.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::world::{Shape, WORKLOAD, World, runtime};

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--virtual-time-budget=6000",
    "--dump-dom",
];

#[test]
fn dashboard_shows_the_workload_its_chart_and_its_plan() {
    let Some(browser) = browser() else {
        return skips::skip("the dashboard in a browser", "no chromium on this machine");
    };
    let mut world = World::new(&Shape { replicas_min: 2, replicas_max: 4 });
    world.start();
    runtime().block_on(async {
        world.wait_until("two instances are active", |detail| detail.summary.counts.active == 2).await;
        let load = world.load(200, Duration::from_secs(4));
        let counted = tokio::task::spawn_blocking(|| load.finish()).await.expect("the load ends");
        assert_eq!(counted.failed, 0);
    });
    let profile = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(browser)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/", world.api))
        .output()
        .expect("the browser runs");
    let page = String::from_utf8_lossy(&output.stdout);
    for wanted in [WORKLOAD, "main-svg", "web-1", "requests/s"] {
        assert!(page.contains(wanted), "the page lacks {wanted:?}:\n{}", excerpt(&page));
    }
    let reasons = runtime().block_on(world.client.plan(WORKLOAD, None)).expect("a plan").reasons;
    assert!(!reasons.is_empty(), "the plan gives no reason");
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |f| f.join(name)))
        .find(|candidate| candidate.is_file())
}

/// The end of a page, where what is missing would be.
fn excerpt(page: &str) -> &str {
    let from = page.len().saturating_sub(4_000);
    page.get(from..).unwrap_or(page)
}
