//! What one request has reserved, from its placing to its end.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::claim::Claim;
use super::costs::{Prediction, RouteCosts};
use super::facts::Facts;
use super::learner::Lesson;
use super::ledger::Need;
use crate::control::{Admission, Amount, COSTS_MAX, Measure, Route};
use crate::state::{BackendState, Process, RouteState};

/// A request's reservation on a backend; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    backend: Arc<BackendState>,
    route: Arc<RouteState>,
    spec: Arc<Route>,
    costs: Arc<RouteCosts>,
    process: Arc<Process>,
    facts: RefCell<Option<Facts>>,
    prediction: Prediction,
    /// What is reserved now: at least what was predicted.
    held: Cell<Need>,
    placed: Instant,
    waited: Duration,
    /// Numbers that the response's fields gave; NaN where none.
    told: Cell<[f64; COSTS_MAX]>,
    bytes: Cell<u64>,
}

impl Charge {
    /// For a request whose need has just been reserved on `backend`.
    pub(crate) fn new(
        claim: &Claim,
        (backend, route, spec): (&Arc<BackendState>, &Arc<RouteState>, &Arc<Route>),
        costs: &Arc<RouteCosts>,
        process: &Arc<Process>,
        (placed, waited): (Instant, Duration),
    ) -> Charge {
        Charge {
            backend: Arc::clone(backend),
            route: Arc::clone(route),
            spec: Arc::clone(spec),
            costs: Arc::clone(costs),
            process: Arc::clone(process),
            facts: RefCell::new(Some(claim.facts.clone())),
            prediction: claim.prediction,
            held: Cell::new(claim.prediction.need),
            placed,
            waited,
            told: Cell::new([f64::NAN; COSTS_MAX]),
            bytes: Cell::new(0),
        }
    }

    fn admission(&self) -> Option<&Admission> {
        self.spec.admission.as_ref()
    }

    /// Reads what the response's fields tell about its cost; trailers may tell it later.
    pub(crate) fn told(&self, headers: &HeaderMap) {
        let mut told = self.told.get();
        for (index, cost) in
            self.admission().into_iter().flat_map(|admission| admission.costs.iter()).enumerate()
        {
            if let Measure::Header(name) = &cost.measure {
                let number = headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                told[index] = number.filter(|number: &f64| *number >= 0.0).unwrap_or(told[index]);
            }
        }
        self.told.set(told);
    }

    /// Content of the response has passed.
    pub(crate) fn passed(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// What it has cost so far.
    fn measured(&self, now: Instant) -> [f64; COSTS_MAX] {
        let mut measured = self.told.get();
        for (index, cost) in
            self.admission().into_iter().flat_map(|admission| admission.costs.iter()).enumerate()
        {
            match cost.measure {
                Measure::One => measured[index] = 1.0,
                Measure::Duration => {
                    measured[index] = now.saturating_duration_since(self.placed).as_secs_f64();
                }
                Measure::ResponseBytes => measured[index] = self.bytes.get() as f64,
                Measure::Header(_) => {}
            }
        }
        measured
    }

    /// Reserves more for a request that has taken more than was reserved: twice as much each time, so that nothing else is
    /// placed where it is not there.
    pub(crate) fn grow(&self, now: Instant) {
        let measured = self.measured(now);
        let mut held = self.held.get();
        let mut has_grown = false;
        for (index, (held, measured)) in held.iter_mut().zip(measured).enumerate() {
            let taken = Amount::from_f64(measured).micros();
            if taken <= *held {
                continue;
            }
            let raised = taken.max(held.saturating_mul(2));
            self.backend.ledger.raise(index, raised - *held);
            *held = raised;
            has_grown = true;
        }
        if has_grown {
            self.held.set(held);
            self.costs.outgrew();
        }
    }

    /// The response was delivered: what it has cost is learned.
    pub(crate) fn delivered(&self, now: Instant) {
        let Some(facts) = self.facts.borrow_mut().take() else { return };
        if let Some(learner) = self.process.learner() {
            learner.teach(Lesson {
                costs: Arc::clone(&self.costs),
                facts,
                expected: self.prediction.expected,
                need: self.prediction.need,
                measured: self.measured(now),
                backend: self.backend.id,
                waited: self.waited,
            });
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.backend.ledger.release(&self.held.get());
        self.costs.released(&self.prediction.need);
        self.route.waiting.nudge();
    }
}
