//! `Cache-Control`, read strictly enough that nobody can hide a directive in a quoted string or by its case.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// Directives with their values, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    /// Of a request or a response; `Pragma: no-cache` counts where there is no `Cache-Control`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut found = Vec::new();
        for value in headers.get_all(CACHE_CONTROL) {
            // What is not text, or hides in quotes that never end, cannot be told from what forbids to keep it.
            match value.to_str() {
                Ok(text) if !has_open_quotes(text) => {
                    parts(text).for_each(|part| found.push(directive(part)));
                }
                Ok(_) | Err(_) => found.push(("no-store".to_owned(), None)),
            }
        }
        found.retain(|(name, _)| !name.is_empty());
        if !headers.contains_key(CACHE_CONTROL) {
            let is_no_cache = |text: &str| text.to_ascii_lowercase().contains("no-cache");
            if headers.get_all(PRAGMA).iter().any(|value| value.to_str().is_ok_and(is_no_cache)) {
                found.push(("no-cache".to_owned(), None));
            }
        }
        Self(found)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// The directive's argument, if the directive is there: none where it has none, zero where it is no number of seconds.
    pub(super) fn seconds(&self, name: &str) -> Option<Option<Duration>> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        let seconds = |text: &String| Duration::from_secs(text.parse().unwrap_or(0).min(SECONDS_MAX));
        Some(value.as_ref().map(seconds))
    }

    /// For http-cache-semantics, which wants names in lower case and knows no quoted commas. `proxy-revalidate` is to it what
    /// makes every response stale; it is `must-revalidate` for caches like this.
    pub(super) fn normalised(&self) -> String {
        let plain = |value: &str| value.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let part = |(name, value): &(String, Option<String>)| {
            let name = if name == "proxy-revalidate" { "must-revalidate" } else { name };
            match value.as_deref().filter(|value| plain(value)) {
                Some(value) => format!("{name}={value}"),
                None => name.to_owned(),
            }
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

fn directive(part: &str) -> (String, Option<String>) {
    match part.split_once('=') {
        // No name has quotes; somebody may read past them.
        _ if part.split('=').next().is_some_and(|name| name.contains('"')) => ("no-store".to_owned(), None),
        None => (part.trim().to_ascii_lowercase(), None),
        Some((name, value)) => {
            (name.trim().to_ascii_lowercase(), Some(value.trim().trim_matches('"').to_owned()))
        }
    }
}

/// The parts between commas that are in no quoted string.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = quoting();
    text.split(move |c| !is_quoted(c) && c == ',').map(str::trim)
}

/// Whether a quoted string has no end.
fn has_open_quotes(text: &str) -> bool {
    let mut is_quoted = quoting();
    text.contains('"') && text.chars().fold(false, |_, c| is_quoted(c))
}

/// Tells of one character after the other whether it is in a quoted string; of a quotation mark, whether what follows is.
fn quoting() -> impl FnMut(char) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    move |c| {
        let escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted && !escaped => is_escaped = true,
            '"' if !escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_quoted
    }
}

/// Longer than this is for ever (RFC 9111 section 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> Directives {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, http::HeaderValue::from_static(value));
        }
        Directives::of(&headers)
    }

    #[test]
    fn names_have_no_case_and_quotes_hide_commas() {
        let read = of(&["Max-Age=\"60\", private=\"a, no-store\"", ",S-MAXAGE=5"]);
        assert_eq!(read.seconds("max-age"), Some(Some(Duration::from_secs(60))));
        assert_eq!(read.seconds("s-maxage"), Some(Some(Duration::from_secs(5))));
        assert!(read.has("private") && !read.has("no-store"));
        assert_eq!(read.normalised(), "max-age=60, private, s-maxage=5");
    }

    #[test]
    fn nothing_hides_in_quotes_that_never_end() {
        for hidden in ["x=\", no-store", "max-age=60, x=\"a, b", "\"=,No-Store", "x=\"a\\\", private"] {
            assert!(of(&[hidden]).has("no-store"), "{hidden}");
        }
        assert!(!of(&["max-age=60, x=\"a\\\", no-store\""]).has("no-store"));
    }

    #[test]
    fn what_is_no_number_is_zero_and_what_is_too_large_is_bounded() {
        assert_eq!(of(&["max-age=soon"]).seconds("max-age"), Some(Some(Duration::ZERO)));
        assert_eq!(of(&["max-age=-1"]).seconds("max-age"), Some(Some(Duration::ZERO)));
        let most = of(&["max-age=18446744073709551615"]).seconds("max-age");
        assert_eq!(most, Some(Some(Duration::from_secs(SECONDS_MAX))));
        assert_eq!(of(&["max-stale"]).seconds("max-stale"), Some(None));
    }

    #[test]
    fn pragma_counts_only_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(PRAGMA, http::HeaderValue::from_static("No-Cache"));
        assert!(Directives::of(&headers).has("no-cache"));
        headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("max-age=1"));
        assert!(!Directives::of(&headers).has("no-cache"));
    }
}
