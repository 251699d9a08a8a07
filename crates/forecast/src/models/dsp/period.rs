//! Crane's search for the period: frequencies that stand out of shuffled copies, confirmed as peaks of the
//! autocorrelation; of these only a day or a week counts.

use realfft::RealFftPlanner;

use crate::models::{FitError, Pace};

/// A day or a week in steps; `None` where the strongest period is neither, or was not seen twice.
pub(super) fn find(
    values: &[f32],
    day: usize,
    hour: usize,
    pace: &mut Pace<'_>,
) -> Result<Option<usize>, FitError> {
    let week = 7 * day;
    let unit = if values.len() > week { week } else { day };
    let values = &values[values.len() % unit..];
    let n = values.len();
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n.max(1) as f64;
    let signal: Vec<f64> = values.iter().map(|&value| f64::from(value) - mean).collect();
    let mut planner = RealFftPlanner::<f64>::new();
    let threshold = by_chance(&signal, &mut planner, pace)?;
    let magnitudes = magnitudes(&signal, &mut planner);
    let correlation = correlation(&signal, &mut planner);
    let mut best: Option<(f64, usize)> = None;
    for k in (2..magnitudes.len()).filter(|&k| magnitudes[k] > threshold) {
        let hint = n / k;
        let height = correlation.get(hint).copied().unwrap_or(0.0);
        if is_peak(&correlation, hint, 4 * hour) && best.is_none_or(|best| height > best.0) {
            best = Some((height, hint));
        }
    }
    let found = best.map(|(_, hint)| hint).filter(|&period| n >= 2 * period);
    Ok(found.filter(|period| [day, week].contains(period)))
}

/// The magnitude that 1 of 100 shuffled copies exceeds. Shuffling is seeded: the same series, the same answer.
fn by_chance(
    signal: &[f64],
    planner: &mut RealFftPlanner<f64>,
    pace: &mut Pace<'_>,
) -> Result<f64, FitError> {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut copy = signal.to_vec();
    let mut highest = Vec::with_capacity(COPIES);
    for _ in 0..COPIES {
        pace.checkpoint()?;
        rng.shuffle(&mut copy);
        highest.push(magnitudes(&copy, planner).into_iter().skip(1).fold(0.0, f64::max));
    }
    highest.sort_by(f64::total_cmp);
    Ok(highest[COPIES - 2])
}

fn magnitudes(signal: &[f64], planner: &mut RealFftPlanner<f64>) -> Vec<f64> {
    if signal.len() < 2 {
        return Vec::new();
    }
    let forward = planner.plan_fft_forward(signal.len());
    let mut input = signal.to_vec();
    let mut spectrum = forward.make_output_vec();
    match forward.process(&mut input, &mut spectrum) {
        Ok(()) => spectrum.into_iter().map(|bin| (bin.re * bin.re + bin.im * bin.im).sqrt()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Autocorrelation at every lag, by FFT of twice the length.
fn correlation(signal: &[f64], planner: &mut RealFftPlanner<f64>) -> Vec<f64> {
    let n = signal.len();
    let length = (2 * n).next_power_of_two();
    let (forward, backward) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let mut padded = signal.to_vec();
    padded.resize(length, 0.0);
    let mut spectrum = forward.make_output_vec();
    if forward.process(&mut padded, &mut spectrum).is_err() {
        return vec![0.0; n];
    }
    for bin in &mut spectrum {
        *bin = (bin.re * bin.re + bin.im * bin.im).into();
    }
    if backward.process(&mut spectrum, &mut padded).is_err() || padded[0] <= 0.0 {
        return vec![0.0; n];
    }
    let whole = padded[0];
    padded[..n].iter().map(|sum| sum / whole).collect()
}

/// Whether straight lines through the autocorrelation on both sides of a lag rise to it and fall after it.
fn is_peak(correlation: &[f64], lag: usize, reach_max: usize) -> bool {
    let reach = reach_max.min(lag / 2);
    if reach < 2 || lag + reach >= correlation.len() {
        return false;
    }
    slope(&correlation[lag - reach..=lag]) > 0.0 && slope(&correlation[lag..=lag + reach]) < 0.0
}

/// Slope of the least-squares line through evenly spaced values.
fn slope(values: &[f64]) -> f64 {
    let middle = (values.len() as f64 - 1.0) / 2.0;
    values.iter().enumerate().map(|(i, value)| (i as f64 - middle) * value).sum()
}

/// Shuffled copies that set the threshold.
const COPIES: usize = 100;
/// Any will do, so long as it is always the same.
const SEED: u64 = 0x0c4a_9e5d;

#[cfg(test)]
mod tests {
    use super::*;

    fn series(period: usize, n: usize) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(3);
        (0..n)
            .map(|i| 10.0 + 3.0 * (i as f32 * std::f32::consts::TAU / period as f32).sin() + rng.f32())
            .collect()
    }

    #[test]
    fn a_day_is_found_and_any_other_period_refused() {
        let found = |period| find(&series(period, 48 * 9), 48, 2, &mut Pace::free()).unwrap();
        assert_eq!(found(48), Some(48));
        assert_eq!(found(31), None);
    }

    #[test]
    fn noise_and_constants_have_none() {
        let mut rng = fastrand::Rng::with_seed(5);
        let noise: Vec<f32> = (0..48 * 6).map(|_| rng.f32()).collect();
        assert_eq!(find(&noise, 48, 2, &mut Pace::free()).unwrap(), None);
        assert_eq!(find(&[4.0; 300], 48, 2, &mut Pace::free()).unwrap(), None);
    }
}
