//! Whether a response may be kept, and what it is good for: freshness by `http-cache-semantics`, the rest by RFC 9111 and RFC
//! 5861 where that crate leaves it out or is kinder than a shared cache should be.

use std::time::{Duration, SystemTime};

use http::header::{AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::directives::{Directives, parts};

/// What a response that is kept is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How old it was when it came.
    pub(super) age: Duration,
    /// How long it is fresh from then on.
    pub(super) fresh_for: Duration,
    /// How long it may be served after that while another is fetched.
    pub(super) while_revalidating: Duration,
    /// How long it may be served after that where the backend fails.
    pub(super) if_error: Duration,
    /// A client may ask for it though it is stale.
    pub(super) may_be_stale: bool,
    /// It answers requests that carry credentials, too.
    pub(super) for_all: bool,
    /// What tells its variants apart.
    pub(super) vary: Vec<HeaderName>,
}

/// The terms for a response to a GET; none if it must not be kept or would be of no use. Fields that belong to one hop are gone
/// already.
pub(super) fn terms(
    status: StatusCode,
    headers: &HeaderMap,
    is_authorised: bool,
    heuristic_percent: u8,
    received: SystemTime,
) -> Option<Terms> {
    let directives = Directives::of(headers);
    let has = |name| directives.has(name);
    let for_all = has("public") || has("must-revalidate") || has("s-maxage");
    // A cookie is for one client, unless the response says that it is for all.
    if (is_authorised && !for_all) || (headers.contains_key(SET_COOKIE) && !has("public")) {
        return None;
    }
    let vary = vary(headers)?;
    let age = age(headers, received);
    let options = CacheOptions {
        shared: true,
        cache_heuristic: f32::from(heuristic_percent) / 100.0,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let response = for_policy(status, headers, &directives, age)?;
    let policy = CachePolicy::new_options(&get(), &response, received, options);
    if !policy.is_storable() {
        return None;
    }
    let fresh_for = policy.time_to_live(received);
    let never_stale = ["no-cache", "must-revalidate", "proxy-revalidate"].into_iter().any(has);
    let after = |name| directives.seconds(name).flatten().filter(|_| !never_stale).unwrap_or_default();
    let terms = Terms {
        age,
        fresh_for,
        while_revalidating: after("stale-while-revalidate"),
        if_error: after("stale-if-error"),
        may_be_stale: !never_stale && !has("s-maxage"),
        for_all,
        vary,
    };
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    let is_useful = has_validator
        || !(fresh_for.is_zero() && terms.while_revalidating.is_zero() && terms.if_error.is_zero());
    is_useful.then_some(terms)
}

/// The names in `Vary`; none if the response cannot be told from others by what the request says.
fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        for name in parts(value.to_str().ok()?).filter(|name| !name.is_empty()) {
            // `*` is no field's name, as nothing is that is malformed.
            names.push(name.parse::<HeaderName>().ok().filter(|_| name != "*")?);
        }
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

/// By its `Age` or its `Date`, whichever is more (RFC 9111 section 4.2.3).
fn age(headers: &HeaderMap, received: SystemTime) -> Duration {
    let said = headers.get(AGE).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let said = Duration::from_secs(said.unwrap_or(0).min(1 << 31));
    let apparent = date(headers, &DATE).and_then(|date| received.duration_since(date).ok());
    // Less than a second is what `Date` cannot say.
    said.max(apparent.map_or(Duration::ZERO, |apparent| Duration::from_secs(apparent.as_secs())))
}

/// A date in any of the three forms of HTTP.
pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// The response as http-cache-semantics reads it without mistakes: the fields it looks at, each in its plain form.
fn for_policy(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &Directives,
    age: Duration,
) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::try_from(directives.normalised()).ok()?);
    fields.insert(AGE, HeaderValue::from(age.as_secs()));
    for name in [DATE, EXPIRES, LAST_MODIFIED] {
        match date(headers, &name) {
            Some(date) => {
                fields.insert(name, HeaderValue::try_from(httpdate::fmt_http_date(date)).ok()?);
            }
            // What cannot be read as a date is one in the past.
            None if name == EXPIRES && headers.contains_key(&name) => {
                fields.insert(name, HeaderValue::from_static("0"));
            }
            None => {}
        }
    }
    Some(response)
}

fn get() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn at(offset: i64) -> String {
        let seconds = NOW.checked_add_signed(offset).expect("in range");
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn of(fields: &[(&str, &str)]) -> Option<Terms> {
        terms(StatusCode::OK, &headers(fields), false, 0, now())
    }

    fn fresh_s(fields: &[(&str, &str)]) -> Option<u64> {
        of(fields).map(|terms| terms.fresh_for.as_secs())
    }

    #[test]
    fn freshness_follows_the_most_specific_word() {
        assert_eq!(fresh_s(&[("cache-control", "max-age=60")]), Some(60));
        assert_eq!(fresh_s(&[("cache-control", "MAX-AGE=\"60\"")]), Some(60));
        assert_eq!(fresh_s(&[("cache-control", "max-age=60, s-maxage=5")]), Some(5));
        assert_eq!(fresh_s(&[("expires", &at(90)), ("date", &at(0))]), Some(90));
        assert_eq!(fresh_s(&[("expires", &at(90)), ("cache-control", "max-age=1")]), Some(1));
        assert_eq!(fresh_s(&[("expires", "0"), ("etag", "\"a\"")]), Some(0));
        assert_eq!(fresh_s(&[("cache-control", "proxy-revalidate, max-age=9")]), Some(9));
    }

    #[test]
    fn old_forms_of_dates_are_read() {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for form in
            ["Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:50:37 GMT", "Sun Nov  6 08:50:37 1994"]
        {
            let found = terms(StatusCode::OK, &headers(&[("expires", form)]), false, 0, then);
            assert_eq!(found.map(|terms| terms.fresh_for.as_secs()), Some(60), "{form}");
        }
    }

    #[test]
    fn age_takes_its_part_of_the_freshness() {
        assert_eq!(fresh_s(&[("cache-control", "max-age=60"), ("age", "50")]), Some(10));
        assert_eq!(fresh_s(&[("cache-control", "max-age=60"), ("date", &at(-20))]), Some(40));
        assert_eq!(fresh_s(&[("cache-control", "max-age=60"), ("age", "90"), ("etag", "\"a\"")]), Some(0));
        assert_eq!(
            fresh_s(&[("cache-control", "max-age=60"), ("age", "90")]),
            None,
            "stale, and no validator"
        );
    }

    #[test]
    fn what_is_not_for_all_is_not_kept() {
        for kept_out in
            ["no-store, max-age=60", "private, max-age=60", "No-Store", "max-age=60, private=\"set-cookie\""]
        {
            assert_eq!(of(&[("cache-control", kept_out), ("etag", "\"a\"")]), None, "{kept_out}");
        }
        assert_eq!(of(&[("cache-control", "max-age=60"), ("set-cookie", "a=1")]), None);
        assert_eq!(fresh_s(&[("cache-control", "public, max-age=60"), ("set-cookie", "a=1")]), Some(60));
        assert_eq!(of(&[("cache-control", "max-age=60"), ("vary", "accept, *")]), None);
    }

    #[test]
    fn credentials_need_a_word_of_the_response() {
        let with = |control| {
            terms(StatusCode::OK, &headers(&[("cache-control", control), ("etag", "\"a\"")]), true, 0, now())
        };
        assert_eq!(with("max-age=60"), None);
        assert_eq!(with("no-cache"), None);
        for allowed in ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"] {
            assert!(with(allowed).is_some_and(|terms| terms.for_all), "{allowed}");
        }
    }

    #[test]
    fn stale_is_served_only_where_that_is_allowed() {
        let of = |control| of(&[("cache-control", control), ("etag", "\"a\"")]).expect("kept");
        let terms = of("max-age=1, stale-while-revalidate=10, stale-if-error=20");
        assert_eq!((terms.while_revalidating.as_secs(), terms.if_error.as_secs()), (10, 20));
        assert!(terms.may_be_stale);
        let terms = of("max-age=1, must-revalidate, stale-while-revalidate=10, stale-if-error=20");
        assert_eq!((terms.while_revalidating.as_secs(), terms.if_error.as_secs()), (0, 0));
        assert!(!terms.may_be_stale && !of("s-maxage=1").may_be_stale && !of("no-cache").may_be_stale);
        assert_eq!(of("no-cache, max-age=60").fresh_for, Duration::ZERO);
    }

    #[test]
    fn status_and_heuristics() {
        let with = |status, percent, fields: &[(&str, &str)]| {
            let found = terms(status, &headers(fields), false, percent, now());
            found.map(|terms| terms.fresh_for.as_secs())
        };
        let modified = at(-1000);
        let modified = [("last-modified", modified.as_str())];
        assert_eq!(with(StatusCode::OK, 0, &modified), Some(0));
        assert_eq!(with(StatusCode::OK, 10, &modified), Some(100));
        assert_eq!(with(StatusCode::NOT_FOUND, 0, &[("cache-control", "max-age=5")]), Some(5));
        assert_eq!(with(StatusCode::FOUND, 10, &modified), None);
        for never in
            [StatusCode::PARTIAL_CONTENT, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::NOT_MODIFIED]
        {
            assert_eq!(with(never, 0, &[("cache-control", "max-age=5")]), None, "{never}");
        }
    }
}
