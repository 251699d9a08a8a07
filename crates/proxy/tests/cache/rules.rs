//! May it be kept, may it be used again: the rules of RFC 9111, one case each.

use http::{Method, StatusCode};

use super::support::Backend;
use super::{asked, body, caching, caching_with, counted, field, get, respond, send};
use proxy::control::CacheSpec;

/// What a response says, what the two requests for it say, and whether the second is answered without a backend.
struct Case {
    name: &'static str,
    status: u16,
    response: &'static str,
    first: &'static str,
    second: &'static str,
    is_hit: bool,
}

const fn case(
    name: &'static str,
    response: &'static str,
    first: &'static str,
    second: &'static str,
    is_hit: bool,
) -> Case {
    Case { name, status: 200, response, first, second, is_hit }
}

const fn status(status: u16, response: &'static str, is_hit: bool) -> Case {
    Case { name: "a status", status, response, first: "", second: "", is_hit }
}

const CASES: &[Case] = &[
    // Section 4.2: freshness.
    case("max-age", "cache-control: max-age=60", "", "", true),
    case("max-age=0", "cache-control: max-age=0", "", "", false),
    case("an upper case directive", "cache-control: MAX-AGE=60", "", "", true),
    case("a quoted argument", "cache-control: max-age=\"60\"", "", "", true),
    case("s-maxage over max-age", "cache-control: max-age=0, s-maxage=60", "", "", true),
    case("s-maxage=0 over max-age", "cache-control: max-age=60, s-maxage=0", "", "", false),
    case("Expires", "expires: Tue, 01 Jan 2999 00:00:00 GMT", "", "", true),
    case("Expires in the past", "expires: Thu, 01 Jan 1998 00:00:00 GMT", "", "", false),
    case("Expires that is no date", "expires: 0", "", "", false),
    case(
        "max-age over Expires",
        "cache-control: max-age=0|expires: Tue, 01 Jan 2999 00:00:00 GMT",
        "",
        "",
        false,
    ),
    case("Age uses the freshness up", "cache-control: max-age=60|age: 60", "", "", false),
    case("Age leaves some", "cache-control: max-age=60|age: 30", "", "", true),
    case(
        "Date long ago uses it up",
        "cache-control: max-age=60|date: Thu, 01 Jan 1998 00:00:00 GMT",
        "",
        "",
        false,
    ),
    case("no word about it", "", "", "", false),
    case("no heuristics unless configured", "last-modified: Thu, 01 Jan 1998 00:00:00 GMT", "", "", false),
    // Sections 3, 5.2.2: what may be kept.
    case("no-store", "cache-control: no-store, max-age=60", "", "", false),
    case("private", "cache-control: private, max-age=60", "", "", false),
    case("private with a field", "cache-control: private=\"x\", max-age=60", "", "", false),
    case("no-cache", "cache-control: no-cache, max-age=60", "", "", false),
    case("Pragma of a response", "pragma: no-cache|expires: Tue, 01 Jan 2999 00:00:00 GMT", "", "", false),
    case("must-revalidate while fresh", "cache-control: must-revalidate, max-age=60", "", "", true),
    case("proxy-revalidate while fresh", "cache-control: proxy-revalidate, max-age=60", "", "", true),
    case("an unknown directive", "cache-control: max-age=60, x=\"a, no-store\"", "", "", true),
    case("a cookie", "cache-control: max-age=60|set-cookie: a=1", "", "", false),
    case("a cookie for all", "cache-control: public, max-age=60|set-cookie: a=1", "", "", true),
    status(203, "cache-control: max-age=60", true),
    status(204, "cache-control: max-age=60", true),
    status(301, "cache-control: max-age=60|location: /x", true),
    status(302, "cache-control: max-age=60|location: /x", true),
    status(302, "location: /x", false),
    status(404, "cache-control: max-age=60", true),
    status(410, "cache-control: max-age=60", true),
    status(500, "cache-control: max-age=60", false),
    status(503, "cache-control: max-age=60", false),
    status(206, "cache-control: max-age=60|content-range: bytes 0-0/9", false),
    // Section 3.5: credentials.
    case("credentials", "cache-control: max-age=60", "authorization: a", "authorization: a", false),
    case("credentials do not leak", "cache-control: max-age=60", "authorization: a", "", false),
    case("a public answer to none", "cache-control: max-age=60", "", "authorization: a", false),
    case("credentials, public", "cache-control: public, max-age=60", "authorization: a", "", true),
    case("credentials, s-maxage", "cache-control: s-maxage=60", "authorization: a", "authorization: b", true),
    case(
        "credentials, must-revalidate",
        "cache-control: must-revalidate, max-age=60",
        "authorization: a",
        "",
        true,
    ),
    // Section 4.1: Vary.
    case("Vary, same", "cache-control: max-age=60|vary: accept", "accept: a", "accept: a", true),
    case("Vary, other", "cache-control: max-age=60|vary: accept", "accept: a", "accept: b", false),
    case("Vary, absent", "cache-control: max-age=60|vary: Accept", "accept: a", "", false),
    case("Vary, both absent", "cache-control: max-age=60|vary: accept", "", "", true),
    case("Vary on two, one other", "cache-control: max-age=60|vary: a, b", "a: 1|b: 1", "a: 1|b: 2", false),
    case("Vary in two fields", "cache-control: max-age=60|vary: a|vary: b", "a: 1|b: 1", "a: 1|b: 2", false),
    case("Vary, values moved", "cache-control: max-age=60|vary: a", "a: 1|a: 2", "a: 1, 2", false),
    case("Vary: *", "cache-control: max-age=60|vary: *", "", "", false),
    case("Vary: * among others", "cache-control: max-age=60|vary: accept, *", "", "", false),
    // Section 5.2.1: what the client says.
    case("no-cache of a request", "cache-control: max-age=60", "", "cache-control: no-cache", false),
    case("Pragma of a request", "cache-control: max-age=60", "", "pragma: no-cache", false),
    case("max-age=0 of a request", "cache-control: max-age=60", "", "cache-control: max-age=0", false),
    case("max-age of a request", "cache-control: max-age=60", "", "cache-control: max-age=50", true),
    case("min-fresh", "cache-control: max-age=60", "", "cache-control: min-fresh=90", false),
    case("no-store of a request", "cache-control: max-age=60", "cache-control: no-store", "", false),
    case("max-stale", "cache-control: max-age=1|age: 9|etag: \"a\"", "", "cache-control: max-stale=20", true),
    case(
        "max-stale too small",
        "cache-control: max-age=60|age: 70|etag: \"a\"",
        "",
        "cache-control: max-age=5, max-stale=60",
        false,
    ),
    case(
        "max-stale, must-revalidate",
        "cache-control: must-revalidate, max-age=1|age: 9|etag: \"a\"",
        "",
        "cache-control: max-stale",
        false,
    ),
    case("max-stale, no-cache", "cache-control: no-cache|etag: \"a\"", "", "cache-control: max-stale", false),
    case(
        "max-stale, s-maxage",
        "cache-control: s-maxage=1|age: 9|etag: \"a\"",
        "",
        "cache-control: max-stale",
        false,
    ),
    // The question itself.
    case("another host", "cache-control: max-age=60", "", "host: other", false),
    case("another scheme", "cache-control: max-age=60", "", "x-forwarded-proto: https", false),
    case("a forwarded host", "cache-control: max-age=60", "x-forwarded-host: evil", "", false),
    case("a rewritten target", "cache-control: max-age=60", "x-original-url: /evil", "", false),
    case("an overridden method", "cache-control: max-age=60", "x-http-method-override: DELETE", "", false),
    case(
        "a condition for the backend",
        "cache-control: max-age=60|etag: \"a\"",
        "",
        "if-match: \"a\"",
        false,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_and_used_again_is_what_the_rfc_allows() {
    let backend = Backend::answering(1, |count, request| async move {
        let index: usize = request.uri().path()[1..].parse().expect("a case");
        let mut response = respond(CASES[index].response, format!("{count}"));
        *response.status_mut() = StatusCode::from_u16(CASES[index].status).expect("a status");
        response
    })
    .await;
    let proxy = caching(&backend).await;
    for (index, case) in CASES.iter().enumerate() {
        let path = format!("/{index}");
        let first = get(&proxy, &path, case.first).await;
        assert_eq!(first.status().as_u16(), case.status, "{}", case.name);
        let before = backend.requests();
        let second = get(&proxy, &path, case.second).await;
        let is_hit = backend.requests() == before;
        let told = field(&second, "cache-status");
        assert_eq!(is_hit, case.is_hit, "{}: {} ({told})", case.name, case.response);
        assert_eq!(
            is_hit,
            second.body() == first.body() && !second.headers()["age"].is_empty() && told.contains("hit"),
            "{}",
            case.name
        );
    }
    let counts = counted(&proxy).await;
    let hits = CASES.iter().filter(|case| case.is_hit).count() as u64;
    assert_eq!(counts.spared(), hits, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_tells_its_age_and_keeps_its_fields() {
    let fields = "cache-control: max-age=60|age: 5|x-many: 1|x-many: 2|connection: x-hop|x-hop: 1|date: Thu, 01 Jan 2099 00:00:00 GMT";
    let backend = Backend::answering(1, move |_, _| async move { respond(fields, "hello") }).await;
    let proxy = caching(&backend).await;
    let first = get(&proxy, "/", "").await;
    assert_eq!(field(&first, "cache-status"), "foreshadow; fwd=uri-miss; stored");
    let second = get(&proxy, "/", "").await;
    assert_eq!((body(&second), backend.requests()), ("hello", 1));
    assert!(["5", "6"].contains(&field(&second, "age")), "{second:?}");
    assert!(field(&second, "cache-status").starts_with("foreshadow; hit; ttl=5"), "{second:?}");
    assert_eq!(second.headers().get_all("x-many").iter().count(), 2);
    assert_eq!(field(&second, "date"), "Thu, 01 Jan 2099 00:00:00 GMT");
    assert!(!second.headers().contains_key("x-hop"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stale_is_confirmed_with_its_validators() {
    let backend = Backend::answering(1, |count, request| async move {
        let validators = ["if-none-match", "if-modified-since"].map(|name| request.headers().get(name).cloned());
        if let [Some(tag), Some(since)] = validators {
            assert_eq!((tag.as_bytes(), since.as_bytes()), (&b"\"v1\""[..], &b"Thu, 01 Jan 1998 00:00:00 GMT"[..]));
            let mut response = respond("cache-control: max-age=60|etag: \"v1\"|x-new: 1|content-type: wrong/type", "");
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let fields = "cache-control: max-age=0|etag: \"v1\"|last-modified: Thu, 01 Jan 1998 00:00:00 GMT|content-type: text/plain";
        respond(fields, format!("{count}"))
    })
    .await;
    let proxy = caching(&backend).await;
    assert_eq!(body(&get(&proxy, "/", "").await), "1");
    let confirmed = get(&proxy, "/", "").await;
    assert_eq!((confirmed.status(), body(&confirmed), backend.requests()), (StatusCode::OK, "1", 2));
    assert_eq!(field(&confirmed, "cache-status"), "foreshadow; fwd=stale; fwd-status=304; stored");
    assert_eq!((field(&confirmed, "x-new"), field(&confirmed, "content-type")), ("1", "text/plain"));
    let fresh = get(&proxy, "/", "").await;
    assert_eq!((body(&fresh), field(&fresh, "x-new"), backend.requests()), ("1", "1", 2));
    assert_eq!(counted(&proxy).await.revalidated, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_it_already_is_told_so() {
    let fields = "cache-control: max-age=60|etag: W/\"v1\"|last-modified: Thu, 01 Jan 1998 00:00:00 GMT|content-type: text/plain|content-location: /here";
    let backend = Backend::answering(1, move |_, _| async move { respond(fields, "hello") }).await;
    let proxy = caching(&backend).await;
    get(&proxy, "/", "").await;
    for (conditions, status) in [
        ("if-none-match: W/\"v1\"", 304),
        ("if-none-match: \"v1\"", 304),
        ("if-none-match: \"v0\", \"v1\"", 304),
        ("if-none-match: *", 304),
        ("if-none-match: \"v2\"", 200),
        ("if-none-match: \"v2\"|if-modified-since: Thu, 01 Jan 2099 00:00:00 GMT", 200),
        ("if-modified-since: Thu, 01 Jan 1998 00:00:00 GMT", 304),
        ("if-modified-since: Wed, 31 Dec 1997 23:59:59 GMT", 200),
        ("if-modified-since: never", 200),
    ] {
        let answer = get(&proxy, "/", conditions).await;
        assert_eq!(answer.status().as_u16(), status, "{conditions}");
        assert_eq!(answer.body().is_empty(), status == 304, "{conditions}");
        assert_eq!(field(&answer, "content-type").is_empty(), status == 304, "{conditions}");
        assert_eq!((field(&answer, "etag"), field(&answer, "content-location")), ("W/\"v1\"", "/here"));
    }
    assert_eq!(backend.requests(), 1);
    // What the backend is asked to confirm is what is kept here, not what the client has.
    let answer = get(&proxy, "/", "cache-control: no-cache|if-none-match: \"other\"").await;
    assert_eq!((answer.status(), backend.requests()), (StatusCode::OK, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_what_is_kept_are_cut_from_it() {
    let fields = "cache-control: max-age=60|etag: \"v1\"|last-modified: Thu, 01 Jan 1998 00:00:00 GMT";
    let backend = Backend::answering(1, move |_, _| async move { respond(fields, "0123456789") }).await;
    let proxy = caching(&backend).await;
    // Nothing is kept of the answer to one that asks for a part.
    get(&proxy, "/", "").await;
    for (request, status, content, range) in [
        ("range: bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("range: bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("range: bytes=7-", 206, "789", "bytes 7-9/10"),
        ("range: bytes=7-99", 206, "789", "bytes 7-9/10"),
        ("range: bytes=-3", 206, "789", "bytes 7-9/10"),
        ("range: bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("range: bytes=10-", 416, "", "bytes */10"),
        ("range: bytes=99999999999999999999999-", 416, "", "bytes */10"),
        ("range: bytes=-0", 416, "", "bytes */10"),
        ("range: bytes=4-2", 200, "0123456789", ""),
        ("range: bytes=0-1, 3-4", 200, "0123456789", ""),
        ("range: bytes=a-b", 200, "0123456789", ""),
        ("range: bytes=-", 200, "0123456789", ""),
        ("range: lines=0-1", 200, "0123456789", ""),
        ("range: bytes=0-1|if-range: \"v1\"", 206, "01", "bytes 0-1/10"),
        ("range: bytes=0-1|if-range: \"v2\"", 200, "0123456789", ""),
        ("range: bytes=0-1|if-range: W/\"v1\"", 200, "0123456789", ""),
        ("range: bytes=0-1|if-range: Thu, 01 Jan 1998 00:00:00 GMT", 206, "01", "bytes 0-1/10"),
        ("range: bytes=0-1|if-range: Fri, 02 Jan 1998 00:00:00 GMT", 200, "0123456789", ""),
        ("range: bytes=0-1|if-none-match: \"v1\"", 304, "", ""),
    ] {
        let answer = get(&proxy, "/", request).await;
        let found = (answer.status().as_u16(), body(&answer), field(&answer, "content-range"));
        assert_eq!(found, (status, content, range), "{request}");
    }
    assert_eq!(backend.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_answered_from_a_get_and_never_the_other_way_round() {
    let backend = Backend::answering(1, |_, _| async { respond("cache-control: max-age=60", "hello") }).await;
    let proxy = caching(&backend).await;
    send(&proxy, Method::HEAD, "/", "").await;
    assert_eq!(body(&get(&proxy, "/", "").await), "hello");
    assert_eq!(backend.requests(), 2);
    let head = send(&proxy, Method::HEAD, "/", "").await;
    assert_eq!((head.status(), field(&head, "content-length"), head.body().len()), (StatusCode::OK, "5", 0));
    assert_eq!(backend.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_forgets_what_was_kept_of_it() {
    let backend = Backend::answering(1, |count, request| async move {
        match (request.method().as_str(), request.uri().path()) {
            ("GET" | "OPTIONS", _) => respond("cache-control: max-age=60", format!("{count}")),
            ("PUT", _) => {
                let mut response = respond("", "");
                *response.status_mut() = StatusCode::FORBIDDEN;
                response
            }
            ("POST", _) => respond("location: http://test/made|content-location: /list?all", ""),
            _ => respond("location: http://elsewhere/made", ""),
        }
    })
    .await;
    let proxy = caching(&backend).await;
    let fill = async || {
        for path in ["/", "/made", "/list?all", "/list"] {
            get(&proxy, path, "").await;
        }
    };
    let kept = async || {
        let mut kept = Vec::new();
        for path in ["/", "/made", "/list?all", "/list"] {
            let before = backend.requests();
            get(&proxy, path, "").await;
            kept.push(backend.requests() == before);
        }
        kept
    };
    fill().await;
    for harmless in [Method::PUT, Method::OPTIONS, Method::HEAD] {
        send(&proxy, harmless, "/", "").await;
        assert_eq!(kept().await, [true; 4]);
    }
    send(&proxy, Method::DELETE, "/", "").await;
    assert_eq!(kept().await, [false, true, true, true]);
    send(&proxy, Method::POST, "/", "").await;
    assert_eq!(kept().await, [false, false, false, true]);
    assert_eq!(counted(&proxy).await.bypassed, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_kept_can_be_asked_for() {
    let backend = Backend::answering(1, |_, _| async { respond("cache-control: max-age=60", "hello") }).await;
    let proxy = caching(&backend).await;
    let only = "cache-control: only-if-cached";
    assert_eq!(get(&proxy, "/", only).await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(backend.requests(), 0);
    get(&proxy, "/", "").await;
    assert_eq!(body(&get(&proxy, "/", only).await), "hello");
    assert_eq!(proxy.stats().await.workload("web").expect("the route").failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_answers_are_given_while_newer_ones_are_fetched() {
    let backend = Backend::answering(1, |count, _| async move {
        respond("cache-control: max-age=60, stale-while-revalidate=60|age: 60", format!("{count}"))
    })
    .await;
    let proxy = caching(&backend).await;
    assert_eq!(body(&get(&proxy, "/", "").await), "1");
    let stale = get(&proxy, "/", "").await;
    assert_eq!(body(&stale), "1");
    assert!(field(&stale, "cache-status").starts_with("foreshadow; hit; ttl=-"), "{stale:?}");
    asked(&backend, 2).await;
    super::support::until(&proxy, "renewed", |stats| {
        stats.workload("web").is_some_and(|web| web.in_flight == 0)
    })
    .await;
    assert_eq!(body(&get(&proxy, "/", "").await), "2");
    let stats = proxy.stats().await;
    let web = stats.workload("web").expect("the route");
    assert_eq!((web.cache.stale, web.cache.misses), (2, 1));
    assert_eq!(web.arrivals, 3 + web.cache.refreshes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_answers_stand_in_for_a_backend_that_fails() {
    let mut backend = Backend::answering(1, |count, request| async move {
        let control = match request.uri().path() {
            "/may" => "cache-control: max-age=60, stale-if-error=60|age: 60",
            "/not" => "cache-control: max-age=60|age: 60|etag: \"a\"",
            _ => "cache-control: max-age=60, must-revalidate, stale-if-error=60|age: 60|etag: \"a\"",
        };
        let mut response = respond(control, format!("{count}"));
        if count > 3 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    })
    .await;
    let proxy = caching(&backend).await;
    for path in ["/may", "/not", "/must"] {
        get(&proxy, path, "").await;
    }
    let statuses = async || {
        let mut statuses = Vec::new();
        for path in ["/may", "/not", "/must"] {
            statuses.push(get(&proxy, path, "").await.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 503, 503]);
    backend.kill().await;
    let rescued = get(&proxy, "/may", "").await;
    assert_eq!((rescued.status(), body(&rescued)), (StatusCode::OK, "1"));
    assert_eq!(counted(&proxy).await.rescued, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_configured_changes_the_rules() {
    let backend = Backend::answering(1, |_, request| async move {
        match request.uri().path() {
            "/old" => respond("last-modified: Thu, 01 Jan 1998 00:00:00 GMT", "old"),
            _ => respond("cache-control: max-age=60", "new"),
        }
    })
    .await;
    let spec = CacheSpec { heuristic_percent: 10, ignores_requests: true, ..CacheSpec::default() };
    let proxy = caching_with(&backend, spec).await;
    for path in ["/old", "/new"] {
        get(&proxy, path, "").await;
        get(&proxy, path, "cache-control: no-cache").await;
    }
    assert_eq!(backend.requests(), 2);
}
