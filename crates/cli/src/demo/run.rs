//! One policy's run, from an empty folder to its record.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use forecast::Timestamp;
use indicatif::ProgressBar;

use super::meter::{self, Measured};
use super::plan::{Script, UTILISATION_TARGET};
use super::rival;
use super::stage::{Policy, Stage, WORKLOAD};
use super::stretch::Trace;
use super::{Interrupted, Scene};
use crate::loadgen::record::{Record, Request};
use crate::loadgen::{Run, Target};
use crate::output;

/// Open connections to the proxy at most.
const CONNECTIONS_MAX: usize = 512;
/// How often the progress bar moves.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// What one run left behind.
pub(crate) struct Played {
    pub(crate) policy: Policy,
    /// Requests that were due while the policy was in charge; due times count from that moment.
    pub(crate) record: Record,
    /// What it used meanwhile.
    pub(crate) measured: Measured,
    /// What the daemon observed and had forecast, step by step.
    pub(crate) series: api::Series,
    /// The daemon's clock when scoring began.
    pub(crate) scored_from_ms: i64,
}

/// The number of instances both policies begin with: what HPA's rule wants for the demand of the lead-in.
pub(crate) fn initial(script: &Script, trace: &Trace) -> u32 {
    let lead_in = script.stands_for(script.lead_in);
    let rate = trace.rate(script, script.from - lead_in, lead_in);
    ((rate / (UTILISATION_TARGET * script.capacity())).ceil() as u32).clamp(1, script.replicas_max)
}

/// Starts a stage, lets the policy meet the load, and returns the record together with the stage, which still runs. When anything
/// goes wrong, an interruption included, the stage is closed first.
pub(crate) async fn play(scene: &Scene<'_>, policy: Policy) -> anyhow::Result<(Stage, Played)> {
    let script = scene.script;
    let bar = output::spinner(match policy {
        Policy::Hpa => "HPA's rule: starting daemon, proxy and the first instances",
        Policy::Foreshadow => {
            "foreshadow: learning the weeks before, starting daemon, proxy and the first instances"
        }
    });
    let lead_in_at = (now() + script.startup + script.get_ready).align_down(script.step) + script.step;
    let history = match policy {
        Policy::Hpa => None,
        Policy::Foreshadow => Some(write_history(scene, lead_in_at)?),
    };
    // Not interruptible: what it starts must be in our hands before we can put it away.
    let stage = Stage::open(script, policy, scene.place, scene.folder, scene.addresses, history).await?;
    let outcome = tokio::select! {
        outcome = perform(scene, policy, &stage, lead_in_at, bar) => outcome,
        () = scene.interrupt.heard() => Err(Interrupted.into()),
    };
    match outcome {
        Ok(played) => Ok((stage, played)),
        Err(error) => {
            stage.close().await?;
            Err(error)
        }
    }
}

async fn perform(
    scene: &Scene<'_>,
    policy: Policy,
    stage: &Stage,
    lead_in_at: Timestamp,
    bar: ProgressBar,
) -> anyhow::Result<Played> {
    let script = scene.script;
    let initial = initial(script, scene.trace);
    stage.pin(initial, "demo", "both policies begin with the same instances").await?;
    stage.settled(script, initial).await?;
    tokio::time::sleep(lead_in_at.since(now())).await;
    bar.finish_and_clear();
    let run = Run::start(Arc::clone(scene.load), target(script, stage))
        .context("cannot start the load generator")?;
    let scoring = run.started() + script.lead_in;
    let scored_from = now() + script.lead_in;
    let decide = async {
        match policy {
            Policy::Hpa => rival::run(stage.client(), script, initial, scoring + script.length).await,
            Policy::Foreshadow => stage.release().await,
        }
    };
    let measure = meter::measure(stage.client(), scoring, script.length);
    let ((), measured, ()) = tokio::try_join!(decide, measure, show(policy, script, &run))?;
    let record = tokio::task::spawn_blocking(move || run.finish()).await??;
    let scored_from_ms = scored_from.as_millis();
    let until_ms = (scored_from + script.length).as_millis();
    let series = stage.client().series(WORKLOAD, scored_from_ms, until_ms).await;
    let series = series.context("cannot read what the daemon observed")?;
    Ok(Played { policy, record: scored(&record, script), measured, series, scored_from_ms })
}

fn target(script: &Script, stage: &Stage) -> Target {
    Target {
        address: stage.front(),
        path: "/".to_owned(),
        timeout: script.timeout,
        bound: script.bound,
        connections_max: CONNECTIONS_MAX,
    }
}

/// Moves the progress bar until everything is sent and answered.
async fn show(policy: Policy, script: &Script, run: &Run) -> anyhow::Result<()> {
    let total = script.lead_in + script.length;
    let name = match policy {
        Policy::Hpa => "HPA's rule",
        Policy::Foreshadow => "foreshadow",
    };
    if !output::interactive() {
        output::say(&format!("{name}: {} s of load", total.as_secs()));
    }
    let bar = output::progress(total.as_secs(), "{msg:>11} {bar:30} {pos:>2}/{len} s  {prefix}");
    bar.set_message(name);
    while !run.is_finished() {
        let (sent, failed, late) = run.live().counts();
        bar.set_position(run.started().elapsed().min(total).as_secs());
        bar.set_prefix(format!("{} sent, {} failed, {} late", output::grouped(sent), failed, late));
        tokio::time::sleep(SHOW_EVERY).await;
    }
    let (sent, failed, late) = run.live().counts();
    bar.finish_and_clear();
    output::say(&format!(
        "{name}: {} sent, {failed} failed, {late} late, lead-in included",
        output::grouped(sent)
    ));
    Ok(())
}

/// Without the lead-in, and with due times counted from its end.
fn scored(record: &Record, script: &Script) -> Record {
    let requests = record.requests().iter().filter(|request| request.due >= script.lead_in);
    Record::new(requests.map(|request| Request { due: request.due - script.lead_in, ..*request }).collect())
}

fn write_history(scene: &Scene<'_>, lead_in_at: Timestamp) -> anyhow::Result<PathBuf> {
    let file = scene.folder.join("history.csv");
    let text = scene.trace.history(scene.script, lead_in_at, now().align_down(scene.script.step));
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// When a run with this script ends at the latest, for the announcement.
pub(crate) fn expected(script: &Script) -> Duration {
    (script.startup + script.get_ready + script.lead_in + script.length + Duration::from_secs(2)) * 2
}

/// Sends what comes after the scored stretch until interrupted, so that an open dashboard has something to show.
pub(crate) async fn go_on(scene: &Scene<'_>, stage: &Stage) -> anyhow::Result<()> {
    let schedule = scene.trace.afterwards(scene.script, AFTERWARDS_MAX).map_err(anyhow::Error::msg)?;
    let run = Run::start(Arc::new(schedule), target(scene.script, stage))
        .context("cannot start the load generator")?;
    scene.interrupt.heard().await;
    run.cancel();
    tokio::task::spawn_blocking(move || run.finish()).await??;
    Ok(())
}

/// The most load after the run.
const AFTERWARDS_MAX: Duration = Duration::from_secs(3600);
