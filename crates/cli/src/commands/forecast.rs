//! `foreshadow forecast`: quantile forecasts of a recorded series, as CSV, table or page.
//!
//! For each `--as-of` only rows before it are used. The file is streamed once: whatever was learned from the rows before one moment
//! is the starting point for the next, exactly as in a running daemon. Events, holidays and covariates are known beyond it.

mod company;
pub(super) mod core;
mod joint;
mod json;
mod moments;
mod page;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forecast::calendar::Event;
use forecast::models::Kind;
use forecast::trace::{Options, Series};
use forecast::{Config, FORECAST_STEPS_MAX, HORIZON_STEPS_MAX, Timestamp};
use jiff::tz::TimeZone;

use self::core::{Alone, Answer, Chosen};
use self::joint::JointArgs;
use self::moments::Asked;
pub(super) use self::moments::Grid;
use self::page::Shown;
use super::known::KnownArgs;
use super::laid::{Laid, Layout, others_of};
use super::own_model;
use crate::failure::{Failure, OrFail};
use crate::output;
use crate::trace_file::{self, Clock, TraceFile};
use crate::values::{self, Quantiles};

/// Options of `forecast`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ForecastArgs {
    /// CSV or gzip CSV with a `timestamp` column; `-` reads standard input
    file: PathBuf,
    /// Column to forecast. Default: the first that is not `timestamp` or `series`
    #[arg(long)]
    column: Option<String>,
    /// The series to forecast, when the file has a `series` column
    #[arg(long, conflicts_with = "all_series")]
    series: Option<String>,
    /// Forecast every series of the file. `--model boosted`, `lstm` and `pooled` are learned from each of them and up to 15 others
    /// together, as far as they are known at the moment of the forecast
    #[arg(long)]
    all_series: bool,
    /// Take values below zero, too, as of temperatures; forecasts may then be below zero. Demand cannot be
    #[arg(long)]
    allow_negative: bool,
    /// Use only rows before this moment (repeatable). Default: the end of the data
    #[arg(long = "as-of", value_name = "TIME", value_parser = values::timestamp)]
    as_of: Vec<Timestamp>,
    /// How far ahead
    #[arg(long, value_parser = values::duration)]
    horizon: Duration,
    /// Quantiles to print, comma-separated
    #[arg(long, default_value = "0.05,0.5,0.95", value_parser = values::quantiles)]
    quantiles: Quantiles,
    #[command(flatten)]
    joint: JointArgs,
    /// Time zone of the people behind the demand, such as Europe/Berlin, and of times in the files that have none; `none` uses no
    /// calendar. Default: UTC when the file has dates, none when it counts seconds
    #[arg(long, value_parser = zone)]
    time_zone: Option<Zone>,
    #[command(flatten)]
    known: KnownArgs,
    /// Model to forecast with: `auto` (the online core, with effects of events and covariates if given, combined with all batch
    /// models), `online` or a batch model; `foreshadow evaluate` compares them.
    /// Default: `auto`, or the command of --model-command alone
    #[arg(long, value_name = "NAME")]
    model: Option<Kind>,
    /// Batch models that `auto` combines with the online core, comma-separated. `auto` or `all`: all of them. Those that earn
    /// next to no weight rest, and are tried again as the history grows. Default: `auto`
    #[arg(long, value_name = "NAME,..", value_parser = combined)]
    combine: Option<Combine>,
    /// Forecast with a model of your own: a shell command that speaks the protocol of docs/external-models.md, such as
    /// 'python3 my_model.py'. With `--model auto` it is one of the models that are combined, and its weight is told
    #[arg(long, value_name = "COMMAND")]
    model_command: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Also write a self-contained HTML page with a plot
    #[arg(long, value_name = "FILE.html")]
    plot: Option<PathBuf>,
}

/// What `forecast` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// `as_of,series,timestamp,<quantile>,..,above_<level>,..,max_<quantile>,..,sum_<quantile>,..,path_<n>,..,trusted,..`
    Csv,
    /// One object with a list of forecasts, each with its quantiles in columns, its levels, windows, paths and its trust
    Json,
    /// For reading
    Table,
    /// A self-contained page with a plot
    Html,
}

/// A calendar, or none.
#[derive(Clone, Debug)]
pub(super) struct Zone(pub(super) Option<TimeZone>);

/// Batch models for `auto`.
#[derive(Clone, Debug)]
pub(super) struct Combine(pub(super) Vec<Kind>);

/// One forecast of one series.
struct Issued {
    as_of: Timestamp,
    series: Option<String>,
    answer: Answer,
}

/// Reads, forecasts, prints.
pub(crate) fn run(args: &ForecastArgs) -> Result<(), Failure> {
    if let Some(window) = values::repeated(&args.joint.window) {
        return Err(Failure::usage(format!("--window names {} twice", window.name())));
    }
    let zone = args.time_zone.as_ref().and_then(|zone| zone.0.clone());
    let options = Options {
        column: args.column.clone(),
        series: args.series.clone(),
        zone,
        allow_negative: args.allow_negative,
    };
    let file = trace_file::read_beside(&args.file, &options, &args.known.covariates)?;
    args.known.check(&file.trace.column)?;
    if file.trace.series.len() > 1 && !args.all_series {
        let names: Vec<_> =
            file.trace.series.iter().take(5).filter_map(|series| series.name.as_deref()).collect();
        return Err(Failure::usage(format!(
            "{} has {} series ({}, ..); choose one with --series or take them all with --all-series",
            args.file.display(),
            file.trace.series.len(),
            names.join(", ")
        )));
    }
    let config = config(args, &file)?;
    let chosen = chosen(args)?;
    let mut issued = Vec::new();
    let events = args.known.calendar.events(&file, config.time_zone.as_ref(), last_moment(&file, args))?;
    let together = &together(args, &file, &config, &events);
    let column = &file.trace.column;
    let asked = Asked { args, chosen: &chosen, config: &config, events: &events, column, together };
    for (series, beside) in file.trace.series.iter().zip(&file.beside) {
        match asked.issue(series, beside, file.clock) {
            Ok(more) => issued.extend(more),
            Err(Failure::Usage(why)) if file.trace.series.len() > 1 => leave_out(series, &why),
            Err(failure) => return Err(failure),
        }
    }
    if issued.is_empty() {
        return Err(Failure::usage(format!("no series of {} can be forecast", args.file.display())));
    }
    say_notes(&issued, file.clock);
    match args.format {
        Format::Csv => print::csv(&issued, args, file.clock)?,
        Format::Json => output::print(&json::text(&issued, args, file.clock)?)?,
        Format::Table => print::tables(&issued, args, file.clock)?,
        Format::Html => output::print(&page::build(&file.trace, &shown(&issued)).render())?,
    }
    if let Some(path) = &args.plot {
        page::build(&file.trace, &shown(&issued))
            .write(path)
            .or_failed(format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Which model is meant by `--model` and `--model-command`.
fn chosen(args: &ForecastArgs) -> Result<Chosen, Failure> {
    let own = args.model_command.as_deref().map(own_model::of);
    let combined = || args.combine.as_ref().map_or_else(|| Kind::BATCH.to_vec(), |kinds| kinds.0.clone());
    if let (Some(kind), Some(_)) = (args.model.filter(|kind| *kind != Kind::Auto), &args.combine) {
        return Err(Failure::usage(format!(
            "--combine says what `auto` combines, and --model {kind} is asked alone; leave one out"
        )));
    }
    if args.model.is_none() && own.is_some() && args.combine.is_some() {
        return Err(Failure::usage(
            "--combine says what `auto` combines, and --model-command is asked alone; add --model auto, or leave one out",
        ));
    }
    Ok(match (args.model, own) {
        (None, Some(own)) => Chosen::Batch(Alone::Own(own)),
        (None, None) => Chosen::Learning(Kind::Auto, combined(), None),
        (Some(Kind::Auto), own) => Chosen::Learning(Kind::Auto, combined(), own),
        (Some(kind), Some(_)) => {
            return Err(Failure::usage(format!(
                "--model {kind} and --model-command are two models; leave one out, or combine with --model auto"
            )));
        }
        (Some(kind), None) if kind.is_batch() => Chosen::Batch(Alone::Named(kind)),
        (Some(kind), None) => Chosen::Learning(kind, combined(), None),
    })
}

/// The series of the file laid out, where the model is learned from several together; that is said.
fn together(args: &ForecastArgs, file: &TraceFile, config: &Config, events: &[Event]) -> Vec<Laid> {
    let all = &file.trace.series;
    let Some(kind) = args.model.filter(|kind| kind.is_global() && all.len() > 1) else { return Vec::new() };
    output::say(&format!(
        "note: `{kind}` is learned from each series and {} of the others together, as far as they are known at the same moment; \
         with --series it is learned from one alone",
        others_of(all.len())
    ));
    let (zone, non_negative) = (config.time_zone.clone(), config.non_negative);
    let layout = Layout { step: config.step, zone, non_negative, known: &args.known, events };
    // One that cannot be laid out is refused, and said to be, when its own turn comes.
    all.iter().zip(&file.beside).filter_map(|(series, beside)| layout.lay(series, beside).ok()?).collect()
}

/// One of many series that cannot be forecast is no reason to forecast none.
fn leave_out(series: &Series, why: &anyhow::Error) {
    output::say(&format!("left out {}: {why:#}", series.name.as_deref().unwrap_or("the series")));
}

/// Nothing that is asked for lies later.
fn last_moment(file: &TraceFile, args: &ForecastArgs) -> Timestamp {
    let rows = file.trace.series.iter().filter_map(|series| series.points.last()).map(|point| point.0);
    rows.chain(args.as_of.iter().copied()).max().unwrap_or(Timestamp::EPOCH) + args.horizon + file.trace.step
}

/// What had to be assumed is said to the person, whatever the format of the answer; what holds for all series only once.
fn say_notes(issued: &[Issued], clock: Clock) {
    let mut said = BTreeSet::new();
    for one in issued {
        for (own, note) in one.answer.known.told(clock) {
            let of =
                one.series.as_ref().filter(|_| own).map_or(String::new(), |series| format!("{series}: "));
            let line = format!("note: {of}{note}");
            if !said.contains(&line) {
                output::say(&line);
                said.insert(line);
            }
        }
    }
    say_anomalies(issued, clock);
}

/// They add up from moment to moment, so the last one of a series tells of all; and many series have some.
fn say_anomalies(issued: &[Issued], clock: Clock) {
    let last: BTreeMap<_, _> = issued.iter().map(|one| (&one.series, one)).collect();
    let notes: Vec<String> =
        last.values().filter_map(|one| one.answer.known.told_of_anomalies(clock)).collect();
    match notes.as_slice() {
        [] => {}
        [note] if last.len() == 1 => output::say(&format!("note: {note}")),
        notes => output::say(&format!(
            "note: {} of {} series have values taken for anomalies, which batch models do not learn; --format json tells the last ones",
            notes.len(),
            last.len()
        )),
    }
}

fn config(args: &ForecastArgs, file: &TraceFile) -> Result<Config, Failure> {
    let mut config = Config::new(file.trace.step);
    config.non_negative = !args.allow_negative;
    let steps = moments::steps(args.horizon, config.step);
    if steps > FORECAST_STEPS_MAX {
        return Err(Failure::usage(format!(
            "--horizon {} is {steps} steps of {}; at most {FORECAST_STEPS_MAX} are possible",
            output::span(args.horizon),
            humantime::format_duration(config.step),
        )));
    }
    if !args.horizon.as_millis().is_multiple_of(config.step.as_millis().max(1)) {
        let step = humantime::format_duration(config.step);
        output::say(&format!(
            "note: --horizon {} is rounded up to {steps} steps of {step}",
            output::span(args.horizon)
        ));
    }
    if steps > HORIZON_STEPS_MAX {
        output::say(&format!(
            "note: what is farther than {HORIZON_STEPS_MAX} steps is forecast with what was learned of that distance"
        ));
    }
    let learned = u32::try_from(steps.min(HORIZON_STEPS_MAX)).unwrap_or(u32::MAX);
    config.horizon_max = config.step.saturating_mul(learned);
    config.time_zone = match &args.time_zone {
        Some(Zone(zone)) => zone.clone(),
        None => match file.clock {
            Clock::Iso => Some(TimeZone::UTC),
            Clock::Seconds => None,
        },
    };
    config.validate().or_usage(format!("cannot forecast {}", args.file.display()))?;
    Ok(config)
}

fn shown(issued: &[Issued]) -> Vec<Shown<'_>> {
    let mut all = Vec::new();
    for Issued { series, answer, .. } in issued {
        all.push(Shown { series: series.as_deref(), forecast: &answer.forecast, trust: answer.trust });
    }
    all
}

/// `boosted,lstm`, or `all`.
pub(super) fn combined(text: &str) -> Result<Combine, String> {
    if matches!(text, "auto" | "all") {
        return Ok(Combine(Kind::BATCH.to_vec()));
    }
    let mut kinds = Vec::new();
    for name in text.split(',').map(str::trim) {
        let kind: Kind = name.parse().map_err(|unknown| format!("{unknown}"))?;
        if !kind.is_batch() {
            return Err(format!("`{kind}` is no batch model; the online core always takes part"));
        }
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(Combine(kinds))
}

pub(super) fn zone(text: &str) -> Result<Zone, String> {
    if text == "none" {
        return Ok(Zone(None));
    }
    TimeZone::get(text)
        .map(|zone| Zone(Some(zone)))
        .map_err(|_| format!("there is no time zone `{text}`; write for example Europe/Berlin, UTC or none"))
}
