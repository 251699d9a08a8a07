//! `sessions = { types = { NAME = { weight, class, headroom } }, processes, drain, queue_max, wait_max, lease }`: demand
//! that stays where it was put.

use std::time::Duration;

use planner::{SessionPolicy, SessionType};

use super::entry::Entry;
use super::model::{CapacityConfig, DemandSource, ListenMode, WorkloadConfig};
use super::quantity::format_duration;
use super::section::Section;

/// How a workload with sessions is served.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionsConfig {
    /// `types`: the kinds of sessions, by name, each as `{ weight, class, headroom }`. Required.
    pub types: Vec<SessionTypeConfig>,
    /// `processes`: processes in each instance that hold sessions, each on a port of its own (`{ports}`). They share the
    /// instance equally. Default 1.
    pub processes: u32,
    /// `drain`: how long an instance that is to go is waited for while sessions are on it. Default `1h`. Then they are cut.
    pub drain: Duration,
    /// `queue_max`: sessions that may wait for room at one time. Default 1000.
    pub queue_max: u32,
    /// `wait_max`: how long each may wait. Default `1m`.
    pub wait_max: Duration,
    /// `lease`: a session that is not renewed for so long has ended. Default `1m`. Shorter frees the slots of dead clients
    /// sooner, and costs more requests.
    pub lease: Duration,
}

/// One entry of `sessions.types`.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTypeConfig {
    /// Its name.
    pub name: String,
    /// `weight`: what one takes of `capacity`. Default 1.
    pub weight: f64,
    /// `class`: from 0 to 255; a higher one is placed first where room is scarce. Default 100.
    pub class: u8,
    /// `headroom`: room for so many more is kept free from lower classes. Default 0.
    pub headroom: u32,
}

impl SessionsConfig {
    /// The planner's policy, where an instance holds `capacity`.
    pub(crate) fn policy(&self, capacity: f64) -> SessionPolicy {
        let types = self.types.iter().map(|t| SessionType {
            headroom: t.headroom,
            ..SessionType::new(t.name.as_str(), t.class, t.weight / capacity)
        });
        SessionPolicy {
            processes: self.processes,
            drain: self.drain,
            queue_max: self.queue_max as usize,
            wait_max: self.wait_max,
            ..SessionPolicy::new(types.collect())
        }
    }
}

/// Reads it.
pub(super) fn sessions(e: &Entry<'_>) -> Option<SessionsConfig> {
    let mut s = e.section(EXAMPLE)?;
    let types = s.required("types", "{ casual = { weight = 1 } }", types);
    let mut sessions = SessionsConfig {
        types: types.clone().unwrap_or_default(),
        processes: 1,
        drain: Duration::from_secs(3_600),
        queue_max: 1_000,
        wait_max: Duration::from_secs(60),
        lease: Duration::from_secs(60),
    };
    s.read("processes", &mut sessions.processes, |e| e.count(1..=1_000));
    s.read("drain", &mut sessions.drain, |e| e.duration(SECOND..=WEEK));
    s.read("queue_max", &mut sessions.queue_max, |e| e.count(0..=1_000_000));
    s.read("wait_max", &mut sessions.wait_max, |e| e.duration(Duration::ZERO..=DAY));
    s.read("lease", &mut sessions.lease, |e| e.duration(SECOND..=DAY));
    s.finish();
    types.map(|_| sessions)
}

fn types(e: &Entry<'_>) -> Option<Vec<SessionTypeConfig>> {
    let Some(table) = e.value.as_table() else {
        return e.refuse(format!("is a {}", e.value.type_str()), format!("write a table such as {EXAMPLE}"));
    };
    if table.is_empty() || table.len() > TYPES_MAX {
        return e.refuse(
            format!("has {} types", table.len()),
            format!("write 1 to {TYPES_MAX}, such as {EXAMPLE}"),
        );
    }
    let read = table.iter().map(|(key, value)| {
        let path = format!("{}.{}", e.path, key.get_ref());
        let line = e.context.line_at(key.span().start);
        one_type(&Entry { context: e.context, path, line, value: value.get_ref() }, key.get_ref())
    });
    // Every mistake in every type, not only in the first.
    let read: Vec<Option<SessionTypeConfig>> = read.collect();
    read.into_iter().collect()
}

fn one_type(e: &Entry<'_>, called: &str) -> Option<SessionTypeConfig> {
    let mut s = e.section("{ weight = 1, class = 100, headroom = 0 }")?;
    let mut kind =
        SessionTypeConfig { name: called.to_owned(), weight: 1.0, class: CLASS_DEFAULT, headroom: 0 };
    s.read("weight", &mut kind.weight, |e| e.number(1e-6..=1e9));
    s.read("class", &mut kind.class, |e| e.count(0..=255).and_then(|n| u8::try_from(n).ok()));
    s.read("headroom", &mut kind.headroom, |e| e.count(0..=100_000));
    s.finish();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if called.is_empty() || called.len() > NAME_LENGTH_MAX || !called.chars().all(allowed) {
        return e.refuse(
            format!("{called:?} cannot be the name of a type"),
            format!("use lower case letters, digits and `-`, at most {NAME_LENGTH_MAX}"),
        );
    }
    Some(kind)
}

/// What does not fit the rest of the workload.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    let Some(sessions) = &w.sessions else {
        if w.demand == DemandSource::Sessions && s.entry("sessions").is_none() {
            s.report("demand", "is \"sessions\", and there are none", format!("add `sessions = {EXAMPLE}`"));
        }
        return;
    };
    if w.demand != DemandSource::Sessions {
        s.report("demand", "is not \"sessions\", which sessions are", "remove `demand`");
    }
    let CapacityConfig::Pinned(capacity) = w.capacity else {
        let hint = "write how much one instance holds, in the unit of the weights, such as `capacity = 8`";
        return s.report("capacity", "is to be learned, which sessions do not allow", hint);
    };
    if w.listen_mode == ListenMode::Socket && sessions.processes > 1 {
        s.report(
            "sessions",
            "has several processes, which cannot share a passed socket",
            "set `listen_mode = \"port\"`, or `processes = 1`",
        );
    }
    let each = capacity / f64::from(sessions.processes);
    let large = |kind: &&SessionTypeConfig| kind.weight > each;
    if let Some(kind) = sessions.types.iter().find(large) {
        s.report(
            "sessions",
            format!(
                "has the type {:?} of weight {}, and one process holds {each}, its part of `capacity`",
                kind.name, kind.weight
            ),
            "make `weight` smaller, `capacity` larger or `processes` fewer",
        );
    }
}

/// The value as it is written in TOML.
pub(super) fn write(sessions: &SessionsConfig) -> String {
    let kind = |t: &SessionTypeConfig| {
        format!("{} = {{ weight = {:?}, class = {}, headroom = {} }}", t.name, t.weight, t.class, t.headroom)
    };
    let types: Vec<String> = sessions.types.iter().map(kind).collect();
    format!(
        "{{ types = {{ {} }}, processes = {}, drain = \"{}\", queue_max = {}, wait_max = \"{}\", lease = \"{}\" }}",
        types.join(", "),
        sessions.processes,
        format_duration(sessions.drain),
        sessions.queue_max,
        format_duration(sessions.wait_max),
        format_duration(sessions.lease)
    )
}

const EXAMPLE: &str = "{ types = { casual = { weight = 1 }, tournament = { weight = 2, class = 200 } } }";
const CLASS_DEFAULT: u8 = 100;
const TYPES_MAX: usize = 100;
const NAME_LENGTH_MAX: usize = 40;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
