//! `foreshadow evaluate`: how every model would have done on a recorded series, by rolling-origin evaluation.
//!
//! Each model forecasts from the same moments, fitted to what was known then, and is scored on what came. Processor time is
//! that of this one thread.

mod page;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use daemon::external_model::ExternalModel;
use forecast::calendar::Event;
use forecast::covariates::Covariates;
use forecast::evaluate::{Plan, Scores, Subject, evaluate_together, origins, score};
use forecast::models::{History, Kind};
use forecast::trace::{Options, Series};
use forecast::{Forecaster, HORIZON_STEPS_MAX};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::forecast::core::ensemble;
use super::forecast::{Combine, Zone, combined, zone};
use super::known::KnownArgs;
use super::laid::{Laid, Layout, others};
use super::own_model::{self, Companion};
use crate::failure::{Failure, OrFail};
use crate::output;
use crate::trace_file::{self, Clock};
use crate::values::{self, Quantiles};

/// Options of `evaluate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EvaluateArgs {
    /// CSV or gzip CSV with a `timestamp` column; `-` reads standard input
    file: PathBuf,
    /// Column to evaluate on. Default: the first that is not `timestamp` or `series`
    #[arg(long)]
    column: Option<String>,
    /// The series, when the file has a `series` column. Default: all of them
    #[arg(long)]
    series: Option<String>,
    /// At most so many series, spread evenly over the file
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    series_max: u16,
    /// Take values below zero, too, as of temperatures; forecasts may then be below zero. Demand cannot be
    #[arg(long)]
    allow_negative: bool,
    /// Models to evaluate, comma-separated. Default: all. Where several series are evaluated, those that can learn across series
    /// have a second row, such as `boosted+others`: learned from each series and up to 15 of the others together
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    models: Vec<Kind>,
    /// Batch models that `auto` combines with the online core, comma-separated. `auto` or `all`: all of them. Those that earn
    /// next to no weight rest, and are tried again as the history grows
    #[arg(long, value_name = "NAME,..", value_parser = combined)]
    combine: Option<Combine>,
    /// Also evaluate a model of your own, as `external`: a shell command that speaks the protocol of docs/external-models.md,
    /// such as 'python3 my_model.py'. Where `auto` is evaluated, so is `auto+external`, which combines it with the others
    #[arg(long, value_name = "COMMAND")]
    model_command: Option<String>,
    /// How far ahead
    #[arg(long, default_value = "1d", value_parser = values::duration)]
    horizon: Duration,
    /// From how many moments, spread over the second half of the series
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    origins: u16,
    /// Quantiles whose pinball loss is averaged; 0.05, 0.5 and 0.95 are always asked for
    #[arg(long, default_value = "0.05,0.5,0.9,0.95", value_parser = values::quantiles)]
    quantiles: Quantiles,
    #[command(flatten)]
    known: KnownArgs,
    /// Time zone of the people behind the demand, such as Europe/Berlin, and of times in the files that have none; `none` uses no
    /// calendar
    #[arg(long, value_parser = zone)]
    time_zone: Option<Zone>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Also write a self-contained HTML page with plots
    #[arg(long, value_name = "FILE.html")]
    plot: Option<PathBuf>,
}

/// What `evaluate` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For reading
    Table,
    /// One row for each series and model
    Csv,
    /// The same, as JSON
    Json,
}

/// All models on one series.
struct Evaluated {
    laid: Laid,
    seasons: Vec<usize>,
    horizon: usize,
    quantiles: Vec<f64>,
    scores: Vec<Scores>,
}

/// One series and model, as it is written for machines.
#[derive(Serialize)]
struct Line<'a> {
    series: &'a str,
    model: &'a str,
    pinball: Option<f64>,
    pinball_of_naive: Option<f64>,
    mase: Option<f64>,
    mae: Option<f64>,
    rmse: Option<f64>,
    coverage_90: Option<f64>,
    below_95: Option<f64>,
    fit_seconds: f64,
    forecast_seconds: f64,
    scored: usize,
    refused: Option<String>,
}

/// The models to evaluate.
fn asked(args: &EvaluateArgs) -> Result<&[Kind], Failure> {
    if let Some(kind) = values::repeated(&args.models) {
        return Err(Failure::usage(format!("--models names {kind} twice")));
    }
    let kinds = if args.models.is_empty() { Kind::ALL } else { &args.models };
    if args.combine.is_some() && !kinds.contains(&Kind::Auto) {
        return Err(Failure::usage(
            "--combine says what `auto` combines, and --models does not name `auto`; add it, or leave one out",
        ));
    }
    Ok(kinds)
}

/// Batch models that `auto` combines.
fn in_company(args: &EvaluateArgs) -> &[Kind] {
    args.combine.as_ref().map_or(Kind::BATCH, |combine| &combine.0)
}

/// Reads, evaluates, prints.
pub(crate) fn run(args: &EvaluateArgs) -> Result<(), Failure> {
    let given = args.time_zone.as_ref().and_then(|zone| zone.0.clone());
    let options = Options {
        column: args.column.clone(),
        series: args.series.clone(),
        zone: given,
        allow_negative: args.allow_negative,
    };
    let file = trace_file::read_beside(&args.file, &options, &args.known.covariates)?;
    args.known.check(&file.trace.column)?;
    let zone = match &args.time_zone {
        Some(Zone(zone)) => zone.clone(),
        None => (file.clock == Clock::Iso).then_some(TimeZone::UTC),
    };
    let kinds = asked(args)?;
    let own = args.model_command.as_deref().map(own_model::of);
    let all = &file.trace.series;
    let every = all.len().div_ceil(usize::from(args.series_max)).max(1);
    let last = all.iter().filter_map(|series| series.points.last()).map(|point| point.0).max();
    let until = last.unwrap_or_default() + args.horizon;
    let events = args.known.calendar.events(&file, zone.as_ref(), until)?;
    say_passed_over(kinds, args);
    let (step, non_negative) = (file.trace.step, !args.allow_negative);
    let layout = Layout { step, zone, non_negative, known: &args.known, events: &events };
    let mut evaluated = Vec::new();
    for (series, beside) in all.iter().zip(&file.beside).step_by(every) {
        evaluated.extend(prepare(series, beside, &layout, args)?);
    }
    for at in 0..evaluated.len() {
        evaluated[at].scores = judge(&evaluated, at, (kinds, own.as_ref()), args, &events)?;
    }
    if evaluated.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no series that models can be evaluated on",
            args.file.display()
        )));
    }
    // Every series has the same rows, in the same order.
    let names: Vec<String> = evaluated[0].scores.iter().map(|scores| scores.model.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match args.format {
        Format::Table => table::print(&evaluated, &names)?,
        Format::Csv => print_csv(&evaluated)?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&lines(&evaluated)).or_failed("cannot write JSON")?;
            output::print(&(text + "\n"))?;
        }
    }
    if let Some(path) = &args.plot {
        page::build(&file.trace.column, &evaluated, &names)
            .write(path)
            .or_failed(format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Names the models to which nothing that is known beside the series makes a difference.
fn say_passed_over(kinds: &[Kind], args: &EvaluateArgs) {
    let over: Vec<&str> =
        kinds.iter().filter(|kind| kind.assumes().is_none()).map(|kind| kind.name()).collect();
    if !args.known.is_empty() && !over.is_empty() {
        output::say(&format!(
            "note: these models make nothing of events and covariates: {}",
            over.join(", ")
        ));
    }
}

/// A series that is to be evaluated on; `None`, which is said, when it is too short.
fn prepare(
    series: &Series,
    beside: &[Vec<f32>],
    layout: &Layout<'_>,
    args: &EvaluateArgs,
) -> Result<Option<Evaluated>, Failure> {
    let horizon = args.horizon.as_millis().div_ceil(layout.step.as_millis().max(1));
    let horizon = usize::try_from(horizon).unwrap_or(usize::MAX);
    let long_enough = |laid: &Laid| horizon <= HORIZON_STEPS_MAX && laid.values.len() >= 3 * horizon.max(8);
    let left_out = |why: String| {
        output::say(&format!("left out {}: {why}", series.name.as_deref().unwrap_or("the series")));
        Ok(None)
    };
    let Some(laid) = layout.lay(series, beside)?.filter(long_enough) else {
        let horizon = output::span(args.horizon);
        let rows = series.points.len();
        return left_out(format!(
            "{rows} rows are too few for a horizon of {horizon}; give a shorter --horizon"
        ));
    };
    if !laid.values.iter().any(|value| value.is_finite()) {
        return left_out("all its values are missing".to_owned());
    }
    let seasons = seasons(&laid, laid.values.len() / 2);
    Ok(Some(Evaluated { laid, seasons, horizon, quantiles: quantiles(args), scores: Vec::new() }))
}

/// Those asked for, and those that are needed.
fn quantiles(args: &EvaluateArgs) -> Vec<f64> {
    let mut quantiles = args.quantiles.0.clone();
    for needed in [0.05, 0.5, 0.95] {
        if !quantiles.contains(&needed) {
            quantiles.push(needed);
        }
    }
    quantiles.sort_by(f64::total_cmp);
    quantiles
}

/// Runs every model over one of the series. Those that can learn from several series are run a second time, with the others.
fn judge(
    all: &[Evaluated],
    at: usize,
    (kinds, own): (&[Kind], Option<&Arc<ExternalModel>>),
    args: &EvaluateArgs,
    events: &[Event],
) -> Result<Vec<Scores>, Failure> {
    let one = &all[at];
    let len = one.laid.values.len();
    let plan = Plan {
        origins: origins(len, len / 2, one.horizon, usize::from(args.origins)),
        horizon: one.horizon,
        quantiles: one.quantiles.clone(),
    };
    // The others have its seasons, too: theirs were perhaps found in what came later than its origins.
    let subject = one.laid.subject(&one.seasons, one.horizon);
    let beside = others(all, at).map(|other| other.laid.subject(&one.seasons, one.horizon));
    let (history, beside): (_, Vec<Subject<'_>>) = (subject.history, beside.collect());
    let known = (events, &one.laid.given);
    let bar =
        output::progress((kinds.len() + usize::from(own.is_some())) as u64, "{bar:30} {pos}/{len} {msg}");
    let mut scores = Vec::new();
    for &kind in kinds {
        bar.set_message(format!("{} {}", one.laid.name, kind.name()));
        scores.push(match kind.is_batch() {
            true => evaluate_together(kind, &subject, &[], &plan, &mut cpu_time),
            false => streamed((kind, in_company(args), None), one, &history, &plan, known)?,
        });
        if kind.is_global() && !beside.is_empty() {
            let together = evaluate_together(kind, &subject, &beside, &plan, &mut cpu_time);
            scores.push(Scores { model: format!("{kind}{TOGETHER}"), ..together });
        }
        bar.inc(1);
    }
    if let Some(own) = own {
        bar.set_message(format!("{} {OWN}", one.laid.name));
        scores.push(evaluate_own(own, &subject, &plan));
        if kinds.contains(&Kind::Auto) {
            bar.set_message(format!("{} {JOINED}", one.laid.name));
            let joined = (Kind::Auto, in_company(args), Some(own));
            scores.push(streamed(joined, one, &history, &plan, known)?);
        }
    }
    bar.finish_and_clear();
    Ok(scores)
}

/// Runs a model that learns at every step over one series, with what is known beside it.
fn streamed(
    (kind, combined, own): (Kind, &[Kind], Option<&Arc<ExternalModel>>),
    one: &Evaluated,
    history: &History<'_>,
    plan: &Plan,
    known: (&[Event], &Arc<Covariates>),
) -> Result<Scores, Failure> {
    let (laid, grid) = (&one.laid, &one.laid.grid);
    let mut config = laid.config();
    config.horizon_max = grid.step.saturating_mul(u32::try_from(one.horizon).unwrap_or(u32::MAX));
    let mut ensemble = ensemble(kind, combined, &config, known)?;
    let mut companion = own.map(Companion::new);
    if companion.is_some() {
        ensemble = Companion::seated(ensemble);
    }
    let of_own = || own.map_or(Duration::ZERO, |own| own.cpu_time());
    let own_before = of_own();
    let (mut fit_time, mut forecast_time) = (Duration::ZERO, Duration::ZERO);
    let (mut forecasts, mut seen) = (Vec::new(), 0);
    for &origin in &plan.origins {
        let begun = cpu_time();
        for step in seen..origin {
            let value = Some(f64::from(laid.values[step])).filter(|value| value.is_finite());
            let at = grid.begins_at(step as u64);
            if let Some(companion) = &mut companion {
                companion.before(step as u64, &mut ensemble);
            }
            ensemble.observe(at, value).or_usage("the series cannot be followed")?;
            ensemble.train_if_due();
        }
        seen = origin;
        if let Some(companion) = &mut companion {
            companion.ask(&mut ensemble);
        }
        let fitted = cpu_time();
        let forecast = ensemble.forecast(plan.horizon, &plan.quantiles);
        forecast_time += cpu_time().saturating_sub(fitted);
        fit_time += fitted.saturating_sub(begun);
        forecasts.push((origin, forecast.values));
    }
    let name = if own.is_some() { JOINED } else { kind.name() };
    let fit_time = fit_time + of_own().saturating_sub(own_before);
    Ok(Scores { fit_time, forecast_time, ..score(name, history, plan, forecasts) })
}

/// Evaluates a command: fitted to everything before each origin. Its time is that of its own process.
fn evaluate_own(own: &Arc<ExternalModel>, subject: &Subject<'_>, plan: &Plan) -> Scores {
    let (mut forecasts, mut refused) = (Vec::new(), None);
    let begin = own.cpu_time();
    for &origin in &plan.origins {
        let known = History { values: &subject.known(origin), ..subject.history };
        match own_model::forecast(own, &known, plan.horizon, &plan.quantiles) {
            Ok(values) => forecasts.push((origin, values)),
            Err(why) => refused = Some((refused.map_or(0, |(times, _)| times) + 1, why)),
        }
    }
    let fit_time = own.cpu_time().saturating_sub(begin);
    Scores { refused, fit_time, ..score(OWN, &subject.history, plan, forecasts) }
}

/// Seasons as they are seen before the first origin.
fn seasons(laid: &Laid, until: usize) -> Vec<usize> {
    let Ok(mut forecaster) = Forecaster::new(laid.config()) else { return Vec::new() };
    for (i, &value) in laid.values[..until].iter().enumerate() {
        if forecaster.observe(laid.grid.begins_at(i as u64), Some(f64::from(value))).is_err() {
            return Vec::new();
        }
    }
    forecaster.seasons().iter().map(|season| season.period).collect()
}

fn lines(evaluated: &[Evaluated]) -> Vec<Line<'_>> {
    let number = |value: f64| value.is_finite().then_some(value);
    let line = |series, scores| {
        let scores: &Scores = scores;
        Line {
            series,
            model: &scores.model,
            pinball: number(scores.wpl),
            pinball_of_naive: number(scores.wpl / scores.naive_wpl),
            mase: number(scores.mase),
            mae: number(scores.mae),
            rmse: number(scores.rmse),
            coverage_90: number(scores.coverage),
            below_95: number(scores.upper_coverage),
            fit_seconds: scores.fit_time.as_secs_f64(),
            forecast_seconds: scores.forecast_time.as_secs_f64(),
            scored: scores.scored,
            refused: scores.refused.as_ref().map(|(times, why)| format!("{times} times: {why}")),
        }
    };
    evaluated
        .iter()
        .flat_map(|one| one.scores.iter().map(move |scores| line(&*one.laid.name, scores)))
        .collect()
}

fn print_csv(evaluated: &[Evaluated]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(output::stdout());
    for line in lines(evaluated) {
        writer.serialize(line).or_failed("cannot write CSV")?;
    }
    Ok(writer.flush()?)
}

/// What this thread has computed so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// What is put behind the name of a model that was fitted to all series together.
const TOGETHER: &str = "+others";
/// Name of the user's own model in the results.
const OWN: &str = "external";
/// Name of the combination that has it among its members.
const JOINED: &str = "auto+external";
