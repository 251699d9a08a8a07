//! A request that is to be placed by its cost: what it needs, and its turn.

use std::sync::Arc;
use std::time::Duration;

use http::Request;

use super::costs::{Prediction, RouteCosts};
use super::facts::Facts;
use super::ledger::{Need, capacity};
use super::read_ahead::read_ahead;
use crate::body::{BodyError, RequestBody};
use crate::view::ShardRoute;

/// What a request needs.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) facts: Facts,
    pub(crate) prediction: Prediction,
    /// What an instance has.
    pub(crate) capacity: Need,
}

/// Looks at a request and predicts what it will cost. None where the route does not want to know.
///
/// # Errors
/// When the part of its body that has to be looked at does not arrive.
pub(crate) async fn claim(
    route: &ShardRoute,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Option<Box<Claim>>, BodyError> {
    let (Some(admission), Some(costs)) = (&route.spec.admission, &route.costs) else { return Ok(None) };
    let Some(taken) = request.take() else { return Ok(None) };
    let (parts, mut body) = taken.into_parts();
    let read = if admission.reads_body() {
        read_ahead(&mut body, admission.body_bytes_max).await?
    } else {
        Vec::new()
    };
    let facts = Facts::of(admission, &parts, &read);
    *request = Some(Request::from_parts(parts, body));
    let prediction = costs.predict(admission, &facts);
    Ok(Some(Box::new(Claim { facts, prediction, capacity: capacity(admission) })))
}

impl Claim {
    /// What it takes of an empty instance, of the cost that it takes most of.
    pub(crate) fn share(&self) -> f64 {
        let costs = self.prediction.need.iter().zip(&self.capacity).filter(|(_, capacity)| **capacity > 0);
        costs.map(|(need, capacity)| *need as f64 / *capacity as f64).fold(0.0, f64::max)
    }

    /// How long its class waits, if that differs from others.
    pub(crate) fn deadline(&self, route: &ShardRoute) -> Option<Duration> {
        let classes = &route.spec.admission.as_ref()?.priority.classes;
        classes.get(usize::from(self.facts.class))?.deadline
    }
}

/// What a waiting request adds to the queue; taken off when dropped.
#[derive(Debug)]
pub(crate) struct Queued {
    costs: Arc<RouteCosts>,
    class: u8,
    need: Need,
}

impl Queued {
    pub(crate) fn join(costs: &Arc<RouteCosts>, claim: &Claim) -> Queued {
        costs.join_queue(claim.facts.class, &claim.prediction.need);
        Queued { costs: Arc::clone(costs), class: claim.facts.class, need: claim.prediction.need }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.costs.leave_queue(self.class, &self.need);
    }
}
