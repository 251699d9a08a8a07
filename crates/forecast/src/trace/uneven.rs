//! Finds where the rows of a file begin to come at another distance: a recorder that was set otherwise.

use std::time::Duration;

use super::Trace;
use crate::timestamp::Timestamp;

/// Rows that come at another distance than most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uneven {
    /// The series, where it has a name.
    pub series: Option<String>,
    /// The first of these rows.
    pub from: Timestamp,
    /// How far apart they are.
    pub spacing: Duration,
}

impl Trace {
    /// The first rows that come at another distance than the [`step`](Trace::step), several in a row. What is between them is
    /// missing where they are farther apart, and their mean is taken where they are nearer.
    pub fn uneven(&self) -> Option<Uneven> {
        self.series.iter().find_map(|series| {
            let (mut run, mut first) = (0, Duration::ZERO);
            for pair in series.points.windows(2) {
                let spacing = pair[1].0.since(pair[0].0);
                if alike(spacing, self.step) {
                    run = 0;
                } else if run > 0 && alike(spacing, first) {
                    run += 1;
                } else {
                    (run, first) = (1, spacing);
                }
                if run == RUN {
                    let from = pair[1].0 - first * (RUN - 1);
                    return Some(Uneven { series: series.name.clone(), from, spacing: first });
                }
            }
            None
        })
    }
}

/// Alike but for a recorder's jitter.
fn alike(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) * 4 <= a.max(b)
}

/// Fewer in a row are gaps.
const RUN: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Options, parse};

    fn uneven(distances: &[(u64, usize)]) -> Option<Uneven> {
        let (mut csv, mut at) = ("timestamp,demand\n0,1\n".to_owned(), 0);
        for &(distance, count) in distances {
            for _ in 0..count {
                at += distance;
                csv.push_str(&format!("{at},1\n"));
            }
        }
        parse(csv.as_bytes(), &Options::default()).unwrap().uneven()
    }

    #[test]
    fn a_change_of_the_step_is_found_and_gaps_and_jitter_are_not() {
        let found = uneven(&[(300, 50), (60, 40)]).unwrap();
        assert_eq!((found.from, found.spacing), (Timestamp::from_secs(15_060), Duration::from_secs(60)));
        let found = uneven(&[(60, 50), (300, 20)]).unwrap();
        assert_eq!((found.from, found.spacing), (Timestamp::from_secs(3300), Duration::from_secs(300)));
        assert_eq!(uneven(&[(60, 50), (300, 5), (60, 5), (900, 7), (55, 9), (65, 9)]), None);
    }
}
