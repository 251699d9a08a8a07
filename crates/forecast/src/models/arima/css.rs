//! Conditional least squares for a multiplicative seasonal ARMA: residuals, their exact derivatives, and a
//! Levenberg-Marquardt search.
//!
//! The series is taken as complete (gaps were filled; filled places have no weight) and as zero before its beginning.
//! Residuals are then a chain of linear filters, which commute, so that each derivative is the residual series filtered
//! once more and delayed (Box and Jenkins, section 7.2): four cheap filters whatever the orders.

use super::polynomial::{from_partial, to_partial};
use crate::models::least_squares::{decompose, substitute};
use crate::models::{FitError, Pace};

/// Orders of the two polynomials, without season and at the season.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) ar: usize,
    pub(super) ma: usize,
    /// 0 or 1.
    pub(super) seasonal_ar: usize,
    /// 0 or 1.
    pub(super) seasonal_ma: usize,
    /// Steps of the season; unused where both seasonal orders are zero.
    pub(super) season: usize,
}

/// `(1 - ar)(1 - seasonal_ar) w = (1 + ma)(1 + seasonal_ma) e`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arma {
    pub(super) orders: Orders,
    pub(super) ar: Vec<f64>,
    pub(super) ma: Vec<f64>,
    pub(super) seasonal_ar: f64,
    pub(super) seasonal_ma: f64,
}

impl Orders {
    /// How many numbers are estimated.
    pub(super) fn count(&self) -> usize {
        self.ar + self.ma + self.seasonal_ar + self.seasonal_ma
    }

    /// First place whose residual is scored: before it the zeros in front of the series are looked at.
    pub(super) fn warm(&self) -> usize {
        self.ar + self.seasonal_ar * self.season
    }
}

impl Arma {
    /// Drawn to where it is stationary and invertible.
    pub(super) fn tamed(self) -> Arma {
        let orders = self.orders;
        Arma::from_free(orders, &self.to_free())
    }

    /// Unbounded numbers that stand for it.
    pub(super) fn to_free(&self) -> Vec<f64> {
        let negated: Vec<f64> = self.ma.iter().map(|c| -c).collect();
        let mut partial = to_partial(&self.ar);
        partial.extend(to_partial(&negated));
        let bounded = |c: f64| if c.is_finite() { c.clamp(-0.99, 0.99) } else { 0.0 };
        partial.extend((0..self.orders.seasonal_ar).map(|_| bounded(self.seasonal_ar)));
        partial.extend((0..self.orders.seasonal_ma).map(|_| bounded(self.seasonal_ma)));
        partial.into_iter().map(f64::atanh).collect()
    }

    /// The one that unbounded numbers stand for.
    pub(super) fn from_free(orders: Orders, free: &[f64]) -> Arma {
        let partial: Vec<f64> = free.iter().map(|x| x.tanh()).collect();
        let (ar, rest) = partial.split_at(orders.ar);
        let (ma, rest) = rest.split_at(orders.ma);
        let (seasonal_ar, seasonal_ma) = rest.split_at(orders.seasonal_ar);
        Arma {
            orders,
            ar: from_partial(ar),
            ma: from_partial(ma).into_iter().map(|c| -c).collect(),
            seasonal_ar: seasonal_ar.first().copied().unwrap_or(0.0),
            seasonal_ma: seasonal_ma.first().copied().unwrap_or(0.0),
        }
    }

    /// One-step errors.
    pub(super) fn residuals(&self, w: &[f64]) -> Vec<f64> {
        let season = self.orders.season;
        let mut e = w.to_vec();
        differ(&mut e, &self.ar);
        if self.seasonal_ar != 0.0 {
            for t in (season..e.len()).rev() {
                e[t] -= self.seasonal_ar * e[t - season];
            }
        }
        if self.seasonal_ma != 0.0 {
            unfold_at(&mut e, -self.seasonal_ma, season);
        }
        let negated: Vec<f64> = self.ma.iter().map(|c| -c).collect();
        unfold(&mut e, &negated);
        e
    }

    /// Derivatives of the residuals by each coefficient (AR, MA, seasonal AR, seasonal MA): a series and its delay.
    fn derivatives(&self, e: &[f64]) -> Vec<(Vec<f64>, usize)> {
        let orders = self.orders;
        let mut all = Vec::with_capacity(orders.count());
        if orders.ar > 0 {
            let mut v = e.to_vec();
            unfold(&mut v, &self.ar);
            all.extend((1..=orders.ar).map(|lag| (v.clone(), lag)));
        }
        if orders.ma > 0 {
            let mut v = e.to_vec();
            let negated: Vec<f64> = self.ma.iter().map(|c| -c).collect();
            unfold(&mut v, &negated);
            all.extend((1..=orders.ma).map(|lag| (v.clone(), lag)));
        }
        if orders.seasonal_ar > 0 {
            let mut v = e.to_vec();
            unfold_at(&mut v, self.seasonal_ar, orders.season);
            all.push((v, orders.season));
        }
        if orders.seasonal_ma > 0 {
            let mut v = e.to_vec();
            unfold_at(&mut v, -self.seasonal_ma, orders.season);
            all.push((v, orders.season));
        }
        all
    }
}

/// `x[t] - c[0] x[t-1] - ...`, in place.
fn differ(x: &mut [f64], coefficients: &[f64]) {
    for t in (0..x.len()).rev() {
        for (i, c) in coefficients.iter().enumerate().take(t) {
            x[t] -= c * x[t - 1 - i];
        }
    }
}

/// The inverse of [`differ`].
fn unfold(x: &mut [f64], coefficients: &[f64]) {
    for t in 0..x.len() {
        for (i, c) in coefficients.iter().enumerate().take(t) {
            x[t] += c * x[t - 1 - i];
        }
    }
}

fn unfold_at(x: &mut [f64], coefficient: f64, lag: usize) {
    for t in lag..x.len() {
        x[t] += coefficient * x[t - lag];
    }
}

/// Sum of squared residuals, its gradient by the free numbers, and half its Gauss-Newton matrix (lower triangle).
fn slopes(w: &[f64], weights: &[f64], orders: Orders, free: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
    let arma = Arma::from_free(orders, free);
    let e = arma.residuals(w);
    let derivatives = arma.derivatives(&e);
    let (k, warm) = (orders.count(), orders.warm());
    let mut cost = 0.0;
    let mut by = vec![0.0; k];
    let mut matrix = vec![0.0; k * k];
    let mut row = vec![0.0; k];
    for t in warm..e.len() {
        let weight = weights[t];
        if weight <= 0.0 {
            continue;
        }
        cost += weight * e[t] * e[t];
        for (i, (series, delay)) in derivatives.iter().enumerate() {
            // More MA raises what is subtracted, as more AR does.
            row[i] = if t >= *delay { -series[t - delay] } else { 0.0 };
            by[i] += weight * row[i] * e[t];
            for j in 0..=i {
                matrix[i * k + j] += weight * row[i] * row[j];
            }
        }
    }
    let chain = chain(orders, free);
    let gradient = (0..k).map(|i| 2.0 * (0..k).map(|a| chain[a * k + i] * by[a]).sum::<f64>()).collect();
    let full = |a: usize, b: usize| matrix[a.max(b) * k + a.min(b)];
    let mut hessian = vec![0.0; k * k];
    for i in 0..k {
        for j in 0..=i {
            let mut sum = 0.0;
            for a in 0..k {
                for b in 0..k {
                    sum += chain[a * k + i] * full(a, b) * chain[b * k + j];
                }
            }
            hessian[i * k + j] = sum;
        }
    }
    (cost, gradient, hessian)
}

/// Derivatives of the coefficients by the free numbers, `chain[coefficient * k + free]`. By central differences: the map
/// is a handful of smooth operations, and this way it cannot disagree with itself.
fn chain(orders: Orders, free: &[f64]) -> Vec<f64> {
    let k = orders.count();
    let flat = |free: &[f64]| -> Vec<f64> {
        let arma = Arma::from_free(orders, free);
        let mut all = arma.ar;
        all.extend(arma.ma);
        all.extend((0..orders.seasonal_ar).map(|_| arma.seasonal_ar));
        all.extend((0..orders.seasonal_ma).map(|_| arma.seasonal_ma));
        all
    };
    let mut chain = vec![0.0; k * k];
    for i in 0..k {
        let (mut up, mut down) = (free.to_vec(), free.to_vec());
        up[i] += CHAIN_STEP;
        down[i] -= CHAIN_STEP;
        for (a, (up, down)) in flat(&up).into_iter().zip(flat(&down)).enumerate() {
            chain[a * k + i] = (up - down) / (2.0 * CHAIN_STEP);
        }
    }
    chain
}

/// Improves an ARMA by Levenberg-Marquardt; returns it with the mean squared residual. Never worse than the start.
pub(super) fn refine(
    w: &[f64],
    weights: &[f64],
    start: &Arma,
    pace: &mut Pace<'_>,
) -> Result<(Arma, f64), FitError> {
    let orders = start.orders;
    let k = orders.count();
    let mut free = start.to_free();
    let n = weights.iter().skip(orders.warm()).filter(|&&weight| weight > 0.0).count().max(1) as f64;
    let (mut cost, mut gradient, mut hessian) = slopes(w, weights, orders, &free);
    let mut damping = 1e-3;
    for _ in 0..ROUNDS_MAX {
        pace.checkpoint()?;
        if k == 0 || !cost.is_finite() {
            break;
        }
        let mut lower = hessian.clone();
        for i in 0..k {
            lower[i * k + i] += damping * (hessian[i * k + i] + 1e-9 * cost) + f64::MIN_POSITIVE;
        }
        let half: Vec<f64> = gradient.iter().map(|g| -0.5 * g).collect();
        let Some(()) = decompose(&mut lower, k) else { break };
        let step = substitute(&lower, k, &half);
        let tried: Vec<f64> =
            free.iter().zip(&step).map(|(x, s)| (x + s.clamp(-1.0, 1.0)).clamp(-3.0, 3.0)).collect();
        let (tried_cost, tried_gradient, tried_hessian) = slopes(w, weights, orders, &tried);
        if tried_cost < cost {
            let small = cost - tried_cost < GAIN_MIN * cost;
            (free, cost, gradient, hessian) = (tried, tried_cost, tried_gradient, tried_hessian);
            damping *= 0.2;
            if small {
                break;
            }
        } else {
            damping *= 8.0;
            if damping > 1e6 {
                break;
            }
        }
    }
    Ok((Arma::from_free(orders, &free), cost / n))
}

const ROUNDS_MAX: usize = 12;
/// A round that lowers the squares by less than this share is the last.
const GAIN_MIN: f64 = 1e-5;
const CHAIN_STEP: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0).collect()
    }

    fn simulated(arma: &Arma, n: usize, seed: u64) -> Vec<f64> {
        let e = noise(n, seed);
        let season = arma.orders.season;
        let mut w = e.clone();
        differ(&mut w, &arma.ma.iter().map(|c| -c).collect::<Vec<_>>());
        for t in (season..n).rev() {
            w[t] += arma.seasonal_ma * w[t - season];
        }
        unfold_at(&mut w, arma.seasonal_ar, season);
        unfold(&mut w, &arma.ar);
        w
    }

    fn example() -> Arma {
        let orders = Orders { ar: 2, ma: 1, seasonal_ar: 1, seasonal_ma: 1, season: 24 };
        Arma { orders, ar: vec![0.9, -0.3], ma: vec![0.5], seasonal_ar: 0.6, seasonal_ma: -0.4 }
    }

    #[test]
    fn residuals_undo_the_simulation() {
        let arma = example();
        let (w, e) = (simulated(&arma, 500, 1), noise(500, 1));
        assert!(arma.residuals(&w).iter().zip(&e).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let arma = example();
        let w = simulated(&arma, 400, 2);
        let weights: Vec<f64> = (0..400).map(|t| if (100..110).contains(&t) { 0.0 } else { 1.0 }).collect();
        let free: Vec<f64> = arma.to_free().iter().map(|x| 0.7 * x + 0.1).collect();
        let (_, gradient, _) = slopes(&w, &weights, arma.orders, &free);
        for i in 0..free.len() {
            let shifted = |by: f64| {
                let mut free = free.clone();
                free[i] += by;
                slopes(&w, &weights, arma.orders, &free).0
            };
            let plain = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!(
                (gradient[i] - plain).abs() < 1e-4 * plain.abs().max(1.0),
                "{i}: {} {plain}",
                gradient[i]
            );
        }
    }

    #[test]
    fn simulated_coefficients_are_recovered() {
        let arma = example();
        let w = simulated(&arma, 6000, 3);
        let start =
            Arma { ar: vec![0.0; 2], ma: vec![0.0], seasonal_ar: 0.0, seasonal_ma: 0.0, ..arma.clone() };
        let (found, variance) = refine(&w, &vec![1.0; 6000], &start, &mut Pace::free()).unwrap();
        assert!((found.ar[0] - 0.9).abs() < 0.08 && (found.ar[1] + 0.3).abs() < 0.08, "{found:?}");
        assert!((found.ma[0] - 0.5).abs() < 0.08 && (found.seasonal_ar - 0.6).abs() < 0.08, "{found:?}");
        assert!(
            (found.seasonal_ma + 0.4).abs() < 0.1 && (variance - 1.0).abs() < 0.06,
            "{found:?} {variance}"
        );
    }
}
