//! Which backend a request goes to: the route's policy over what this shard knows, and a sticky client's home before it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use balance::{Ask, SCAN_MAX, Targets, Totals};

use crate::admission::Charge;
use crate::state::Slot;
use crate::view::{DECAY, ShardBackend, ShardRoute};
use crate::wish::Wish;

/// A chosen backend.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) backend: Rc<ShardBackend>,
    pub(crate) slot: Option<Slot>,
    /// Predicted work, counted on the backend until the response has ended: see [`Choice::units`].
    pub(crate) work: u64,
    /// What it has reserved, where the route admits requests by cost.
    pub(crate) charge: Option<Rc<Charge>>,
}

impl Choice {
    /// Predicted work in whole millionths, so that what is added is exactly what is taken away.
    pub(crate) fn units(work: f32) -> u64 {
        (f64::from(work) * UNITS) as u64
    }
}

impl ShardRoute {
    /// Picks a backend by the route's policy, those in `avoid` only when there is no other.
    pub(crate) fn choose(
        &self,
        now: Instant,
        avoid: &[u64],
        wish: Option<&Wish>,
        mut random: impl FnMut() -> u64,
    ) -> Option<Choice> {
        let ask = wish.map_or(Ask::default(), |wish| wish.ask);
        if let Some(token) = wish.and_then(|wish| wish.home)
            && let Some(choice) = self.go_home(now, token, avoid, ask)
        {
            return Some(choice);
        }
        let choice = self.choose_among(now, avoid, ask, &mut random);
        if choice.is_none() && !avoid.is_empty() {
            self.choose_among(now, &[], ask, &mut random)
        } else {
            choice
        }
    }

    fn choose_among(
        &self,
        now: Instant,
        avoid: &[u64],
        ask: Ask,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Choice> {
        let mut seen = self.seen(now, avoid);
        // Another shard may take the last slot between choosing and taking; then there is one backend less to look at.
        for _ in 0..=self.backends.len() {
            let index = self.dispatcher.pick(ask, &mut seen, &mut *random)?;
            if let Some(choice) = self.take(index, ask) {
                return Some(choice);
            }
        }
        None
    }

    /// The backend that the client's cookie names, if it may have the request.
    fn go_home(&self, now: Instant, token: u64, avoid: &[u64], ask: Ask) -> Option<Choice> {
        let index = self.home(token)?;
        if self.seen(now, avoid).is_usable(index) { self.take(index, ask) } else { None }
    }

    /// The backend that a sticky client's token stands for.
    pub(crate) fn home(&self, token: u64) -> Option<usize> {
        let place = self.homes.binary_search_by_key(&token, |&(token, _)| token).ok()?;
        Some(self.homes[place].1)
    }

    /// Requests at once per backend; 0: as many as come.
    fn slots(&self) -> u32 {
        match &self.spec.shedding {
            None => self.spec.max_in_flight,
            Some(shedding) => self.state.shed.limit().unwrap_or(shedding.limit_max),
        }
    }

    fn take(&self, index: usize, ask: Ask) -> Option<Choice> {
        let backend = &self.backends[index];
        let slot = match self.slots() {
            0 => None,
            limit => Some(Slot::take(&backend.state, &self.state, self.process(), limit)?),
        };
        Some(Choice { backend: Rc::clone(backend), slot, work: Choice::units(ask.work), charge: None })
    }

    fn seen<'a>(&'a self, now: Instant, avoid: &'a [u64]) -> Seen<'a> {
        Seen {
            route: self,
            elapsed: self.process().elapsed(now),
            baseline_s: self.baseline_s(),
            limit: self.slots(),
            slow_start: self.spec.balancing.slow_start,
            avoid,
        }
    }

    /// Sums over the usable backends, looked up one by one.
    pub(crate) fn totals(&self, now: Instant) -> Totals {
        self.dispatcher.exact_totals(&mut self.seen(now, &[]))
    }
}

/// The backends as one request finds them.
struct Seen<'a> {
    route: &'a ShardRoute,
    elapsed: Duration,
    baseline_s: f64,
    limit: u32,
    slow_start: Duration,
    avoid: &'a [u64],
}

impl Targets for Seen<'_> {
    fn is_usable(&mut self, index: usize) -> bool {
        let state = &self.route.backends[index].state;
        state.is_usable(self.elapsed)
            && (self.limit == 0 || state.has_slot(self.limit))
            && !self.avoid.contains(&state.id)
    }

    fn in_flight(&mut self, index: usize) -> u32 {
        self.route.backends[index].state.in_flight()
    }

    fn latency_s(&mut self, index: usize) -> f64 {
        self.route.backends[index].latency_s(self.elapsed, self.baseline_s, DECAY)
    }

    fn baseline_s(&self) -> f64 {
        self.baseline_s
    }

    fn work(&mut self, index: usize) -> f64 {
        self.route.backends[index].state.work() as f64 / UNITS
    }

    /// Of many backends the weight is that of the last sweep, and requests are counted by the route: those on backends that
    /// have left the table meanwhile are among them, which widens the bounds a little.
    fn totals(&mut self) -> Totals {
        if self.route.backends.len() <= SCAN_MAX {
            return self.route.dispatcher.exact_totals(self);
        }
        let draining = self.route.draining.iter().map(|&index| self.route.backends[index].state.in_flight());
        let draining = draining.map(u64::from).sum();
        let in_flight = self.route.state.in_flight();
        let waiting = self.route.state.waiting.occupied() as u64;
        Totals {
            weight: self.route.usable_weight(),
            in_flight: in_flight.saturating_sub(waiting).saturating_sub(draining),
        }
    }

    fn is_ramping(&self) -> bool {
        !self.slow_start.is_zero()
    }

    fn ramp(&mut self, index: usize) -> f64 {
        if self.slow_start.is_zero() {
            return 1.0;
        }
        let since = self.route.backends[index].state.since();
        since.map_or(1.0, |since| balance::ramp(self.elapsed.saturating_sub(since), self.slow_start))
    }
}

/// Units of predicted work in one.
const UNITS: f64 = 1e6;
