//! PHPA's linear model: least squares through the last replica counts, read off some time ahead.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;

/// The last points, and how far ahead they are extended.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    ahead: Duration,
    points: VecDeque<(Timestamp, f64)>,
}

impl Linear {
    pub(super) fn new(ahead: Duration) -> Linear {
        Linear { ahead, points: VecDeque::new() }
    }

    /// Takes the count calculated at `now`; returns the one to expect then. None until there are two points.
    pub(super) fn next(&mut self, now: Timestamp, replicas: f64) -> Option<f64> {
        if self.points.len() == HISTORY_SIZE {
            self.points.pop_front();
        }
        self.points.push_back((now, replicas));
        if self.points.len() < 2 {
            return None;
        }
        let n = self.points.len() as f64;
        // Seconds before now, so that the sums stay small.
        let x = |at: Timestamp| -now.since(at).as_secs_f64();
        let mean_x = self.points.iter().map(|(at, _)| x(*at)).sum::<f64>() / n;
        let mean_y = self.points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let spread: f64 = self.points.iter().map(|(at, _)| (x(*at) - mean_x).powi(2)).sum();
        let slope = self.points.iter().map(|(at, y)| (x(*at) - mean_x) * (y - mean_y)).sum::<f64>() / spread;
        Some(mean_y + slope * (self.ahead.as_secs_f64() - mean_x))
    }
}

/// `historySize` of the documentation's example.
const HISTORY_SIZE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_the_last_six_points_is_extended() {
        let mut model = Linear::new(Duration::from_secs(100));
        let at = |i: i64| Timestamp::from_secs(i * 10);
        assert_eq!(model.next(at(0), 1000.0), None);
        let mut said = None;
        for i in 1..=6 {
            said = model.next(at(i), 2.0 * i as f64);
        }
        // 0.2 a second, 12 at the last point; the outlier has left the history.
        assert!((said.unwrap() - 32.0).abs() < 1e-9, "{said:?}");
    }
}
