//! `foreshadow run CONFIG`: control plane and data plane, until Ctrl-C or SIGTERM. SIGHUP starts the control plane anew, with the
//! configuration as it is then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use daemon::{BuildOptions, Config, Daemon, End};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_failed("cannot start an async runtime")?;
    // Before all else: what would end a process that does not listen must not come too early.
    let (stop, hangup) = {
        let _inside = runtime.enter();
        let hangup = signal(SignalKind::hangup());
        (stop_signal().or_failed(SIGNALS)?, hangup.or_failed(SIGNALS)?)
    };
    // Held back by the program that this process was before.
    provider::hear_signals().or_failed(SIGNALS)?;
    let config = read(args)?;
    if args.check {
        let (name, count) = (args.config.display(), config.workloads.len());
        return Ok(output::print(&format!("{name}: ok, {count} workload(s)\n"))?);
    }
    // Where it is now: an upgrade may put another file there.
    let program = std::env::current_exe().or_failed("cannot find out which program is running")?;
    let mut stop = Box::pin(stop);
    let changed = changed(args, &program, config.server.state_dir.clone(), hangup);
    if runtime.block_on(serve(args, config, stop.as_mut(), changed))? == End::Stop {
        return Ok(());
    }
    // One that came too late to be heard by the daemon that has just ended.
    if runtime.block_on(async { timeout(Duration::ZERO, stop).await.is_ok() }) {
        let never = std::future::pending();
        return runtime.block_on(serve(args, read(args)?, std::future::ready(()), never)).map(drop);
    }
    drop(runtime);
    let failed = provider::execute(&program, std::env::args_os().skip(1));
    Err(failed).or_failed("cannot start anew; the proxy and the instances serve on")
}

fn read(args: &RunArgs) -> Result<Config, Failure> {
    let name = args.config.display();
    let text = std::fs::read_to_string(&args.config)
        .or_usage(format!("cannot read {name}; give the path of a TOML configuration"))?;
    Config::parse(&text, &args.config).or_usage(format!("{name} cannot be used"))
}

async fn serve(
    args: &RunArgs,
    config: Config,
    stop: impl Future<Output = ()> + Send,
    changed: impl Future<Output = ()> + Send,
) -> Result<End, Failure> {
    let mut options = BuildOptions::of_process().or_failed("cannot find out which program is running")?;
    (options.seed, options.waits_for_children) = (args.seed, true);
    let listeners: Vec<_> =
        config.workloads.iter().filter_map(|w| w.listen.map(|listen| (w.name.clone(), listen))).collect();
    let daemon = Daemon::build(config, options).await.or_usage("cannot start the daemon")?;
    output::say(&format!("dashboard and API: http://{}/", daemon.api_address()));
    for (workload, listen) in listeners {
        output::say(&format!("{workload}: serving on http://{listen}/"));
    }
    let end = async {
        tokio::select! {
            () = stop => End::Stop,
            () = changed => End::HandOver,
        }
    };
    daemon.run(end).await.or_failed("the daemon failed")
}

/// Completes on a SIGHUP, once the program on disk can use the configuration on disk.
async fn changed(args: &RunArgs, program: &Path, state_dir: PathBuf, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let check =
            tokio::process::Command::new(program).arg("run").arg(&args.config).arg("--check").output();
        let refusal = match check.await {
            // What this program cannot read, the one on disk may.
            Ok(checked) if checked.status.success() => read(args)
                .is_ok_and(|config| config.server.state_dir != state_dir)
                .then(|| "`state_dir` can change only where no daemon runs".to_owned()),
            Ok(checked) => Some(String::from_utf8_lossy(&checked.stderr).trim_end().to_owned()),
            Err(error) => Some(format!("cannot run {}: {error}", program.display())),
        };
        let Some(refusal) = refusal else {
            return output::say("starting anew; the proxy and the instances serve on");
        };
        output::say(&format!("{refusal}\nthe configuration read before stays in force"));
    }
    std::future::pending().await
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

const SIGNALS: &str = "cannot listen for signals";
