//! `foreshadow replay`: what the planner would have done on a recorded demand, beside its rivals.
//!
//! The planner that is replayed is the one that `foreshadow run` runs, on virtual time. Each decision uses only the rows before it.

mod frontiers;
mod money;
mod names;
mod report;
mod score;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use daemon::{CapacityConfig, Config, WorkloadConfig};
use forecast::Timestamp;
use forecast::calendar::Event;
use forecast::trace::{self, Series};
use jiff::tz::TimeZone;
use planner::StoppedLevel;
use sim::Demand;
use sim::replay::{Options, Outcome, PolicyKind, ReplayError};
use sim::rivals::warm_pool::Pool;
use sim::world::ColdStart;

use self::money::MoneyArgs;
use super::cold_file::ColdFrom;
use super::forecast::{Zone, zone};
use super::known::CalendarArgs;
use crate::failure::{Failure, OrFail};
use crate::trace_file::{self, Clock, TraceFile};
use crate::{output, values};

/// Options of `replay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArgs {
    /// CSV or gzip CSV with a `timestamp` column; `-` reads standard input
    file: PathBuf,
    /// Column with the demand. Default: the first that is not `timestamp` or `series`
    #[arg(long)]
    column: Option<String>,
    /// The series to replay, when the file has a `series` column
    #[arg(long)]
    series: Option<String>,
    /// Configuration of `foreshadow run` to take the workload from; the options below win over it
    #[arg(long, value_name = "CONFIG")]
    workload: Option<PathBuf>,
    /// Which workload of the configuration, when it has several
    #[arg(long, value_name = "NAME", requires = "workload")]
    name: Option<String>,
    /// Demand that one instance serves, in the unit of the column
    #[arg(long, required_unless_present = "workload", value_parser = values::positive)]
    capacity: Option<f64>,
    /// From the order to start an instance until it is ready
    #[arg(long, required_unless_present_any = ["workload", "cold_from"], value_parser = values::duration_or_zero)]
    cold: Option<Duration>,
    /// Recorded start times to draw from, one a row, in a column such as `latency_ms`; KIND picks the rows with it as `kind`
    #[arg(long, value_name = "FILE[:KIND]", conflicts_with = "cold")]
    cold_from: Option<ColdFrom>,
    /// Probability that a start fails part of the way, at most 0.95 [default: 0]
    #[arg(long, value_name = "P", value_parser = values::share)]
    start_failures: Option<f64>,
    /// From the order to promote a standby until it serves
    #[arg(long, required_unless_present = "workload", value_parser = values::duration_or_zero)]
    promote: Option<Duration>,
    /// Share of demand that may find no capacity [default: 0.001]
    #[arg(long, value_parser = values::open_share)]
    budget: Option<f64>,
    /// Price of a standby instance, where an active one costs 1 [default: 0.2]
    #[arg(long, value_parser = values::share)]
    standby_price: Option<f64>,
    /// Price of an instance that is stopped with its disk kept, where an active one costs 1. Without it there are none
    #[arg(long, value_parser = values::share, requires = "stopped_lead")]
    stopped_price: Option<f64>,
    /// From the order to restart a stopped instance until it is ready
    #[arg(long, value_parser = values::duration, requires = "stopped_price")]
    stopped_lead: Option<Duration>,
    /// Least active instances [default: 1]
    #[arg(long)]
    replicas_min: Option<u32>,
    /// Most instances [default: 1000]
    #[arg(long)]
    replicas_max: Option<u32>,
    /// Instances that are active when the trace begins. Default: the least
    #[arg(long)]
    initial: Option<u32>,
    /// Capacity that rivals aim at, as a multiple of the demand they see. Default: 1/0.7 for reactive rules
    #[arg(long, value_parser = values::positive)]
    headroom: Option<f64>,
    /// Pool of ready instances of hpa-warm-pool: a number, or a share of all such as 20%
    #[arg(long, value_name = "SIZE", value_parser = pool)]
    warm_pool: Option<Pool>,
    /// Age of the metric that HPA sees
    #[arg(long, default_value = "27s 500ms", value_parser = values::duration_or_zero)]
    metric_lag: Duration,
    /// Rows before this moment are replayed but not scored
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    score_from: Option<Timestamp>,
    #[command(flatten)]
    calendar: CalendarArgs,
    /// Time zone of the people behind the demand, such as Europe/Berlin, and of times in the files that have none. Default: that
    /// of the configured workload, else none (times in a file of events are then UTC)
    #[arg(long, value_parser = zone)]
    time_zone: Option<Zone>,
    /// Who decides: foreshadow, a rival (hpa, hpa-warm-pool, keda, kpa, last-week, crane, phpa-linear, phpa-holt-winters, aws,
    /// hybrid-histogram), with hindsight (static-peak, oracle), or all (repeatable) [default: all]
    #[arg(long = "policy", value_name = "NAME", value_parser = policy)]
    policies: Vec<Policies>,
    /// Write one row per trace step: timestamp,demand,active_wanted,standby_wanted, of the first policy; `-` writes to standard output
    #[arg(long, value_name = "OUT.csv")]
    decisions: Option<PathBuf>,
    /// Write the scores as JSON; `-` writes to standard output
    #[arg(long, value_name = "OUT.json")]
    json: Option<PathBuf>,
    /// Write a self-contained HTML report, with every policy swept over its own settings
    #[arg(long, value_name = "OUT.html", alias = "html")]
    report: Option<PathBuf>,
    /// The rival that the report draws over time [default: hpa]
    #[arg(long, value_name = "NAME", value_parser = rival, requires = "report")]
    against: Option<PolicyKind>,
    #[command(flatten)]
    money: MoneyArgs,
    /// Seed of the planner
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl ReplayArgs {
    /// Whether standard output is for a program to read.
    fn prints_data(&self) -> bool {
        [&self.decisions, &self.json].into_iter().flatten().any(|path| output::is_stdout(path))
    }
}

/// One `--policy`.
#[derive(Clone, Copy, Debug)]
enum Policies {
    All,
    One(PolicyKind),
}

/// What was replayed, for the outputs.
struct Replayed {
    name: String,
    column: String,
    clock: Clock,
    demand: Demand,
    options: Options,
    outcomes: Vec<Outcome>,
}

/// Replays, prints the table, writes what was asked for.
pub(crate) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let configured =
        args.workload.as_deref().map(|path| configured(path, args.name.as_deref())).transpose()?;
    let zone = match &args.time_zone {
        Some(Zone(zone)) => zone.clone(),
        None => configured
            .as_ref()
            .and_then(|workload| workload.time_zone.as_deref())
            .and_then(|name| TimeZone::get(name).ok()),
    };
    let options = trace::Options {
        column: args.column.clone(),
        series: args.series.clone(),
        zone: zone.clone(),
        ..Default::default()
    };
    let file = trace_file::read(&args.file, &options)?;
    let series = only(&file, &args.file)?;
    let demand = Demand::from_points(&series.points, file.trace.step)
        .or_usage(format!("cannot replay {}", args.file.display()))?;
    let options = replay_options(args, configured.as_ref(), zone, &file)?;
    check_scored(&demand, &options, &args.file)?;
    if configured.as_ref().is_some_and(|workload| !workload.scopes.is_empty()) {
        output::say(
            "the scopes of the configuration are left out: all policies have the same minimum and maximum all the time",
        );
    }
    let kinds = kinds(&args.policies);
    let started = Instant::now();
    let bar = output::spinner("replaying");
    let outcomes = sim::replay::compare(&demand, &kinds, &options);
    bar.finish_and_clear();
    let outcomes = outcomes.map_err(refused)?;
    let replayed = Replayed {
        name: args.file.display().to_string(),
        column: file.trace.column,
        clock: file.clock,
        demand,
        options,
        outcomes,
    };
    write_outputs(args, &replayed)?;
    let text = format!("{}\n{}", score::table(&replayed), score::UNITS);
    match args.prints_data() {
        true => output::say(&text),
        false => output::print(&format!("{text}\n"))?,
    }
    if output::interactive() {
        output::say(&format!("{} steps in {:.2} s", replayed.demand.len(), started.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn write_outputs(args: &ReplayArgs, replayed: &Replayed) -> Result<(), Failure> {
    if let Some(path) = &args.decisions {
        write_decisions(path, replayed).or_failed(format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.json {
        let json =
            serde_json::to_string_pretty(&score::json(replayed)).or_failed("cannot print the scores")?;
        output::write_file(path, (json + "\n").as_bytes())
            .or_failed(format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.report {
        let bar = output::progress(0, "sweeping {bar:30} {pos}/{len}");
        let report = report::build(replayed, args.against, &args.money, &bar);
        bar.finish_and_clear();
        let page = report.map_err(refused)?;
        page.write(path).or_failed(format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn write_decisions(path: &Path, replayed: &Replayed) -> std::io::Result<()> {
    let Some(first) = replayed.outcomes.first() else { return Ok(()) };
    let mut out = Vec::new();
    writeln!(out, "timestamp,demand,active_wanted,standby_wanted")?;
    for decision in &first.decisions {
        let demand = decision.demand.map(|demand| demand.to_string()).unwrap_or_default();
        let at = replayed.clock.write(decision.timestamp);
        writeln!(out, "{at},{demand},{},{}", decision.active_wanted, decision.standby_wanted)?;
    }
    output::write_file(path, &out)
}

/// Refuses what has nothing to score.
fn check_scored(demand: &Demand, options: &Options, path: &Path) -> Result<(), Failure> {
    let from = options.score_from.unwrap_or(demand.start());
    let mut values = demand.values().iter().enumerate();
    if values.any(|(slot, value)| value.is_some() && demand.slot_start(slot) >= from) {
        return Ok(());
    }
    let shown = path.display();
    Err(Failure::usage(match options.score_from {
        Some(_) => format!("{shown} has no value from --score-from on; give an earlier time"),
        None => format!("{shown} has no value in this column; choose another by --column"),
    }))
}

/// The one series to replay.
fn only<'a>(file: &'a TraceFile, path: &Path) -> Result<&'a Series, Failure> {
    match file.trace.series.as_slice() {
        [series] => Ok(series),
        many => {
            let names: Vec<_> = many.iter().take(5).filter_map(|series| series.name.as_deref()).collect();
            Err(Failure::usage(format!(
                "{} has {} series ({}, ..); choose one with --series",
                path.display(),
                many.len(),
                names.join(", ")
            )))
        }
    }
}

fn replay_options(
    args: &ReplayArgs,
    configured: Option<&WorkloadConfig>,
    zone: Option<TimeZone>,
    file: &TraceFile,
) -> Result<Options, Failure> {
    let from = |pick: &dyn Fn(&WorkloadConfig) -> Duration| configured.map(pick);
    let capacity = args.capacity.or(configured.map(|workload| match workload.capacity {
        CapacityConfig::Pinned(capacity) | CapacityConfig::LearnFrom(capacity) => capacity,
    }));
    let recorded = args.cold_from.as_ref().map(ColdFrom::read).transpose().or_usage("--cold-from")?;
    let cold =
        recorded.as_ref().map(ColdStart::typical).or(args.cold).or(from(&|workload| workload.lead_cold));
    let promote = args.promote.or(from(&|workload| workload.lead_promote));
    let (Some(capacity), Some(cold), Some(promote)) = (capacity, cold, promote) else {
        return Err(Failure::usage(
            "--capacity, --cold (or --cold-from) and --promote are needed without --workload",
        ));
    };
    let mut options = Options::new(capacity, cold, promote);
    if let Some(recorded) = recorded {
        options.cold = recorded;
    }
    options.start_failures = args.start_failures.unwrap_or(0.0);
    if let Some(workload) = configured {
        options.budget = workload.error_budget;
        options.standby_price = workload.standby.price;
        options.replicas_min = workload.replicas.min;
        options.replicas_max = workload.replicas.max;
    }
    options.budget = args.budget.unwrap_or(options.budget);
    options.standby_price = args.standby_price.unwrap_or(options.standby_price);
    let given = args.stopped_price.zip(args.stopped_lead).map(|(price, lead)| StoppedLevel { price, lead });
    options.stopped = given.or(configured.and_then(|workload| workload.stopped));
    options.replicas_min = args.replicas_min.unwrap_or(options.replicas_min);
    options.replicas_max = args.replicas_max.unwrap_or(options.replicas_max);
    options.initial = args.initial;
    options.headroom = args.headroom;
    options.tuning.pool = args.warm_pool.unwrap_or(options.tuning.pool);
    options.metric_lag = args.metric_lag;
    options.score_from = args.score_from;
    options.seed = args.seed;
    options.events = events(args, configured, zone.as_ref(), file)?;
    let step = file.trace.step;
    let mut policy = match configured {
        Some(workload) => policy_of(workload, &options, step),
        None => options.workload_policy(step),
    };
    policy.time_zone = zone;
    options.workload = Some(policy);
    Ok(options)
}

/// Everything that the calendar has for a time that does not depend on where the trace ends: what comes after that must not
/// change what was decided before.
fn events(
    args: &ReplayArgs,
    configured: Option<&WorkloadConfig>,
    zone: Option<&TimeZone>,
    file: &TraceFile,
) -> Result<Vec<Event>, Failure> {
    let begins = file.trace.series.iter().filter_map(|series| series.points.first()).map(|point| point.0);
    let until = begins.min().unwrap_or(Timestamp::EPOCH) + CALENDAR_AHEAD;
    let mut calendar = args.calendar.clone();
    if calendar.holidays.is_empty() {
        calendar.holidays = configured.map(|workload| workload.holidays.clone()).unwrap_or_default();
    }
    calendar.events(file, zone, until)
}

/// The configured workload in the trace's time: the trace says how long a step is, the options say what they say.
fn policy_of(workload: &WorkloadConfig, options: &Options, step: Duration) -> planner::WorkloadPolicy {
    let mut policy = daemon::workload_policy(workload);
    policy.step = step;
    policy.tick = policy.tick.min(step);
    policy.capacity = planner::CapacityPolicy::Pinned(options.capacity);
    policy.lead_cold = options.cold.typical();
    policy.lead_promote = options.promote;
    policy.objective.error_budget = options.budget;
    policy.prices.standby = options.standby_price;
    // Bounds are those of the replay, for all policies alike.
    policy.scopes = None;
    policy.stopped = options.stopped;
    policy.replicas_min = options.replicas_min;
    policy.replicas_max = options.replicas_max;
    policy.standby_max = policy.standby_max.min(options.replicas_max);
    policy.mode = planner::Mode::Act;
    policy
}

fn configured(path: &Path, name: Option<&str>) -> Result<WorkloadConfig, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).or_usage(format!("cannot read {shown}"))?;
    let config = Config::parse(&text, path).or_usage(format!("{shown} cannot be used"))?;
    let names: Vec<_> = config.workloads.iter().map(|workload| workload.name.clone()).collect();
    let mut workloads = config.workloads.into_iter();
    let found = match name {
        Some(name) => workloads.find(|workload| workload.name == name),
        None if names.len() == 1 => workloads.next(),
        None => None,
    };
    found.ok_or_else(|| {
        Failure::usage(format!("choose a workload of {shown} with --name: {}", names.join(", ")))
    })
}

fn kinds(policies: &[Policies]) -> Vec<PolicyKind> {
    let mut kinds = Vec::new();
    let mut add = |kind| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    for policy in if policies.is_empty() { &[Policies::All] } else { policies } {
        match policy {
            Policies::All => PolicyKind::ALL.into_iter().for_each(&mut add),
            Policies::One(kind) => add(*kind),
        }
    }
    kinds
}

fn pool(text: &str) -> Result<Pool, String> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=99.0).contains(&percent) => Ok(Pool::Share(percent / 100.0)),
            Ok(_) | Err(_) => Err("a share must be from 0% to 99%".to_owned()),
        },
        None => text.parse().map(Pool::Count).map_err(|_| "give a number, or a share such as 20%".to_owned()),
    }
}

fn rival(text: &str) -> Result<PolicyKind, String> {
    match text.parse().map_err(|error| format!("{error}"))? {
        PolicyKind::Foreshadow => Err("name a rival: foreshadow is drawn anyway".to_owned()),
        kind => Ok(kind),
    }
}

/// What the replay says of an option, by the name that it has here.
fn refused(error: ReplayError) -> Failure {
    let ReplayError::Option { option, rule } = &error else {
        return Failure::Usage(anyhow::Error::from(error).context("cannot replay with these settings"));
    };
    Failure::usage(format!(
        "--{} {}",
        option.replace('_', "-"),
        rule.replace("replicas_max", "--replicas-max")
    ))
}

fn policy(text: &str) -> Result<Policies, String> {
    match text {
        "all" => Ok(Policies::All),
        name => name.parse().map(Policies::One).map_err(|error| format!("{error}, all")),
    }
}

/// So far from the beginning of a trace its calendar is read.
const CALENDAR_AHEAD: Duration = Duration::from_secs(20 * 366 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreshadow_comes_first_unless_somebody_else_is_asked_for() {
        assert_eq!(kinds(&[])[0], PolicyKind::Foreshadow);
        let chosen = [Policies::One(PolicyKind::Hpa), Policies::All];
        let kinds = kinds(&chosen);
        assert_eq!(kinds[0], PolicyKind::Hpa);
        assert_eq!(kinds.len(), PolicyKind::ALL.len());
    }

    #[test]
    fn a_pool_is_a_number_or_a_share() {
        assert_eq!((pool("3"), pool("25%")), (Ok(Pool::Count(3)), Ok(Pool::Share(0.25))));
        assert!(pool("-1").is_err() && pool("100%").is_err() && pool("half").is_err());
    }

    #[test]
    fn an_unknown_policy_is_answered_with_the_known_ones() {
        let error = policy("hpb").unwrap_err();
        assert!(error.contains("hpb") && error.contains("last-week") && error.contains("all"), "{error}");
    }
}
