//! `shedding = { latency, limit_min, limit_max, classes, class_header, class_default, endpoints }`: no more requests are let in
//! at once than are answered in time, and the lowest class goes first when not all can stay.

use std::time::Duration;

use proxy::control::{Protocol, Shedding};

use super::admission::{priority, write_priority};
use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::format_duration;
use super::section::Section;

/// Reads it.
pub(super) fn shedding(e: &Entry<'_>) -> Option<Shedding> {
    let mut s = e.section("{ latency = \"200ms\" }")?;
    let latency = s.required("latency", "\"200ms\"", |e| e.duration(Duration::from_millis(1)..=HOUR));
    let mut shedding = Shedding::new(latency.unwrap_or(HOUR));
    s.read("limit_min", &mut shedding.limit_min, |e| e.count(1..=LIMIT_MAX));
    s.read("limit_max", &mut shedding.limit_max, |e| e.count(1..=LIMIT_MAX));
    if shedding.limit_min > shedding.limit_max {
        s.report("limit_min", "is more than limit_max", "make limit_min at most limit_max");
    }
    (shedding.priority, shedding.endpoints) = priority(&mut s);
    s.finish();
    latency.map(|_| shedding)
}

/// What does not fit the rest of the workload.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    if w.shedding.is_none() {
        return;
    }
    if w.listen.is_none() {
        s.report("shedding", "needs `listen`: requests are shed by the proxy", "add `listen`");
    }
    if w.admission.is_some() {
        let hint = "remove one of both: admission has classes of its own";
        s.report("shedding", "does not go with `admission`, which places requests by cost", hint);
    }
    if w.protocols.protocols.protocol == Protocol::Tcp {
        s.report("shedding", "needs requests, and the protocol is \"tcp\"", "remove one of both");
    }
}

/// The value as it is written in TOML.
pub(super) fn write(shedding: &Shedding) -> String {
    let mut parts = vec![format!(
        "latency = \"{}\", limit_min = {}, limit_max = {}",
        format_duration(shedding.latency),
        shedding.limit_min,
        shedding.limit_max
    )];
    parts.extend(write_priority(&shedding.priority, &shedding.endpoints));
    format!("{{ {} }}", parts.join(", "))
}

const LIMIT_MAX: u32 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
