//! Attacks on what answers are kept under. One client asks in a way that makes a careless backend write something of its own into
//! the answer; the next, who asks plainly, must not get that. The kinds are those of published research; every text is ours.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use proxy::control::CacheSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Backend, Proxy};
use super::{caching_with, field, get, respond};

/// One attack: how the first client asks, as text, and what the second asks for.
struct Case {
    name: &'static str,
    attack: &'static str,
    victim: &'static str,
}

const fn case(name: &'static str, attack: &'static str, victim: &'static str) -> Case {
    Case { name, attack, victim }
}

/// `@` stands for a path of the case's own; Host and Connection are added.
const CASES: &[Case] = &[
    // Whom and what is it for?
    case("a forwarded host", "GET @ HTTP/1.1\r\nX-Forwarded-Host: evil", "@"),
    case("two forwarded hosts", "GET @ HTTP/1.1\r\nX-Forwarded-Host: h\r\nX-Forwarded-Host: evil", "@"),
    case("a forwarded scheme", "GET @ HTTP/1.1\r\nX-Forwarded-Proto: evil", "@"),
    case("a forwarded scheme by another name", "GET @ HTTP/1.1\r\nX-Forwarded-Scheme: evil", "@"),
    case("TLS that never was", "GET @ HTTP/1.1\r\nX-Forwarded-Ssl: evil", "@"),
    case("TLS that never was, by another name", "GET @ HTTP/1.1\r\nFront-End-Https: evil", "@"),
    case("a scheme by yet another name", "GET @ HTTP/1.1\r\nX-Url-Scheme: evil", "@"),
    case("a forwarded port", "GET @ HTTP/1.1\r\nX-Forwarded-Port: evil", "@"),
    case("a forwarded prefix", "GET @ HTTP/1.1\r\nX-Forwarded-Prefix: /evil", "@"),
    case("a forwarded path", "GET @ HTTP/1.1\r\nX-Forwarded-Path: /evil", "@"),
    case("a forwarded server", "GET @ HTTP/1.1\r\nX-Forwarded-Server: evil", "@"),
    case("Forwarded", "GET @ HTTP/1.1\r\nForwarded: host=evil", "@"),
    case("another field for the host", "GET @ HTTP/1.1\r\nX-Host: evil", "@"),
    case("the original host", "GET @ HTTP/1.1\r\nX-Original-Host: evil", "@"),
    case("the original address", "GET @ HTTP/1.1\r\nX-Original-URL: /evil", "@"),
    case("the rewritten address", "GET @ HTTP/1.1\r\nX-Rewrite-URL: /evil", "@"),
    case("another host", "GET @ HTTP/1.1\r\nHost: evil", "@"),
    case("a port in the host", "GET @ HTTP/1.1\r\nHost: h:1", "@"),
    case("a host in capitals", "GET @ HTTP/1.1\r\nHost: H", "@"),
    case("a host with a dot", "GET @ HTTP/1.1\r\nHost: h.", "@"),
    case("an absolute target", "GET http://evil@ HTTP/1.1", "@"),
    case("an absolute target of the other scheme", "GET https://evil@ HTTP/1.1", "@"),
    // Another method under the same address.
    case("an overridden method", "GET @ HTTP/1.1\r\nX-HTTP-Method-Override: evil", "@"),
    case("an overridden method by another name", "GET @ HTTP/1.1\r\nX-HTTP-Method: evil", "@"),
    case("an overridden method by yet another", "GET @ HTTP/1.1\r\nX-Method-Override: evil", "@"),
    case("a GET with a body", "GET @ HTTP/1.1\r\nContent-Length: 4\r\n\r\nevil", "@"),
    case(
        "a GET with a body in chunks",
        "GET @ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        "@",
    ),
    case("POST", "POST @ HTTP/1.1\r\nContent-Length: 4\r\n\r\nevil", "@"),
    case("HEAD", "HEAD @ HTTP/1.1", "@"),
    case("a method of its own", "EVIL @ HTTP/1.1", "@"),
    case("a method in lower case", "get @ HTTP/1.1", "@"),
    // Paths that only some readers take for the same.
    case("a dot segment", "GET /x/..@ HTTP/1.1", "@"),
    case("a dot segment, encoded", "GET /x/%2e%2e@ HTTP/1.1", "@"),
    case("a dot segment at the end", "GET @/evil/.. HTTP/1.1", "@"),
    case("a backslash", "GET /x\\..@ HTTP/1.1", "@"),
    case("a backslash, encoded", "GET /x%5c..@ HTTP/1.1", "@"),
    case("two slashes", "GET /@ HTTP/1.1", "@"),
    case("a slash at the end", "GET @/ HTTP/1.1", "@"),
    case("a slash, encoded", "GET @%2fevil HTTP/1.1", "@/evil"),
    case("another spelling", "GET @%61 HTTP/1.1", "@a"),
    case("the other case of a spelling", "GET @%2F HTTP/1.1", "@%2f"),
    case("a matrix parameter", "GET @;evil HTTP/1.1", "@"),
    case("a NUL, encoded", "GET @%00 HTTP/1.1", "@"),
    case("a line break, encoded", "GET @%0d%0aevil HTTP/1.1", "@"),
    case("a question mark, encoded", "GET @%3fevil HTTP/1.1", "@?evil"),
    case("a hash, encoded", "GET @%23evil HTTP/1.1", "@"),
    case("a query without anything", "GET @? HTTP/1.1", "@"),
    case("another query", "GET @?evil HTTP/1.1", "@"),
    case("another order", "GET @?b=evil&a=1 HTTP/1.1", "@?a=1&b=evil"),
    case("a parameter twice", "GET @?a=1&a=evil HTTP/1.1", "@?a=1"),
    case("a semicolon for an ampersand", "GET @?a=1;a=evil HTTP/1.1", "@?a=1&a=evil"),
    case("a parameter that counts visits", "GET @?utm_content=evil HTTP/1.1", "@"),
    case("the path's other case", "GET @X HTTP/1.1", "@x"),
    // What the answer depends on, by its own word.
    case("what Vary names", "GET @vary HTTP/1.1\r\nX-Language: evil", "@vary"),
    case("what Vary names, twice", "GET @vary HTTP/1.1\r\nX-Language: en\r\nX-Language: evil", "@vary"),
    case(
        "what Vary names, taken out on the way",
        "GET @vary HTTP/1.1\r\nX-Language: evil\r\nConnection: x-language",
        "@vary",
    ),
    case("what a Vary of everything means", "GET @vary-all HTTP/1.1\r\nX-Language: evil", "@vary-all"),
    // What is for one client.
    case("credentials", "GET @ HTTP/1.1\r\nAuthorization: evil", "@"),
    case(
        "credentials, taken out on the way",
        "GET @ HTTP/1.1\r\nAuthorization: evil\r\nConnection: authorization",
        "@",
    ),
    case("a cookie that is set", "GET @set-cookie HTTP/1.1\r\nCookie: evil", "@set-cookie"),
    case(
        "a page of one's own that looks like a picture",
        "GET @private.png HTTP/1.1\r\nCookie: evil",
        "@private.png",
    ),
    case("a page of one's own that says nothing", "GET @silent.css HTTP/1.1\r\nCookie: evil", "@silent.css"),
    // Errors that one client provokes.
    case("a field that the backend dislikes", "GET @error HTTP/1.1\r\nX-Dislike: evil", "@error"),
    case("an expectation that cannot be met", "GET @error HTTP/1.1\r\nExpect: evil", "@error"),
    case("a part", "GET @ HTTP/1.1\r\nRange: bytes=0-3", "@"),
    case("a part that is not there", "GET @ HTTP/1.1\r\nRange: bytes=999999-", "@"),
    case("a condition that fails", "GET @ HTTP/1.1\r\nIf-Match: \"evil\"", "@"),
    case("a condition that holds", "GET @ HTTP/1.1\r\nIf-None-Match: *", "@"),
];

/// Fields that one backend or another believes.
const BELIEVED: &[&str] = &[
    "host",
    "authorization",
    "cookie",
    "forwarded",
    "front-end-https",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-url-scheme",
];

/// Writes into every answer what it believes, and lets nearly all of them be kept.
fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let target = request.uri().to_string();
    let asked = |name: &str| -> Vec<&str> {
        request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    let mut page = format!("{} {target}", request.method());
    for name in BELIEVED {
        page += &asked(name).iter().map(|value| format!(" {name}={value}")).collect::<String>();
    }
    let is_believed = |name: &str| target.contains(name);
    let fields = match () {
        () if is_believed("vary-all") => "cache-control: max-age=60|vary: *",
        () if is_believed("vary") => "cache-control: max-age=60|vary: x-language",
        () if is_believed("set-cookie") => "cache-control: max-age=60|set-cookie: id=evil",
        () if is_believed("private") => "cache-control: private",
        () if is_believed("silent") => {
            "content-type: text/css|last-modified: Thu, 01 Jan 1998 00:00:00 GMT|set-cookie: id=1"
        }
        () if is_believed("error") => "last-modified: Thu, 01 Jan 1998 00:00:00 GMT",
        () => "cache-control: max-age=60|etag: \"a\"",
    };
    if is_believed("vary") {
        page += &asked("x-language").concat();
    }
    let mut response = respond(fields, page);
    let has = |name: &str| request.headers().contains_key(name);
    let status = match () {
        () if has("x-dislike") || has("expect") => StatusCode::BAD_REQUEST,
        () if has("if-match") => StatusCode::PRECONDITION_FAILED,
        () if has("if-none-match") => StatusCode::NOT_MODIFIED,
        () if asked("range").iter().any(|range| range.contains("999999")) => {
            StatusCode::RANGE_NOT_SATISFIABLE
        }
        () if has("range") => StatusCode::PARTIAL_CONTENT,
        () => StatusCode::OK,
    };
    if status == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Full::default();
    }
    *response.status_mut() = status;
    response
}

/// Asks as the attack says, and takes what comes.
async fn attack(proxy: &Proxy, text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let host = if head.contains("\r\nHost:") { "" } else { "\r\nHost: test" };
    let close = if head.contains("\r\nConnection:") { "" } else { "\r\nConnection: close" };
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    stream.write_all(format!("{head}{host}{close}\r\n\r\n{body}").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // Where Connection says something else, it stays open.
    let _ = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_makes_of_a_page_is_not_kept_for_the_next() {
    let backend = Backend::answering(1, |_, request| async move { answer(&request) }).await;
    // As kind as it can be configured.
    let spec = CacheSpec { heuristic_percent: 100, ignores_requests: true, ..CacheSpec::default() };
    let proxy = caching_with(&backend, spec).await;
    let mut faults = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let own = format!("/page{index}");
        let (text, path) = (case.attack.replace('@', &own), case.victim.replace('@', &own));
        let first = attack(&proxy, &text).await;
        assert!(first.starts_with("HTTP/1.1 "), "{}: {first}", case.name);
        let got = get(&proxy, &path, "").await;
        // What the backend says to somebody who asks so and has nobody before.
        let wanted = format!("GET {path} host=test");
        let page = String::from_utf8_lossy(got.body()).into_owned();
        let believed = page.strip_prefix(&wanted);
        let is_own = got.status() == 200 && believed.is_some_and(|fields| !fields.contains("evil"));
        if !is_own {
            faults.push(format!("{}: got {} {page:?} after {first:?}", case.name, got.status()));
        }
        // And what is kept for all is kept: else nothing was tried.
        let before = backend.requests();
        let again = get(&proxy, &path, "").await;
        let is_kept = ["vary-all", "set-cookie", "private", "silent"].iter().all(|word| !path.contains(word));
        assert_eq!(
            backend.requests() == before,
            is_kept,
            "{}: {:?}",
            case.name,
            field(&again, "cache-status")
        );
    }
    assert!(faults.is_empty(), "{} faults in {} cases:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}
