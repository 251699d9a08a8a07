//! Matrix products for small matrices: packed and tiled so that the compiler keeps a tile in vector registers.
//!
//! Promises: the sum of each element is taken in the order of the inner index, so results are the same on every machine.

use super::real::Real;

/// Rows of a tile.
const ROWS: usize = 4;
/// Columns of a tile.
const COLUMNS: usize = 8;

/// How a matrix lies in a slice: element (i, j) is at `i * row + j * column`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strides {
    /// Distance of two rows.
    pub(super) row: usize,
    /// Distance of two columns.
    pub(super) column: usize,
}

impl Strides {
    /// Row after row of this width.
    pub(super) fn rows(width: usize) -> Strides {
        Strides { row: width, column: 1 }
    }

    /// The transpose of a matrix whose rows have this width.
    pub(super) fn transposed(width: usize) -> Strides {
        Strides { row: 1, column: width }
    }
}

/// The right factor of products, packed in panels of eight columns. Worth keeping when it is used more than once.
#[derive(Clone, Debug, Default)]
pub(super) struct Right<R> {
    inner: usize,
    columns: usize,
    panels: Vec<[R; COLUMNS]>,
}

impl<R: Real> Right<R> {
    /// Packs `inner x columns` elements of `from`, reusing the memory.
    pub(super) fn pack(&mut self, from: &[R], strides: Strides, inner: usize, columns: usize) {
        (self.inner, self.columns) = (inner, columns);
        self.panels.clear();
        for first in (0..columns).step_by(COLUMNS) {
            let width = COLUMNS.min(columns - first);
            for k in 0..inner {
                let mut lane = [R::default(); COLUMNS];
                let begin = k * strides.row + first * strides.column;
                if strides.column == 1 {
                    lane[..width].copy_from_slice(&from[begin..begin + width]);
                } else {
                    for (j, slot) in lane[..width].iter_mut().enumerate() {
                        *slot = from[begin + j * strides.column];
                    }
                }
                self.panels.push(lane);
            }
        }
    }
}

/// `to += left * right`, where `left` has `rows` rows, and rows of `to` are `width` apart. `tile` is scratch memory.
pub(super) fn add_product<R: Real>(
    to: &mut [R],
    width: usize,
    left: &[R],
    strides: Strides,
    rows: usize,
    right: &Right<R>,
    tile: &mut Vec<[R; ROWS]>,
) {
    let inner = right.inner;
    for first in (0..rows).step_by(ROWS) {
        let height = ROWS.min(rows - first);
        tile.clear();
        tile.resize(inner, [R::default(); ROWS]);
        for i in 0..height {
            let begin = (first + i) * strides.row;
            for (k, column) in tile.iter_mut().enumerate() {
                column[i] = left[begin + k * strides.column];
            }
        }
        for (panel, lanes) in right.panels.chunks_exact(inner.max(1)).enumerate() {
            let sums = tile_product(tile, lanes);
            let begin = panel * COLUMNS;
            let end = (begin + COLUMNS).min(right.columns);
            for (i, sums) in sums.iter().enumerate().take(height) {
                let row = &mut to[(first + i) * width + begin..(first + i) * width + end];
                for (slot, &sum) in row.iter_mut().zip(sums) {
                    *slot += sum;
                }
            }
        }
    }
}

#[inline(always)]
fn tile_product<R: Real>(left: &[[R; ROWS]], right: &[[R; COLUMNS]]) -> [[R; COLUMNS]; ROWS] {
    let mut sums = [[R::default(); COLUMNS]; ROWS];
    for (a, b) in left.iter().zip(right) {
        for i in 0..ROWS {
            for j in 0..COLUMNS {
                sums[i][j] += a[i] * b[j];
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_odd_sizes_and_transposes_are_those_of_the_textbook() {
        let mut random = fastrand::Rng::with_seed(1);
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (4, 8, 8), (9, 13, 17), (64, 41, 128)] {
            let a: Vec<f64> = (0..m * k).map(|_| random.f64() - 0.5).collect();
            let b: Vec<f64> = (0..k * n).map(|_| random.f64() - 0.5).collect();
            let mut at = vec![0.0; m * k];
            let mut bt = vec![0.0; k * n];
            (0..m).for_each(|i| (0..k).for_each(|j| at[j * m + i] = a[i * k + j]));
            (0..k).for_each(|i| (0..n).for_each(|j| bt[j * k + i] = b[i * n + j]));
            let (mut plain, mut turned) = (vec![1.0; m * n], vec![1.0; m * n]);
            let (mut right, mut tile) = (Right::default(), Vec::new());
            right.pack(&b, Strides::rows(n), k, n);
            add_product(&mut plain, n, &a, Strides::rows(k), m, &right, &mut tile);
            right.pack(&bt, Strides::transposed(k), k, n);
            add_product(&mut turned, n, &at, Strides::transposed(m), m, &right, &mut tile);
            for i in 0..m {
                for j in 0..n {
                    let expected = 1.0 + (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f64>();
                    assert!((plain[i * n + j] - expected).abs() < 1e-12);
                    assert!((turned[i * n + j] - expected).abs() < 1e-12);
                }
            }
        }
    }
}
