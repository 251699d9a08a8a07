//! All policies behind one interface: which target gets a request.
//!
//! The caller describes its targets by [`Targets`] and the request by [`Ask`]; the dispatcher keeps what is prepared for a
//! policy. Everything is generic, so that each policy is compiled for its caller and one that needs little asks for little.

use std::cell::RefCell;
use std::sync::Arc;

use crate::hash::mix;
use crate::least::least;
use crate::{Ring, SmoothRoundRobin, Weights, p2c};

/// How targets are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Policy {
    /// Weighted power of two choices by latency and requests in flight: [`p2c`].
    #[default]
    P2c,
    /// In turn, by weight: [`SmoothRoundRobin`].
    RoundRobin,
    /// The fewest requests in flight per weight: [`least`].
    LeastConnections,
    /// By the request's key, with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): a key goes to its home on a
    /// [`Ring`], or where that has more than `load_factor` times its share of the requests in flight, to the next one that has
    /// not. Requests without a key go by [`Policy::P2c`].
    Hash {
        /// The most that a target may have, relative to its share; above 1.
        load_factor: f64,
    },
    /// The least predicted work per weight: [`least`].
    LeastWork,
}

/// What the policies ask about targets, by index.
pub trait Targets {
    /// Whether it may get a request now.
    fn is_usable(&mut self, index: usize) -> bool;
    /// Requests that it works on.
    fn in_flight(&mut self, index: usize) -> u32;
    /// Its estimated latency in seconds.
    fn latency_s(&mut self, index: usize) -> f64;
    /// The mean of the latencies, in seconds.
    fn baseline_s(&self) -> f64;
    /// The predicted work of the requests that it works on, in the unit of [`Ask::work`].
    fn work(&mut self, index: usize) -> f64;
    /// The weight of those that are usable, and the requests on them. It may be a moment old.
    fn totals(&mut self) -> Totals;

    /// Whether any [`Targets::ramp`] may be below 1.
    fn is_ramping(&self) -> bool {
        false
    }

    /// The part of its weight that it has now, above 0 and up to 1: see [`ramp`](crate::ramp).
    fn ramp(&mut self, _index: usize) -> f64 {
        1.0
    }
}

/// Sums over the usable targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Weight.
    pub weight: f64,
    /// Requests that they work on.
    pub in_flight: u64,
}

/// What the policies ask about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ask {
    /// The [`hash`](crate::hash) of what it is kept together by.
    pub key: Option<u64>,
    /// Its predicted work, in any unit that is the same for all requests.
    pub work: f32,
}

/// Targets prepared for a policy.
#[derive(Clone, Debug, Default)]
pub struct Dispatcher {
    weights: Weights,
    relative: Vec<f64>,
    state: State,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    P2c,
    RoundRobin(RefCell<SmoothRoundRobin>),
    LeastConnections,
    Hash(Arc<Ring>, f64),
    LeastWork,
}

impl Dispatcher {
    /// Prepares targets, given by id and weight.
    pub fn new(policy: Policy, targets: &[(u64, u32)]) -> Self {
        let ring = match policy {
            Policy::Hash { .. } => Arc::new(Ring::new(targets.iter().copied())),
            Policy::P2c | Policy::RoundRobin | Policy::LeastConnections | Policy::LeastWork => Arc::default(),
        };
        Self::with_ring(policy, targets.iter().map(|&(_, weight)| weight), ring)
    }

    /// Prepares targets with a ring that was made elsewhere of the same ones; without need of one it may be empty.
    pub fn with_ring(policy: Policy, weights: impl IntoIterator<Item = u32>, ring: Arc<Ring>) -> Self {
        let weights: Vec<u32> = weights.into_iter().collect();
        let state = match policy {
            Policy::P2c => State::P2c,
            Policy::RoundRobin => {
                State::RoundRobin(RefCell::new(SmoothRoundRobin::new(weights.iter().copied())))
            }
            Policy::LeastConnections => State::LeastConnections,
            Policy::Hash { load_factor } => State::Hash(ring, load_factor.max(LOAD_FACTOR_MIN)),
            Policy::LeastWork => State::LeastWork,
        };
        let weights = Weights::new(weights);
        Self { relative: weights.relatives(), weights, state }
    }

    /// The weights of the targets.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Chooses a target. None when no usable one has weight.
    pub fn pick(
        &self,
        ask: Ask,
        targets: &mut impl Targets,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let weights = &self.weights;
        match &self.state {
            State::P2c => self.two_choices(targets, &mut random),
            State::RoundRobin(rotation) => with_turns(targets.is_ramping(), &mut random, |turns, _| {
                rotation.borrow_mut().pick(|index| turns.has(index, targets))
            }),
            State::LeastConnections => least(weights, random, |index| {
                let in_flight = targets.is_usable(index).then(|| targets.in_flight(index))?;
                Some((f64::from(in_flight) + 1.0) / targets.ramp(index))
            }),
            State::LeastWork => least(weights, random, |index| {
                let work = targets.is_usable(index).then(|| targets.work(index))?;
                Some((work + f64::from(ask.work)) / targets.ramp(index))
            }),
            State::Hash(ring, load_factor) => match ask.key {
                Some(key) => self.bounded(ring, *load_factor, key, targets),
                None => self.two_choices(targets, &mut random),
            },
        }
    }

    fn two_choices(&self, targets: &mut impl Targets, random: &mut impl FnMut() -> u64) -> Option<usize> {
        let baseline = targets.baseline_s();
        if !targets.is_ramping() {
            return p2c::pick(&self.weights, random, |index| {
                targets.is_usable(index).then(|| {
                    let (latency, in_flight) = (targets.latency_s(index), targets.in_flight(index));
                    p2c::cost(latency, baseline, in_flight, self.relative[index])
                })
            });
        }
        with_turns(targets.is_ramping(), random, |turns, random| {
            p2c::pick(&self.weights, random, |index| {
                turns.has(index, targets).then(|| {
                    let (latency, in_flight) = (targets.latency_s(index), targets.in_flight(index));
                    p2c::cost(latency, baseline, in_flight, self.relative[index] * targets.ramp(index))
                })
            })
        })
    }

    /// The first target from the key on that is below its bound.
    fn bounded(&self, ring: &Ring, load_factor: f64, key: u64, targets: &mut impl Targets) -> Option<usize> {
        let totals = targets.totals();
        let mut last = None;
        for index in ring.from_key(key).take(POINTS_TRIED) {
            if last.replace(index) != Some(index) && self.has_room(index, load_factor, totals, targets) {
                return Some(index);
            }
        }
        // All but a few are full or out, or the totals are old: look at all, by exact totals.
        let totals = self.exact_totals(targets);
        if totals.weight == 0.0 {
            return None;
        }
        let within = ring.from_key(key).find(|&index| self.has_room(index, load_factor, totals, targets));
        within.or_else(|| ring.from_key(key).find(|&index| targets.is_usable(index)))
    }

    fn has_room(&self, index: usize, load_factor: f64, totals: Totals, targets: &mut impl Targets) -> bool {
        if !targets.is_usable(index) {
            return false;
        }
        let share = self.weights.weight(index) as f64 * targets.ramp(index) / totals.weight;
        let bound = (load_factor * (totals.in_flight + 1) as f64 * share).ceil();
        f64::from(targets.in_flight(index)) < bound
    }

    /// The totals, taken one target after the other.
    pub fn exact_totals(&self, targets: &mut impl Targets) -> Totals {
        let mut totals = Totals::default();
        for index in 0..self.weights.len() {
            let weight = self.weights.weight(index);
            if weight > 0 && targets.is_usable(index) {
                totals.weight += weight as f64 * targets.ramp(index);
                totals.in_flight += u64::from(targets.in_flight(index));
            }
        }
        totals
    }
}

/// Lets policies that draw leave out targets that have only part of their weight, as often as that part says.
#[derive(Clone, Copy)]
struct Turns(Option<u64>);

impl Turns {
    fn has(self, index: usize, targets: &mut impl Targets) -> bool {
        let drawn = self.0.is_none_or(|seed| unit(mix(seed ^ index as u64)) < targets.ramp(index));
        drawn && targets.is_usable(index)
    }
}

fn with_turns<R: FnMut() -> u64>(
    is_ramping: bool,
    random: &mut R,
    mut pick: impl FnMut(Turns, &mut R) -> Option<usize>,
) -> Option<usize> {
    let drawn = if is_ramping { Turns(Some(random())) } else { Turns(None) };
    let chosen = pick(drawn, random);
    // That all are ramping up is no reason to have nobody.
    if chosen.is_none() && is_ramping { pick(Turns(None), random) } else { chosen }
}

/// From 0 to 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// Less would leave no room for anybody.
const LOAD_FACTOR_MIN: f64 = 1.01;
/// Points of the ring that are tried before all targets are looked at.
const POINTS_TRIED: usize = 32;
