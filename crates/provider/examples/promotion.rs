//! Measures how much sooner a parked instance answers than a new one.
//!
//! `cargo run --release -p provider --example promotion [ROUNDS]` starts a tiny service cold, parks and promotes it, with
//! every kind of control group of this machine, and prints percentiles in milliseconds. A promotion counts from the begin
//! of the thaw to a verified answer, a cold start and a fork from a template (an ordinary start without control groups) from
//! the order to the first passing probe. Instances are this very
//! program.

use std::time::{Duration, Instant};

use provider::contract::{SERVICE_KEY, TestService, serve_if_asked};
use provider::{CgroupChoice, InstanceName, InstanceSpec, ProcessConfig, ProcessProvider, Provider};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve_if_asked();
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    let (groups, what) = ("groups", "what");
    println!(
        "{groups:8} {what:18} {:>7} {:>8} {:>8} {:>8} {:>8}",
        "n", "p50 ms", "p90 ms", "p99 ms", "max ms"
    );
    for (name, choice) in [("v2", CgroupChoice::V2), ("v1", CgroupChoice::V1), ("none", CgroupChoice::None)] {
        let state_dir = tempfile::tempdir()?;
        let config = ProcessConfig { cgroups: choice, ..ProcessConfig::new(state_dir.path()) };
        match ProcessProvider::open(config) {
            Ok(provider) => measure(name, &provider, rounds).await?,
            Err(error) => println!("{name:8} not possible here: {error}"),
        }
    }
    Ok(())
}

async fn measure(
    kind: &str,
    provider: &ProcessProvider,
    rounds: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut cold, mut forked) = (Vec::new(), Vec::new());
    // The first order waits until the template has initialised.
    provider.start(InstanceSpec { template: true, ..spec("first")? }).await?;
    for index in 0..rounds.div_ceil(COLD_SHARE) {
        for (template, times) in [(false, &mut cold), (true, &mut forked)] {
            let spec = InstanceSpec { template, ..spec(&format!("cold-{index}"))? };
            let begin = Instant::now();
            let info = provider.start(spec).await?;
            times.push(begin.elapsed());
            provider.stop(&info.name, Duration::from_secs(5)).await?;
        }
    }
    let info = provider.start(spec("standby")?).await?;
    let (mut parks, mut promotions, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = Instant::now();
        provider.park(&info.name).await?;
        parks.push(begin.elapsed());
        // A standby has been still for a while when it is needed.
        tokio::time::sleep(PARKED).await;
        promotions.push(provider.promote(&info.name).await?.took);
        warm.push(provider.promote(&info.name).await?.took);
    }
    provider.shutdown(Duration::from_secs(5)).await?;
    for (what, times) in [
        ("cold start", cold),
        ("template fork", forked),
        ("park", parks),
        ("promotion", promotions),
        ("probe, not parked", warm),
    ] {
        report(kind, what, times);
    }
    Ok(())
}

fn spec(name: &str) -> Result<InstanceSpec, Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?.display().to_string();
    let mut spec = InstanceSpec::new(InstanceName::new(name)?, "measured", vec![program]);
    spec.env.insert(SERVICE_KEY.to_owned(), TestService::Normal.word().to_owned());
    Ok(spec)
}

fn report(kind: &str, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times[index].as_secs_f64() * 1e3
    };
    let n = times.len();
    println!("{kind:8} {what:18} {n:7} {:8.3} {:8.3} {:8.3} {:8.3}", at(0.5), at(0.9), at(0.99), at(1.0));
}

const ROUNDS: usize = 500;
/// One cold start is measured for so many promotions.
const COLD_SHARE: usize = 5;
const PARKED: Duration = Duration::from_millis(5);
