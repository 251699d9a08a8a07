//! Placing a request whose need is known: on the instance that is least full afterwards.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::charge::Charge;
use super::claim::Claim;
use crate::state::Slot;
use crate::view::{Choice, ShardRoute};

impl ShardRoute {
    /// Reserves what the request needs on the usable backend with the most left, those in `avoid` only when there is no
    /// other. None when nobody has that much left.
    pub(crate) fn place(
        &self,
        now: Instant,
        avoid: &[u64],
        claim: &Claim,
        waited: Duration,
    ) -> Option<Choice> {
        let choice = self.place_among(now, avoid, claim, waited);
        if choice.is_none() && !avoid.is_empty() { self.place_among(now, &[], claim, waited) } else { choice }
    }

    fn place_among(&self, now: Instant, avoid: &[u64], claim: &Claim, waited: Duration) -> Option<Choice> {
        let costs = self.costs.as_ref()?;
        // Another shard may reserve between choosing and reserving; then there is one backend less to look at.
        for _ in 0..=self.backends.len() {
            let index = self.emptiest(now, avoid, claim)?;
            let backend = &self.backends[index];
            let slot = match self.spec.max_in_flight {
                0 => None,
                limit => match Slot::take(&backend.state, &self.state, self.process(), limit) {
                    Some(slot) => Some(slot),
                    None => continue,
                },
            };
            if !backend.state.ledger.reserve(&claim.prediction.need, &claim.capacity) {
                continue;
            }
            let of = (&backend.state, &self.state, &self.spec);
            let charge = Rc::new(Charge::new(claim, of, costs, self.process(), (now, waited)));
            return Some(Choice { backend: Rc::clone(backend), slot, charge: Some(charge) });
        }
        None
    }

    fn emptiest(&self, now: Instant, avoid: &[u64], claim: &Claim) -> Option<usize> {
        let elapsed = self.process().elapsed(now);
        let share = claim.share();
        let mut best: Option<(usize, f64)> = None;
        for (index, backend) in self.backends.iter().enumerate() {
            let state = &backend.state;
            let is_open = state.is_usable(elapsed)
                && (self.spec.max_in_flight == 0 || state.has_slot(self.spec.max_in_flight))
                && !avoid.contains(&state.id)
                && state.ledger.fits(&claim.prediction.need, &claim.capacity);
            if !is_open {
                continue;
            }
            // An instance that has not its full share of traffic yet is filled only as far.
            let load = (state.ledger.load(&claim.capacity) + share) / self.relative_weight(index);
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((index, load));
            }
        }
        best.map(|(index, _)| index)
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
