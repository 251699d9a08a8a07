//! Features as small numbers: each value is replaced by the number of its bin, so that a histogram is a table look-up.

use super::matrix::Matrix;

/// The bin of missing values; the others count from 1.
pub(super) const MISSING: u8 = 0;

/// One feature as bins.
#[derive(Debug)]
pub(super) struct Column {
    /// The bin of each row.
    pub(super) bins: Vec<u8>,
    /// The largest value of bins 1, 2, ..; the last is infinite.
    pub(super) uppers: Vec<f32>,
}

impl Column {
    /// Bins, of about equally many rows each, for one feature. `most` is 2 to 255.
    pub(super) fn new(values: impl ExactSizeIterator<Item = f32>, most: usize) -> Column {
        let mut bins = vec![MISSING; values.len()];
        let mut sorted: Vec<(f32, u32)> = values
            .zip(0..)
            .filter(|(value, _)| !value.is_nan())
            .map(|(value, row)| (value.clamp(-f32::MAX, f32::MAX), row))
            .collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut uppers = Vec::new();
        let (mut begin, mut room) = (0, most.clamp(2, 255));
        while begin < sorted.len() {
            let fair = (sorted.len() - begin).div_ceil(room);
            let end = if room == 1 { sorted.len() } else { end_of_bin(&sorted, begin, fair) };
            let bin = uppers.len() as u8 + 1;
            for &(_, row) in &sorted[begin..end] {
                bins[row as usize] = bin;
            }
            uppers.push(match sorted.get(end) {
                Some(&(next, _)) => between(sorted[end - 1].0, next),
                None => f32::INFINITY,
            });
            begin = end;
            room -= 1;
        }
        Column { bins, uppers }
    }

    /// Bins in use, with that of missing values.
    pub(super) fn len(&self) -> usize {
        self.uppers.len() + 1
    }
}

/// All features as bins.
#[derive(Debug)]
pub(super) struct Binned {
    pub(super) columns: Vec<Column>,
}

impl Binned {
    /// Bins all columns of a table; those that hold categories through `encode`.
    pub(super) fn new(matrix: &Matrix, most: usize, encode: impl Fn(usize, f32) -> f32) -> Binned {
        let column = |place| {
            let values = matrix.column(place).iter();
            if matrix.is_categorical(place) {
                Column::new(values.map(|&value| encode(place, value)), most)
            } else {
                Column::new(values.copied(), most)
            }
        };
        Binned { columns: (0..matrix.width()).map(column).collect() }
    }
}

/// Where the bin that begins at `begin` ends: after about `fair` rows, never between equal values. One value with many
/// rows keeps a bin for itself.
fn end_of_bin(sorted: &[(f32, u32)], begin: usize, fair: usize) -> usize {
    let first = sorted[begin].0;
    let run = |from: usize| {
        let value = sorted[from].0;
        sorted[from..].iter().take_while(|(other, _)| *other == value).count()
    };
    let mut end = begin + run(begin);
    if end - begin >= fair || sorted.get(end).is_none() {
        return end;
    }
    let last = sorted[(begin + fair - 1).min(sorted.len() - 1)].0;
    debug_assert!(last > first);
    let low = sorted.partition_point(|(value, _)| *value < last);
    let high = sorted.partition_point(|(value, _)| *value <= last);
    // The run of equal values across the fair end goes to whichever side leaves this bin nearer to its fair size.
    let near_low = low > begin && (begin + fair).abs_diff(low) < (begin + fair).abs_diff(high);
    end = end.max(if near_low { low } else { high });
    end
}

/// A number that is at least `low` and below `high`.
fn between(low: f32, high: f32) -> f32 {
    let middle = low / 2.0 + high / 2.0;
    if middle >= low && middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_distinct_values_have_a_bin_each() {
        let column = Column::new([3.0, f32::NAN, 1.0, 3.0, 2.0].into_iter(), 255);
        assert_eq!(column.bins, [3, MISSING, 1, 3, 2]);
        assert_eq!(column.uppers, [1.5, 2.5, f32::INFINITY]);
    }

    #[test]
    fn many_values_share_bins_of_about_equal_size_and_a_frequent_one_has_its_own() {
        let values = (0..1000).map(|i| if i % 2 == 0 { 0.0 } else { i as f32 });
        let column = Column::new(values, 16);
        assert!(column.uppers.len() <= 16 && column.uppers.len() > 12, "{:?}", column.uppers);
        let mut sizes = vec![0; column.len()];
        column.bins.iter().for_each(|&bin| sizes[bin as usize] += 1);
        assert_eq!(sizes[1], 500);
        assert!(sizes[2..].iter().all(|&size| (20..60).contains(&size)), "{sizes:?}");
    }

    #[test]
    fn values_stand_in_the_bin_that_its_bounds_say() {
        let values =
            [f32::NEG_INFINITY, -1e38, 0.0, f32::MIN_POSITIVE, 5.0, 5.000_000_5, 1e38, f32::INFINITY];
        for most in 2..10 {
            let column = Column::new(values.into_iter(), most);
            assert!(column.uppers.len() <= most);
            for (value, &bin) in values.iter().zip(&column.bins) {
                let place = column.uppers.partition_point(|upper| upper < value);
                assert_eq!(place as u8 + 1, bin, "{value} among {:?}", column.uppers);
            }
        }
        assert_eq!(Column::new([f32::NAN; 3].into_iter(), 64).len(), 1);
        assert_eq!(Column::new(std::iter::empty(), 64).len(), 1);
    }
}
