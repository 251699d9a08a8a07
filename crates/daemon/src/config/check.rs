//! Mistakes that only show when several keys are looked at together.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use forecast::HORIZON_STEPS_MAX;
use planner::SizingMode;

use super::model::{DemandSource, ListenMode, ProbeConfig, ServerConfig, WorkloadConfig};
use super::read::{Models, Workloads};
use super::section::{Context, Section};
use super::{admission, cache, machine, observation, profiles, protocols, raise, sessions, shedding};
use crate::instances;

/// Within one workload.
pub(super) fn workload(s: &mut Section<'_>, w: &WorkloadConfig) {
    if w.container.is_some() && w.machine.is_some() {
        s.report("machine", "is given beside a container", "leave one of the two out");
    }
    // What a provider would refuse at each start is refused once.
    let key = if w.machine.is_some() { "machine" } else { "container" };
    if (w.container.is_some() || w.machine.is_some())
        && let Err(provider::ProviderError::InvalidSpec { problem, .. }) = instances::example(w).validate()
    {
        s.report(key, format!("cannot be: {problem}"), "change the keys that it names");
    }
    // That of a container is known to its image only.
    if let Some(user) = w.user.as_ref().filter(|_| w.container.is_none() && w.machine.is_none())
        && let Err(error) = provider::check_user(user)
    {
        s.report("user", error.to_string(), "write the name of a user of this machine, or `UID:GID`");
    }
    if w.tick > w.step {
        s.report("tick", "is longer than step", "make tick at most step");
    }
    if w.forecast_horizon.is_some_and(|horizon| horizon > w.step * HORIZON_STEPS_MAX as u32) {
        let most = humantime::format_duration(w.step * HORIZON_STEPS_MAX as u32);
        s.report(
            "forecast_horizon",
            format!("is more than {HORIZON_STEPS_MAX} steps"),
            format!("make it at most {most}, or step longer"),
        );
    }
    if w.standby.max > w.replicas_most() {
        s.report(
            "standby",
            format!("max {} is more than replicas max, which is {}", w.standby.max, w.replicas_most()),
            "make standby.max at most replicas.max",
        );
    }
    scopes(s, w);
    if let Some(stopped) = w.stopped {
        let dearer = stopped.price >= w.standby.price;
        if dearer {
            s.report(
                "stopped",
                format!("price {} is no less than that of a standby, {}", stopped.price, w.standby.price),
                "make stopped.price less than standby.price",
            );
        }
        if stopped.lead >= w.lead_cold {
            s.report(
                "stopped",
                "lead is no less than lead_cold",
                "make stopped.lead shorter than lead_cold, or leave `stopped` out",
            );
        }
        if w.sizing.is_some() {
            s.report("stopped", "cannot be used together with `sizing`", "leave one of them out");
        }
    }
    if !w.holidays.is_empty() && w.time_zone.is_none() && s.entry("time_zone").is_none() {
        s.report(
            "holidays",
            "need to know where days begin",
            "add the place, such as `time_zone = \"Europe/Berlin\"`",
        );
    }
    match (w.listen, w.demand) {
        (None, DemandSource::Proxy) if s.entry("listen").is_none() => {
            s.report("listen", "is missing", "add `listen = \"127.0.0.1:8080\"`, or set `demand = \"push\"`");
        }
        (Some(listen), _) if listen.port() == 0 => {
            s.report("listen", "has port 0", "write the port that clients connect to");
        }
        (
            None | Some(_),
            DemandSource::Proxy | DemandSource::Push | DemandSource::Cost | DemandSource::Sessions,
        ) => {}
    }
    machine::check(s, w);
    profiles::check(s, w);
    admission::check(s, w);
    raise::check(s, w);
    shedding::check(s, w);
    sessions::check(s, w);
    protocols::check(s, w);
    cache::check(s, w);
    observation::check(s, w);
    let bandit = w.sizing.as_ref().is_some_and(|sizing| sizing.mode == SizingMode::Bandit);
    if bandit && w.latency_bound.is_none() && s.entry("latency_bound").is_none() {
        s.report(
            "sizing",
            "has the mode \"bandit\", which needs to know what is too late",
            "add `latency_bound = \"200ms\"`, or set the mode to \"rules\"",
        );
    }
    if w.probe == ProbeConfig::Tcp && w.listen_mode == ListenMode::Socket {
        s.report(
            "probe",
            "is \"tcp\", which a passed socket always answers",
            "write an HTTP path such as \"/healthz\", or set `listen_mode = \"port\"`",
        );
    }
}

/// Bounds of the calendar beside those that hold always.
fn scopes(s: &mut Section<'_>, w: &WorkloadConfig) {
    if !w.scopes.is_empty() && w.time_zone.is_none() && s.entry("time_zone").is_none() {
        let hint = "add the place, such as `time_zone = \"Europe/Berlin\"`";
        s.report("scope", "needs to know whose time of day is meant", hint);
    }
    for scope in &w.scopes {
        let holidays = scope.days.holidays || scope.except.holidays;
        if holidays && w.holidays.is_empty() {
            let hint = "add the places, such as `holidays = [\"DE-BY\"]`";
            s.report("scope", format!("{:?} needs to know the holidays", scope.name), hint);
        }
        let most = w.replicas.max;
        if scope.replicas_max.is_none() && scope.replicas_min.is_some_and(|min| min > most) {
            let problem = format!("{:?} has a replicas_min above the maximum, which is {most}", scope.name);
            s.report("scope", problem, "give it a replicas_max, too");
        }
        if scope.standby_min.is_some_and(|min| min > w.standby.max) {
            let problem =
                format!("{:?} has a standby_min above standby.max, which is {}", scope.name, w.standby.max);
            s.report("scope", problem, "raise standby.max");
        }
    }
}

/// Between workloads, and between them and the server.
pub(super) fn across(context: &Context<'_>, server: &ServerConfig, workloads: &Workloads) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut taken: Vec<(SocketAddr, String)> = vec![(server.listen, "server.listen".to_owned())];
    for (line, workload) in workloads {
        let Some(workload) = workload else { continue };
        if let Some(first) = names.insert(&workload.name, *line) {
            let problem = format!("is already the name of the workload at line {first}");
            context.report(
                *line,
                &format!("workload.{}.name", workload.name),
                problem,
                "give each workload its own name",
            );
        }
        let Some(listen) = workload.listen else { continue };
        let key = format!("workload.{}.listen", workload.name);
        if let Some((_, other)) = taken.iter().find(|(address, _)| collide(*address, listen)) {
            let problem = format!("{listen} is already taken by {other}");
            context.report(*line, &key, problem, "give each workload its own address");
        }
        taken.push((listen, key));
    }
}

/// Between workloads and models.
pub(super) fn externals(context: &Context<'_>, models: &Models, workloads: &Workloads) {
    for (line, workload) in workloads {
        let Some(workload) = workload else { continue };
        for name in workload.external.iter().filter(|name| !models.contains_key(*name)) {
            context.report(
                *line,
                &format!("workload.{}.models", workload.name),
                format!("names \"external:{name}\", and there is no section [model.{name}]"),
                format!("add [model.{name}] with `command = [\"python3\", \"my_model.py\"]`"),
            );
        }
    }
}

/// Whether two listeners cannot both be bound.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::config::Config;

    const WEB: &str = "[[workload]]\nname = \"web\"\ncommand = [\"/bin/true\"]\nlisten = \"127.0.0.1:8080\"\ncapacity = 10\n\
                       step = \"10s\"\n";

    #[test]
    fn forecasts_are_learned_as_far_as_asked_and_no_farther_than_can_be() {
        let read = |more: &str| Config::parse(&format!("{WEB}{more}\n"), Path::new("test.toml"));
        let config = read("forecast_horizon = \"11h\"").expect("valid");
        let policy = crate::workload_policy(&config.workloads[0]);
        assert_eq!(policy.horizon, Some(Duration::from_secs(11 * 3600)));
        let again = Config::parse(&config.to_toml(), Path::new("test.toml")).expect("valid");
        assert_eq!(again, config);
        let plain = read("").expect("valid");
        assert_eq!(crate::workload_policy(&plain.workloads[0]).horizon, None);
        let error = read("forecast_horizon = \"12h\"").expect_err("4,320 steps").to_string();
        assert!(error.contains("forecast_horizon") && error.contains("4096 steps"), "{error}");
    }
}
