//! One `[[workload]]` section.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forecast::models::Kind;
use planner::StoppedLevel;
use toml::de::DeValue;

use super::check;
use super::entry::Entry;
use super::limits::limits;
use super::model::{
    CapacityConfig, DeadlinesConfig, DemandSource, HealthConfig, HistoryImport, ListenMode, MarginConfig,
    Mode, ModelConfig, ProbeConfig, ReplicasConfig, ShiftConfig, StandbyConfig, WorkloadConfig,
};
use super::profiles::profiles;
use super::quantity::parse_duration;
use super::retrain::{RetrainSchedule, RetrainSettings};
use super::scope;
use super::section::Section;
use super::sessions::sessions;
use super::sharing::needs;
use super::sizing::sizing;
use super::{admission, balancing, cache, container, machine, observation, protocols, raise, shedding};
use crate::recorder::is_own_metric;

/// Reads it; `None` where a required key is missing or wrong.
pub(super) fn read_workload(mut s: Section<'_>) -> Option<WorkloadConfig> {
    let name = s.required("name", "\"web\"", name);
    let (mut container, mut machine) = (None, None);
    s.read("container", &mut container, |e| container::container(e).map(Some));
    s.read("machine", &mut machine, |e| machine::machine(e).map(Some));
    let is_inside = container.is_some() || machine.is_some();
    let command = if is_inside {
        let mut command = Some(Vec::new());
        s.read("command", &mut command, |e| e.texts().map(Some));
        command
    } else {
        s.required("command", "[\"./server\", \"--port\", \"{port}\"]", command)
    };
    let capacity = s.required("capacity", "50", capacity);
    let complete = name.is_some() && command.is_some() && capacity.is_some();
    let mut w = WorkloadConfig::defaults(
        name.unwrap_or_default(),
        command.unwrap_or_default(),
        capacity.unwrap_or(CapacityConfig::Pinned(1.0)),
    );
    (w.container, w.machine) = (container, machine);
    read_demand(&mut s, &mut w);
    read_process(&mut s, &mut w);
    read_policy(&mut s, &mut w);
    read_shape(&mut s, &mut w);
    check::workload(&mut s, &w);
    s.finish();
    complete.then_some(w)
}

/// Reads a `[model.NAME]` section; `None` where the command is missing or wrong.
pub(super) fn read_model(mut s: Section<'_>, base: &Path) -> Option<ModelConfig> {
    let command = s.required("command", "[\"python3\", \"my_model.py\"]", command);
    let mut model = ModelConfig {
        command: command.clone().unwrap_or_default(),
        env: BTreeMap::new(),
        working_dir: base.to_owned(),
        answer_within: Duration::from_secs(5),
        fit_within: Duration::from_secs(600),
    };
    s.read("env", &mut model.env, |e| e.pairs().map(|pairs| pairs.into_iter().collect()));
    s.read("working_dir", &mut model.working_dir, working_dir);
    s.read("answer_within", &mut model.answer_within, |e| e.duration(DEADLINE_MIN..=HOUR));
    s.read("fit_within", &mut model.fit_within, |e| e.duration(DEADLINE_MIN..=DAY));
    s.finish();
    command.map(|_| model)
}

fn read_demand(s: &mut Section<'_>, w: &mut WorkloadConfig) {
    s.read("sessions", &mut w.sessions, |e| sessions(e).map(Some));
    if s.entry("sessions").is_some() {
        (w.demand, w.unit) = (DemandSource::Sessions, "slots".to_owned());
    }
    s.read("demand", &mut w.demand, |e| {
        e.word(&[
            ("proxy", DemandSource::Proxy),
            ("push", DemandSource::Push),
            ("cost", DemandSource::Cost),
            ("sessions", DemandSource::Sessions),
        ])
    });
    s.read("admission", &mut w.admission, |e| admission::admission(e).map(Some));
    s.read("raise", &mut w.raise, |e| raise::raise(e).map(Some));
    s.read("shedding", &mut w.shedding, |e| shedding::shedding(e).map(Some));
    if let (DemandSource::Cost, Some(first)) = (w.demand, w.admission.as_ref().and_then(|a| a.costs.first()))
    {
        w.unit = format!("{}/s", first.name);
    }
    s.read("listen", &mut w.listen, |e| e.address().map(Some));
    s.read("unit", &mut w.unit, |e| short_text(e, UNIT_LENGTH_MAX));
    s.read("step", &mut w.step, |e| e.duration(STEP_MIN..=DAY));
    w.tick = w.tick.min(w.step);
    s.read("tick", &mut w.tick, |e| e.duration(TICK_MIN..=DAY));
    s.read("time_zone", &mut w.time_zone, |e| time_zone(e).map(Some));
    s.read("holidays", &mut w.holidays, holidays);
    s.read("covariates", &mut w.covariates, covariates);
    s.read("history", &mut w.history, |e| history(e).map(Some));
    if let Some((kinds, external)) = s.entry("models").and_then(|e| models(&e)) {
        (w.models, w.external) = (kinds, external);
    }
    s.read("retrain", &mut w.retrain, retrain);
}

fn read_process(s: &mut Section<'_>, w: &mut WorkloadConfig) {
    s.read("env", &mut w.env, |e| e.pairs().map(|pairs| pairs.into_iter().collect()));
    let is_inside = w.container.is_some() || w.machine.is_some();
    s.read("working_dir", &mut w.working_dir, |e| match is_inside {
        true => e.text().map(|dir| Some(dir.into())),
        false => working_dir(e).map(Some),
    });
    s.read("user", &mut w.user, |e| e.text().map(|user| Some(user.to_owned())));
    s.read("reclaim", &mut w.reclaim, Entry::flag);
    s.read("fork", &mut w.fork, Entry::flag);
    s.read("probe", &mut w.probe, probe);
    s.read("probe_interval", &mut w.probe_interval, |e| e.duration(MOMENT..=HOUR));
    s.read("probe_timeout", &mut w.probe_timeout, |e| e.duration(MOMENT..=HOUR));
    let health_default = w.health;
    s.read("health", &mut w.health, |e| health(e, health_default));
    s.read("listen_mode", &mut w.listen_mode, |e| {
        e.word(&[("port", ListenMode::Port), ("socket", ListenMode::Socket)])
    });
    s.read("log_limit", &mut w.log_limit, |e| e.bytes(4096..=1 << 40));
    s.read("limits", &mut w.limits, limits);
    let first = w.limits;
    s.read("sizing", &mut w.sizing, |e| sizing(e, first).map(Some));
    s.read("profiles", &mut w.profiles, |e| profiles(e, first).map(Some));
    s.read("priority", &mut w.priority, |e| e.count(0..=255).and_then(|n| u8::try_from(n).ok()));
    s.read("tenant", &mut w.tenant, |e| name(e).map(Some));
    s.read("needs", &mut w.needs, |e| needs(e).map(Some));
    s.read("wait", &mut w.wait, |e| e.duration(Duration::ZERO..=HOUR));
    s.read("wait_max", &mut w.wait_max, |e| e.count(0..=WAIT_MAX));
    balancing::read(s, &mut w.balancing);
    s.read("cache", &mut w.cache, |e| cache::cache(e).map(Some));
    protocols::read(s, &mut w.protocols);
    observation::read(s, &mut w.observation);
}

fn read_policy(s: &mut Section<'_>, w: &mut WorkloadConfig) {
    s.read("error_budget", &mut w.error_budget, |e| e.number(1e-6..=0.5));
    s.read("latency_bound", &mut w.latency_bound, |e| e.duration(MOMENT..=HOUR).map(Some));
    s.read("start_cost", &mut w.start_cost, |e| e.duration(Duration::ZERO..=DAY).map(Some));
    s.read("lead_cold", &mut w.lead_cold, |e| e.duration(MOMENT..=DAY));
    s.read("lead_promote", &mut w.lead_promote, |e| e.duration(MOMENT..=HOUR));
    s.read("forecast_horizon", &mut w.forecast_horizon, |e| e.duration(MOMENT..=400 * DAY).map(Some));
    s.read("hold", &mut w.hold, |e| e.duration(Duration::ZERO..=DAY));
    s.read("margin", &mut w.margin, margin);
    s.read("clone_threshold", &mut w.clone_threshold, |e| scope::clone_threshold(e).map(Some));
    s.read("mode", &mut w.mode, |e| e.word(&[("act", Mode::Act), ("observe", Mode::Observe)]));
}

fn read_shape(s: &mut Section<'_>, w: &mut WorkloadConfig) {
    s.read("replicas", &mut w.replicas, |e| replicas(e, ReplicasConfig { min: 1, max: 10 }));
    w.standby.max = w.replicas.max;
    s.read("scope", &mut w.scopes, scope::scopes);
    let standby_default = w.standby;
    s.read("standby", &mut w.standby, |e| standby(e, standby_default));
    s.read("stopped", &mut w.stopped, stopped);
    // Known so that it can be refused in so many words.
    s.read("template", &mut (), |e| {
        e.refuse(
            "shares spares between workloads, which processes cannot do: one that runs cannot become another's",
            "leave it out; `standby` keeps spares of this workload alone",
        )
    });
    let shift_default = w.shift;
    s.read("shift", &mut w.shift, |e| shift(e, shift_default));
    let deadlines_default = w.deadlines;
    s.read("deadlines", &mut w.deadlines, |e| deadlines(e, deadlines_default));
}

pub(super) fn name(e: &Entry<'_>) -> Option<String> {
    let text = e.text()?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX
        && text.chars().all(allowed)
        && !text.starts_with('-');
    if good {
        return Some(text.to_owned());
    }
    e.refuse(
        format!("{text:?} cannot be a name"),
        format!("use lower case letters, digits and `-`, at most {NAME_LENGTH_MAX}, not beginning with `-`"),
    )
}

fn short_text(e: &Entry<'_>, length_max: usize) -> Option<String> {
    match e.text()? {
        text if !text.is_empty() && text.len() <= length_max && !text.chars().any(char::is_control) => {
            Some(text.to_owned())
        }
        _ => e.refuse(
            "is empty, too long or has control characters",
            format!("write 1 to {length_max} characters"),
        ),
    }
}

fn command(e: &Entry<'_>) -> Option<Vec<String>> {
    let mut command = e.texts()?;
    let Some(program) = command.first_mut() else {
        return e.refuse("is empty", "write the program first, then its arguments");
    };
    match e.context.surroundings.resolve(program, &e.context.base) {
        Ok(found) => {
            // A path must mean the same from the instance's own folder.
            if let (true, Some(found)) = (program.contains('/'), found.to_str()) {
                *program = found.to_owned();
            }
            Some(command)
        }
        Err(why) => e.refuse(why, "write the path of an executable file, or the name of a program in PATH"),
    }
}

fn capacity(e: &Entry<'_>) -> Option<CapacityConfig> {
    let Some(table) = e.value.as_table() else {
        return e.number(QUANTITY_MIN..=QUANTITY_MAX).map(CapacityConfig::Pinned);
    };
    let mut s = Section::new(e.context, e.path.clone(), e.line, table);
    let from = s.required("learn_from", "50", |e| e.number(QUANTITY_MIN..=QUANTITY_MAX));
    s.finish();
    from.map(CapacityConfig::LearnFrom)
}

fn margin(e: &Entry<'_>) -> Option<MarginConfig> {
    match e.value {
        DeValue::String(_) => e.word(&[("controlled", MarginConfig::Controlled)]),
        DeValue::Table(table) => {
            let mut s = Section::new(e.context, e.path.clone(), e.line, table);
            let share = s.required("fixed", "0.2", |e| e.number(0.0..=10.0));
            s.finish();
            share.map(MarginConfig::Fixed)
        }
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => e.number(0.0..=10.0).map(MarginConfig::Fixed),
    }
}

fn probe(e: &Entry<'_>) -> Option<ProbeConfig> {
    match e.text()? {
        "tcp" => Some(ProbeConfig::Tcp),
        path if path.starts_with('/') && path.len() <= 1024 && path.chars().all(|c| c.is_ascii_graphic()) => {
            Some(ProbeConfig::Http(path.to_owned()))
        }
        other => e.refuse(
            format!("{other:?} is not a probe"),
            "write \"tcp\" or an HTTP path such as \"/healthz\"",
        ),
    }
}

fn time_zone(e: &Entry<'_>) -> Option<String> {
    let text = e.text()?;
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Some(text.to_owned()),
        Err(_) => e.refuse(
            format!("{text:?} is not a time zone"),
            "write an IANA name such as \"Europe/Berlin\" or \"UTC\"",
        ),
    }
}

fn holidays(e: &Entry<'_>) -> Option<Vec<String>> {
    let codes = e.texts()?;
    for code in &codes {
        if let Err(unknown) = forecast::calendar::holidays(code, 2024..=2024) {
            return e
                .refuse(unknown.to_string(), "write a list of ISO codes such as [\"US\"] or [\"DE-BY\"]");
        }
    }
    Some(codes)
}

fn covariates(e: &Entry<'_>) -> Option<Vec<String>> {
    let hint = "write a list of names of pushed metrics such as [\"temperature\"]";
    let names = e.texts()?;
    for (place, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > LABEL_LENGTH_MAX {
            return e.refuse(format!("{name:?} is no name of a metric"), hint);
        }
        if is_own_metric(name) {
            let problem = format!("{name:?} is measured by the daemon itself, and its future is not known");
            return e.refuse(problem, hint);
        }
        if names[..place].contains(name) {
            return e.refuse(format!("{name:?} is there twice"), "name each metric once");
        }
    }
    if names.len() > COVARIATES_MAX {
        return e.refuse(format!("has {} names", names.len()), format!("name at most {COVARIATES_MAX}"));
    }
    Some(names)
}

fn working_dir(e: &Entry<'_>) -> Option<std::path::PathBuf> {
    let path = e.path()?;
    if path.is_dir() {
        return Some(path);
    }
    e.refuse(format!("`{}` is not a folder", path.display()), "create it, or name another")
}

fn history(e: &Entry<'_>) -> Option<HistoryImport> {
    let (file, column, series) = match e.value.as_table() {
        None => (e.path()?, None, None),
        Some(table) => {
            let mut s = Section::new(e.context, e.path.clone(), e.line, table);
            let file = s.required("file", "\"demand.csv\"", Entry::path);
            let (mut column, mut series) = (None, None);
            s.read("column", &mut column, |e| short_text(e, LABEL_LENGTH_MAX).map(Some));
            s.read("series", &mut series, |e| short_text(e, LABEL_LENGTH_MAX).map(Some));
            s.finish();
            (file?, column, series)
        }
    };
    if !file.is_file() {
        return e
            .refuse(format!("there is no file `{}`", file.display()), "name a CSV file, or remove the key");
    }
    Some(HistoryImport { file, column, series })
}

/// Models to be trained, and the names of those that are commands.
fn models(e: &Entry<'_>) -> Option<(Vec<Kind>, Vec<String>)> {
    if let DeValue::String(_) = e.value {
        return e
            .word(&[("auto", Kind::BATCH), ("all", Kind::BATCH)])
            .map(|kinds| (kinds.to_vec(), Vec::new()));
    }
    let (mut kinds, mut external) = (Vec::new(), Vec::new());
    for name in e.texts()? {
        let hint = "write \"auto\", \"all\", or a list such as [\"boosted\", \"external:mine\"]";
        let twice = || format!("{name:?} is there twice");
        if let Some(named) = name.strip_prefix(EXTERNAL) {
            if external.iter().any(|known| known == named) {
                return e.refuse(twice(), "name each model once");
            }
            external.push(named.to_owned());
            continue;
        }
        let named = match name.parse::<Kind>() {
            Err(unknown) => return e.refuse(unknown.to_string(), hint),
            Ok(Kind::Auto) => Kind::BATCH.to_vec(),
            Ok(kind) if !kind.is_batch() => {
                return e.refuse(format!("{name:?} is not trained in the background"), hint);
            }
            Ok(kind) => vec![kind],
        };
        if named.iter().any(|kind| kinds.contains(kind)) {
            return e.refuse(twice(), "name each model once; \"auto\" stands for several");
        }
        kinds.extend(named);
    }
    Some((kinds, external))
}

fn retrain(e: &Entry<'_>) -> Option<RetrainSettings> {
    let mut r = RetrainSettings::default();
    let mut s = e.section("{ schedule = \"daily\", coverage_min = 0.85 }")?;
    s.read("schedule", &mut r.schedule, |e| schedule(e).map(Some));
    s.read("growth", &mut r.growth, |e| e.number(0.0..=10.0).map(Some));
    for (key, slot) in
        [("gap", &mut r.gap), ("patience", &mut r.patience), ("deploy_settles", &mut r.deploy_settles)]
    {
        s.read(key, slot, |e| e.duration(STEP_MIN..=MONTH).map(Some));
    }
    s.read("coverage_min", &mut r.coverage_min, |e| e.number(0.0..=0.9).map(Some));
    for (key, slot) in
        [("mae_max", &mut r.mae_max), ("rmse_max", &mut r.rmse_max), ("pinball_max", &mut r.pinball_max)]
    {
        s.read(key, slot, |e| e.number(QUANTITY_MIN..=QUANTITY_MAX).map(Some));
    }
    s.finish();
    Some(r)
}

fn schedule(e: &Entry<'_>) -> Option<RetrainSchedule> {
    match e.value.as_str() {
        Some("never") => Some(RetrainSchedule::Never),
        Some("hourly") => Some(RetrainSchedule::Every(HOUR)),
        Some("daily") => Some(RetrainSchedule::Every(DAY)),
        Some(text) if parse_duration(text).is_none() => e.refuse(
            format!("{text:?} is not a schedule"),
            "write \"hourly\", \"daily\", \"never\" or a time such as \"6h\"",
        ),
        Some(_) | None => e.duration(MINUTE..=MONTH).map(RetrainSchedule::Every),
    }
}

fn replicas(e: &Entry<'_>, mut r: ReplicasConfig) -> Option<ReplicasConfig> {
    let mut s = e.section("{ min = 1, max = 10 }")?;
    s.read("min", &mut r.min, |e| e.count(0..=REPLICAS_MAX));
    r.max = r.max.max(r.min);
    s.read("max", &mut r.max, |e| e.count(1..=REPLICAS_MAX));
    if r.min > r.max {
        s.report("min", format!("{} is more than max, which is {}", r.min, r.max), "make min at most max");
    }
    s.finish();
    Some(r)
}

fn stopped(e: &Entry<'_>) -> Option<Option<StoppedLevel>> {
    let mut s = e.section("{ price = 0.05, lead = \"2s\" }")?;
    let mut level = StoppedLevel { price: 0.05, lead: Duration::ZERO };
    s.read("price", &mut level.price, |e| e.number(0.0..=1.0));
    s.read("lead", &mut level.lead, |e| e.duration(MOMENT..=DAY));
    if level.lead.is_zero() && s.entry("lead").is_none() {
        s.report("lead", "is missing", "add how long a restart takes, such as `lead = \"2s\"`");
    }
    s.finish();
    Some(Some(level))
}

fn standby(e: &Entry<'_>, mut standby: StandbyConfig) -> Option<StandbyConfig> {
    let mut s = e.section("{ min = 0, max = 5, price = 0.2 }")?;
    s.read("min", &mut standby.min, |e| e.count(0..=REPLICAS_MAX));
    s.read("max", &mut standby.max, |e| e.count(0..=REPLICAS_MAX));
    s.read("price", &mut standby.price, |e| e.number(0.0..=1.0));
    if standby.min > standby.max {
        s.report(
            "min",
            format!("{} is more than max, which is {}", standby.min, standby.max),
            "make min at most max",
        );
    }
    s.finish();
    Some(standby)
}

fn shift(e: &Entry<'_>, mut shift: ShiftConfig) -> Option<ShiftConfig> {
    let mut s = e.section("{ first_share = 0.1, step_every = \"5s\" }")?;
    s.read("first_share", &mut shift.first_share, |e| e.number(0.001..=1.0));
    s.read("step_every", &mut shift.step_every, |e| e.duration(MOMENT..=HOUR));
    s.finish();
    Some(shift)
}

fn health(e: &Entry<'_>, mut health: HealthConfig) -> Option<HealthConfig> {
    let mut s = e.section("{ interval = \"1s\", timeout = \"1s\", fall = 3, rise = 1 }")?;
    s.read("interval", &mut health.interval, |e| e.duration(DEADLINE_MIN..=HOUR));
    s.read("timeout", &mut health.timeout, |e| e.duration(MOMENT..=HOUR));
    s.read("fall", &mut health.fall, |e| e.count(1..=1000));
    s.read("rise", &mut health.rise, |e| e.count(1..=1000));
    s.finish();
    Some(health)
}

fn deadlines(e: &Entry<'_>, mut d: DeadlinesConfig) -> Option<DeadlinesConfig> {
    let mut s = e.section("{ start = \"1m\", stop = \"10s\" }")?;
    for (key, slot) in [
        ("start", &mut d.start),
        ("promote", &mut d.promote),
        ("park", &mut d.park),
        ("drain", &mut d.drain),
        ("stop", &mut d.stop),
    ] {
        s.read(key, slot, |e| e.duration(DEADLINE_MIN..=DAY));
    }
    s.finish();
    Some(d)
}

/// Before the name of a model that is a command.
const EXTERNAL: &str = "external:";
const REPLICAS_MAX: u32 = 1000;
const NAME_LENGTH_MAX: usize = 40;
const UNIT_LENGTH_MAX: usize = 40;
const COVARIATES_MAX: usize = 32;
const LABEL_LENGTH_MAX: usize = 200;
const WAIT_MAX: u32 = 1_000_000;
/// Bounds of capacity in units of demand; far enough from the edges of `f64` that no plan overflows.
const QUANTITY_MIN: f64 = 1e-9;
const QUANTITY_MAX: f64 = 1e15;
const STEP_MIN: Duration = Duration::from_secs(1);
const TICK_MIN: Duration = Duration::from_millis(10);
const DEADLINE_MIN: Duration = Duration::from_millis(10);
const MOMENT: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
