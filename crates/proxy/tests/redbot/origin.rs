//! An origin that does what REDbot looks for: validators, parts, variants, redirections, and answers that may not be kept.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::support::Backend;

/// What is asked of every view, with the fields of its answer.
pub(crate) const PAGES: &[(&str, &str)] = &[
    ("/variants", "cache-control: max-age=600|vary: accept-encoding"),
    ("/one", "cache-control: max-age=600"),
    ("/shared", "cache-control: max-age=0, s-maxage=600"),
    ("/confirmed", "cache-control: no-cache"),
    ("/stale", "cache-control: max-age=0, stale-while-revalidate=600"),
    ("/private", "cache-control: private, max-age=600"),
    ("/never", "cache-control: no-store"),
    ("/old", "cache-control: max-age=600|age: 300"),
    ("/hops", "cache-control: max-age=600|connection: x-hop|x-hop: 1|keep-alive: timeout=5"),
    ("/missing", "cache-control: max-age=600"),
    ("/moved", "cache-control: max-age=600|location: /one"),
    ("/empty", "cache-control: max-age=600"),
];

pub(crate) async fn start() -> Backend {
    Backend::answering(1, |_, request| async move { answer(&request) }).await
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let fields = PAGES.iter().find(|(page, _)| *page == path).map_or("", |(_, fields)| fields);
    let asked = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_gzip = path == "/variants" && asked("accept-encoding").is_some_and(|list| list.contains("gzip"));
    let tag = if is_gzip { "\"gzip\"" } else { "\"plain\"" };
    let content: Bytes = if is_gzip { Bytes::from_static(GZIP) } else { PLAIN.repeat(TIMES).into() };
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    for (name, value) in fields.split('|').filter_map(|field| field.split_once(':')) {
        set(headers, name, value.trim());
    }
    if path == "/old" {
        set(headers, "date", &httpdate::fmt_http_date(SystemTime::now() - AGE));
    }
    let status = match path {
        "/missing" => StatusCode::NOT_FOUND,
        "/moved" => StatusCode::MOVED_PERMANENTLY,
        "/empty" => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    };
    if status != StatusCode::OK {
        *response.status_mut() = status;
        return response;
    }
    set(headers, "etag", tag);
    set(headers, "last-modified", MODIFIED);
    let is_same = match asked("if-none-match") {
        Some(known) => known.contains(tag),
        None => asked("if-modified-since") == Some(MODIFIED),
    };
    if is_same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    set(headers, "accept-ranges", "bytes");
    set(headers, "content-type", "text/plain; charset=utf-8");
    if is_gzip {
        set(headers, "content-encoding", "gzip");
    }
    let whole = content.len();
    let range = asked("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let range = range.and_then(|(from, to)| Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?)));
    let content = match range.filter(|(from, to)| from <= to && *to < whole) {
        Some((from, to)) => {
            set(headers, "content-range", &format!("bytes {from}-{to}/{whole}"));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            content.slice(from..=to)
        }
        None => content,
    };
    *response.body_mut() = Full::new(content);
    response
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    let name: http::HeaderName = name.parse().expect("a name");
    headers.insert(name, value.parse().expect("a value"));
}

/// Of "/old", whose fields say the same.
const AGE: Duration = Duration::from_secs(300);
const MODIFIED: &str = "Thu, 01 Jan 1998 00:00:00 GMT";
const PLAIN: &[u8] = b"a page of some length\n";
const TIMES: usize = 100;
/// The same by gzip.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4b, 0x54, 0x28, 0x48, 0x4c, 0x4f, 0x55,
    0xc8, 0x4f, 0x53, 0x28, 0xce, 0xcf, 0x4d, 0x55, 0xc8, 0x49, 0xcd, 0x4b, 0x2f, 0xc9, 0xe0, 0x4a, 0x1c,
    0x15, 0x1d, 0x15, 0x1d, 0x15, 0x1d, 0x15, 0x1d, 0x15, 0x1d, 0x15, 0x1d, 0x15, 0x1d, 0x15, 0xa5, 0xbb,
    0x28, 0x00, 0xe5, 0x3a, 0xdb, 0xba, 0x98, 0x08, 0x00, 0x00,
];
