//! `foreshadow run CONFIG`: control plane and data plane, until Ctrl-C or SIGTERM.

use std::path::PathBuf;

use clap::Args;
use daemon::{BuildOptions, Config, Daemon};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, OrFail};
use crate::output;

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The configuration, a TOML file
    config: PathBuf,
    /// Only check the configuration
    #[arg(long)]
    check: bool,
    /// Seed of the planner's randomness
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Serves until told to stop.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let name = args.config.display();
    let text = std::fs::read_to_string(&args.config)
        .or_usage(format!("cannot read {name}; give the path of a TOML configuration"))?;
    let config = Config::parse(&text, &args.config).or_usage(format!("{name} cannot be used"))?;
    if args.check {
        return Ok(output::print(&format!("{name}: ok, {} workload(s)\n", config.workloads.len()))?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_failed("cannot start an async runtime")?;
    runtime.block_on(serve(args, config))
}

async fn serve(args: &RunArgs, config: Config) -> Result<(), Failure> {
    let mut options = BuildOptions::of_process().or_failed("cannot find out which program is running")?;
    options.seed = args.seed;
    let listeners: Vec<_> =
        config.workloads.iter().filter_map(|w| w.listen.map(|listen| (w.name.clone(), listen))).collect();
    // Before anything is started, so that a Ctrl-C during the start is not lost.
    let stop = stop_signal().or_failed("cannot listen for signals")?;
    let daemon = Daemon::build(config, options).await.or_usage("cannot start the daemon")?;
    output::say(&format!("dashboard and API: http://{}/", daemon.api_address()));
    for (workload, listen) in listeners {
        output::say(&format!("{workload}: serving on http://{listen}/"));
    }
    daemon.run(stop).await.or_failed("the daemon failed")
}

/// Completes on the first SIGINT or SIGTERM.
pub(crate) fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
