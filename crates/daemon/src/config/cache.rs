//! `cache`: responses are kept in memory for requests that ask the same.

use proxy::control::{CACHE_BYTES_MIN, CacheSpec};

use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::{format_bytes, format_duration};
use super::section::Section;

/// Reads it.
pub(super) fn cache(e: &Entry<'_>) -> Option<CacheSpec> {
    let mut s = e.section("{ size = \"64MiB\" }")?;
    let size = s.required("size", "\"64MiB\"", |e| e.bytes(CACHE_BYTES_MIN..=1 << 40));
    let mut spec = CacheSpec::new(size.unwrap_or(64 << 20));
    let most = spec.bytes_max / 2;
    s.read("object_max", &mut spec.object_bytes_max, |e| e.bytes(1024..=most));
    let mut heuristic = 0.0;
    s.read("heuristic", &mut heuristic, |e| e.number(0.0..=1.0));
    spec.heuristic_percent = (heuristic * 100.0).round() as u8;
    s.read("ignore_requests", &mut spec.ignores_requests, Entry::flag);
    s.read("wait", &mut spec.collapse_wait, |e| e.duration(NOTHING..=MINUTE));
    s.finish();
    size.map(|_| spec)
}

/// What does not fit together.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    if w.cache.is_some() && w.protocols.protocols.protocol == proxy::control::Protocol::Tcp {
        s.report("cache", "keeps HTTP responses, and the protocol is \"tcp\"", "leave one of the two out");
    }
}

/// As it is written in TOML.
pub(super) fn write(spec: &CacheSpec, quoted: impl Fn(&str) -> String) -> String {
    format!(
        "{{ size = {}, object_max = {}, heuristic = {}, ignore_requests = {}, wait = {} }}",
        quoted(&format_bytes(spec.bytes_max)),
        quoted(&format_bytes(spec.object_bytes_max)),
        f64::from(spec.heuristic_percent) / 100.0,
        spec.ignores_requests,
        quoted(&format_duration(spec.collapse_wait)),
    )
}

const NOTHING: std::time::Duration = std::time::Duration::ZERO;
const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
