//! What a route is to tell, and what it has told so far. Shared by all shards, replaced when the table asks for something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderName, Method};

use super::endpoint::Endpoint;
use crate::control::{Observation, WorkloadStats};

/// It.
#[derive(Debug)]
pub(crate) struct RouteObserver {
    pub(super) workload: String,
    pub(super) spec: Observation,
    /// As the specification's, then the others; empty where requests are not told apart.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Names of the fields to be logged.
    pub(super) fields: Vec<HeaderName>,
    pub(super) log: Arc<LogCounters>,
}

/// What became of a workload's lines.
#[derive(Debug, Default)]
pub(crate) struct LogCounters {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl RouteObserver {
    /// For a route as the newest table has it; what was counted `before` goes on where it is still asked for.
    pub(crate) fn renewed(
        before: Option<Arc<Self>>,
        workload: &str,
        spec: &Observation,
        shards: usize,
    ) -> Option<Arc<Self>> {
        if !spec.is_wanted() {
            return None;
        }
        if let Some(same) = before.as_ref().filter(|before| before.spec == *spec) {
            return Some(Arc::clone(same));
        }
        let known = |template: &Option<_>| {
            before.as_ref()?.endpoints.iter().find(|known| known.template == *template).cloned()
        };
        let templates = spec.endpoints.iter().cloned().map(Some);
        let others = (!spec.endpoints.is_empty()).then_some(None);
        let endpoints = templates
            .chain(others)
            .map(|template| known(&template).unwrap_or_else(|| Arc::new(Endpoint::new(template, shards))));
        let fields = spec.access_log.iter().flat_map(|log| &log.fields);
        Some(Arc::new(Self {
            workload: workload.to_owned(),
            endpoints: endpoints.collect(),
            fields: fields.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect(),
            log: before.as_ref().map(|before| Arc::clone(&before.log)).unwrap_or_default(),
            spec: spec.clone(),
        }))
    }

    /// The place of the endpoint that a request belongs to; meaningless where there are none.
    pub(super) fn endpoint_of(&self, method: &Method, path: &str) -> usize {
        let fits = |template: &crate::control::Template| template.fits(method, path);
        self.spec.endpoints.iter().position(fits).unwrap_or(self.spec.endpoints.len())
    }

    /// Adds to a reading of the workload's counters.
    pub(crate) fn tell(&self, stats: &mut WorkloadStats, now: Instant, at: u64) {
        stats.endpoints = self.endpoints.iter().map(|endpoint| endpoint.stats(now, at)).collect();
        stats.log_written = self.log.written.load(Ordering::Relaxed);
        stats.log_dropped = self.log.dropped.load(Ordering::Relaxed);
    }
}
