//! What is told of requests: `endpoints`, `access_log` and `tracing`.

use std::path::PathBuf;
use std::time::Duration;

use proxy::control::{
    AccessLogSpec, ENDPOINTS_MAX, LOG_BYTES_MIN, Observation, SHARE_WHOLE, Template, TracingSpec,
};

use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::{format_bytes, format_duration};
use super::section::Section;

/// Reads these keys.
pub(super) fn read(s: &mut Section<'_>, observation: &mut Observation) {
    s.read("endpoints", &mut observation.endpoints, endpoints);
    s.read("access_log", &mut observation.access_log, |e| access_log(e).map(Some));
    let share = observation.access_log.as_ref().map_or(SHARE_WHOLE, |log| log.sample_ppm);
    s.read("tracing", &mut observation.tracing, |e| tracing(e, share));
}

fn endpoints(e: &Entry<'_>) -> Option<Vec<Template>> {
    let texts = e.texts()?;
    if texts.len() > ENDPOINTS_MAX {
        return e.refuse(format!("has {} entries", texts.len()), format!("write at most {ENDPOINTS_MAX}"));
    }
    let parsed = texts.iter().map(|text| {
        let template = text.parse();
        template
            .map_err(|error| {
                e.refuse::<()>(format!("{error}"), "write paths, each with a method before it or none")
            })
            .ok()
    });
    // All of them, so that every mistake is noted.
    let parsed: Vec<Option<Template>> = parsed.collect();
    parsed.into_iter().collect()
}

fn access_log(e: &Entry<'_>) -> Option<AccessLogSpec> {
    let mut s = e.section("{ path = \"access.json\", sample = 0.01 }")?;
    let path = s.required("path", "\"access.json\"", file);
    let mut log = AccessLogSpec::new(PathBuf::new());
    s.read("sample", &mut log.sample_ppm, share);
    s.read("slower_than", &mut log.slower_than, |e| match e.value.as_bool() {
        Some(false) => Some(None),
        _ => e.duration(Duration::ZERO..=HOUR).map(Some),
    });
    s.read("errors", &mut log.errors, Entry::flag);
    s.read("paths", &mut log.paths, Entry::flag);
    s.read("fields", &mut log.fields, |e| {
        Some(e.texts()?.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    });
    s.read("size", &mut log.bytes_max, |e| e.bytes(LOG_BYTES_MIN..=1 << 40));
    s.finish();
    Some(AccessLogSpec { path: path?, ..log })
}

/// The proxy has a working directory of its own.
fn file(e: &Entry<'_>) -> Option<PathBuf> {
    let path = std::path::absolute(e.path()?).ok().filter(|path| path.to_str().is_some());
    path.or_else(|| e.refuse("cannot be a file", "name a file in a folder that is there"))
}

fn tracing(e: &Entry<'_>, share_default: u32) -> Option<Option<TracingSpec>> {
    let mut s = e.section("{ generate = true }")?;
    let (mut generate, mut sample_ppm) = (false, share_default);
    s.read("generate", &mut generate, Entry::flag);
    s.read("sample", &mut sample_ppm, share);
    s.finish();
    Some(generate.then_some(TracingSpec { sample_ppm }))
}

fn share(e: &Entry<'_>) -> Option<u32> {
    Some((e.number(0.0..=1.0)? * f64::from(SHARE_WHOLE)).round() as u32)
}

/// What does not fit together.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    for problem in w.observation.problems(w.protocols.protocols.protocol) {
        let key = if problem.contains("endpoint") { "endpoints" } else { "access_log" };
        s.report(key, format!("does not fit: {problem}"), "leave it out");
    }
    if w.listen.is_none() && w.observation.is_wanted() && s.entry("listen").is_none() {
        s.report("listen", "is missing", "requests are observed by the proxy: add `listen`");
    }
}

/// Keys and values as they are written in TOML.
pub(super) fn write(
    observation: &Observation,
    quoted: impl Fn(&str) -> String,
) -> Vec<(&'static str, String)> {
    let share = |ppm: u32| format!("{:?}", f64::from(ppm) / f64::from(SHARE_WHOLE));
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    let mut lines = Vec::new();
    if !observation.endpoints.is_empty() {
        let templates = observation.endpoints.iter().map(|template| quoted(template.as_str()));
        lines.push(("endpoints", list(templates.collect())));
    }
    if let Some(log) = &observation.access_log {
        let slow = log.slower_than.map_or_else(|| "false".to_owned(), |time| quoted(&format_duration(time)));
        let value = format!(
            "{{ path = {}, sample = {}, slower_than = {slow}, errors = {}, paths = {}, fields = {}, size = {} }}",
            quoted(&log.path.display().to_string()),
            share(log.sample_ppm),
            log.errors,
            log.paths,
            list(log.fields.iter().map(|name| quoted(name)).collect()),
            quoted(&format_bytes(log.bytes_max)),
        );
        lines.push(("access_log", value));
    }
    if let Some(tracing) = &observation.tracing {
        let value = format!("{{ generate = true, sample = {} }}", share(tracing.sample_ppm));
        lines.push(("tracing", value));
    }
    lines
}

const HOUR: Duration = Duration::from_secs(3_600);
