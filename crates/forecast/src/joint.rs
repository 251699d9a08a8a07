//! What several steps come to together, read from drawn paths: the largest value and the sum of a window, and whether a level
//! was exceeded in it.

use crate::paths::Values;

/// What is asked of the steps from the first to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Their largest value.
    Max,
    /// Their sum.
    Sum,
}

impl Window {
    /// Both.
    pub const ALL: [Window; 2] = [Window::Max, Window::Sum];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Window::Max => "max",
            Window::Sum => "sum",
        }
    }

    /// Quantiles over paths, each as long as the others: one row for each step, for the window that ends with it.
    pub fn over(self, paths: &[Vec<f64>], quantiles: &[f64]) -> Values {
        let along: Vec<Vec<f64>> = paths.iter().map(|path| self.along(path).collect()).collect();
        let mut values = Values::zeros(along.first().map_or(0, Vec::len), quantiles.len());
        for h in 0..values.len() {
            let mut here: Vec<f64> = along.iter().map(|path| path[h]).collect();
            here.sort_by(f64::total_cmp);
            read(&here, quantiles, values.row_mut(h));
        }
        values
    }

    /// Quantiles over paths of what all steps come to.
    pub fn whole(self, paths: &[Vec<f64>], quantiles: &[f64]) -> Vec<f64> {
        let mut all: Vec<f64> = paths.iter().filter_map(|path| self.along(path).last()).collect();
        all.sort_by(f64::total_cmp);
        let mut values = vec![0.0; quantiles.len()];
        read(&all, quantiles, &mut values);
        values
    }

    /// What a path comes to by the end of each step.
    fn along(self, path: &[f64]) -> impl Iterator<Item = f64> {
        path.iter().scan(None, move |before, &value| {
            let so_far = match (self, *before) {
                (Window::Max, Some(before)) => f64::max(before, value),
                (Window::Sum, Some(before)) => before + value,
                (Window::Max | Window::Sum, None) => value,
            };
            *before = Some(so_far);
            *before
        })
    }
}

/// Quantiles of values in ascending order; none where there are no values.
fn read(sorted: &[f64], quantiles: &[f64], out: &mut [f64]) {
    for (value, &tau) in out.iter_mut().zip(quantiles) {
        let place = ((tau * sorted.len() as f64) as usize).min(sorted.len().saturating_sub(1));
        *value = sorted.get(place).copied().unwrap_or(0.0);
    }
}

/// The share of paths that have exceeded a level by the end of each step.
pub fn exceeded(paths: &[Vec<f64>], level: f64) -> Vec<f64> {
    let mut above = vec![0usize; paths.first().map_or(0, Vec::len)];
    for path in paths {
        for (above, most) in above.iter_mut().zip(Window::Max.along(path)) {
            *above += usize::from(most > level);
        }
    }
    above.into_iter().map(|above| above as f64 / paths.len() as f64).collect()
}

/// Paths that quantiles of so many steps are counted over: fewer where they are long.
pub fn paths_counted(steps: usize) -> usize {
    PATHS.min(crate::PATH_VALUES_MAX / 4 / steps.max(1)).max(1)
}

const PATHS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_along_each_path() {
        let paths = vec![vec![1.0, 5.0, 2.0], vec![3.0, 1.0, 1.0], vec![0.0, 0.0, 9.0]];
        let rows =
            |window: Window| -> Vec<f64> { window.over(&paths, &[0.5]).iter().map(|row| row[0]).collect() };
        assert_eq!(rows(Window::Max), [1.0, 3.0, 5.0]);
        assert_eq!(rows(Window::Sum), [1.0, 4.0, 8.0]);
        assert_eq!(exceeded(&paths, 2.5), [1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert_eq!((exceeded(&[], 1.0), Window::Max.over(&[], &[0.5]).len()), (vec![], 0));
    }
}
