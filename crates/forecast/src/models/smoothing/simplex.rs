//! Minimises a function of a few numbers without derivatives (Nelder and Mead 1965).
//!
//! With the usual coefficients (1, 2, 1/2, 1/2). Values that are not finite count as infinitely bad. Deterministic; never
//! returns a point worse than the start.

use std::ops::ControlFlow;

/// Minimises `cost` from `start`, with first steps of `reach`, in at most `calls` evaluations. `cost` breaks to stop early.
pub(super) fn minimise(
    start: &[f64],
    reach: &[f64],
    calls: usize,
    mut cost: impl FnMut(&[f64]) -> ControlFlow<(), f64>,
) -> (Vec<f64>, f64) {
    let n = start.len();
    let mut left = calls;
    let mut measure = |point: &[f64]| -> Option<f64> {
        left = left.checked_sub(1)?;
        match cost(point) {
            ControlFlow::Continue(value) if value.is_nan() => Some(f64::INFINITY),
            ControlFlow::Continue(value) => Some(value),
            ControlFlow::Break(()) => None,
        }
    };
    let mut simplex: Vec<(Vec<f64>, f64)> = Vec::with_capacity(n + 1);
    for i in 0..=n {
        let mut point = start.to_vec();
        if let Some(coordinate) = i.checked_sub(1) {
            point[coordinate] += reach[coordinate];
        }
        let Some(value) = measure(&point) else { break };
        simplex.push((point, value));
    }
    if simplex.len() <= n || n == 0 {
        return best(simplex, start);
    }
    loop {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (low, high) = (simplex[0].1, simplex[n].1);
        if high.is_finite() && high - low <= TOLERANCE * (high.abs() + low.abs()) {
            break;
        }
        let centre: Vec<f64> =
            (0..n).map(|i| simplex[..n].iter().map(|(point, _)| point[i]).sum::<f64>() / n as f64).collect();
        // The worst point moved through the centre: 1 mirrors it, 2 goes beyond, -0.5 comes nearer.
        let moved = |by: f64, worst: &[f64]| -> Vec<f64> {
            centre.iter().zip(worst).map(|(c, w)| c + by * (c - w)).collect()
        };
        let mirrored = moved(1.0, &simplex[n].0);
        let Some(at_mirrored) = measure(&mirrored) else { break };
        let replacement = if at_mirrored < low {
            let beyond = moved(2.0, &simplex[n].0);
            let Some(at_beyond) = measure(&beyond) else {
                simplex[n] = (mirrored, at_mirrored);
                break;
            };
            Some(if at_beyond < at_mirrored { (beyond, at_beyond) } else { (mirrored, at_mirrored) })
        } else if at_mirrored < simplex[n - 1].1 {
            Some((mirrored, at_mirrored))
        } else {
            let by = if at_mirrored < high { 0.5 } else { -0.5 };
            let nearer = moved(by, &simplex[n].0);
            let Some(at_nearer) = measure(&nearer) else { break };
            (at_nearer < at_mirrored.min(high)).then_some((nearer, at_nearer))
        };
        if let Some(replacement) = replacement {
            simplex[n] = replacement;
            continue;
        }
        let anchor = simplex[0].0.clone();
        for i in 1..=n {
            let point: Vec<f64> = anchor.iter().zip(&simplex[i].0).map(|(a, x)| 0.5 * (a + x)).collect();
            let Some(value) = measure(&point) else { return best(simplex, start) };
            simplex[i] = (point, value);
        }
    }
    best(simplex, start)
}

fn best(simplex: Vec<(Vec<f64>, f64)>, start: &[f64]) -> (Vec<f64>, f64) {
    simplex.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_else(|| (start.to_vec(), f64::INFINITY))
}

/// Relative difference of the best and the worst point at which there is nothing left to find.
const TOLERANCE: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valley_of_rosenbrock_is_walked_to_its_end() {
        let cost = |x: &[f64]| {
            ControlFlow::Continue((1.0 - x[0]).powi(2) + 100.0 * (x[1] - x[0] * x[0]).powi(2) + 1.0)
        };
        let (point, value) = minimise(&[-1.2, 1.0], &[0.3, 0.3], 400, cost);
        assert!((point[0] - 1.0).abs() < 0.05 && value < 1.01, "{point:?} {value}");
    }

    #[test]
    fn it_keeps_to_its_budget_and_is_never_worse_than_the_start() {
        let mut calls = 0;
        let (_, value) = minimise(&[3.0; 4], &[1.0; 4], 17, |x| {
            calls += 1;
            ControlFlow::Continue(if calls % 3 == 0 { f64::NAN } else { x.iter().map(|x| x * x).sum() })
        });
        assert_eq!(calls, 17);
        assert!(value <= 36.0);
    }
}
