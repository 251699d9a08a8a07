//! Weighted least squares through the normal equations, collected once and solved for any part of the columns.
//!
//! Orders of models are compared by solving for many subsets of the same columns; each costs only a small Cholesky
//! decomposition. Columns should be of similar size; what is collinear is held by a small ridge.

/// Sums of products of the columns with each other and with the target.
#[derive(Clone, Debug)]
pub(super) struct Normal {
    width: usize,
    /// `width x width`, the lower triangle filled.
    products: Vec<f64>,
    with_target: Vec<f64>,
    target_squared: f64,
    weight: f64,
}

impl Normal {
    /// Nothing collected yet, for rows of `width` columns.
    pub(super) fn new(width: usize) -> Normal {
        Normal {
            width,
            products: vec![0.0; width * width],
            with_target: vec![0.0; width],
            target_squared: 0.0,
            weight: 0.0,
        }
    }

    /// Adds a row; one that is not finite, or has no weight, is left out.
    #[inline]
    pub(super) fn add(&mut self, row: &[f64], target: f64, weight: f64) {
        if !(weight > 0.0 && target.is_finite()) {
            return;
        }
        for (i, &x) in row.iter().enumerate().take(self.width) {
            let weighted = x * weight;
            self.with_target[i] += weighted * target;
            let products = &mut self.products[i * self.width..=i * self.width + i];
            for (product, other) in products.iter_mut().zip(row) {
                *product += weighted * other;
            }
        }
        self.target_squared += weight * target * target;
        self.weight += weight;
    }

    /// Adds all that another has collected of the same columns.
    pub(super) fn merge(&mut self, other: &Normal) {
        self.products.iter_mut().zip(&other.products).for_each(|(a, b)| *a += b);
        self.with_target.iter_mut().zip(&other.with_target).for_each(|(a, b)| *a += b);
        self.target_squared += other.target_squared;
        self.weight += other.weight;
    }

    /// The sum of squares that given coefficients of the columns in `subset` leave.
    pub(super) fn squares(&self, subset: &[usize], coefficients: &[f64]) -> f64 {
        // y'y - 2 b'X'y + b'X'X b.
        let mut left = self.target_squared;
        for (&a, &x) in subset.iter().zip(coefficients) {
            let fitted: f64 = subset
                .iter()
                .zip(coefficients)
                .map(|(&b, y)| y * self.products[a.max(b) * self.width + a.min(b)])
                .sum();
            left += x * (fitted - 2.0 * self.with_target[a]);
        }
        left.max(0.0)
    }

    /// Sum of the weights.
    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    /// Coefficients of the columns in `subset` (the others are zero), with `ridge(column)` added to the diagonal, and the
    /// sum of squares that they leave. `None` when there is no solution.
    pub(super) fn solve(&self, subset: &[usize], ridge: impl Fn(usize) -> f64) -> Option<(Vec<f64>, f64)> {
        let k = subset.len();
        let mut lower = vec![0.0; k * k];
        for (i, &a) in subset.iter().enumerate() {
            for (j, &b) in subset[..=i].iter().enumerate() {
                let (high, low) = (a.max(b), a.min(b));
                lower[i * k + j] = self.products[high * self.width + low];
            }
            let diagonal = lower[i * k + i];
            lower[i * k + i] = diagonal + ridge(a) + 1e-10 * diagonal + f64::MIN_POSITIVE;
        }
        let target: Vec<f64> = subset.iter().map(|&column| self.with_target[column]).collect();
        decompose(&mut lower, k)?;
        let found = substitute(&lower, k, &target);
        let left = self.squares(subset, &found);
        found.iter().all(|x| x.is_finite()).then_some((found, left))
    }
}

/// Cholesky decomposition in place, of the lower triangle of a `k x k` matrix; `None` when it is not positive definite.
pub(super) fn decompose(lower: &mut [f64], k: usize) -> Option<()> {
    for i in 0..k {
        for j in 0..=i {
            let (row_i, row_j) = (&lower[i * k..i * k + j], &lower[j * k..j * k + j]);
            let rest = lower[i * k + j] - row_i.iter().zip(row_j).map(|(a, b)| a * b).sum::<f64>();
            if i == j {
                if !(rest > 0.0 && rest.is_finite()) {
                    return None;
                }
                lower[i * k + i] = rest.sqrt();
            } else {
                lower[i * k + j] = rest / lower[j * k + j];
            }
        }
    }
    Some(())
}

/// Solves with a decomposition.
pub(super) fn substitute(lower: &[f64], k: usize, target: &[f64]) -> Vec<f64> {
    let mut x = target.to_vec();
    for i in 0..k {
        let known: f64 = (0..i).map(|j| lower[i * k + j] * x[j]).sum();
        x[i] = (x[i] - known) / lower[i * k + i];
    }
    for i in (0..k).rev() {
        let known: f64 = (i + 1..k).map(|j| lower[j * k + i] * x[j]).sum();
        x[i] = (x[i] - known) / lower[i * k + i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_part_of_the_columns_leaves_the_right_squares() {
        let mut normal = Normal::new(3);
        for i in 0..10 {
            let x = f64::from(i);
            normal.add(&[1.0, x, x * x], 2.0 + 3.0 * x, 1.0);
        }
        normal.add(&[1.0, 5.0, 25.0], f64::NAN, 1.0);
        let (found, left) = normal.solve(&[0, 1], |_| 0.0).unwrap();
        assert!((found[0] - 2.0).abs() < 1e-6 && (found[1] - 3.0).abs() < 1e-6 && left < 1e-6);
        // The mean alone leaves 9 * (variance of 0..9, 8.25) * 10.
        let (_, left) = normal.solve(&[0], |_| 0.0).unwrap();
        assert!((left - 742.5).abs() < 1e-4, "{left}");
        assert_eq!(normal.weight(), 10.0);
    }

    #[test]
    fn equal_columns_do_not_break_it() {
        let mut normal = Normal::new(2);
        (0..5).for_each(|i| normal.add(&[f64::from(i), f64::from(i)], f64::from(2 * i), 1.0));
        let (found, left) = normal.solve(&[0, 1], |_| 1e-6).unwrap();
        assert!((found[0] + found[1] - 2.0).abs() < 1e-3 && left < 1e-3);
    }
}
