//! A distribution written down as values at a fixed grid of quantiles, with a Pareto tail above and an exponential one
//! below. Between grid points it interpolates on the normal scale, where smooth distributions are nearly straight.

/// The quantiles that are tracked.
pub(crate) const GRID: [f64; 13] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999];

/// The standard normal quantile of each grid point.
const PROBIT: [f64; 13] = [
    -2.326_347_874_040_841,
    -1.959_963_984_540_054,
    -1.644_853_626_951_472_7,
    -1.281_551_565_544_600_4,
    -0.674_489_750_196_081_7,
    0.0,
    0.674_489_750_196_081_7,
    1.281_551_565_544_600_4,
    1.644_853_626_951_472_7,
    1.959_963_984_540_054,
    2.326_347_874_040_841,
    2.575_829_303_548_900_4,
    3.090_232_306_167_813_5,
];

/// Shape of the part above the last grid point: exceedances over a threshold follow a generalised Pareto distribution
/// (Pickands 1975); `shape` zero is the exponential tail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tail {
    /// Scale at the last grid point, in the unit of the values; not negative.
    pub(crate) scale: f64,
    /// Tail index, 0 (exponential) to [`Tail::SHAPE_MAX`].
    pub(crate) shape: f64,
}

impl Tail {
    /// Heavier tails than this have no variance, and cannot be told from a level shift in the data that one series has.
    pub(crate) const SHAPE_MAX: f64 = 0.4;

    /// How far beyond a point with `1 - from` probability above it the point with `1 - to` above it lies.
    pub(crate) fn beyond(&self, above_from: f64, above_to: f64) -> f64 {
        let ratio = (above_from / above_to).max(1.0);
        if self.shape < 1e-6 {
            self.scale * ratio.ln()
        } else {
            self.scale / self.shape * (ratio.powf(self.shape) - 1.0)
        }
    }
}

/// Values at [`GRID`], never falling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Curve {
    values: [f64; GRID.len()],
    tail: Tail,
    floor: f64,
}

impl Curve {
    /// Makes the values monotone outward from the median and keeps everything at or above `floor`.
    pub(crate) fn new(mut values: [f64; GRID.len()], tail: Tail, floor: f64) -> Curve {
        make_monotone(&mut values);
        for value in &mut values {
            *value = value.max(floor);
        }
        Curve { values, tail, floor }
    }

    /// All probability at one value.
    pub(crate) fn point(value: f64, floor: f64) -> Curve {
        Curve::new([value; GRID.len()], Tail { scale: 0.0, shape: 0.0 }, floor)
    }

    /// Values at the grid, and what lies above.
    pub(crate) fn parts(&self) -> (&[f64; GRID.len()], Tail) {
        (&self.values, self.tail)
    }

    /// At each probability the higher value of both.
    pub(crate) fn or_higher(&self, other: &Curve) -> Curve {
        let last = GRID.len() - 1;
        let tail = if other.values[last] > self.values[last] { other.tail } else { self.tail };
        let values = std::array::from_fn(|k| self.values[k].max(other.values[k]));
        Curve::new(values, tail, self.floor.max(other.floor))
    }

    /// The value at `tau`, drawn into (0, 1) when outside it.
    pub(crate) fn quantile(&self, tau: f64) -> f64 {
        self.read(Place::of(tau))
    }

    /// The value at a place on the grid.
    pub(crate) fn read(&self, place: Place) -> f64 {
        place.read(&self.values, &self.tail).max(self.floor)
    }

    /// The probability of a value above `level`, by bisection.
    pub(crate) fn above(&self, level: f64) -> f64 {
        let (mut low, mut high) = (TAU_MIN, 1.0 - TAU_MIN);
        if self.quantile(low) > level {
            return 1.0;
        }
        if self.quantile(high) <= level {
            return 0.0;
        }
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if self.quantile(middle) > level {
                high = middle;
            } else {
                low = middle;
            }
        }
        1.0 - (low + high) / 2.0
    }
}

/// For each level, the probability that it is exceeded in windows of growing length.
pub(crate) fn crossed(windows: &[Curve], levels: &[f64]) -> Vec<Vec<f64>> {
    let of = |&level: &f64| {
        let mut before = 0.0f64;
        // What was exceeded stays so, whatever a longer window says.
        let grow = |curve: &Curve| {
            before = before.max(curve.above(level));
            before
        };
        windows.iter().map(grow).collect()
    };
    levels.iter().map(of).collect()
}

/// Raises values above the median and lowers those below it until none falls: the median is the best known point.
pub(crate) fn make_monotone(values: &mut [f64; GRID.len()]) {
    for k in MEDIAN + 1..values.len() {
        values[k] = values[k].max(values[k - 1]);
    }
    for k in (0..MEDIAN).rev() {
        values[k] = values[k].min(values[k + 1]);
    }
}

/// Where a quantile lies among those of the grid. Worth keeping where the same one is read from many curves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// Below the grid, by the logarithm of the ratio of probabilities.
    Below(f64),
    On(usize),
    /// So far on the way to a grid point from the one before it.
    Between(usize, f64),
    /// Above the grid, with this probability above.
    Beyond(f64),
}

impl Place {
    /// The place of `tau`, drawn into (0, 1) when outside it; NaN is taken for the median.
    pub(crate) fn of(tau: f64) -> Place {
        let tau = if tau.is_nan() { 0.5 } else { tau.clamp(TAU_MIN, 1.0 - TAU_MIN) };
        let last = GRID.len() - 1;
        if tau >= GRID[last] {
            return Place::Beyond(1.0 - tau);
        }
        if tau <= GRID[0] {
            return Place::Below((GRID[0] / tau).ln());
        }
        let upper = GRID.iter().position(|&g| g >= tau).unwrap_or(last);
        if GRID[upper] == tau {
            return Place::On(upper);
        }
        let share = (probit(tau) - PROBIT[upper - 1]) / (PROBIT[upper] - PROBIT[upper - 1]);
        // Near a grid point the approximation may be off to the other side of it.
        Place::Between(upper, share.clamp(0.0, 1.0))
    }

    /// The value there in a monotone table of grid values.
    pub(crate) fn read(self, values: &[f64; GRID.len()], tail: &Tail) -> f64 {
        let last = GRID.len() - 1;
        match self {
            Place::On(k) => values[k],
            Place::Between(upper, share) => values[upper - 1] + share * (values[upper] - values[upper - 1]),
            Place::Beyond(above) => values[last] + tail.beyond(1.0 - GRID[last], above),
            // Exponential with the spacing of the first two grid points.
            Place::Below(ratio) => values[0] - (values[1] - values[0]) / (GRID[1] / GRID[0]).ln() * ratio,
        }
    }
}

/// Quantile function of the standard normal distribution, by the rational approximation 26.2.23 of Abramowitz and
/// Stegun; error below 4.5e-4, ample for interpolation.
pub(crate) fn probit(tau: f64) -> f64 {
    let p = tau.min(1.0 - tau);
    let t = (-2.0 * p.ln()).sqrt();
    let z = t
        - (2.515_517 + t * (0.802_853 + t * 0.010_328))
            / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    if tau < 0.5 { -z } else { z }
}

/// Distribution function of the standard normal distribution, by 26.2.17 of Abramowitz and Stegun; error below 1e-7.
pub(crate) fn normal_below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let polynomial = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * polynomial;
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// Halvings after which a probability is known to a millionth.
const HALVINGS: usize = 22;
/// Index of the median in [`GRID`].
pub(crate) const MEDIAN: usize = 5;
/// Nothing is claimed about rarer events than one in a million.
const TAU_MIN: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_has_its_tabulated_values() {
        for (z, below) in [(0.0, 0.5), (1.0, 0.841_344_746), (-1.959_963_985, 0.025), (3.0, 0.998_650_102)] {
            assert!((normal_below(z) - below).abs() < 1e-6, "{z}");
            assert!((probit(below) - z).abs() < 1e-3, "{below}");
        }
    }

    #[test]
    fn the_probability_of_more_is_what_the_quantiles_say() {
        let curve = Curve::new(PROBIT, Tail { scale: 0.4, shape: 0.0 }, -10.0);
        for tau in [0.02, 0.3, 0.5, 0.9, 0.999, 0.999_9] {
            assert!((curve.above(curve.quantile(tau)) - (1.0 - tau)).abs() < 5e-4, "{tau}");
        }
        assert_eq!((curve.above(-11.0), curve.above(99.0)), (1.0, 0.0));
        assert_eq!(Curve::point(5.0, 0.0).above(5.0), 0.0);
    }
}
