//! `foreshadow forecast`: quantile forecasts of a recorded series, as CSV, table or page.
//!
//! For each `--as-of` only rows before it are used. The file is streamed once: whatever was learned from the rows before one moment
//! is the starting point for the next, exactly as in a running daemon. Events, holidays and covariates are known beyond it.

pub(super) mod core;
mod joint;
mod json;
mod page;
mod print;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forecast::calendar::Event;
use forecast::models::Kind;
use forecast::trace::{Options, Series};
use forecast::{Config, FORECAST_STEPS_MAX, Forecast, HORIZON_STEPS_MAX, Timestamp};
use jiff::tz::TimeZone;

use self::core::{Answer, Chosen, Core};
use self::joint::JointArgs;
use super::known::KnownArgs;
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
    /// Forecast every series of the file
    #[arg(long)]
    all_series: bool,
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
    /// Model to forecast with: `auto` (the online core, with effects of events and covariates if given, combined with boosted
    /// trees, exponential smoothing, ARIMA, the sparse model and the profile), `online` or a batch model; `foreshadow evaluate` compares them
    #[arg(long, default_value = "auto")]
    model: Kind,
    /// Batch models that `auto` combines with the online core, comma-separated. `auto`: those that measurements favour; `all`
    /// of them take their time
    #[arg(long, default_value = "auto", value_name = "NAME,..", value_parser = combined)]
    combine: Combine,
    /// Forecast with a model of your own: a shell command that speaks the protocol of docs/external-models.md, such as
    /// 'python3 my_model.py'
    #[arg(long, value_name = "COMMAND", conflicts_with = "model")]
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
    let zone = args.time_zone.as_ref().and_then(|zone| zone.0.clone());
    let options =
        Options { column: args.column.clone(), series: args.series.clone(), zone, ..Options::default() };
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
    let chosen = match &args.model_command {
        Some(command) => Chosen::Own(own_model::of(command)),
        None => Chosen::Named(args.model, args.combine.0.clone()),
    };
    if args.model_command.is_none() && !args.known.is_empty() && !args.model.looks_beside() {
        output::say(&format!("note: the model `{}` makes nothing of events and covariates", args.model));
    }
    let mut issued = Vec::new();
    let events = args.known.calendar.events(&file, config.time_zone.as_ref(), last_moment(&file, args))?;
    for (series, beside) in file.trace.series.iter().zip(&file.beside) {
        issue(series, beside, &events, &config, (args, &chosen), &mut issued)?;
    }
    say_notes(&issued);
    match args.format {
        Format::Csv => print::csv(&issued, args, file.clock)?,
        Format::Json => output::print(&json::text(&issued, args, file.clock)?)?,
        Format::Table => print::tables(&issued, args, file.clock)?,
        Format::Html => output::print(&page::build(&file.trace, &forecasts(&issued)).render())?,
    }
    if let Some(path) = &args.plot {
        page::build(&file.trace, &forecasts(&issued))
            .write(path)
            .or_failed(format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Nothing that is asked for lies later.
fn last_moment(file: &TraceFile, args: &ForecastArgs) -> Timestamp {
    let rows = file.trace.series.iter().filter_map(|series| series.points.last()).map(|point| point.0);
    rows.chain(args.as_of.iter().copied()).max().unwrap_or(Timestamp::EPOCH) + args.horizon + file.trace.step
}

/// What had to be assumed is said to the person, whatever the format of the answer.
fn say_notes(issued: &[Issued]) {
    for one in issued {
        for note in &one.answer.known.notes {
            match &one.series {
                Some(series) => output::say(&format!("note: {series}: {note}")),
                None => output::say(&format!("note: {note}")),
            }
        }
    }
}

fn config(args: &ForecastArgs, file: &TraceFile) -> Result<Config, Failure> {
    let mut config = Config::new(file.trace.step);
    let steps = steps(args.horizon, config.step);
    if steps > FORECAST_STEPS_MAX {
        return Err(Failure::usage(format!(
            "--horizon {} is {steps} steps of {}; at most {FORECAST_STEPS_MAX} are possible",
            humantime::format_duration(args.horizon),
            humantime::format_duration(config.step),
        )));
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

/// Streams one series and forecasts at each moment asked for.
fn issue(
    series: &Series,
    beside: &[Vec<f32>],
    events: &[Event],
    config: &Config,
    (args, chosen): (&ForecastArgs, &Chosen),
    issued: &mut Vec<Issued>,
) -> Result<(), Failure> {
    let Some(&(origin, _)) = series.points.first() else { return Ok(()) };
    let grid = Grid { origin, step: config.step };
    let mut moments = args.as_of.clone();
    moments.sort_unstable();
    moments.dedup();
    if moments.is_empty() {
        // Rows that have covariates only are the future.
        let is_past = |point: &&(Timestamp, Option<f64>)| beside.is_empty() || point.1.is_some();
        let last = series.points.iter().rev().find(is_past).map_or(origin, |point| point.0);
        moments.push(grid.start(grid.slot(last) + 1));
    }
    if moments[0] <= origin {
        return Err(Failure::usage(format!(
            "there are no rows before --as-of {}: {} begins at {origin}",
            moments[0],
            series.name.as_deref().unwrap_or("the series"),
        )));
    }
    let covariates = Arc::new(args.known.covariates(series, beside, &grid)?);
    let mut core = Core::new(chosen, config, origin, (events, &covariates))?;
    let mut open: Option<Slot> = None;
    let mut rest = series.points.as_slice();
    for as_of in moments {
        let (before, later) = rest.split_at(rest.partition_point(|point| point.0 < as_of));
        rest = later;
        for &(at, value) in before {
            let slot = grid.slot(at);
            if let Some(full) = open.take_if(|open| open.number != slot) {
                full.observe(&grid, &mut core)?;
            }
            open.get_or_insert(Slot { number: slot, sum: 0.0, count: 0 }).add(value);
        }
        let answer = at_moment(&core, open.as_ref(), &grid, as_of, args)?;
        issued.push(Issued { as_of, series: series.name.clone(), answer });
    }
    Ok(())
}

/// Forecasts from a copy, so that the step still being filled and the missing ones before `as_of` are not kept.
fn at_moment(
    core: &Core,
    open: Option<&Slot>,
    grid: &Grid,
    as_of: Timestamp,
    args: &ForecastArgs,
) -> Result<Answer, Failure> {
    let mut copy = core.clone();
    let mut next = 0;
    if let Some(slot) = open {
        slot.observe(grid, &mut copy)?;
        next = slot.number + 1;
    }
    let first_future = grid.slot_from(as_of);
    if first_future > next {
        copy.observe(grid.start(first_future - 1), None)
            .or_failed("cannot skip the missing steps before --as-of")?;
    }
    copy.answer(steps(args.horizon, grid.step), &args.quantiles.0, &args.joint)
        .or_failed(format!("the model `{}` has no forecast as of {as_of}", name(args)))
}

fn name(args: &ForecastArgs) -> &str {
    args.model_command.as_deref().unwrap_or(args.model.name())
}

/// Steps counted from the first row.
pub(super) struct Grid {
    pub(super) origin: Timestamp,
    pub(super) step: Duration,
}

impl Grid {
    /// The step a row belongs to: the nearest beginning, so that a recorder's jitter does not matter.
    pub(super) fn slot(&self, at: Timestamp) -> i64 {
        let step = self.step_ms();
        (at.as_millis().saturating_sub(self.origin.as_millis()).saturating_add(step / 2)).div_euclid(step)
    }

    /// The first step that does not begin before `at`.
    fn slot_from(&self, at: Timestamp) -> i64 {
        let offset = at.as_millis().saturating_sub(self.origin.as_millis());
        -(offset.saturating_neg().div_euclid(self.step_ms()))
    }

    fn start(&self, slot: i64) -> Timestamp {
        Timestamp::from_millis(self.origin.as_millis().saturating_add(slot.saturating_mul(self.step_ms())))
    }

    fn step_ms(&self) -> i64 {
        i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX).max(1)
    }
}

/// A step that is being filled; several rows in one step become their mean.
struct Slot {
    number: i64,
    sum: f64,
    count: u32,
}

impl Slot {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn observe(&self, grid: &Grid, core: &mut Core) -> Result<(), Failure> {
        let value = (self.count > 0).then(|| self.sum / f64::from(self.count));
        core.observe(grid.start(self.number), value).or_usage("the series cannot be followed")
    }
}

fn steps(horizon: Duration, step: Duration) -> usize {
    usize::try_from(horizon.as_millis().div_ceil(step.as_millis().max(1))).unwrap_or(usize::MAX)
}

fn forecasts(issued: &[Issued]) -> Vec<(Option<&str>, &Forecast)> {
    issued.iter().map(|issued| (issued.series.as_deref(), &issued.answer.forecast)).collect()
}

/// `boosted,lstm`, or `all`.
pub(super) fn combined(text: &str) -> Result<Combine, String> {
    match text {
        "auto" => return Ok(Combine(Kind::COMBINED.to_vec())),
        "all" => return Ok(Combine(Kind::BATCH.to_vec())),
        _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_begins_at_the_first_step_that_is_not_before_the_moment() {
        let grid = Grid { origin: Timestamp::from_secs(100), step: Duration::from_secs(10) };
        assert_eq!(grid.slot_from(Timestamp::from_secs(120)), 2);
        assert_eq!(grid.slot_from(Timestamp::from_secs(121)), 3);
        assert_eq!(grid.slot_from(Timestamp::from_secs(95)), 0);
        assert_eq!(grid.slot(Timestamp::from_secs(124)), 2);
        assert_eq!(grid.start(3), Timestamp::from_secs(130));
    }
}
