//! Waves (Fourier terms) for seasons: smooth, few, and the same for all models that use them.

use std::f64::consts::TAU;

/// A cosine and a sine that fit into a season a whole number of times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wave {
    /// Which season it belongs to.
    pub(super) season: usize,
    pub(super) period: usize,
    /// How often it goes up and down in a period.
    pub(super) times: usize,
}

impl Wave {
    /// Cosine and sine at each step of the period.
    pub(super) fn table(&self) -> Vec<(f64, f64)> {
        (0..self.period)
            .map(|phase| {
                let turned = (phase * self.times % self.period) as f64 / self.period as f64;
                ((TAU * turned).cos(), (TAU * turned).sin())
            })
            .collect()
    }
}

/// All waves that may be used: those of a longer season leave out what the shorter ones already have.
pub(super) fn waves(seasons: &[usize]) -> Vec<Wave> {
    let mut waves = Vec::new();
    for (season, &period) in seasons.iter().enumerate() {
        let most = if season == 0 { WAVES_FIRST } else { WAVES_LONGER };
        for times in (1..=most).take_while(|&times| 2 * times <= period) {
            let known = seasons[..season].iter().any(|&shorter| {
                let same = times * shorter;
                same.is_multiple_of(period) && same / period <= WAVES_FIRST
            });
            if !known {
                waves.push(Wave { season, period, times });
            }
        }
    }
    waves
}

/// Most waves of the shortest season, and of each longer one.
pub(super) const WAVES_FIRST: usize = 12;
pub(super) const WAVES_LONGER: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_leaves_out_the_waves_that_the_day_has() {
        let waves = waves(&[48, 336]);
        assert!(waves.iter().all(|wave| wave.season == 0 || wave.times % 7 != 0));
        assert_eq!(waves.iter().filter(|wave| wave.season == 1).count(), 21);
        assert_eq!(super::waves(&[4]).len(), 2);
        let (cosine, sine) = waves[1].table()[6];
        assert!(cosine.abs() < 1e-12 && (sine - 1.0).abs() < 1e-12);
    }
}
