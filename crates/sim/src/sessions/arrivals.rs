//! Sessions that come: when, of which type, and for how long.

use std::time::Duration;

use forecast::Timestamp;

use crate::demand::Demand;
use crate::requests::ServiceTime;

/// One session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// When it comes.
    pub at: Timestamp,
    /// Its type, by its place in the policy.
    pub kind: usize,
    /// How long it lasts once it has a place.
    pub length: Duration,
}

/// Sessions of one type, as they come.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// How long they last.
    pub length: ServiceTime,
    /// What one takes of an instance's capacity.
    pub weight: f64,
}

/// Draws the sessions of each type between two moments, as Poisson processes with these rates per second. `rate_max` bounds
/// every rate.
pub(super) fn draw(
    kinds: &[Kind],
    between: (Timestamp, Timestamp),
    rate_max: f64,
    rate: impl Fn(usize, Timestamp) -> f64,
    seed: u64,
) -> Vec<Arrival> {
    let mut all = Vec::new();
    for (kind, of) in kinds.iter().enumerate() {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(kind as u64 * STREAM));
        let mut sampler = of.length.sampler();
        let mut after = 0.0;
        loop {
            // Thinning, Lewis and Shedler 1979.
            after -= (1.0 - rng.f64()).ln() / rate_max;
            let at = between.0 + Duration::from_secs_f64(after);
            if at >= between.1 {
                break;
            }
            if rng.f64() * rate_max < rate(kind, at) {
                all.push(Arrival { at, kind, length: Duration::from_nanos(sampler.draw(&mut rng)) });
            }
        }
    }
    all.sort_by_key(|arrival| (arrival.at, arrival.kind));
    all
}

/// The most of the capacity that is asked for at one time in each step, were there always room.
pub(super) fn offered(
    kinds: &[Kind],
    arrivals: &[Arrival],
    between: (Timestamp, Timestamp),
    step: Duration,
) -> Demand {
    let mut changes: Vec<(Timestamp, f64)> = Vec::with_capacity(2 * arrivals.len());
    for arrival in arrivals {
        let weight = kinds[arrival.kind].weight;
        changes.push((arrival.at, weight));
        changes.push((arrival.at + arrival.length, -weight));
    }
    changes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut changes = changes.into_iter().peekable();
    let (mut at, mut load, mut points) = (between.0, 0.0f64, Vec::new());
    while at < between.1 {
        let mut most = load;
        while let Some((_, change)) = changes.next_if(|(when, _)| *when < at + step) {
            load += change;
            most = most.max(load);
        }
        points.push((at, Some(most.max(0.0))));
        at = at + step;
    }
    Demand::from_points(&points, step).unwrap_or_else(|error| unreachable!("a made curve: {error}"))
}

/// Keeps the generators of the types apart.
const STREAM: u64 = 0x9E37_79B9_7F4A_7C15;
