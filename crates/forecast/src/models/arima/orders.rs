//! The orders of an ARMA and a first estimate of it (Hannan and Rissanen 1982).
//!
//! A long autoregression gives residuals; the series is then regressed on its own lags and on those of the residuals. The
//! sums of products are collected once for all lags, so that every combination of orders costs one small solve, and all of
//! them are compared by AICc: an exhaustive search for less than the price of a stepwise one (Hyndman and Khandakar 2008)
//! over full fits.

use super::css::{Arma, Orders};
use crate::models::least_squares::Normal;
use crate::models::{FitError, Pace};

/// The best ARMA for a complete series without mean, by AICc. Rows without weight are not scored. `season` admits terms
/// at that lag.
pub(super) fn choose(
    w: &[f64],
    weights: &[f64],
    season: Option<usize>,
    pace: &mut Pace<'_>,
) -> Result<Arma, FitError> {
    let season = season.filter(|&season| season > LAGS && season + 4 * LONG_LAGS < w.len());
    let e = long_residuals(w, weights, season);
    pace.checkpoint()?;
    // Columns: lags of the series, lags of the residuals, then both at the season.
    let from = season.unwrap_or(0).max(LONG_LAGS + LAGS);
    let mut normal = Normal::new(2 * LAGS + 2);
    let mut row = [0.0; 2 * LAGS + 2];
    for t in from..w.len() {
        for lag in 1..=LAGS {
            row[lag - 1] = w[t - lag];
            row[LAGS + lag - 1] = e[t - lag];
        }
        if let Some(season) = season {
            row[2 * LAGS] = w[t - season];
            row[2 * LAGS + 1] = e[t - season];
        }
        normal.add(&row, w[t], weights[t]);
    }
    pace.checkpoint()?;
    let n = normal.weight();
    let mut best: Option<(f64, Arma)> = None;
    for orders in candidates(season) {
        let columns: Vec<usize> = (0..orders.ar)
            .chain((0..orders.ma).map(|i| LAGS + i))
            .chain((0..orders.seasonal_ar).map(|_| 2 * LAGS))
            .chain((0..orders.seasonal_ma).map(|_| 2 * LAGS + 1))
            .collect();
        let k = columns.len() as f64 + 1.0;
        if n < 3.0 * k + 2.0 {
            continue;
        }
        let Some((found, left)) = normal.solve(&columns, |_| 1e-6 * n) else { continue };
        let aicc = n * (left / n).max(1e-12).ln() + 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0);
        if best.as_ref().is_none_or(|best| aicc < best.0) {
            best = Some((aicc, read(orders, &found)));
        }
    }
    Ok(best.map_or_else(|| read(Orders::default(), &[]), |(_, arma)| arma.tamed()))
}

fn read(orders: Orders, found: &[f64]) -> Arma {
    let (ar, rest) = found.split_at(orders.ar);
    let (ma, rest) = rest.split_at(orders.ma);
    let (seasonal_ar, seasonal_ma) = rest.split_at(orders.seasonal_ar);
    Arma {
        orders,
        ar: ar.to_vec(),
        ma: ma.to_vec(),
        seasonal_ar: seasonal_ar.first().copied().unwrap_or(0.0),
        seasonal_ma: seasonal_ma.first().copied().unwrap_or(0.0),
    }
}

fn candidates(season: Option<usize>) -> impl Iterator<Item = Orders> {
    let seasonal: &[(usize, usize)] =
        if season.is_some() { &[(0, 0), (1, 0), (0, 1), (1, 1)] } else { &[(0, 0)] };
    (0..=LAGS).flat_map(move |ar| {
        (0..=LAGS).flat_map(move |ma| {
            seasonal.iter().map(move |&(seasonal_ar, seasonal_ma)| Orders {
                ar,
                ma,
                seasonal_ar,
                seasonal_ma,
                season: season.unwrap_or(0),
            })
        })
    })
}

/// Residuals of a long autoregression, with the season's lag; zero where it cannot reach back.
fn long_residuals(w: &[f64], weights: &[f64], season: Option<usize>) -> Vec<f64> {
    let lags: Vec<usize> = (1..=LONG_LAGS.min(w.len() / 8)).chain(season).collect();
    let from = lags.iter().copied().max().unwrap_or(0);
    let mut normal = Normal::new(lags.len());
    let mut row = vec![0.0; lags.len()];
    for t in from..w.len() {
        row.iter_mut().zip(&lags).for_each(|(x, lag)| *x = w[t - lag]);
        normal.add(&row, w[t], weights[t]);
    }
    let all: Vec<usize> = (0..lags.len()).collect();
    let ridge = 1e-6 * normal.weight();
    let found = normal.solve(&all, |_| ridge).map_or_else(|| vec![0.0; lags.len()], |(found, _)| found);
    let mut e = vec![0.0; w.len()];
    for t in from..w.len() {
        e[t] = w[t] - lags.iter().zip(&found).map(|(lag, c)| c * w[t - lag]).sum::<f64>();
    }
    e
}

/// Largest order tried.
const LAGS: usize = 5;
/// Lags of the long autoregression.
const LONG_LAGS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0).collect()
    }

    #[test]
    fn an_autoregression_is_recognised() {
        let mut w = noise(5000, 5);
        for t in 2..w.len() {
            w[t] += 1.2 * w[t - 1] - 0.5 * w[t - 2];
        }
        let arma = choose(&w, &vec![1.0; w.len()], None, &mut Pace::free()).unwrap();
        // What follows from the coefficients: the first two weights of past shocks.
        let first = arma.ar.first().unwrap_or(&0.0) + arma.ma.first().unwrap_or(&0.0);
        assert!(arma.orders.ar >= 2 && (first - 1.2).abs() < 0.08, "{arma:?}");
    }

    #[test]
    fn white_noise_gets_almost_nothing_and_a_seasonal_average_its_term() {
        let e = noise(6000, 6);
        let arma = choose(&e, &vec![1.0; e.len()], Some(48), &mut Pace::free()).unwrap();
        let size: f64 = arma.ar.iter().zip(arma.ma.iter().chain([&0.0; 5])).map(|(a, m)| (a + m).abs()).sum();
        assert!(size < 0.15, "{arma:?}");
        let w: Vec<f64> = (0..e.len()).map(|t| e[t] - if t >= 48 { 0.7 * e[t - 48] } else { 0.0 }).collect();
        let arma = choose(&w, &vec![1.0; w.len()], Some(48), &mut Pace::free()).unwrap();
        assert_eq!(arma.orders.seasonal_ma, 1);
        assert!((arma.seasonal_ma + 0.7).abs() < 0.2, "{arma:?}");
    }
}
