//! `balance`, `sticky`, `outliers` and `retries`: which instance a request goes to, and when one is left out for its answers.
//!
//! - `balance = { policy, key, load_factor, work, slow_start }`: `policy` is `"p2c"` (the better of two drawn ones; the default),
//!   `"round_robin"`, `"least_connections"`, `"hash"` or `"least_work"`. With `"hash"`, `key` says what keeps requests together:
//!   `"header:NAME"`, `"cookie:NAME"`, `"path"` or `"address"`; an instance gets at most `load_factor` times its share of the requests
//!   in flight (default 1.25), then the next one takes them. With `"least_work"`, `work = "header:NAME"` names the header that says
//!   how much work a request is, in any unit. `slow_start` is the time in which a new instance, or one that is back from
//!   trouble, gets its whole share (default `0s`; promotions are shifted by `shift` anyway).
//! - `sticky = { cookie = "NAME", for = "1h" }`: clients stay on one instance while it takes new requests.
//! - `outliers = { interval, requests_min, errors, latency, one_in, for }`: an instance is left out `for` a time (default `30s`,
//!   longer each time) when in an `interval` (`10s`) it ended at least `requests_min` (20) requests and a larger share of them
//!   failed than of the others', by `errors` (0.2); or when its mean latency is `latency` times theirs (default: does not matter).
//!   At most one in `one_in` (3) is out.
//! - `retries = { share, min }`: failed attempts that are repeated elsewhere, as a share of the requests (0.2), and how many per
//!   second and proxy thread even so (10).

use std::time::Duration;

use proxy::control::{Balancing, KeySource, OutlierSpec, PolicySpec, RetrySpec, StickySpec};

use super::entry::Entry;
use super::quantity::format_duration;
use super::section::Section;

/// Reads all four.
pub(super) fn read(s: &mut Section<'_>, balancing: &mut Balancing) {
    if let Some((policy, slow_start)) = s.entry("balance").and_then(|e| balance(&e)) {
        (balancing.policy, balancing.slow_start) = (policy, slow_start);
    }
    s.read("sticky", &mut balancing.sticky, |e| sticky(e).map(Some));
    s.read("outliers", &mut balancing.outliers, |e| outliers(e).map(Some));
    s.read("retries", &mut balancing.retries, retries);
}

fn balance(e: &Entry<'_>) -> Option<(PolicySpec, Duration)> {
    let mut s = e.section("{ policy = \"least_connections\" }")?;
    let (mut policy, mut key, mut load, mut work) = (Some(Word::P2c), None, LOAD_FACTOR, None);
    s.read("policy", &mut policy, |e| e.word(&WORDS).map(Some));
    s.read("key", &mut key, |e| key_source(e).map(Some));
    s.read("load_factor", &mut load, |e| e.number(1.01..=100.0));
    s.read("work", &mut work, |e| header(e).map(Some));
    let mut slow_start = Duration::ZERO;
    s.read("slow_start", &mut slow_start, |e| e.duration(Duration::ZERO..=HOUR));
    let policy = policy?;
    if policy != Word::Hash && key.is_some() {
        s.report("key", "belongs to the policy \"hash\"", "leave it out, or write `policy = \"hash\"`");
    }
    if policy != Word::LeastWork && work.is_some() {
        s.report(
            "work",
            "belongs to the policy \"least_work\"",
            "leave it out, or write `policy = \"least_work\"`",
        );
    }
    let spec = match (policy, key) {
        (Word::P2c, _) => Some(PolicySpec::P2c),
        (Word::RoundRobin, _) => Some(PolicySpec::RoundRobin),
        (Word::LeastConnections, _) => Some(PolicySpec::LeastConnections),
        (Word::LeastWork, _) => Some(PolicySpec::LeastWork { header: work }),
        (Word::Hash, Some(key)) => Some(PolicySpec::Hash { key, load_percent: percent(load) }),
        (Word::Hash, None) => {
            if s.entry("key").is_none() {
                s.report("key", "is missing", format!("write {KEYS}"));
            }
            None
        }
    };
    s.finish();
    spec.map(|spec| (spec, slow_start))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    P2c,
    RoundRobin,
    LeastConnections,
    Hash,
    LeastWork,
}

const WORDS: [(&str, Word); 5] = [
    ("p2c", Word::P2c),
    ("round_robin", Word::RoundRobin),
    ("least_connections", Word::LeastConnections),
    ("hash", Word::Hash),
    ("least_work", Word::LeastWork),
];

fn key_source(e: &Entry<'_>) -> Option<KeySource> {
    let text = e.text()?;
    match text.split_once(':') {
        None if text == "path" => Some(KeySource::Path),
        None if text == "address" => Some(KeySource::Address),
        Some(("header", name)) if is_token(name) => Some(KeySource::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) if is_token(name) => Some(KeySource::Cookie(name.to_owned())),
        Some(_) | None => e.refuse(format!("{text:?} is not a key"), format!("write {KEYS}")),
    }
}

fn header(e: &Entry<'_>) -> Option<String> {
    match e.text()?.split_once(':') {
        Some(("header", name)) if is_token(name) => Some(name.to_ascii_lowercase()),
        Some(_) | None => e.refuse("is not a header", "write such as \"header:X-Cost\""),
    }
}

fn sticky(e: &Entry<'_>) -> Option<StickySpec> {
    let mut s = e.section("{ cookie = \"home\", for = \"1h\" }")?;
    let cookie = s.required("cookie", "\"home\"", |e| match e.text()? {
        name if is_token(name) => Some(name.to_owned()),
        _ => e.refuse("is not a name for a cookie", "write letters, digits, `-` and `_`"),
    });
    let mut lasts = HOUR;
    s.read("for", &mut lasts, |e| e.duration(SECOND..=YEAR));
    s.finish();
    // The secret is filled in when the state folder, which keeps it, is open.
    Some(StickySpec { cookie: cookie?, lasts, secret: [0; 16] })
}

fn outliers(e: &Entry<'_>) -> Option<OutlierSpec> {
    let mut s = e.section("{ interval = \"10s\" }")?;
    let mut spec = OutlierSpec::default();
    s.read("interval", &mut spec.interval, |e| e.duration(Duration::from_millis(100)..=HOUR));
    s.read("requests_min", &mut spec.requests_min, |e| e.count(1..=1_000_000).map(u64::from));
    s.read("errors", &mut spec.error_percent, |e| e.number(0.01..=1.0).map(percent));
    s.read("latency", &mut spec.latency_percent, |e| e.number(1.01..=1000.0).map(|x| Some(percent(x))));
    s.read("one_in", &mut spec.one_in, |e| e.count(2..=1_000));
    s.read("for", &mut spec.lasts, |e| e.duration(SECOND..=HOUR));
    s.finish();
    Some(spec)
}

fn retries(e: &Entry<'_>) -> Option<RetrySpec> {
    let mut s = e.section("{ share = 0.2, min = 10 }")?;
    let mut spec = RetrySpec::default();
    s.read("share", &mut spec.percent, |e| e.number(0.0..=1.0).map(percent));
    s.read("min", &mut spec.per_second_min, |e| e.count(0..=100_000));
    s.finish();
    Some(spec)
}

/// All four as they are written in TOML, by key.
pub(super) fn write(b: &Balancing) -> Vec<(&'static str, String)> {
    let share = |percent: u32| format!("{:?}", f64::from(percent) / 100.0);
    let time = |duration| format!("\"{}\"", format_duration(duration));
    let (word, rest) = match &b.policy {
        PolicySpec::P2c => ("p2c", String::new()),
        PolicySpec::RoundRobin => ("round_robin", String::new()),
        PolicySpec::LeastConnections => ("least_connections", String::new()),
        PolicySpec::Hash { key, load_percent } => {
            let key = match key {
                KeySource::Header(name) => format!("header:{name}"),
                KeySource::Cookie(name) => format!("cookie:{name}"),
                KeySource::Path => "path".to_owned(),
                KeySource::Address => "address".to_owned(),
            };
            ("hash", format!(", key = \"{key}\", load_factor = {}", share(*load_percent)))
        }
        PolicySpec::LeastWork { header } => {
            let work = header.as_ref().map(|name| format!(", work = \"header:{name}\""));
            ("least_work", work.unwrap_or_default())
        }
    };
    let balance = format!("{{ policy = \"{word}\"{rest}, slow_start = {} }}", time(b.slow_start));
    let retries = format!("{{ share = {}, min = {} }}", share(b.retries.percent), b.retries.per_second_min);
    let mut lines = vec![("balance", balance), ("retries", retries)];
    lines.extend(b.sticky.as_ref().map(|sticky| {
        ("sticky", format!("{{ cookie = \"{}\", for = {} }}", sticky.cookie, time(sticky.lasts)))
    }));
    lines.extend(b.outliers.as_ref().map(|spec| {
        let latency =
            spec.latency_percent.map_or(String::new(), |percent| format!(", latency = {}", share(percent)));
        let text = format!(
            "{{ interval = {}, requests_min = {}, errors = {}{latency}, one_in = {}, for = {} }}",
            time(spec.interval),
            spec.requests_min,
            share(spec.error_percent),
            spec.one_in,
            time(spec.lasts)
        );
        ("outliers", text)
    }));
    lines
}

fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}

/// A token of HTTP, as names of headers and cookies are; without those that TOML would have to escape none is lost.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

const KEYS: &str = "\"header:NAME\", \"cookie:NAME\", \"path\" or \"address\"";
const LOAD_FACTOR: f64 = 1.25;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigErrors, Surroundings};

    fn parse(keys: &str) -> Result<Config, ConfigErrors> {
        let surroundings = Surroundings { current_dir: "/".into(), search_path: "/usr/bin:/bin".into() };
        let text = format!(
            "[[workload]]\nname = \"web\"\ncommand = [\"sh\"]\nlisten = \"127.0.0.1:8080\"\ncapacity = 10\n{keys}"
        );
        Config::parse_in(&text, Path::new("web.toml"), &surroundings)
    }

    fn balancing(keys: &str) -> Balancing {
        let config = parse(keys).expect("valid");
        assert_eq!(parse_text(&config.to_toml()), config, "written and read again");
        config.workloads[0].balancing.clone()
    }

    fn parse_text(text: &str) -> Config {
        let surroundings = Surroundings { current_dir: "/".into(), search_path: "/usr/bin:/bin".into() };
        Config::parse_in(text, Path::new("web.toml"), &surroundings).expect("valid")
    }

    #[test]
    fn every_key_is_understood_and_written_as_it_was_read() {
        assert_eq!(balancing(""), Balancing::default());
        let all = balancing(
            "balance = { policy = \"hash\", key = \"cookie:session\", load_factor = 1.5, slow_start = \"10s\" }\n\
             sticky = { cookie = \"home\", for = \"2h\" }\n\
             outliers = { interval = \"5s\", requests_min = 50, errors = 0.1, latency = 3, one_in = 4, for = \"1m\" }\n\
             retries = { share = 0.05, min = 2 }",
        );
        assert_eq!(
            all.policy,
            PolicySpec::Hash { key: KeySource::Cookie("session".into()), load_percent: 150 }
        );
        assert_eq!(all.slow_start, Duration::from_secs(10));
        assert_eq!(all.sticky.map(|sticky| (sticky.cookie, sticky.lasts)), Some(("home".into(), 2 * HOUR)));
        let outliers = all.outliers.expect("as configured");
        assert_eq!((outliers.error_percent, outliers.latency_percent, outliers.one_in), (10, Some(300), 4));
        assert_eq!(all.retries, RetrySpec { percent: 5, per_second_min: 2 });
        for (key, source) in [
            ("header:X-User", KeySource::Header("x-user".into())),
            ("path", KeySource::Path),
            ("address", KeySource::Address),
        ] {
            let read = balancing(&format!("balance = {{ policy = \"hash\", key = \"{key}\" }}"));
            assert_eq!(read.policy, PolicySpec::Hash { key: source, load_percent: 125 });
        }
        let work = balancing("balance = { policy = \"least_work\", work = \"header:X-Cost\" }");
        assert_eq!(work.policy, PolicySpec::LeastWork { header: Some("x-cost".into()) });
        for (word, policy) in
            [("round_robin", PolicySpec::RoundRobin), ("least_connections", PolicySpec::LeastConnections)]
        {
            assert_eq!(balancing(&format!("balance = {{ policy = \"{word}\" }}")).policy, policy);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (keys, problem) in [
            ("balance = { policy = \"fastest\" }", "is not known"),
            ("balance = { policy = \"hash\" }", "balance.key"),
            ("balance = { policy = \"hash\", key = \"body\" }", "is not a key"),
            ("balance = { key = \"path\" }", "belongs to the policy \"hash\""),
            ("balance = { work = \"header:X-Cost\" }", "belongs to the policy \"least_work\""),
            ("balance = { polcy = \"p2c\" }", "did you mean `policy`?"),
            ("sticky = { for = \"1h\" }", "sticky.cookie"),
            ("sticky = { cookie = \"a;b\" }", "not a name for a cookie"),
            ("outliers = { one_in = 1 }", "outliers.one_in"),
            ("retries = { share = 2 }", "retries.share"),
        ] {
            let errors = parse(keys).expect_err(keys).to_string();
            assert!(errors.contains(problem), "{keys}: {errors}");
        }
    }
}
