//! What one request has reserved, from its placing to its end.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    /// What it is thought to take in all: what was predicted, and more once it has taken that.
    total: Cell<Need>,
    /// What is reserved now.
    held: Cell<Need>,
    /// It has taken more than was predicted.
    has_outgrown: Cell<bool>,
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
            total: Cell::new(claim.prediction.need),
            held: Cell::new(claim.prediction.need),
            has_outgrown: Cell::new(false),
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

    /// Brings what is reserved up to date. A request that has taken more than was reserved gets twice as much each time, so
    /// that nothing else is placed where it is not there; of work that is done, what was reserved for it is given back.
    pub(crate) fn adjust(&self, now: Instant) {
        let measured = self.measured(now);
        let (mut total, mut held) = (self.total.get(), self.held.get());
        let (mut has_grown, mut gave_back) = (false, false);
        let costs = self.admission().into_iter().flat_map(|admission| admission.costs.iter());
        for (index, cost) in costs.enumerate() {
            let taken = Amount::from_f64(measured[index]).micros();
            if taken > total[index] {
                total[index] = taken.max(total[index].saturating_mul(2));
                has_grown = true;
            }
            let is_known = !measured[index].is_nan();
            let wanted = match &cost.measure {
                Measure::Header(_) if cost.is_spent && is_known => taken,
                // It may always take a little more than it was thought to.
                Measure::Duration | Measure::ResponseBytes if cost.is_spent => {
                    (total[index] - taken).max(total[index] / STILL_POSSIBLE)
                }
                _ => total[index],
            };
            self.backend.ledger.change(index, held[index], wanted);
            gave_back |= wanted < held[index];
            held[index] = wanted;
        }
        self.total.set(total);
        self.held.set(held);
        if has_grown {
            self.costs.outgrew();
            if !self.has_outgrown.replace(true) {
                self.backend.outgrown.fetch_add(1, Ordering::Relaxed);
            }
        }
        if gave_back {
            self.route.waiting.nudge();
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
        if self.has_outgrown.get() {
            self.backend.outgrown.fetch_sub(1, Ordering::Relaxed);
        }
        self.costs.released(&self.prediction.need);
        self.route.waiting.nudge();
    }
}

/// Of what a request is thought to take in all, this part is held to its end.
const STILL_POSSIBLE: u64 = 10;
