//! `foreshadow demo`: the main job, end to end, on a real trace with real instances, beside a rival; then a verdict.

pub(crate) mod plan;

mod machines;
mod meter;
mod place;
mod report;
mod rival;
mod root;
mod run;
mod stage;
mod stretch;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use forecast::Timestamp;
use tokio::sync::watch;

use self::place::{Kind, Place};
use self::plan::Script;
use self::run::{Played, initial, play};
use self::stage::{Addresses, Policy};
use self::stretch::Trace;
use self::verdict::Verdict;
use crate::commands::run::stop_signal;
use crate::failure::{Failure, OrFail};
use crate::loadgen::schedule::Schedule;
use crate::{output, values};

/// Options of `demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// What instances are
    #[arg(long, value_enum, default_value_t)]
    provider: Kind,
    /// Socket of the Docker engine
    #[arg(long, value_name = "ENDPOINT", default_value = "unix:///var/run/docker.sock", value_parser = values::unix_socket)]
    docker: PathBuf,
    /// Show no progress, ask for nothing
    #[arg(long)]
    headless: bool,
    /// Write the verdict as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as one HTML file
    #[arg(long, value_name = "FILE.html", default_value = "foreshadow-demo.html")]
    report: PathBuf,
    /// Write no report
    #[arg(long, conflicts_with = "report")]
    no_report: bool,
    /// Seed of the arrival times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on under foreshadow after the verdict, with the dashboard, until Ctrl-C
    #[arg(long)]
    keep_open: bool,
    /// Another moment of the trace, which reaches from 1995-07-01 to 1995-09-01
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    from: Option<Timestamp>,
    /// Another compression of time
    #[arg(long, hide = true, value_parser = values::positive)]
    speedup: Option<f64>,
    /// More or fewer requests for each recorded one
    #[arg(long, hide = true, value_parser = values::positive)]
    scale: Option<f64>,
    /// Another error budget
    #[arg(long, hide = true, value_parser = values::open_share)]
    budget: Option<f64>,
    /// Another length of a run
    #[arg(long, hide = true, value_parser = values::duration)]
    length: Option<Duration>,
}

/// Plays both runs and prints the verdict.
pub(crate) fn run(args: &DemoArgs, home: Option<&Path>) -> Result<(), Failure> {
    writable(args)?;
    let script = script(args);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_failed("cannot start an async runtime")?;
    let folder =
        tempfile::Builder::new().prefix("foreshadow-demo-").tempdir().or_failed("cannot make a folder")?;
    runtime.block_on(perform(args, &script, home, folder.path()))
}

/// Says beforehand, not after two minutes, that a file cannot be written.
fn writable(args: &DemoArgs) -> Result<(), Failure> {
    let report = (!args.no_report).then_some(&args.report);
    for file in report.into_iter().chain(&args.json) {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .or_usage(format!("cannot write {}; choose another file", file.display()))?;
    }
    Ok(())
}

fn script(args: &DemoArgs) -> Script {
    let mut script = Script::new(args.seed).made_of(args.provider);
    script.from = args.from.unwrap_or(script.from);
    script.speedup = args.speedup.unwrap_or(script.speedup);
    script.scale = args.scale.unwrap_or(script.scale);
    script.error_budget = args.budget.unwrap_or(script.error_budget);
    script.length = args.length.unwrap_or(script.length);
    script
}

async fn perform(
    args: &DemoArgs,
    script: &Script,
    home: Option<&Path>,
    folder: &Path,
) -> Result<(), Failure> {
    // Before anything is started, so that no Ctrl-C is lost.
    let interrupt = Interrupt::listen().or_failed("cannot listen for signals")?;
    let trace = Trace::embedded().or_failed("cannot read the embedded trace")?;
    let load = Arc::new(trace.load(script).map_err(Failure::usage)?);
    let place = Place::prepare(script, &args.docker, home, folder, &interrupt).await?;
    let addresses = Addresses::free().or_failed("no free port")?;
    announce(script, &trace, &load, addresses);
    let scene =
        Scene { script, trace: &trace, load: &load, place: &place, folder, addresses, interrupt: &interrupt };
    let compared = compare(args, &scene).await;
    let away = place.put_away().await;
    compared?;
    Ok(away?)
}

/// Plays both runs, one after the other.
async fn compare(args: &DemoArgs, scene: &Scene<'_>) -> Result<(), Failure> {
    let (stage, rival) = play(scene, Policy::Hpa).await?;
    stage.close().await?;
    let (stage, ours) = play(scene, Policy::Foreshadow).await?;
    let concluded = conclude(args, scene, &rival, &ours);
    if concluded.is_ok() && args.keep_open {
        output::say(&format!("going on; the dashboard is at http://{}/ until Ctrl-C", stage.api()));
        run::go_on(scene, &stage).await?;
    }
    stage.close().await?;
    concluded
}

/// Says what is going to happen.
fn announce(script: &Script, trace: &Trace, load: &Schedule, addresses: Addresses) {
    let expected = Duration::from_secs(run::expected(script).as_secs());
    output::say(&format!(
        "{} requests of NASA's web server from {} on, {} times as fast, against real {}:\n\
         first under the rule of Kubernetes' autoscaler (HPA), then under foreshadow, about {} in all.\n\
         Both begin with {} instances of {:.0} requests/s; a new one takes {} to start, which stands for {}.\n\
         Dashboard: http://{}/",
        output::grouped(load.arrivals().len() as u64),
        script.from,
        script.speedup,
        script.kind.plural(),
        humantime::format_duration(expected),
        initial(script, trace),
        script.capacity(),
        humantime::format_duration(script.startup),
        humantime::format_duration(script.stands_for(script.startup)),
        addresses.api,
    ));
}

/// Prints and writes the verdict.
fn conclude(args: &DemoArgs, scene: &Scene<'_>, rival: &Played, ours: &Played) -> Result<(), Failure> {
    let initial = initial(scene.script, scene.trace);
    let verdict =
        Verdict::new(scene.script, rival, ours, scene.load, initial).or_failed("cannot score the runs")?;
    let mut text = format!("{}\n\n{}\n", verdict.table(), verdict.sentence());
    if !args.no_report {
        report::build(scene.script, &verdict, rival, ours, scene.load)
            .write(&args.report)
            .or_failed(format!("cannot write {}", args.report.display()))?;
        text.push_str(&format!("Report with plots: {}\n", args.report.display()));
    }
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&verdict.json()).or_failed("cannot print the verdict")?;
        std::fs::write(file, json + "\n").or_failed(format!("cannot write {}", file.display()))?;
    }
    Ok(output::print(&text)?)
}

/// What both runs share.
pub(crate) struct Scene<'a> {
    script: &'a Script,
    trace: &'a Trace,
    load: &'a Arc<Schedule>,
    place: &'a Place,
    folder: &'a Path,
    addresses: Addresses,
    interrupt: &'a Interrupt,
}

/// Ctrl-C or SIGTERM, heard by everything that waits, so that each can put away what it started.
pub(crate) struct Interrupt(watch::Receiver<bool>);

/// The demo was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything is stopped")]
struct Interrupted;

impl Interrupt {
    fn listen() -> std::io::Result<Interrupt> {
        let stop = stop_signal()?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            stop.await;
            tell.send_replace(true);
            // Later listeners must still see it.
            std::future::pending::<()>().await;
        });
        Ok(Interrupt(told))
    }

    /// Completes when the demo is to stop.
    pub(crate) async fn heard(&self) {
        let mut told = self.0.clone();
        if told.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
