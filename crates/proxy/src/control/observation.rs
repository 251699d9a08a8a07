//! What is told of a route's requests, as the route table says it: counts by endpoint, an access log, trace context.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::admission::Template;
use super::protocols::Protocol;

/// A route's part of it. Default: nothing, and trace context passes through as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Kinds of requests that are counted apart, the first that fits; at most [`ENDPOINTS_MAX`]. What fits none is counted
    /// together as [`OTHER_ENDPOINT`]. Empty: requests are not told apart.
    pub endpoints: Vec<Template>,
    /// Where requests are written down, and which.
    pub access_log: Option<AccessLogSpec>,
    /// Whether trace context is looked after.
    pub tracing: Option<TracingSpec>,
}

/// Which requests are written down, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogSpec {
    /// The file. Several routes may write to one.
    pub path: PathBuf,
    /// Share of all requests, in parts per million, chosen by chance.
    pub sample_ppm: u32,
    /// All that took longer than this to the last byte of the response, too; of TCP connections and upgraded ones, to their
    /// beginning.
    pub slower_than: Option<Duration>,
    /// All that failed, too: answered with 5xx, or broken off.
    pub errors: bool,
    /// The path is written even where an endpoint fits, which is else enough. The query never is.
    pub paths: bool,
    /// Fields of the request that are written; lower case. At most [`LOG_FIELDS_MAX`], and none of [`SECRET_FIELDS`].
    pub fields: Vec<String>,
    /// At this size the file is renamed to end in `.1`, in place of the one before, and a new one is begun.
    pub bytes_max: u64,
}

impl AccessLogSpec {
    /// One in a hundred requests, those that fail and those that take longer than a second, in up to 64 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sample_ppm: SHARE_WHOLE / 100,
            slower_than: Some(Duration::from_secs(1)),
            errors: true,
            paths: false,
            fields: Vec::new(),
            bytes_max: 64 << 20,
        }
    }
}

/// A request without trace context (W3C Trace Context, `traceparent`), or with a broken one, gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracingSpec {
    /// Share of the new ones that say that they are sampled, in parts per million. Chosen with the access log: of two shares
    /// the smaller is part of the larger.
    pub sample_ppm: u32,
}

impl Observation {
    /// Whether there is anything to do at all.
    pub fn is_wanted(&self) -> bool {
        !self.endpoints.is_empty() || self.access_log.is_some() || self.tracing.is_some()
    }

    /// Why it cannot be, each the rest of a sentence about the route.
    pub fn problems(&self, protocol: Protocol) -> Vec<String> {
        let mut problems = Vec::new();
        if self.endpoints.len() > ENDPOINTS_MAX {
            problems.push(format!("{} endpoints, at most {ENDPOINTS_MAX} are counted", self.endpoints.len()));
        }
        let texts = || self.endpoints.iter().map(Template::as_str);
        if let Some((_, twice)) = texts().enumerate().find(|(at, text)| texts().take(*at).any(|t| t == *text))
        {
            problems.push(format!("the endpoint `{twice}` is listed twice"));
        }
        if protocol == Protocol::Tcp && (!self.endpoints.is_empty() || self.tracing.is_some()) {
            problems.push("TCP connections have neither endpoints nor trace context".to_owned());
        }
        if self.tracing.is_some_and(|tracing| tracing.sample_ppm > SHARE_WHOLE) {
            problems.push("more than all requests cannot be sampled".to_owned());
        }
        problems.extend(self.access_log.iter().flat_map(AccessLogSpec::problems));
        problems
    }
}

impl AccessLogSpec {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.path.is_absolute() || self.path.file_name().is_none() {
            problems.push(format!("the access log's path `{}` is not absolute", self.path.display()));
        }
        if self.sample_ppm > SHARE_WHOLE {
            problems.push("more than all requests cannot be logged".to_owned());
        }
        if self.bytes_max < LOG_BYTES_MIN {
            problems.push(format!("an access log needs at least {LOG_BYTES_MIN} bytes"));
        }
        if self.fields.len() > LOG_FIELDS_MAX {
            problems.push(format!("at most {LOG_FIELDS_MAX} fields are logged"));
        }
        for field in &self.fields {
            let is_name = http::HeaderName::from_bytes(field.as_bytes()).is_ok_and(|n| n.as_str() == field);
            if !is_name || SECRET_FIELDS.contains(&field.as_str()) {
                problems.push(format!("the field {field:?} cannot be logged"));
            }
        }
        problems
    }
}

/// All requests, in parts per million.
pub const SHARE_WHOLE: u32 = 1_000_000;
/// Most endpoints of one route.
pub const ENDPOINTS_MAX: usize = 64;
/// What requests are counted under that fit no endpoint.
pub const OTHER_ENDPOINT: &str = "other";
/// Most fields of a request in an access log.
pub const LOG_FIELDS_MAX: usize = 16;
/// Fields that are never logged, whoever asks.
pub const SECRET_FIELDS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];
/// A smaller log would be renamed all the time.
pub const LOG_BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_or_must_not_be_is_refused() {
        let mut log = AccessLogSpec::new("log.json");
        log.fields = vec!["user-agent".into(), "Authorization".into(), "cookie".into()];
        (log.bytes_max, log.sample_ppm) = (1, SHARE_WHOLE + 1);
        let endpoint: Template = "/a/*".parse().expect("a template");
        let observation = Observation {
            endpoints: vec![endpoint.clone(), endpoint],
            access_log: Some(log),
            tracing: Some(TracingSpec { sample_ppm: SHARE_WHOLE + 1 }),
        };
        assert_eq!(observation.problems(Protocol::Http).len(), 7);
        assert_eq!(observation.problems(Protocol::Tcp).len(), 8);
        assert!(Observation::default().problems(Protocol::Tcp).is_empty());
    }
}
