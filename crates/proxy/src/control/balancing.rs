//! The part of a route that says which backend a request goes to, and when one is left out for its answers.

use std::time::Duration;

use balance::SecretKey;
use serde::{Deserialize, Serialize};

use super::table::TableProblem;

/// How requests are spread over a route's backends. The default is what the proxy does unasked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancing {
    /// How a backend is chosen.
    pub policy: PolicySpec,
    /// A backend that is new in the table, or back from an ejection or a bad health, gets its weight step by step within this
    /// time. Default zero: all of it at once.
    pub slow_start: Duration,
    /// Requests of one client stay on one backend. Default none.
    pub sticky: Option<StickySpec>,
    /// Backends that do much worse than the others are left out for a while. Default none: only those that fail several
    /// requests in a row.
    pub outliers: Option<OutlierSpec>,
    /// How many failed attempts are repeated elsewhere.
    pub retries: RetrySpec,
}

/// How a backend is chosen. Weights are heeded by all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicySpec {
    /// The better of two drawn ones, by latency and requests in flight.
    #[default]
    P2c,
    /// One after the other.
    RoundRobin,
    /// The fewest requests in flight.
    LeastConnections,
    /// Requests with the same key to the same backend, unless that has too many; without the key as [`PolicySpec::P2c`].
    Hash {
        /// Where the key is.
        key: KeySource,
        /// The most requests in flight that a backend may have, in per cent of its share. At least 101; 125 is usual. More
        /// keeps keys at home, less keeps loads even.
        load_percent: u32,
    },
    /// The least predicted work.
    LeastWork {
        /// The request header that names the work in a request, a number in any unit. A request without it is taken for a
        /// usual one. None: all are.
        header: Option<String>,
    },
}

/// Where the key of a request is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySource {
    /// A header.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// The path, without the query.
    Path,
    /// The address of the client's connection.
    Address,
}

/// A cookie that says which backend a client is at home on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StickySpec {
    /// The cookie's name.
    pub cookie: String,
    /// How long clients keep it, from when it was set.
    pub lasts: Duration,
    /// What makes its values unreadable; the same in every table, or clients lose their homes. Never printed.
    pub secret: [u8; 16],
}

/// When a backend is left out because it does so much worse than the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlierSpec {
    /// Length of a window, at whose end backends are compared. Default 10 s. Shorter reacts sooner, on fewer requests.
    pub interval: Duration,
    /// Requests that a backend must have ended in a window to be judged. Default 20.
    pub requests_min: u64,
    /// How many per cent more of its requests than of all others' must fail. Default 20. A smaller difference than chance
    /// explains never counts.
    pub error_percent: u32,
    /// How much slower than the others' its mean latency must be, in per cent of theirs. Default none: latency does not matter.
    pub latency_percent: Option<u32>,
    /// At most one in so many backends is left out, those counted that are out for other reasons. Default 3: of two backends
    /// none, of three one.
    pub one_in: u32,
    /// How long it is left out the first time; each further time without a good window in between it is twice as
    /// long, up to ten times. Default 30 s.
    pub lasts: Duration,
}

impl Default for OutlierSpec {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            requests_min: 20,
            error_percent: 20,
            latency_percent: None,
            one_in: 3,
            lasts: Duration::from_secs(30),
        }
    }
}

/// How many failed attempts are repeated elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrySpec {
    /// Retries per hundred requests. Default 20. More hides more failures and multiplies an outage by more.
    pub percent: u32,
    /// Retries per second that even an idle route affords, on each of the proxy's threads. Default 10.
    pub per_second_min: u32,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { percent: 20, per_second_min: 10 }
    }
}

impl PolicySpec {
    /// The policy in `balance`'s words.
    pub(crate) fn policy(&self) -> balance::Policy {
        match self {
            Self::P2c => balance::Policy::P2c,
            Self::RoundRobin => balance::Policy::RoundRobin,
            Self::LeastConnections => balance::Policy::LeastConnections,
            Self::Hash { load_percent, .. } => {
                balance::Policy::Hash { load_factor: f64::from(*load_percent) / 100.0 }
            }
            Self::LeastWork { .. } => balance::Policy::LeastWork,
        }
    }
}

impl StickySpec {
    /// What stands in the cookie for a backend.
    pub(crate) fn token(&self, id: u64, addr: std::net::SocketAddr) -> u64 {
        let mut text = id.to_string();
        text.push(' ');
        text.push_str(&addr.to_string());
        SecretKey::new(self.secret).hash(text.as_bytes())
    }
}

impl std::fmt::Debug for StickySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StickySpec")
            .field("cookie", &self.cookie)
            .field("lasts", &self.lasts)
            .finish_non_exhaustive()
    }
}

impl OutlierSpec {
    /// The same in `balance`'s words.
    pub(crate) fn policy(&self) -> balance::OutlierPolicy {
        let share = |percent: u32| f64::from(percent) / 100.0;
        balance::OutlierPolicy {
            requests_min: self.requests_min,
            error_margin: share(self.error_percent),
            latency_factor: self.latency_percent.map(share),
            one_in: usize::try_from(self.one_in).unwrap_or(usize::MAX),
        }
    }
}

impl Balancing {
    /// Every reason why it cannot be applied.
    pub(super) fn problems(&self, workload: &str, problems: &mut Vec<TableProblem>) {
        let mut report =
            |rule| problems.push(TableProblem::Balancing { workload: workload.to_owned(), rule });
        match &self.policy {
            PolicySpec::Hash { load_percent, .. } if !(101..=10_000).contains(load_percent) => {
                report("the load of hashing must be from 101 to 10000 per cent");
            }
            PolicySpec::Hash { key: KeySource::Header(name), .. }
            | PolicySpec::LeastWork { header: Some(name) }
                if http::HeaderName::try_from(name.as_str()).is_err() =>
            {
                report("the header's name is not one");
            }
            PolicySpec::Hash { key: KeySource::Cookie(name), .. } if !is_cookie_name(name) => {
                report("the cookie's name is not one");
            }
            PolicySpec::P2c
            | PolicySpec::RoundRobin
            | PolicySpec::LeastConnections
            | PolicySpec::Hash { .. }
            | PolicySpec::LeastWork { .. } => {}
        }
        if self
            .sticky
            .as_ref()
            .is_some_and(|sticky| !is_cookie_name(&sticky.cookie) || sticky.lasts.is_zero())
        {
            report("the sticky cookie needs a name and a time");
        }
        if let Some(outliers) = &self.outliers {
            if outliers.interval < INTERVAL_MIN || outliers.lasts.is_zero() {
                report("outliers need an interval of at least 100 ms and a time to be left out");
            }
            if outliers.one_in == 0 || outliers.error_percent > 100 {
                report("at most one in one can be left out, for at most 100 per cent more errors");
            }
            if outliers.latency_percent.is_some_and(|percent| percent <= 100) {
                report("a latency outlier is slower than the others: above 100 per cent");
            }
        }
        if self.retries.percent > 100 {
            report("retries are at most 100 per cent of the requests");
        }
    }
}

/// A token of RFC 9110 section 5.6.2, as RFC 6265 wants it.
fn is_cookie_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_allowed)
}

const INTERVAL_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_and_the_secret_is_not_shown() {
        let sticky = StickySpec { cookie: "bad name".into(), lasts: Duration::from_secs(1), secret: [7; 16] };
        assert!(!format!("{sticky:?}").contains('7'));
        let balancing = Balancing {
            policy: PolicySpec::Hash { key: KeySource::Path, load_percent: 100 },
            sticky: Some(sticky),
            outliers: Some(OutlierSpec { latency_percent: Some(90), ..OutlierSpec::default() }),
            retries: RetrySpec { percent: 101, per_second_min: 0 },
            ..Balancing::default()
        };
        let mut problems = Vec::new();
        balancing.problems("web", &mut problems);
        assert_eq!(problems.len(), 4, "{problems:?}");
        problems.clear();
        Balancing::default().problems("web", &mut problems);
        assert!(problems.is_empty());
    }
}
