//! The Docker provider on a real engine that the tests start: it keeps the contract, and what is special about containers
//! and engines. One program for all of it, so that engine and image are made once.

mod containers;
mod cycles;
mod daemon;
mod engines;
mod fixture;
mod remote;

use std::time::{Duration, Instant};

use daemon::Kind;
use fixture::Fixture;
use provider::{InstanceInfo, Probe, contract, probe};
use tokio::time::sleep;

const GRACE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose engine, and whether containers are parked by their freezers.
const WAYS: [(Kind, bool); 4] =
    [(Kind::Docker, false), (Kind::Docker, true), (Kind::Podman, false), (Kind::Podman, true)];

mod by_the_engine {
    use super::*;
    provider::contract_tests!(Fixture::new(false).await);
}

mod by_the_freezer {
    use super::*;
    provider::contract_tests!(Fixture::new(true).await);
}

mod by_podman {
    use super::*;
    provider::contract_tests!(Fixture::of(Kind::Podman, false).await);
}

/// Not a test: what the containers run.
#[test]
#[ignore = "run by the containers"]
fn service() {
    contract::serve_if_asked();
}

/// Not a test: the image's own health check. It passes where the environment says so.
#[test]
#[ignore = "run by the containers"]
fn health() {
    let healthy = std::env::var("HEALTHY").is_ok();
    println!("the check says {healthy}");
    std::process::exit(i32::from(!healthy));
}

fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn serves(info: &InstanceInfo) -> bool {
    probe::ask(&Probe::Http { path: "/".to_owned() }, info.addr, Duration::from_millis(500)).await.is_ok()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Something that blocks, off the runtime's threads.
async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}
