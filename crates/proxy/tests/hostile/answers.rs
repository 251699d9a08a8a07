//! Answers by HTTP/1.1: smuggled ones, broken ones, and those that never end.

use std::time::Duration;

use super::client::{Answer, Hostile, LATER, Script, converse};
use super::support::{Proxy, get};

/// One attack.
struct Case {
    name: &'static str,
    method: &'static str,
    script: Script,
    expect: Expect,
}

/// What the client must get.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// 502, and nothing of what the backend has said.
    BadGateway,
    /// This answer.
    Gets(u16, &'static str),
    /// The head, perhaps, and the beginning of the body; and it sees that the end is missing.
    Broken,
}

use Expect::{BadGateway, Broken, Gets};

const fn case(name: &'static str, answer: &'static str, expect: Expect) -> Case {
    let script = Script { answer: answer.as_bytes(), later: b"", endless: b"", closes: false };
    Case { name, method: "GET", script, expect }
}

/// To a request by another method.
const fn to(method: &'static str, case: Case) -> Case {
    Case { method, ..case }
}

/// The backend closes at the end.
const fn closed(case: Case) -> Case {
    Case { script: Script { closes: true, ..case.script }, ..case }
}

/// And says this when its answer is long over.
const fn later(later: &'static str, case: Case) -> Case {
    Case { script: Script { later: later.as_bytes(), ..case.script }, ..case }
}

/// Without end.
const fn endless(piece: &'static str, case: Case) -> Case {
    Case { script: Script { endless: piece.as_bytes(), ..case.script }, ..case }
}

const CASES: &[Case] = &[
    // How long is it?
    case(
        "CL.TE: the coding decides",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Gets(200, "hello"),
    ),
    case(
        "TE.CL with an answer behind it",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        Gets(200, ""),
    ),
    case(
        "two lengths that differ",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        BadGateway,
    ),
    case(
        "two lengths that agree",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Gets(200, "hello"),
    ),
    case(
        "a list of lengths that agree",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        Gets(200, "hello"),
    ),
    case(
        "a list of lengths that differ",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        BadGateway,
    ),
    case("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", BadGateway),
    case("a length below zero", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", BadGateway),
    case("a length in base 16", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", BadGateway),
    case("no digits", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello", BadGateway),
    case(
        "a length beyond 64 bits",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        BadGateway,
    ),
    closed(case(
        "a coding that nobody undoes",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    )),
    closed(case(
        "another coding alone",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        BadGateway,
    )),
    closed(case(
        "identity",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
        BadGateway,
    )),
    closed(case(
        "chunked, then another",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    )),
    closed(case(
        "chunked twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    )),
    closed(case(
        "a longer word",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    )),
    closed(case(
        "a quoted coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \"chunked\"\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    )),
    closed(case(
        "a coding in HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    )),
    case(
        "the coding named in Connection",
        "HTTP/1.1 200 OK\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Gets(200, "hello"),
    ),
    case(
        "the length named in Connection",
        "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello",
        Gets(200, "hello"),
    ),
    // Chunks.
    case(
        "an extension",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n",
        Gets(200, "hello"),
    ),
    case(
        "a bare LF in an extension",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;\nxhello\r\n0\r\n\r\n",
        Broken,
    ),
    case(
        "a bare LF after a size",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        Broken,
    ),
    case(
        "a size beyond 64 bits",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        Broken,
    ),
    case(
        "a size with a prefix",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        Broken,
    ),
    case(
        "a size with a sign",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        Broken,
    ),
    case("no size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\nhello", Broken),
    case(
        "a chunk longer than it says",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
        Broken,
    ),
    case(
        "no line break where a chunk ends",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        Broken,
    ),
    closed(case(
        "no last chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Broken,
    )),
    closed(case(
        "a last chunk without its end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        Broken,
    )),
    // Trailers.
    case(
        "trailers that frame, route or set cookies end here even if announced",
        "HTTP/1.1 200 OK\r\nTrailer: content-length, transfer-encoding, set-cookie, host\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=smuggled\r\nHost: evil\r\n\r\n",
        Gets(200, "hello"),
    ),
    case(
        "a folded trailer",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n",
        Broken,
    ),
    endless(
        "X: 1\r\n",
        case(
            "trailers without end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            Broken,
        ),
    ),
    // Lines and fields.
    case(
        "a folded field",
        "HTTP/1.1 200 OK\r\nX: 1\r\n smuggled\r\nContent-Length: 5\r\n\r\nhello",
        BadGateway,
    ),
    case("a folded first field", "HTTP/1.1 200 OK\r\n X: 1\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", BadGateway),
    case("a space in a name", "HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("no name", "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("no colon", "HTTP/1.1 200 OK\r\nsmuggled\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case(
        "a bare CR in a value",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: smuggled\r\nContent-Length: 5\r\n\r\nhello",
        BadGateway,
    ),
    case("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("a NUL in a name", "HTTP/1.1 200 OK\r\nX\0Y: a\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case(
        "an escape in a value",
        "HTTP/1.1 200 OK\r\nX: a\x1b[2J\r\nContent-Length: 5\r\n\r\nhello",
        BadGateway,
    ),
    case(
        "bare LF ends lines, as a recipient may let it",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        Gets(200, "hello"),
    ),
    // The first line.
    case("an unknown version", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("HTTP/2 as text", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("another protocol", "ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    closed(case("no head at all", "hello", BadGateway)),
    case("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("a status of letters", "HTTP/1.1 2xx OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("status 0", "HTTP/1.1 000 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case("an escape in the reason", "HTTP/1.1 200 O\x1b[2J\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    case(
        "a bare CR in the reason",
        "HTTP/1.1 200 OK\rX: smuggled\r\nContent-Length: 5\r\n\r\nhello",
        BadGateway,
    ),
    // Statuses before the last.
    case(
        "early hints are not passed on",
        "HTTP/1.1 103 Early Hints\r\nLink: </smuggled>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Gets(200, "hello"),
    ),
    case(
        "a length on an interim answer",
        "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Gets(200, "hello"),
    ),
    case(
        "a switch that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        BadGateway,
    ),
    closed(case("an interim answer and no other", "HTTP/1.1 100 Continue\r\n\r\n", BadGateway)),
    endless("HTTP/1.1 100 Continue\r\n\r\n", case("interim answers without end", "", Gets(504, ""))),
    endless("HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n", case("hints without end", "", Gets(504, ""))),
    // Ends that come too soon.
    closed(case("nothing", "", BadGateway)),
    closed(case("half a head", "HTTP/1.1 200 OK\r\nContent-Le", BadGateway)),
    closed(case("less than its length", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", Broken)),
    closed(case("an end that the connection marks", "HTTP/1.1 200 OK\r\n\r\nhello", Gets(200, "hello"))),
    closed(case("the same by HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", Gets(200, "hello"))),
    case(
        "a connection that HTTP/1.0 keeps",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        Gets(200, "hello"),
    ),
    // More than was asked for: whose is it?
    case(
        "an answer behind the answer",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        Gets(200, "hello"),
    ),
    case(
        "bytes behind the answer",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello smuggled",
        Gets(200, "hello"),
    ),
    case(
        "line breaks behind the answer",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n",
        Gets(200, "hello"),
    ),
    case(
        "an answer behind the last chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        Gets(200, "hello"),
    ),
    later(
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        case("an answer while idle", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Gets(200, "hello")),
    ),
    later(
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 8\r\n\r\nsmuggled",
        case(
            "a farewell while idle",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Gets(200, "hello"),
        ),
    ),
    later(
        "HTTP/1.1 100 Continue\r\n\r\n",
        case(
            "an interim answer while idle",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Gets(200, "hello"),
        ),
    ),
    to("HEAD", case("a body on HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Gets(200, ""))),
    to(
        "HEAD",
        case(
            "an answer as the body on HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
            Gets(200, ""),
        ),
    ),
    to(
        "HEAD",
        case(
            "chunks on HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n",
            Gets(200, ""),
        ),
    ),
    case("a body on 204", "HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nsmuggled", Gets(204, "")),
    case(
        "chunks on 204",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n",
        Gets(204, ""),
    ),
    case("a body on 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\nsmuggled", Gets(304, "")),
    case(
        "an answer behind 304",
        "HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        Gets(304, ""),
    ),
    // Too much.
    endless("X: smuggled\r\n", case("fields without end", "HTTP/1.1 200 OK\r\n", BadGateway)),
    endless("aaaaaaaaaaaaaaaa", case("a field without end", "HTTP/1.1 200 OK\r\nX: ", BadGateway)),
    endless("aaaaaaaaaaaaaaaa", case("a reason without end", "HTTP/1.1 200 ", BadGateway)),
    endless("\r\n", case("line breaks without end", "", BadGateway)),
    endless(
        "1;",
        case("an extension without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", Broken),
    ),
    endless("0", case("a size without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Broken)),
];

fn fault(case: &Case, answers: &[Answer]) -> Option<String> {
    let expect = case.expect;
    let is_right = match (expect, answers) {
        (BadGateway, [evil, ..]) => evil.status == 502 && evil.is_whole,
        (Gets(504, _), [evil, ..]) => evil.status == 504,
        (Gets(status, body), [evil, ..]) => evil.is_whole && evil.status == status && evil.body == body,
        (Broken, []) => true,
        (Broken, [evil]) => !evil.is_whole || evil.status == 502,
        (_, _) => false,
    };
    let behind = answers.get(1);
    let is_own =
        behind.is_none_or(|behind| behind.is_whole && behind.status == 200 && behind.body == "/behind");
    let wanted = if case.script.later.is_empty() { 2 } else { 1 };
    let is_few = answers.len() == wanted || (matches!(expect, Broken) && answers.len() < wanted);
    let is_clean = answers.iter().all(|answer| !format!("{answer:?}").contains("smuggled"));
    (!(is_right && is_own && is_few && is_clean)).then(|| format!("the client got {answers:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_misled_by_what_a_backend_says() {
    let hostile = Hostile::start().await;
    let proxy = Proxy::start_with(|options| options.workers = 1).await;
    let mut route = proxy.route(&[hostile.spec()]);
    route.timeouts.response_head = Duration::from_millis(500);
    route.timeouts.body_idle = Duration::from_millis(500);
    proxy.set(1, route).await;
    let mut faults = Vec::new();
    for case in CASES {
        hostile.will_say(case.script);
        // What is said later would be an answer to a request that comes at once.
        let behind = if case.script.later.is_empty() { BEHIND } else { "" };
        let connection = if behind.is_empty() { "close" } else { "keep-alive" };
        let text = format!(
            "{} /evil HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: {connection}\r\n\r\n{behind}",
            case.method
        );
        let answers = converse(proxy.listen, &[case.method, "GET"], &text).await;
        faults
            .extend(fault(case, &answers).map(|fault| format!("{}: {:?}, {fault}", case.name, case.expect)));
        if !case.script.later.is_empty() {
            tokio::time::sleep(2 * LATER).await;
        }
        // More than there are connections that may still be in the pool.
        for _ in 0..3 {
            let honest = get(proxy.listen, "/honest").await;
            if honest.0 != 200 || honest.1 != "/honest" {
                faults.push(format!("{}: another client got {honest:?}", case.name));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults in {} cases:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}

const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
