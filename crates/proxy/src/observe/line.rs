//! What the access log says of one request: one line of JSON.
//!
//! Whatever a client has sent is written as a JSON string, in which a line cannot end, and is cut to a length. The query, where
//! secrets are found, is never part of it, nor are fields that the route does not name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::REFERER;
use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version};
use serde::Serialize;

use super::observer::RouteObserver;
use super::trace::Trace;
use super::watch::End;

/// What is kept of a request's head until it may be logged. Its parts share their bytes with the request.
#[derive(Debug)]
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    /// In the order of the observer's; None where the request has none of that name.
    fields: Vec<Option<HeaderValue>>,
}

impl Head {
    pub(super) fn of(observer: &RouteObserver, parts: &Parts, version: Version) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version,
            fields: observer.fields.iter().map(|name| parts.headers.get(name).cloned()).collect(),
        }
    }
}

/// A request on its way to the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) observer: Arc<RouteObserver>,
    pub(super) endpoint: usize,
    pub(super) total: Duration,
    pub(super) head_after: Option<Duration>,
    pub(super) waited: Duration,
    pub(super) status: u16,
    pub(super) end: End,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) backend: Option<u64>,
    pub(super) retries: u16,
    pub(super) trace: Option<Trace>,
    pub(super) client: IpAddr,
    /// None for a TCP connection.
    pub(super) head: Option<Box<Head>>,
}

/// The line's fields in their order.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    workload: &'a str,
    protocol: &'static str,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    outcome: &'static str,
    bytes_in: u64,
    bytes_out: u64,
    waited_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_ms: Option<f64>,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<u64>,
    retries: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<&'a str, String>,
}

impl Entry {
    /// Appends the line; `over` is when the request was.
    pub(super) fn append_to(&self, buffer: &mut Vec<u8>, over: SystemTime) {
        let observer = &self.observer;
        let head = self.head.as_deref();
        let endpoint = observer.spec.endpoints.get(self.endpoint).filter(|_| head.is_some());
        let wants_path = endpoint.is_none() || observer.spec.access_log.as_ref().is_some_and(|log| log.paths);
        let began = over.checked_sub(self.total).unwrap_or(over);
        let line = Line {
            time: humantime::format_rfc3339_millis(began).to_string(),
            workload: &observer.workload,
            protocol: head.map_or("TCP", |head| name_of(head.version)),
            client: self.client,
            method: head.map(|head| cut(head.method.as_str(), METHOD_MAX)),
            endpoint: endpoint.map(|template| template.as_str()),
            path: head.filter(|_| wants_path).map(|head| cut(head.uri.path(), PATH_MAX)),
            status: (self.status != 0).then_some(self.status),
            outcome: match self.end {
                End::Completed => "completed",
                End::Failed => "failed",
                End::Cancelled => "cancelled",
            },
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            waited_ms: ms(self.waited),
            head_ms: self.head_after.map(ms),
            total_ms: ms(self.total),
            instance: self.backend,
            retries: self.retries,
            trace_id: self.trace.map(|trace| format!("{:032x}", trace.id)),
            fields: self.fields(),
        };
        let before = buffer.len();
        match serde_json::to_writer(&mut *buffer, &line) {
            Ok(()) => buffer.push(b'\n'),
            Err(_) => buffer.truncate(before),
        }
    }

    fn fields(&self) -> BTreeMap<&str, String> {
        let found = self.head.as_deref().map(|head| head.fields.as_slice()).unwrap_or_default();
        let named = self.observer.fields.iter().zip(found);
        let fields = named.filter_map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_ref()?.as_bytes());
            let mut text = text.as_ref();
            if *name == REFERER {
                // It is an address with a query of its own.
                text = text.split(['?', '#']).next().unwrap_or_default();
            }
            Some((name.as_str(), cut(text, FIELD_MAX).to_owned()))
        });
        fields.collect()
    }
}

fn name_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// To the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// The beginning, in whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

const METHOD_MAX: usize = 32;
const PATH_MAX: usize = 1024;
const FIELD_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{AccessLogSpec, Observation};

    fn line(observation: &Observation, request: http::request::Builder) -> String {
        let observer = RouteObserver::renewed(None, "web", observation, 1).expect("wanted");
        let parts = request.body(()).expect("sound").into_parts().0;
        let entry = Entry {
            endpoint: observer.endpoint_of(&parts.method, parts.uri.path()),
            head: Some(Box::new(Head::of(&observer, &parts, Version::HTTP_2))),
            observer,
            total: Duration::from_micros(1_500_250),
            head_after: Some(Duration::from_millis(7)),
            waited: Duration::ZERO,
            status: 200,
            end: End::Completed,
            bytes_in: 0,
            bytes_out: 9,
            backend: Some(3),
            retries: 0,
            trace: Some(Trace { id: 0xab, is_sampled: true }),
            client: "::1".parse().expect("an address"),
        };
        let mut buffer = Vec::new();
        entry.append_to(&mut buffer, SystemTime::UNIX_EPOCH + Duration::from_secs(2));
        String::from_utf8(buffer).expect("text")
    }

    fn observation() -> Observation {
        let mut log = AccessLogSpec::new("/log");
        log.fields = vec!["user-agent".into(), "referer".into(), "x-none".into()];
        Observation {
            endpoints: vec!["GET /items/{id}".parse().expect("a template")],
            access_log: Some(log),
            tracing: None,
        }
    }

    #[test]
    fn a_line_says_what_happened_and_no_secret() {
        let request = http::Request::get("/items/7?token=secret")
            .header("cookie", "secret")
            .header("authorization", "secret")
            .header("referer", "https://a/b?secret")
            .header("user-agent", "a\"b\tc");
        let line = line(&observation(), request);
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.499Z","workload":"web","protocol":"HTTP/2","client":"::1","#,
            r#""method":"GET","endpoint":"GET /items/{id}","status":200,"outcome":"completed","bytes_in":0,"#,
            r#""bytes_out":9,"waited_ms":0.0,"head_ms":7.0,"total_ms":1500.25,"instance":3,"retries":0,"#,
            r#""trace_id":"000000000000000000000000000000ab","#,
            r#""fields":{"referer":"https://a/b","user-agent":"a\"b\tc"}}"#,
        );
        assert_eq!(line, format!("{expected}\n"));
    }

    #[test]
    fn what_clients_send_cannot_end_a_line_or_make_it_long() {
        let bytes: Vec<u8> =
            (0x20..=0xff_u8).filter(|byte| *byte != 0x7f).chain([b'\t']).cycle().take(9000).collect();
        let value = HeaderValue::from_bytes(&bytes).expect("a field may have these");
        let path = format!("/{}", "x\u{e9}".repeat(3000));
        let Ok(uri) = path.parse::<Uri>() else { panic!("hyper takes such paths") };
        let line = line(&observation(), http::Request::put(uri).header("user-agent", value));
        assert!(line.len() < 4000 && line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert!(read["path"].as_str().is_some_and(|path| path.starts_with("/x\u{e9}x")), "{read}");
    }
}
