//! Whether a series stays around a level (Kwiatkowski, Phillips, Schmidt and Shin 1992).

/// The KPSS statistic of level stationarity, with a Bartlett window of `lags`. Zero for a series without variation.
pub(super) fn statistic(values: &[f64], lags: usize) -> f64 {
    let n = values.len() as f64;
    if values.len() < 3 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / n;
    let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let (mut sum, mut sums_squared) = (0.0, 0.0);
    for x in &centred {
        sum += x;
        sums_squared += sum * sum;
    }
    let covariance = |lag: usize| centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b).sum::<f64>() / n;
    let lags = lags.min(values.len() - 2);
    let long_run = covariance(0)
        + 2.0 * (1..=lags).map(|lag| (1.0 - lag as f64 / (lags + 1) as f64) * covariance(lag)).sum::<f64>();
    if long_run > 0.0 { sums_squared / (n * n * long_run) } else { 0.0 }
}

/// How often to difference so that a level is not rejected at 5 %: at most `most` times. The window is that of Hyndman and
/// Khandakar (2008), `3 sqrt(n) / 13`.
pub(super) fn differences(values: &[f64], most: usize) -> usize {
    let mut values = values.to_vec();
    for d in 0..most {
        let lags = (3.0 * (values.len() as f64).sqrt() / 13.0) as usize;
        if statistic(&values, lags) < CRITICAL {
            return d;
        }
        values = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    }
    most
}

/// Critical value at 5 % (table 1 of the paper).
const CRITICAL: f64 = 0.463;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_needs_no_difference_a_walk_one_and_its_sum_two() {
        let mut rng = fastrand::Rng::with_seed(4);
        let noise: Vec<f64> = (0..500).map(|_| rng.f64() - 0.5).collect();
        let cumulated = |values: &[f64]| -> Vec<f64> {
            values
                .iter()
                .scan(0.0, |sum, x| {
                    *sum += x;
                    Some(*sum)
                })
                .collect()
        };
        let walk = cumulated(&noise);
        assert_eq!(differences(&noise, 2), 0);
        assert_eq!(differences(&walk, 2), 1);
        assert_eq!(differences(&cumulated(&walk), 2), 2);
        assert_eq!(differences(&[5.0; 100], 2), 0);
    }

    #[test]
    fn the_statistic_of_a_short_series_is_that_of_the_definition() {
        // Centred -1, 0, 1: partial sums -1, -1, 0; variance 2/3; statistic (1 + 1) / 9 / (2/3).
        assert!((statistic(&[1.0, 2.0, 3.0], 0) - 1.0 / 3.0).abs() < 1e-12);
    }
}
