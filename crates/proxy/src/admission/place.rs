//! Placing a request whose need is known: at a sticky client's home if there is room, else on the instance that is least full
//! afterwards.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::charge::Charge;
use super::claim::Claim;
use crate::choice::Choice;
use crate::state::Slot;
use crate::view::ShardRoute;
use crate::wish::Wish;

impl ShardRoute {
    /// Reserves what the request needs on a usable backend, those to avoid only when there is no other. None when nobody
    /// has that much left.
    pub(crate) fn place(
        &self,
        now: Instant,
        (avoid, wish): (&[u64], Option<&Wish>),
        claim: &Claim,
        waited: Duration,
    ) -> Option<Choice> {
        let home = wish.and_then(|wish| wish.home).and_then(|token| self.home(token));
        let choice = self.place_among(now, (avoid, home), claim, waited);
        if choice.is_none() && !avoid.is_empty() {
            self.place_among(now, (&[], home), claim, waited)
        } else {
            choice
        }
    }

    fn place_among(
        &self,
        now: Instant,
        (avoid, home): (&[u64], Option<usize>),
        claim: &Claim,
        waited: Duration,
    ) -> Option<Choice> {
        let is_open = |index: &usize| self.is_open(*index, now, avoid, claim);
        // Another shard may reserve between choosing and reserving; then there is one backend less to look at.
        for _ in 0..=self.backends.len() {
            let index = home.filter(is_open).or_else(|| self.emptiest(is_open, claim))?;
            if let Some(choice) = self.reserve(index, claim, (now, waited)) {
                return Some(choice);
            }
        }
        None
    }

    fn reserve(&self, index: usize, claim: &Claim, times: (Instant, Duration)) -> Option<Choice> {
        let backend = &self.backends[index];
        let slot = match self.spec.max_in_flight {
            0 => None,
            limit => Some(Slot::take(&backend.state, &self.state, self.process(), limit)?),
        };
        if !backend.state.ledger.reserve(&claim.prediction.need, &claim.capacity) {
            return None;
        }
        let of = (&backend.state, &self.state, &self.spec);
        let charge = Rc::new(Charge::new(claim, of, self.costs.as_ref()?, self.process(), times));
        Some(Choice { backend: Rc::clone(backend), slot, work: 0, charge: Some(charge) })
    }

    fn emptiest(&self, is_open: impl Fn(&usize) -> bool, claim: &Claim) -> Option<usize> {
        let share = claim.share();
        let weights = self.dispatcher.weights();
        // An instance that has not its full share of traffic yet is filled only as far.
        let load = |index: usize| {
            (self.backends[index].state.ledger.load(&claim.capacity) + share)
                / weights.weight(index).max(1) as f64
        };
        let open = (0..self.backends.len()).filter(is_open).map(|index| (index, load(index)));
        open.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }

    fn is_open(&self, index: usize, now: Instant, avoid: &[u64], claim: &Claim) -> bool {
        let state = &self.backends[index].state;
        state.is_usable(self.process().elapsed(now))
            && (self.spec.max_in_flight == 0 || state.has_slot(self.spec.max_in_flight))
            && !avoid.contains(&state.id)
            && state.ledger.fits(&claim.prediction.need, &claim.capacity)
    }

    /// Whether a newcomer must wait although there may be room: others came before it.
    pub(crate) fn must_queue(&self, claim: &Claim) -> bool {
        self.state.waiting.is_before(claim.facts.class)
    }

    /// How long it will be until its turn comes, where that is known to be longer than `patience`: then it is better told now.
    pub(crate) fn hopeless(&self, claim: &Claim, patience: Duration) -> Option<Duration> {
        let costs = self.costs.as_ref()?;
        let wait_s = costs.wait_s(&costs.waiting_ahead(claim.facts.class));
        if wait_s <= patience.as_secs_f64() {
            return None;
        }
        costs.is_hopeless();
        Some(Duration::try_from_secs_f64(wait_s).unwrap_or(Duration::MAX))
    }
}
