//! Quantiles of the log of a cost at a fixed grid. Between grid points they are drawn straight over the log odds, and
//! beyond the last one they go on with the slope of the last two: an exponential tail of the log, a Pareto tail of the
//! cost.

/// Probabilities at which quantiles are kept.
pub(crate) const GRID: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999];
/// Number of grid points.
pub(crate) const LEVELS: usize = GRID.len();
/// Index of the median.
pub(crate) const MEDIAN: usize = 3;

/// Natural logs of a cost at [`GRID`].
pub(crate) type Levels = [f64; LEVELS];

/// Log odds of the grid points, from `ln(p / (1 - p))`.
const ODDS: [f64; LEVELS] = [
    -2.944_438_979_166_440_3,
    -2.197_224_577_336_219_6,
    -1.098_612_288_668_109_8,
    0.0,
    1.098_612_288_668_109_8,
    2.197_224_577_336_219_6,
    2.944_438_979_166_440_3,
    3.663_561_646_129_646,
    4.595_119_850_134_59,
    5.293_304_824_724_492,
    6.906_754_778_648_554,
];

/// The value at probability `tau`, which is drawn into [1e-6, 1 - 1e-6].
pub(crate) fn at(levels: &Levels, tau: f64) -> f64 {
    let tau = if tau.is_nan() { 0.5 } else { tau.clamp(TAU_MIN, 1.0 - TAU_MIN) };
    at_odds(levels, &ODDS, odds(tau))
}

/// `ln(tau / (1 - tau))`.
pub(crate) fn odds(tau: f64) -> f64 {
    (tau / (1.0 - tau)).ln()
}

/// The value at log odds `odds` of `values` at rising log odds `known`; beyond them along the last two.
pub(crate) fn at_odds(values: &[f64], known: &[f64], odds: f64) -> f64 {
    let upper = known.partition_point(|&known| known < odds).clamp(1, known.len() - 1);
    let share = (odds - known[upper - 1]) / (known[upper] - known[upper - 1]);
    values[upper - 1] + share * (values[upper] - values[upper - 1])
}

/// The probability that the value stays at or below `value`: the inverse of [`at`].
pub(crate) fn probability(levels: &Levels, value: f64) -> f64 {
    let upper = levels.partition_point(|&level| level < value).clamp(1, LEVELS - 1);
    let width = levels[upper] - levels[upper - 1];
    let share = if width > 0.0 {
        (value - levels[upper - 1]) / width
    } else {
        f64::from(u8::from(value >= levels[upper]))
    };
    let odds = ODDS[upper - 1] + share.clamp(-50.0, 50.0) * (ODDS[upper] - ODDS[upper - 1]);
    (1.0 / (1.0 + (-odds).exp())).clamp(TAU_MIN, 1.0 - TAU_MIN)
}

/// Raises values above the median and lowers those below until none falls.
pub(crate) fn make_monotone(levels: &mut Levels) {
    for k in MEDIAN + 1..LEVELS {
        levels[k] = levels[k].max(levels[k - 1]);
    }
    for k in (0..MEDIAN).rev() {
        levels[k] = levels[k].min(levels[k + 1]);
    }
}

/// Pinball loss of every level for a value that came.
pub(crate) fn losses(levels: &Levels, value: f64) -> Levels {
    let mut losses = [0.0; LEVELS];
    for ((loss, &level), &tau) in losses.iter_mut().zip(levels).zip(&GRID) {
        *loss = crate::score::pinball(tau, value, level);
    }
    losses
}

/// Quantiles of weighted values that come in rising order. Each value sits in the middle of its weight, as if one more
/// value were to be drawn (`i / (n + 1)`); outside the outermost ones the outermost value is the answer. Also says how
/// many equal weights the given ones are worth (Kish 1965). `None` without any weight.
pub(crate) fn weighted(values: impl Iterator<Item = (f64, f64)> + Clone) -> Option<(Levels, f64)> {
    let (total, squares) =
        values.clone().fold((0.0, 0.0), |(total, squares), (_, w)| (total + w, squares + w * w));
    if total <= 0.0 {
        return None;
    }
    let worth = total * total / squares;
    // As if one more value of average weight were to come.
    let whole = total * (worth + 1.0) / worth;
    let half = total / worth / 2.0;
    let (mut levels, mut k, mut below) = ([0.0; LEVELS], 0, 0.0);
    let mut last: Option<(f64, f64)> = None;
    for (value, weight) in values {
        if weight <= 0.0 {
            continue;
        }
        let place = below + weight / 2.0 + half;
        below += weight;
        while k < LEVELS && GRID[k] * whole <= place {
            levels[k] = match last {
                Some((before, at)) if place > at => {
                    before + (value - before) * ((GRID[k] * whole - at) / (place - at)).clamp(0.0, 1.0)
                }
                Some(_) | None => value,
            };
            k += 1;
        }
        last = Some((value, place));
    }
    let top = last.map_or(0.0, |(value, _)| value);
    levels[k..].fill(top);
    Some((levels, worth))
}

/// Mixes the spread of few values with an expected one: `expected` are the quantiles of a distribution with median zero. A
/// quantile is believed as far as values beyond it have been seen.
pub(crate) fn shrink(levels: &mut Levels, worth: f64, expected: &Levels) {
    let middle = levels[MEDIAN];
    for ((level, &expected), &tau) in levels.iter_mut().zip(expected).zip(&GRID) {
        let beyond = worth * tau.min(1.0 - tau);
        let belief = beyond / (beyond + BEYOND_NEEDED);
        *level = middle + belief * (*level - middle) + (1.0 - belief) * expected;
    }
    make_monotone(levels);
}

/// As many values beyond a quantile make it count half.
const BEYOND_NEEDED: f64 = 0.5;
/// Nothing is claimed about rarer events.
const TAU_MIN: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_between_and_beyond_the_grid_are_those_of_a_logistic_distribution() {
        let logistic = GRID.map(|tau| 3.0 + 0.5 * (tau / (1.0 - tau)).ln());
        for tau in [0.01, 0.07, 0.6, 0.93, 0.9999] {
            let known = 3.0 + 0.5 * (tau / (1.0f64 - tau)).ln();
            assert!((at(&logistic, tau) - known).abs() < 1e-9, "{tau}");
            assert!((probability(&logistic, known) - tau).abs() < 1e-9, "{tau}");
        }
    }

    #[test]
    fn equal_weights_give_the_usual_quantiles() {
        let values = (1..=99).map(|i| (f64::from(i), 2.0));
        let (levels, worth) = weighted(values).unwrap();
        assert!((worth - 99.0).abs() < 1e-9);
        for (level, tau) in levels.iter().zip(GRID).take(9) {
            assert!((level - 100.0 * tau).abs() < 1e-9, "{tau}: {level}");
        }
        assert_eq!(levels[LEVELS - 1], 99.0);
        assert_eq!(weighted([(1.0, 0.0)].into_iter()), None);
    }

    #[test]
    fn one_value_takes_its_spread_from_what_is_expected() {
        let (mut levels, worth) = weighted([(7.0, 1.0)].into_iter()).unwrap();
        let expected = GRID.map(|tau| tau - 0.5);
        shrink(&mut levels, worth, &expected);
        assert!(levels[8] > 7.4 && levels[8] < 7.5, "{levels:?}");
        assert_eq!(levels[MEDIAN], 7.0);
    }
}
