//! Mutated inputs for what reads bytes of others: the PROXY protocol, the control socket, what is told of clients, parameters.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use fuzzing::{Target, did};
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::admission::facts::Facts;
use crate::control::{
    Admission, BackendSpec, CacheSpec, Class, Endpoint, FRAME_BYTES_MAX, Forwarded, Priority, ProxyVersion,
    Refusal, Request, RequestSample, Response, Route, RouteTable, SOURCES_MAX, decode, encode, read_frame,
};
use crate::forwarded::{ClientNames, is_said_in, tell};
use crate::observe::trace::Trace;
use crate::proxy_protocol::{self, Header};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What the reader makes of these bytes, and what it leaves of them.
async fn accepted(listener: &TcpListener, bytes: &[u8]) -> io::Result<(io::Result<Header>, Vec<u8>)> {
    let mut client = TcpStream::connect(listener.local_addr()?).await?;
    let (mut stream, _) = listener.accept().await?;
    client.write_all(bytes).await?;
    client.shutdown().await?;
    let header = proxy_protocol::read(&mut stream).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    Ok((header, rest))
}

#[test]
fn proxy_protocol_headers() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    let addresses =
        ["192.0.2.1:1", "[2001:db8::1]:65535"].map(|text| text.parse::<SocketAddr>().expect("literal"));
    let mut seeds =
        vec![b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n\r\n".to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec()];
    for address in addresses {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            seeds.push(
                [&proxy_protocol::encode(version, address, address)[..], b"GET / HTTP/1.1\r\n\r\n"].concat(),
            );
        }
    }
    let words = &[
        "PROXY ",
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "\r\n",
        "\r\n\r\n\0\r\nQUIT\n",
        " 192.0.2.1",
        " ::1",
        "\x20",
        "\x21",
        "\x11",
        "\0\x0c",
    ];
    Target { name: "proxy-protocol", seeds, words, inputs: 3000 }.run(|input| {
        let told = runtime.block_on(accepted(&listener, input)).map_err(|error| error.to_string())?;
        let (Ok(header), rest) = told else { return Ok(did(&told.0.map_err(|error| error.kind()).err())) };
        // Independently: where the header ends.
        let length = match input.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
            Some(body) => 16 + usize::from(u16::from_be_bytes([body[2], body[3]])),
            None => 1 + input.iter().position(|&byte| byte == b'\n').ok_or("no end of the line")?,
        };
        if rest != input[length..] {
            return Err(format!("{} bytes are left of {}", rest.len(), input.len() - length));
        }
        let Header::Proxied { source, destination } = header else { return Ok(1) };
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let sent = proxy_protocol::encode(version, source, destination);
            let (again, rest) = runtime.block_on(accepted(&listener, &sent)).map_err(|error| error.to_string())?;
            let is_same = matches!(again, Ok(Header::Proxied { source: from, destination: to })
                if (from.ip().to_canonical(), from.port()) == (source.ip().to_canonical(), source.port())
                && (to.ip().to_canonical(), to.port()) == (destination.ip().to_canonical(), destination.port()));
            if !is_same || !rest.is_empty() {
                return Err(format!("{header:?} became {again:?}"));
            }
        }
        Ok(did(&(source.is_ipv4(), input.len() > length)))
    });
}

fn table() -> RouteTable {
    let address: SocketAddr = "[2001:db8::1]:9000".parse().expect("literal");
    let mut full = Route::new("web", "127.0.0.1:8000".parse().expect("literal"));
    full.backends = (1..4).map(|id| BackendSpec { id, addr: address, weight: 250 }).collect();
    full.cache = Some(CacheSpec::default());
    full.admission = Some(admission());
    let small = Route::new("api", "127.0.0.1:8001".parse().expect("literal"));
    RouteTable { generation: 42, routes: vec![full, small] }
}

#[test]
fn control_frames() {
    let sample = RequestSample {
        number: 1,
        at: 1 << 40,
        endpoint: "GET /".into(),
        class: 1,
        numbers: vec![1.5, f64::NAN],
        names: vec!["a".into()],
        reserved: Vec::new(),
        measured: vec![2.5],
        waited_us: 300,
        backend: 7,
    };
    let samples = vec![sample];
    let requests = [
        Request::SetTable(table()),
        Request::Table,
        Request::Stats,
        Request::Samples { workload: "web".into(), after: 7 },
        Request::Teach { workload: "web".into(), samples: samples.clone() },
        Request::Shutdown { deadline: std::time::Duration::from_millis(1500) },
    ];
    let responses = [
        Response::Applied { generation: 1 },
        Response::Table(table()),
        Response::Stats(Box::default()),
        Response::Samples { started_at: 1, samples },
        Response::Refused(Refusal::InvalidTable { problems: vec!["one".into()] }),
    ];
    let mut frames: Vec<Vec<u8>> = requests.iter().map(|request| encode(request).expect("fits")).collect();
    frames.extend(responses.iter().map(|response| encode(response).expect("fits")));
    let length = |frame: &Vec<u8>| u32::try_from(frame.len()).expect("small").to_be_bytes();
    let seeds = frames.iter().map(|frame| [&length(frame)[..], frame].concat()).collect();
    let words = &["\x03", "\0\0\0\x01", "\0\0\x01\0", "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x01", "web"];
    Target { name: "frames", seeds, words, inputs: 20_000 }.run(|input| {
        // Ready at once: everything is there.
        let read =
            futures_util::FutureExt::now_or_never(read_frame(&mut &*input)).ok_or("it waits for more")?;
        let Ok(Some(frame)) = read else { return Ok(did(&format!("{:?}", read.map(|_| ())).len())) };
        if frame.len() > FRAME_BYTES_MAX || frame.len() + 4 > input.len() {
            return Err(format!("a frame of {} bytes of {}", frame.len(), input.len()));
        }
        let request = decode::<Request>(&frame);
        if let Ok(request) = &request {
            comes_back(request)?;
            if let Request::SetTable(table) = request {
                let problems = table.validate().err().map_or(0, |problems| problems.len());
                return Ok(did(&("table", table.routes.len(), problems)));
            }
        }
        let response = decode::<Response>(&frame);
        if let Ok(response) = &response {
            comes_back(response)?;
        }
        let name = |text: String| text.split(['{', '(', ' ']).next().unwrap_or_default().to_owned();
        Ok(did(&(
            name(format!("{request:?}")),
            name(format!("{response:?}")),
            request.is_ok(),
            response.is_ok(),
        )))
    });
}

/// By its bytes: numbers may be none.
fn comes_back<T: serde::Serialize + serde::de::DeserializeOwned>(message: &T) -> Result<(), String> {
    let sent = encode(message).map_err(|error| error.to_string())?;
    let again = decode::<T>(&sent).map_err(|error| format!("what was read cannot be read again: {error}"))?;
    let sent_again = encode(&again).map_err(|error| error.to_string())?;
    if sent == sent_again { Ok(()) } else { Err("another message came back".to_owned()) }
}

/// The lines that are fields, with all values that a parser of HTTP lets by.
fn fields(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

#[test]
fn forwarding_fields() {
    let seeds = [
        "x-forwarded-for: 192.0.2.1\nx-forwarded-for: 192.0.2.2\nx-forwarded-host: a\nx-forwarded-port: 1",
        "forwarded: for=192.0.2.1;proto=http, for=\"[2001:db8::1]\"\nx-real-ip: 1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=1",
        "traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ];
    let words = &[
        "x-forwarded-for: ",
        "forwarded: ",
        "traceparent: ",
        "tracestate: ",
        "x-real-ip: ",
        "\n",
        ", ",
        "00-",
        "-01",
        "for=",
        "\"",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).to_vec();
    let client = ClientNames::new(
        "192.0.2.9:1".parse().expect("literal"),
        "192.0.2.10:80".parse().expect("literal"),
        false,
    );
    Target { name: "forwarding", seeds, words, inputs: 20_000 }.run(|input| {
        let mut sent = fields(input);
        sent.insert(HOST, HeaderValue::from_static("h"));
        let trace = Trace::of(&sent);
        if let Some(trace) = trace {
            let id = format!("{:032x}", trace.id);
            let value = sent["traceparent"].as_bytes();
            let is_told = value.windows(id.len()).any(|part| part == id.as_bytes());
            if trace.id == 0 || !is_told || sent.get_all("traceparent").iter().count() != 1 {
                return Err(format!("a trace out of nothing: {trace:?}"));
            }
        }
        let mut traced = sent.clone();
        let begun = Trace::begin(&mut traced, true, || did(input));
        if begun.is_none() || Trace::of(&traced) != begun || traced.contains_key("tracestate") {
            return Err(format!("{begun:?} became {:?}", Trace::of(&traced)));
        }
        let is_forwarded = sent.contains_key("forwarded");
        for policy in [Forwarded::Append, Forwarded::Replace] {
            let mut told = sent.clone();
            tell(&mut told, &client, policy, sent.keys().any(|name| is_said_in(name.as_str())));
            let all = |name: &str| told.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
            let (chain, elements) = (all("x-forwarded-for"), all("forwarded"));
            let is_right = match policy {
                Forwarded::Append => {
                    matches!(&chain[..], [chain] if chain.ends_with(b"192.0.2.9"))
                        && elements.len() == usize::from(is_forwarded)
                        && elements.iter().all(|text| text.ends_with(b"for=192.0.2.9;proto=http"))
                }
                Forwarded::Replace => {
                    chain == [b"192.0.2.9"] && elements.is_empty() && !told.contains_key("x-real-ip")
                }
            };
            if !is_right || !told.contains_key("x-forwarded-proto") {
                return Err(format!("{policy:?}: {told:?}"));
            }
        }
        Ok(did(&(trace.is_some(), is_forwarded, sent.len().min(8), sent.keys_len().min(8))))
    });
}

fn admission() -> Admission {
    let source = |text: &str| text.parse().expect("a source");
    let class = |name: &str| Class { name: name.into(), deadline: None };
    Admission {
        endpoints: vec![
            Endpoint { template: "POST /v1/{model}/chat".parse().expect("a template"), class: None },
            Endpoint { template: "/pay/*".parse().expect("a template"), class: Some(0) },
        ],
        numbers: ["json:/max_tokens", "json:/messages", "json:/a~1b/0", "length", "query:n"]
            .map(source)
            .to_vec(),
        names: ["path:model", "json:/kind", "header:x-plan", "method"].map(source).to_vec(),
        priority: Priority {
            header: "x-priority".into(),
            classes: ["high", "normal", "low"].map(class).to_vec(),
            default: 1,
        },
        ..Admission::new()
    }
}

#[test]
fn request_parameters() {
    let seeds = [
        "POST /v1/large/chat?n=4&n=5\ncontent-type: application/json; charset=utf-8\ncontent-length: 50\nx-plan: gold\nx-priority: LOW\n\n{\"max_tokens\": 200, \"messages\": [1, 2], \"kind\": \"long\", \"a/b\": [1e5]}",
        "GET /pay/now?n=%31\nx-priority: high\n\n",
        "PURGE /v1/a%2fb/chat\ncontent-type: text/x+json\n\n{\"kind\": {\"kind\": null}, \"max_tokens\": \"12\"}",
    ];
    let words = &[
        "{\"",
        "\": ",
        "[[[[[[[[",
        "]",
        "\\u0000",
        "\\ud800",
        "null",
        "1e400",
        "-0.0",
        "max_tokens",
        "messages",
        "kind",
        "n=",
        "&",
        "%",
        "%ff",
        "/v1/",
        "/chat",
        "content-type: application/json",
        "\n",
    ];
    let admission = admission();
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).to_vec();
    Target { name: "parameters", seeds, words, inputs: 20_000 }.run(|input| {
        let end = input.windows(2).position(|window| window == b"\n\n").unwrap_or(input.len());
        let body = input.get(end + 2..).unwrap_or_default();
        let mut line = input[..end]
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default()
            .splitn(2, |&byte| byte == b' ');
        let request = HttpRequest::builder()
            .method(line.next().unwrap_or_default())
            .uri(line.next().unwrap_or_default());
        let Ok(request) = request.body(()) else { return Ok(0) };
        let (mut parts, ()) = request.into_parts();
        parts.headers = fields(&input[..end]);
        let facts = Facts::of(&admission, &parts, body);
        let is_sound = facts.numbers.iter().all(|number| number.is_nan() || number.is_finite())
            && facts.names.len() == admission.names.len()
            && facts.names.iter().all(|name| name.chars().count() <= 64)
            && usize::from(facts.class) < admission.priority.classes.len()
            && facts.endpoint.len() <= 32
            && facts.names().len() == SOURCES_MAX;
        let known: Vec<bool> = facts.numbers.iter().map(|number| number.is_nan()).collect();
        let named: Vec<bool> = facts.names.iter().map(String::is_empty).collect();
        if is_sound {
            Ok(did(&(known, named, facts.class, facts.endpoint)))
        } else {
            Err(format!("{facts:?}"))
        }
    });
}
