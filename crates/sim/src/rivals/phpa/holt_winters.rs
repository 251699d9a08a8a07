//! PHPA's seasonal model: additive Holt-Winters with gains that are set, not fitted.
//!
//! The original hands its whole history to statsmodels (`optimized=False`) at every run. Start values come from the first two
//! seasons of the history, which is cut by whole seasons; between two cuts the recursion only has to go on.

/// How fast the parts move: `alpha`, `beta` and `gamma`. Each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gains {
    /// Of the level.
    pub level: f64,
    /// Of the trend.
    pub trend: f64,
    /// Of the season.
    pub season: f64,
}

/// The history and the state after it.
#[derive(Debug, Clone)]
pub(super) struct HoltWinters {
    season: usize,
    gains: Gains,
    history: Vec<f64>,
    state: Option<State>,
}

#[derive(Debug, Clone)]
struct State {
    level: f64,
    trend: f64,
    seasonal: Vec<f64>,
    /// Points taken in.
    seen: usize,
}

impl Gains {
    /// The values of the documentation's example.
    pub const DOCUMENTED: Gains = Gains { level: 0.9, trend: 0.9, season: 0.9 };
}

impl HoltWinters {
    /// With seasons of so many points.
    pub(super) fn new(season: usize, gains: Gains) -> HoltWinters {
        HoltWinters { season: season.max(1), gains, history: Vec::new(), state: None }
    }

    /// Takes the next point; returns the one to expect after it. None while there is too little history.
    pub(super) fn next(&mut self, value: f64) -> Option<f64> {
        self.history.push(value);
        if self.history.len() >= (STORED_SEASONS + 1) * self.season {
            self.history.drain(..self.season);
            self.state = None;
        }
        let needed = (2 * self.season).max(10 + 2 * (self.season / 2));
        if self.history.len() < needed {
            return None;
        }
        let season = self.season;
        let state = self.state.get_or_insert_with(|| State::start(&self.history, season));
        for value in &self.history[state.seen..] {
            state.take(*value, self.gains);
        }
        Some(state.level + state.trend + state.seasonal[state.seen % season])
    }
}

impl State {
    fn start(history: &[f64], season: usize) -> State {
        let (first, second) = (&history[..season], &history[season..2 * season]);
        let n = season as f64;
        let level = first.iter().sum::<f64>() / n;
        let trend = (second.iter().sum::<f64>() / n - level) / n;
        State { level, trend, seasonal: first.iter().map(|value| value - level).collect(), seen: 0 }
    }

    fn take(&mut self, value: f64, gains: Gains) {
        let place = self.seen % self.seasonal.len();
        let (before, drift) = (self.level, self.trend);
        self.level = gains.level * (value - self.seasonal[place]) + (1.0 - gains.level) * (before + drift);
        self.trend = gains.trend * (self.level - before) + (1.0 - gains.trend) * drift;
        self.seasonal[place] =
            gains.season * (value - before - drift) + (1.0 - gains.season) * self.seasonal[place];
        self.seen += 1;
    }
}

/// `storedSeasons` of the documentation's example.
const STORED_SEASONS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_is_repeated_once_two_of_them_and_ten_points_more_than_one_are_known() {
        let wave = [10.0, 20.0, 30.0, 20.0, 10.0, 5.0];
        let mut model = HoltWinters::new(6, Gains { level: 0.2, trend: 0.0, season: 0.2 });
        let mut said = Vec::new();
        for t in 0..60 {
            said.push(model.next(wave[t % 6]));
        }
        // max(2 * 6, 10 + 2 * 3) = 16 points.
        assert_eq!(said.iter().position(Option::is_some), Some(15));
        for (t, said) in said.iter().enumerate().skip(15) {
            assert!((said.unwrap() - wave[(t + 1) % 6]).abs() < 1e-9, "{t}: {said:?}");
        }
    }

    #[test]
    fn cutting_the_history_by_a_season_is_the_same_as_beginning_there() {
        let value = |t: usize| 50.0 + 10.0 * (t as f64 * 0.7).sin() + 0.1 * t as f64;
        let mut long = HoltWinters::new(8, Gains::DOCUMENTED);
        let mut late = HoltWinters::new(8, Gains::DOCUMENTED);
        let mut said = (None, None);
        for t in 0..45 {
            said.0 = long.next(value(t));
            if t >= 8 {
                said.1 = late.next(value(t));
            }
        }
        assert_eq!(said.0, said.1);
        assert!(said.0.is_some());
    }

    #[test]
    fn one_step_of_the_recursion_by_hand() {
        let mut state = State { level: 10.0, trend: 1.0, seasonal: vec![2.0, -2.0], seen: 0 };
        state.take(14.0, Gains { level: 0.5, trend: 0.5, season: 0.5 });
        // Level 0.5 (14 - 2) + 0.5 (11), trend 0.5 (1.5) + 0.5 (1), season 0.5 (14 - 11) + 0.5 (2).
        assert_eq!((state.level, state.trend, state.seasonal[0]), (11.5, 1.25, 2.5));
    }
}
