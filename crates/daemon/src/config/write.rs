//! From a [`Config`] back to TOML text.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

use super::model::{
    CapacityConfig, Config, DemandSource, ListenMode, MarginConfig, Mode, NeedsConfig, ProbeConfig,
    WorkloadConfig,
};
use super::quantity::{format_bytes, format_duration};
use super::retrain::{RetrainSchedule, RetrainSettings};
use super::sharing::NodeConfig;
use super::{
    admission, balancing, cache, container, engine, limits, machine, observation, profiles, protocols, qemu,
    raise, router, scope, sessions, shedding, sizing, training,
};

pub(super) fn config(config: &Config) -> String {
    let mut out = Lines(String::new());
    out.line("[server]");
    out.text("listen", &config.server.listen);
    out.raw("allow_remote", config.server.allow_remote);
    out.text("state_dir", &config.server.state_dir.display());
    out.raw("router", router::write(&config.server.router, quoted));
    out.raw("docker", engine::write(&config.server.docker));
    out.raw("qemu", qemu::write(&config.server.qemu));
    for (name, model) in &config.models {
        out.line(&format!("\n[model.{}]", quoted(name)));
        out.raw("command", list(&model.command));
        out.raw("env", table(&model.env));
        out.text("working_dir", &model.working_dir.display());
        out.duration("answer_within", model.answer_within);
        out.duration("fit_within", model.fit_within);
    }
    out.line("\n[training]");
    for (key, value) in training::write(&config.training) {
        out.raw(key, value);
    }
    for node in &config.nodes {
        sharing(&mut out, node);
    }
    for tenant in &config.tenants {
        out.line("\n[[tenant]]");
        out.text("name", &tenant.name);
        out.raw("weight", number(tenant.weight));
        if let Some(quota) = tenant.quota {
            out.raw("quota", needs(quota));
        }
    }
    for each in &config.workloads {
        out.line("\n[[workload]]");
        workload(&mut out, each);
    }
    out.0
}

fn sharing(out: &mut Lines, node: &NodeConfig) {
    out.line("\n[[node]]");
    out.text("name", &node.name);
    if let Some(cores) = node.cores {
        out.raw("cores", number(cores));
    }
    if let Some(memory) = node.memory {
        out.text("memory", &format_bytes(memory));
    }
    out.text("kind", &node.kind);
    out.raw("price", number(node.price));
    out.text("place", &node.place);
    out.raw("spare", node.spare);
    out.raw("overcommit", number(node.overcommit));
    if let Some(engine) = &node.docker {
        out.raw("docker", engine::write(engine));
    }
}

fn needs(needs: NeedsConfig) -> String {
    format!("{{ cpu = {}, memory = {} }}", number(needs.cpu), quoted(&format_bytes(needs.memory)))
}

fn workload(out: &mut Lines, w: &WorkloadConfig) {
    out.text("name", &w.name);
    out.raw("command", list(&w.command));
    if let Some(container) = &w.container {
        out.raw("container", container::write(container));
    }
    if let Some(machine) = &w.machine {
        out.raw("machine", machine::write(machine));
    }
    out.raw("env", table(&w.env));
    if let Some(dir) = &w.working_dir {
        out.text("working_dir", &dir.display());
    }
    if let Some(user) = &w.user {
        out.text("user", user);
    }
    if let Some(listen) = w.listen {
        out.text("listen", &listen);
    }
    out.text("unit", &w.unit);
    out.text(
        "demand",
        &match w.demand {
            DemandSource::Proxy => "proxy",
            DemandSource::Push => "push",
            DemandSource::Cost => "cost",
            DemandSource::Sessions => "sessions",
        },
    );
    out.duration("step", w.step);
    out.duration("tick", w.tick);
    if let Some(zone) = &w.time_zone {
        out.text("time_zone", zone);
    }
    if !w.holidays.is_empty() {
        out.raw("holidays", list(&w.holidays));
    }
    if !w.covariates.is_empty() {
        out.raw("covariates", list(&w.covariates));
    }
    match w.capacity {
        CapacityConfig::Pinned(capacity) => out.raw("capacity", number(capacity)),
        CapacityConfig::LearnFrom(first) => {
            out.raw("capacity", format_args!("{{ learn_from = {} }}", number(first)))
        }
    }
    policy(out, w);
    process(out, w);
}

fn policy(out: &mut Lines, w: &WorkloadConfig) {
    out.raw("error_budget", number(w.error_budget));
    if let Some(bound) = w.latency_bound {
        out.duration("latency_bound", bound);
    }
    out.raw("replicas", format_args!("{{ min = {}, max = {} }}", w.replicas.min, w.replicas.max));
    if !w.scopes.is_empty() {
        out.raw("scope", scope::write(&w.scopes));
    }
    let price = number(w.standby.price);
    out.raw(
        "standby",
        format_args!("{{ min = {}, max = {}, price = {price} }}", w.standby.min, w.standby.max),
    );
    if let Some(level) = w.stopped {
        let lead = format_duration(level.lead);
        out.raw("stopped", format_args!("{{ price = {}, lead = \"{lead}\" }}", number(level.price)));
    }
    if let Some(cost) = w.start_cost {
        out.duration("start_cost", cost);
    }
    out.duration("lead_cold", w.lead_cold);
    out.duration("lead_promote", w.lead_promote);
    if let Some(horizon) = w.forecast_horizon {
        out.duration("forecast_horizon", horizon);
    }
    out.duration("hold", w.hold);
    match w.margin {
        MarginConfig::Controlled => out.text("margin", &"controlled"),
        MarginConfig::Fixed(share) => out.raw("margin", number(share)),
    }
    if let Some(threshold) = w.clone_threshold {
        out.raw("clone_threshold", scope::write_threshold(threshold));
    }
    out.text(
        "mode",
        &match w.mode {
            Mode::Act => "act",
            Mode::Observe => "observe",
        },
    );
    let every = quoted(&format_duration(w.shift.step_every));
    out.raw(
        "shift",
        format_args!("{{ first_share = {}, step_every = {every} }}", number(w.shift.first_share)),
    );
    let d = &w.deadlines;
    let deadlines =
        [("start", d.start), ("promote", d.promote), ("park", d.park), ("drain", d.drain), ("stop", d.stop)];
    let deadlines = deadlines.map(|(key, value)| format!("{key} = {}", quoted(&format_duration(value))));
    out.raw("deadlines", format_args!("{{ {} }}", deadlines.join(", ")));
}

fn process(out: &mut Lines, w: &WorkloadConfig) {
    match &w.probe {
        ProbeConfig::Tcp => out.text("probe", &"tcp"),
        ProbeConfig::Http(path) => out.text("probe", path),
    }
    out.duration("probe_interval", w.probe_interval);
    out.duration("probe_timeout", w.probe_timeout);
    let h = &w.health;
    let (interval, timeout) = (quoted(&format_duration(h.interval)), quoted(&format_duration(h.timeout)));
    out.raw(
        "health",
        format_args!(
            "{{ interval = {interval}, timeout = {timeout}, fall = {}, rise = {} }}",
            h.fall, h.rise
        ),
    );
    out.text(
        "listen_mode",
        &match w.listen_mode {
            ListenMode::Port => "port",
            ListenMode::Socket => "socket",
        },
    );
    out.duration("wait", w.wait);
    out.raw("wait_max", w.wait_max);
    let further = balancing::write(&w.balancing).into_iter().chain(protocols::write(&w.protocols, quoted));
    for (key, value) in further.chain(observation::write(&w.observation, quoted)) {
        out.raw(key, value);
    }
    if let Some(spec) = &w.cache {
        out.raw("cache", cache::write(spec, quoted));
    }
    if let Some(import) = &w.history {
        let mut parts = vec![format!("file = {}", quoted(&import.file.display().to_string()))];
        parts.extend(import.column.iter().map(|column| format!("column = {}", quoted(column))));
        parts.extend(import.series.iter().map(|series| format!("series = {}", quoted(series))));
        out.raw("history", format_args!("{{ {} }}", parts.join(", ")));
    }
    let mut models: Vec<String> = w.models.iter().map(|kind| kind.name().to_owned()).collect();
    models.extend(w.external.iter().map(|name| format!("external:{name}")));
    out.raw("models", list(&models));
    out.raw("retrain", retrain(&w.retrain));
    out.text("log_limit", &format_bytes(w.log_limit));
    out.raw("limits", limits::write(&w.limits));
    out.raw("reclaim", w.reclaim);
    out.raw("fork", w.fork);
    if let Some(policy) = &w.sizing {
        out.raw("sizing", sizing::write(policy));
    }
    if let Some(of) = &w.profiles {
        out.raw("profiles", profiles::write(of));
    }
    if let Some(sessions) = &w.sessions {
        out.raw("sessions", sessions::write(sessions));
    }
    if let Some(admission) = &w.admission {
        out.raw("admission", admission::write(admission));
    }
    if let Some(raise) = &w.raise {
        out.raw("raise", raise::write(raise));
    }
    if let Some(shedding) = &w.shedding {
        out.raw("shedding", shedding::write(shedding));
    }
    out.raw("priority", w.priority);
    if let Some(tenant) = &w.tenant {
        out.text("tenant", tenant);
    }
    if let Some(own) = w.needs {
        out.raw("needs", needs(own));
    }
}

fn retrain(r: &RetrainSettings) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(r.schedule.map(|schedule| match schedule {
        RetrainSchedule::Never => "schedule = \"never\"".to_owned(),
        RetrainSchedule::Every(every) => format!("schedule = {}", quoted(&format_duration(every))),
    }));
    for (key, value) in [("gap", r.gap), ("patience", r.patience), ("deploy_settles", r.deploy_settles)] {
        parts.extend(value.map(|value| format!("{key} = {}", quoted(&format_duration(value)))));
    }
    for (key, value) in [
        ("growth", r.growth),
        ("coverage_min", r.coverage_min),
        ("mae_max", r.mae_max),
        ("rmse_max", r.rmse_max),
        ("pinball_max", r.pinball_max),
    ] {
        parts.extend(value.map(|value| format!("{key} = {}", number(value))));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn table(pairs: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn raw(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: &dyn Display) {
        self.raw(key, quoted(&value.to_string()));
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.raw(key, quoted(&format_duration(value)));
    }
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A float that TOML reads as a number and that loses no digit.
pub(super) fn number(value: f64) -> String {
    format!("{value:?}")
}
