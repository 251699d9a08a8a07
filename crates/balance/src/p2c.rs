//! Weighted power of two choices.
//!
//! A first target is drawn by weight and kept unless a second one, drawn likewise, is clearly cheaper (Mitzenmacher's two
//! choices, with a preference for the first). The preference is what makes shares follow the weights: where costs are
//! about equal the first draw decides, and its distribution *is* the weights. Comparing strictly, as the
//! unweighted balancers do, would let noise in the latency of two idle targets decide, or send every request of an idle
//! pair to the heavier one. For the same reason a lighter target is offered as the second choice only as often as its
//! weight allows: an instance at a tenth of a full share must not get a fifth of the traffic because it is idle.

use crate::Weights;
use crate::weights::below;

/// Draws a target. `cost` is asked for at most a few indices and answers None for one that cannot be used now
/// (unhealthy, full, already tried); see [`cost`]. None when no usable target has any weight.
///
/// At most [`DRAWS`] pairs are looked at before all targets are scanned, so the usual pick does not depend on their number.
pub fn pick(
    weights: &Weights,
    mut random: impl FnMut() -> u64,
    mut cost: impl FnMut(usize) -> Option<f64>,
) -> Option<usize> {
    let (first, first_cost) = draw_usable(weights, &mut random, &mut cost)?;
    for _ in 0..DRAWS {
        let second = weights.draw(random())?;
        if second == first {
            continue;
        }
        let offered = weights.weight(second) >= weights.weight(first)
            || below(random(), weights.weight(first)) < weights.weight(second);
        let better = offered && cost(second).is_some_and(|second_cost| second_cost * TOLERANCE < first_cost);
        return Some(if better { second } else { first });
    }
    Some(first)
}

/// The cost of one more request: the estimated latency relative to the peers' mean (`baseline_s`), grown by the requests
/// that the target already works on in relation to its weight. `relative_weight` comes from [`Weights::relative`].
///
/// Latencies within a factor of [`ALIKE`] of the mean count as equal, and so do all below [`LATENCY_FLOOR_S`]: between like
/// targets the requests in flight, which are exact, should decide and not a scheduler's hiccup.
pub fn cost(latency_s: f64, baseline_s: f64, in_flight: u32, relative_weight: f64) -> f64 {
    let ratio = latency_s.max(LATENCY_FLOOR_S) / baseline_s.max(LATENCY_FLOOR_S);
    let ratio = if ratio > ALIKE { ratio / ALIKE } else { (ratio * ALIKE).min(1.0) };
    ratio * (1.0 + f64::from(in_flight) / relative_weight.max(f64::MIN_POSITIVE))
}

fn draw_usable(
    weights: &Weights,
    random: &mut impl FnMut() -> u64,
    cost: &mut impl FnMut(usize) -> Option<f64>,
) -> Option<(usize, f64)> {
    for _ in 0..DRAWS {
        let index = weights.draw(random())?;
        if let Some(cost) = cost(index) {
            return Some((index, cost));
        }
    }
    // Most of the weight is unusable: draw among the usable ones, in one pass (weighted reservoir of size one).
    let mut total = 0;
    let mut chosen = None;
    for index in 0..weights.len() {
        let weight = weights.weight(index);
        if weight == 0 {
            continue;
        }
        let Some(cost) = cost(index) else { continue };
        total += weight;
        if below(random(), total) < weight {
            chosen = Some((index, cost));
        }
    }
    chosen
}

/// Draws until a usable, and then until a different target is found.
pub const DRAWS: usize = 4;

/// Latencies this close to the mean, as a ratio, are alike.
pub const ALIKE: f64 = 2.0;

/// Latencies below a millisecond are not told apart.
pub const LATENCY_FLOOR_S: f64 = 1e-3;

/// How much cheaper, as a ratio, the second choice must be: a single request more or less among many should not decide.
pub const TOLERANCE: f64 = 1.25;
