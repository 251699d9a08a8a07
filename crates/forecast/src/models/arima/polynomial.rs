//! Lag polynomials: from unbounded numbers to stationary coefficients and back, and sparse products.

/// Coefficients of a stationary autoregression from its partial autocorrelations (Barndorff-Nielsen and Schou 1973):
/// `x[t] = a[0] x[t-1] + a[1] x[t-2] + ...`.
pub(super) fn from_partial(partial: &[f64]) -> Vec<f64> {
    let mut coefficients: Vec<f64> = Vec::with_capacity(partial.len());
    for (k, &r) in partial.iter().enumerate() {
        let before = coefficients.clone();
        for (j, coefficient) in coefficients.iter_mut().enumerate() {
            *coefficient -= r * before[k - 1 - j];
        }
        coefficients.push(r);
    }
    coefficients
}

/// The partial autocorrelations of an autoregression. Where it is not stationary, those of one near it that is.
pub(super) fn to_partial(coefficients: &[f64]) -> Vec<f64> {
    let mut left = coefficients.to_vec();
    let mut partial = vec![0.0; left.len()];
    for k in (0..left.len()).rev() {
        let r = if left[k].is_finite() { left[k].clamp(-PARTIAL_MAX, PARTIAL_MAX) } else { 0.0 };
        partial[k] = r;
        let before = left.clone();
        for j in 0..k {
            left[j] = (before[j] + r * before[k - 1 - j]) / (1.0 - r * r);
        }
        left.truncate(k);
    }
    partial
}

/// A polynomial in the lag operator with few terms: (lag, coefficient), rising, beginning with lag 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sparse(pub(super) Vec<(usize, f64)>);

impl Sparse {
    /// `1 - c[0] L^by - c[1] L^2by - ...`
    pub(super) fn minus(coefficients: &[f64], by: usize) -> Sparse {
        let terms = coefficients.iter().enumerate().map(|(i, &c)| ((i + 1) * by, -c));
        Sparse(std::iter::once((0, 1.0)).chain(terms).filter(|&(lag, c)| lag == 0 || c != 0.0).collect())
    }

    /// The product of two.
    pub(super) fn times(&self, other: &Sparse) -> Sparse {
        let mut terms: Vec<(usize, f64)> = Vec::with_capacity(self.0.len() * other.0.len());
        for &(a, x) in &self.0 {
            for &(b, y) in &other.0 {
                match terms.binary_search_by_key(&(a + b), |term| term.0) {
                    Ok(at) => terms[at].1 += x * y,
                    Err(at) => terms.insert(at, (a + b, x * y)),
                }
            }
        }
        Sparse(terms)
    }
}

/// Nearer to the unit circle than this nothing can be told from a unit root.
const PARTIAL_MAX: f64 = 0.995;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_autocorrelations_and_coefficients_are_two_ways_to_say_the_same() {
        let partial = [0.7, -0.4, 0.2, 0.1];
        let again = to_partial(&from_partial(&partial));
        assert!(partial.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-12), "{again:?}");
        // AR(2) by hand: a1 = r1 (1 - r2), a2 = r2.
        let two = from_partial(&[0.7, -0.4]);
        assert!((two[0] - 0.98).abs() < 1e-12 && (two[1] + 0.4).abs() < 1e-12);
    }

    #[test]
    fn an_explosive_autoregression_is_drawn_inside_the_unit_circle() {
        let partial = to_partial(&[1.8, 0.9]);
        assert!(partial.iter().all(|r| r.abs() <= PARTIAL_MAX), "{partial:?}");
    }

    #[test]
    fn products_merge_equal_lags() {
        // (1 - L)(1 - L^2) = 1 - L - L^2 + L^3, and (1 - L)^2 = 1 - 2 L + L^2.
        let (one, two) = (Sparse::minus(&[1.0], 1), Sparse::minus(&[1.0], 2));
        assert_eq!(one.times(&two).0, [(0, 1.0), (1, -1.0), (2, -1.0), (3, 1.0)]);
        assert_eq!(one.times(&one).0, [(0, 1.0), (1, -2.0), (2, 1.0)]);
    }
}
