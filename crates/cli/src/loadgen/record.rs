//! What the client saw: one record per request, and the summaries made of them.
//!
//! Latency runs from the moment a request was *due*, not from the moment it was sent, so a stall of the server (or of the generator
//! itself) counts against every request that was due meanwhile: no coordinated omission.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::schedule::windows;

/// Latencies are kept up to this; requests time out far earlier.
const LATENCY_US_MAX: u64 = 600_000_000;

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A 2xx answer came.
    Answered,
    /// Another status, a broken connection, no connection, or no answer within the timeout.
    Failed,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// When it was due, from the start of the run.
    pub(crate) due: Duration,
    /// From then until the whole answer was there, or until it was given up.
    pub(crate) latency: Duration,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

/// Every request of one run, in the order they were due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    requests: Vec<Request>,
}

/// The totals of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Answered, but after the bound.
    pub(crate) late: u64,
    /// Of answered requests, milliseconds; `None` when there was none.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

/// One second (or other window) of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) late: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

impl Record {
    /// Puts the requests into the order they were due.
    pub(crate) fn new(mut requests: Vec<Request>) -> Record {
        requests.sort_by_key(|request| request.due);
        Record { requests }
    }

    /// All requests.
    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Totals against a latency bound.
    pub(crate) fn totals(&self, bound: Duration) -> Totals {
        let window = summarise(&self.requests, bound);
        Totals {
            requests: window.requests,
            failed: window.failed,
            late: window.late,
            p50_ms: window.p50_ms,
            p99_ms: window.p99_ms,
        }
    }

    /// The run in consecutive windows of `width`, by due time, up to `length`.
    pub(crate) fn windows(&self, length: Duration, width: Duration, bound: Duration) -> Vec<Window> {
        let count = windows(length, width);
        let mut rest = self.requests.as_slice();
        (1..=count)
            .map(|number| {
                let end = width.mul_f64(number as f64);
                let (inside, later) = rest.split_at(rest.partition_point(|request| request.due < end));
                rest = later;
                summarise(inside, bound)
            })
            .collect()
    }
}

fn summarise(requests: &[Request], bound: Duration) -> Window {
    let mut latencies =
        Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants");
    let mut window = Window { requests: requests.len() as u64, ..Window::default() };
    for request in requests {
        match request.outcome {
            Outcome::Failed => window.failed += 1,
            Outcome::Answered => {
                window.late += u64::from(request.latency > bound);
                latencies.saturating_record(request.latency.as_micros() as u64);
            }
        }
    }
    if !latencies.is_empty() {
        window.p50_ms = Some(latencies.value_at_quantile(0.50) as f64 / 1000.0);
        window.p99_ms = Some(latencies.value_at_quantile(0.99) as f64 / 1000.0);
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(due_ms: u64, latency_ms: u64, outcome: Outcome) -> Request {
        Request { due: Duration::from_millis(due_ms), latency: Duration::from_millis(latency_ms), outcome }
    }

    #[test]
    fn a_request_is_late_or_failed_but_never_both() {
        let record = Record::new(vec![
            request(0, 10, Outcome::Answered),
            request(1, 300, Outcome::Answered),
            request(2, 2000, Outcome::Failed),
            request(3, 250, Outcome::Answered),
        ]);
        let totals = record.totals(Duration::from_millis(250));
        assert_eq!((totals.requests, totals.failed, totals.late), (4, 1, 1));
    }

    #[test]
    fn windows_go_by_due_time_and_lose_nothing() {
        let record = Record::new(vec![
            request(999, 5000, Outcome::Answered),
            request(1000, 1, Outcome::Answered),
            request(0, 1, Outcome::Failed),
        ]);
        let windows =
            record.windows(Duration::from_secs(3), Duration::from_secs(1), Duration::from_millis(250));
        let counts: Vec<_> =
            windows.iter().map(|window| (window.requests, window.failed, window.late)).collect();
        assert_eq!(counts, vec![(2, 1, 1), (1, 0, 0), (0, 0, 0)]);
    }

    #[test]
    fn without_answers_there_are_no_percentiles() {
        let totals = Record::new(vec![request(0, 1, Outcome::Failed)]).totals(Duration::from_millis(1));
        assert_eq!((totals.p50_ms, totals.p99_ms), (None, None));
    }
}
