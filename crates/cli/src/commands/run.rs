//! `foreshadow run CONFIG`: control plane and data plane, until Ctrl-C or SIGTERM. SIGHUP starts the control plane anew, with the
//! configuration as it is then.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use daemon::{BuildOptions, Config, Daemon, End};
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let config = read(args)?;
    if args.check {
        let (name, count) = (args.config.display(), config.workloads.len());
        return Ok(output::print(&format!("{name}: ok, {count} workload(s)\n"))?);
    }
    // Where it is now: an upgrade may put another file there.
    let program = std::env::current_exe().or_failed("cannot find out which program is running")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_failed("cannot start an async runtime")?;
    let end = runtime.block_on(serve(args, config))?;
    drop(runtime);
    match end {
        End::Stop => Ok(()),
        End::HandOver => {
            let failed = Command::new(program).args(std::env::args_os().skip(1)).exec();
            Err(failed).or_failed("cannot start anew; the proxy and the instances serve on")
        }
    }
}

fn read(args: &RunArgs) -> Result<Config, Failure> {
    let name = args.config.display();
    let text = std::fs::read_to_string(&args.config)
        .or_usage(format!("cannot read {name}; give the path of a TOML configuration"))?;
    Config::parse(&text, &args.config).or_usage(format!("{name} cannot be used"))
}

async fn serve(args: &RunArgs, config: Config) -> Result<End, Failure> {
    let mut options = BuildOptions::of_process().or_failed("cannot find out which program is running")?;
    options.seed = args.seed;
    let listeners: Vec<_> =
        config.workloads.iter().filter_map(|w| w.listen.map(|listen| (w.name.clone(), listen))).collect();
    // Before anything is started, so that a Ctrl-C during the start is not lost.
    let stop = stop_signal().or_failed("cannot listen for signals")?;
    let hangup = signal(SignalKind::hangup()).or_failed("cannot listen for signals")?;
    let daemon = Daemon::build(config, options).await.or_usage("cannot start the daemon")?;
    output::say(&format!("dashboard and API: http://{}/", daemon.api_address()));
    for (workload, listen) in listeners {
        output::say(&format!("{workload}: serving on http://{listen}/"));
    }
    let end = async {
        tokio::select! {
            () = stop => End::Stop,
            () = changed(args, hangup) => End::HandOver,
        }
    };
    daemon.run(end).await.or_failed("the daemon failed")
}

/// Completes on a SIGHUP, once the configuration on disk is one that can be used.
async fn changed(args: &RunArgs, mut hangup: Signal) {
    loop {
        if hangup.recv().await.is_none() {
            return std::future::pending().await;
        }
        match read(args) {
            Ok(_) => return output::say("starting anew; the proxy and the instances serve on"),
            Err(failure) => {
                failure.report();
                output::say("the configuration read before stays in force");
            }
        }
    }
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
