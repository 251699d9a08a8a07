//! Autocorrelation of a series at all lags at once, by FFT (Wiener-Khinchin).

use realfft::RealFftPlanner;

/// Correlation of a series with itself, by lag.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    by_lag: Vec<f64>,
    pub(crate) samples: usize,
    error: f64,
}

impl Correlation {
    /// The correlation at a lag, corrected for the shorter overlap; zero where there is none.
    pub(crate) fn at(&self, lag: usize) -> f64 {
        self.by_lag.get(lag).copied().unwrap_or(0.0)
    }

    /// Bartlett's standard error of a correlation that is really zero, given the persistence at short lags.
    pub(crate) fn error(&self) -> f64 {
        self.error
    }
}

/// Autocorrelation of centred values.
pub(crate) fn autocorrelation(values: &[f64], planner: &mut RealFftPlanner<f32>) -> Correlation {
    let n = values.len();
    let none = Correlation { by_lag: Vec::new(), samples: n, error: 1.0 };
    if n < 2 {
        return none;
    }
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest <= 0.0 {
        return none;
    }
    // Single precision is plenty for a correlation, but its range is not for every unit.
    let signal = values.iter().map(|value| (value / largest) as f32);
    let products = if n <= DIRECT_MAX { directly(signal.collect()) } else { by_fft(signal, n, planner) };
    let whole = products.first().copied().unwrap_or(0.0);
    if whole <= 0.0 {
        return none;
    }
    let (scale, least) = (n as f64 / f64::from(whole), OVERLAP_MIN * n as f64);
    let corrected = |(lag, product): (usize, &f32)| {
        let overlap = ((n - lag) as f64).max(least);
        (f64::from(*product) * scale / overlap).clamp(-1.0, 1.0)
    };
    let by_lag: Vec<f64> = products.iter().enumerate().map(corrected).collect();
    let persistent: f64 = by_lag[1..].iter().take_while(|r| **r > 0.0).map(|r| r * r).sum();
    let error = ((1.0 + 2.0 * persistent) / n as f64).sqrt();
    Correlation { by_lag, samples: n, error }
}

/// Sums of products at all lags, by definition: for few values quicker than to plan a transform.
fn directly(signal: Vec<f32>) -> Vec<f32> {
    (0..signal.len()).map(|lag| signal.iter().zip(&signal[lag..]).map(|(a, b)| a * b).sum()).collect()
}

/// The same by FFT; empty when that fails.
fn by_fft(values: impl Iterator<Item = f32>, n: usize, planner: &mut RealFftPlanner<f32>) -> Vec<f32> {
    let length = padded(n);
    let (forward, backward) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let mut signal: Vec<f32> = values.collect();
    signal.resize(length, 0.0);
    let mut spectrum = forward.make_output_vec();
    if forward.process(&mut signal, &mut spectrum).is_err() {
        return Vec::new();
    }
    for bin in &mut spectrum {
        *bin = (bin.norm_sqr()).into();
    }
    if backward.process(&mut spectrum, &mut signal).is_err() {
        return Vec::new();
    }
    signal.truncate(n);
    signal
}

/// Twice the length or more, so that the end does not wrap around to the beginning: a power of two, or three times one.
fn padded(n: usize) -> usize {
    let power = (2 * n).next_power_of_two();
    if power / 4 * 3 >= 2 * n { power / 4 * 3 } else { power }
}

/// Up to so many values the definition is applied.
const DIRECT_MAX: usize = 256;
/// Lags with less overlap than this are not corrected further; they would only amplify noise.
const OVERLAP_MIN: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fft_gives_what_the_definition_gives() {
        for n in [50, 300, 900] {
            let values: Vec<f64> = (0..n).map(|i| ((i * i) % 17) as f64 - 7.5).collect();
            let correlation = autocorrelation(&values, &mut RealFftPlanner::new());
            let whole: f64 = values.iter().map(|x| x * x).sum();
            for lag in [0, 1, 7, 24] {
                let plain: f64 = values.iter().zip(&values[lag..]).map(|(a, b)| a * b).sum();
                let expected = (plain / whole / ((n - lag) as f64 / n as f64)).clamp(-1.0, 1.0);
                assert!((correlation.at(lag) - expected).abs() < 1e-5, "lag {lag} of {n}");
            }
            assert_eq!(correlation.at(n + 49), 0.0);
        }
    }
}
