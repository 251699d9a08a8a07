//! What is known of a request before it runs.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::Value;

use crate::control::{Admission, Endpoint, Priority, RequestSample, SOURCES_MAX, Source};

/// The parameters of a request, as its route wants them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// The template that fits, or the method.
    pub(crate) endpoint: Cow<'static, str>,
    /// Index into the route's classes: 0 is served first.
    pub(crate) class: u8,
    /// NaN where not known.
    pub(crate) numbers: [f64; SOURCES_MAX],
    /// Empty where not known.
    pub(crate) names: Vec<String>,
}

impl Facts {
    /// Takes what the route wants from a request; `body` holds its beginning, or all of it.
    pub(crate) fn of(admission: &Admission, parts: &Parts, body: &[u8]) -> Facts {
        let endpoint =
            admission.endpoints.iter().find(|known| known.template.fits(&parts.method, parts.uri.path()));
        let request = Taken { parts, endpoint, json: json(admission, &parts.headers, body) };
        let mut numbers = [f64::NAN; SOURCES_MAX];
        for (number, source) in numbers.iter_mut().zip(&admission.numbers) {
            *number = request.number(source).filter(|number| number.is_finite()).unwrap_or(f64::NAN);
        }
        let names = admission.names.iter().take(SOURCES_MAX);
        Facts {
            endpoint: match endpoint {
                Some(known) => Cow::Owned(known.template.as_str().to_owned()),
                None => Cow::Borrowed(method_name(&parts.method)),
            },
            class: class_of(&admission.priority, endpoint, &parts.headers),
            numbers,
            names: names.map(|source| cut(request.name(source).unwrap_or_default())).collect(),
        }
    }

    /// As they were kept.
    pub(crate) fn recalled(sample: &RequestSample) -> Facts {
        let mut numbers = [f64::NAN; SOURCES_MAX];
        for (number, kept) in numbers.iter_mut().zip(&sample.numbers) {
            *number = *kept;
        }
        Facts {
            endpoint: Cow::Owned(sample.endpoint.clone()),
            class: sample.class,
            numbers,
            names: sample.names.clone(),
        }
    }

    /// The names as the cost model takes them.
    pub(crate) fn names(&self) -> [&str; SOURCES_MAX] {
        let mut names = [""; SOURCES_MAX];
        for (name, known) in names.iter_mut().zip(&self.names) {
            *name = known;
        }
        names
    }
}

/// A request whose places can be looked at.
struct Taken<'a> {
    parts: &'a Parts,
    endpoint: Option<&'a Endpoint>,
    json: Option<Value>,
}

impl Taken<'_> {
    fn number(&self, source: &Source) -> Option<f64> {
        match source {
            Source::Length => header(&self.parts.headers, CONTENT_LENGTH.as_str())?.parse().ok(),
            Source::Json(pointer) => match self.json.as_ref()?.pointer(pointer)? {
                Value::Number(number) => number.as_f64(),
                Value::Bool(is_set) => Some(f64::from(u8::from(*is_set))),
                Value::String(text) => Some(text.parse().unwrap_or(text.len() as f64)),
                Value::Array(items) => Some(items.len() as f64),
                Value::Object(fields) => Some(fields.len() as f64),
                Value::Null => None,
            },
            Source::Method | Source::Path(_) | Source::Query(_) | Source::Header(_) => {
                self.name(source)?.trim().parse().ok()
            }
        }
    }

    fn name(&self, source: &Source) -> Option<Cow<'_, str>> {
        match source {
            Source::Method => Some(Cow::Borrowed(self.parts.method.as_str())),
            Source::Path(name) => {
                self.endpoint?.template.variable(name, self.parts.uri.path()).map(Cow::Borrowed)
            }
            Source::Query(name) => {
                let query = self.parts.uri.query()?;
                form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, v)| v)
            }
            Source::Header(name) => header(&self.parts.headers, name).map(Cow::Borrowed),
            Source::Length => header(&self.parts.headers, CONTENT_LENGTH.as_str()).map(Cow::Borrowed),
            Source::Json(pointer) => match self.json.as_ref()?.pointer(pointer)? {
                Value::String(text) => Some(Cow::Borrowed(text)),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(Cow::Owned(value.to_string())),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            },
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The body as JSON, if it is wanted and says that it is.
fn json(admission: &Admission, headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    if body.is_empty() || !admission.reads_body() || headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let kind = header(headers, CONTENT_TYPE.as_str())?.split(';').next()?.trim();
    let is_json =
        kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json");
    if is_json { serde_json::from_slice(body).ok() } else { None }
}

/// The class that an endpoint has, or that a request's field names, or that of those that name none.
pub(crate) fn class_of(priority: &Priority, endpoint: Option<&Endpoint>, headers: &HeaderMap) -> u8 {
    if let Some(class) = endpoint.and_then(|endpoint| endpoint.class) {
        return class;
    }
    let said = if priority.header.is_empty() { None } else { header(headers, &priority.header) };
    let found = said.and_then(|said| {
        priority.classes.iter().position(|class| class.name.eq_ignore_ascii_case(said.trim()))
    });
    found.and_then(|index| u8::try_from(index).ok()).unwrap_or(priority.default)
}

/// Methods that a client invents are one endpoint, or it could make as many as it likes.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The beginning of a name: what is kept and stored of each request is bounded.
fn cut(name: Cow<'_, str>) -> String {
    let end = name.char_indices().nth(NAME_CHARS_MAX).map_or(name.len(), |(end, _)| end);
    name[..end].to_owned()
}

const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::control::{Class, Priority};

    fn admission() -> Admission {
        let source = |text: &str| text.parse::<Source>().expect(text);
        let class = |name: &str| Class { name: name.into(), deadline: None };
        Admission {
            endpoints: vec![
                Endpoint { template: "POST /v1/{model}/chat".parse().expect("template"), class: None },
                Endpoint { template: "/pay/*".parse().expect("template"), class: Some(0) },
            ],
            numbers: vec![
                source("json:/max_tokens"),
                source("json:/messages"),
                source("length"),
                source("query:n"),
            ],
            names: vec![source("path:model"), source("json:/kind"), source("header:x-plan")],
            priority: Priority {
                header: "x-priority".into(),
                classes: vec![class("high"), class("normal"), class("low")],
                default: 1,
            },
            ..Admission::new()
        }
    }

    fn parts(request: http::request::Builder) -> Parts {
        request.body(()).expect("valid").into_parts().0
    }

    #[test]
    fn parameters_are_taken_from_where_the_route_says() {
        let body = br#"{"max_tokens": 200, "messages": [1, 2, 3], "kind": "long"}"#;
        let request = Request::post("/v1/large/chat?n=4&n=5")
            .header("content-type", "application/json; charset=utf-8")
            .header("content-length", body.len())
            .header("x-plan", "gold")
            .header("x-priority", "LOW");
        let facts = Facts::of(&admission(), &parts(request), body);
        assert_eq!(facts.endpoint, "POST /v1/{model}/chat");
        assert_eq!(facts.numbers[..4], [200.0, 3.0, body.len() as f64, 4.0]);
        assert_eq!(facts.names, ["large", "long", "gold"]);
        assert_eq!(facts.class, 2);
    }

    #[test]
    fn what_is_missing_or_unreadable_is_unknown_and_never_an_error() {
        let request = Request::get("/elsewhere?n=x").header("content-type", "application/json");
        let facts = Facts::of(&admission(), &parts(request), b"{ not json");
        assert_eq!(facts.endpoint, "GET");
        assert!(facts.numbers.iter().all(|number| number.is_nan()));
        assert_eq!(facts.names, ["", "", ""]);
        assert_eq!(facts.class, 1);
    }

    #[test]
    fn an_endpoint_s_class_counts_more_than_what_the_request_says() {
        let request = Request::get("/pay/now").header("x-priority", "low");
        assert_eq!(Facts::of(&admission(), &parts(request), b"").class, 0);
    }

    proptest! {
        #[test]
        fn no_body_and_no_query_panics(body in prop::collection::vec(any::<u8>(), 0..200), query in "[ -~]{0,40}") {
            let Ok(request) = Request::post(format!("/v1/a/chat?{query}"))
                .header("content-type", "application/json").body(()) else { return Ok(()) };
            Facts::of(&admission(), &request.into_parts().0, &body);
        }
    }
}
