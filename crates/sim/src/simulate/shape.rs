//! Demand that nobody recorded: the shapes that a simulation draws from.

use std::time::Duration;

/// A demand over time, in the workload's unit. Plus noise, where the shape has some.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Always the same.
    Flat {
        /// The level.
        level: f64,
    },
    /// A day that takes a few hours, so that a short simulation sees several.
    Daily {
        /// Mean.
        level: f64,
        /// Amplitude as a share of the mean.
        swing: f64,
        /// Length of the day.
        period: Duration,
    },
    /// A level with sudden short peaks at regular times.
    Spikes {
        /// The level between them.
        level: f64,
        /// How many times the level a peak reaches.
        height: f64,
        /// From peak to peak.
        every: Duration,
        /// Length of a peak.
        length: Duration,
    },
    /// Jumps between two levels.
    Switching {
        /// Lower level, possibly 0.
        low: f64,
        /// Upper level.
        high: f64,
        /// Time at each.
        every: Duration,
    },
}

impl Shape {
    /// Draws a shape whose level is about `scale`.
    pub fn draw(rng: &mut fastrand::Rng, scale: f64) -> Shape {
        let level = scale * between(rng, 0.3, 1.0);
        let minutes =
            |rng: &mut fastrand::Rng, from, to| Duration::from_secs_f64(60.0 * between(rng, from, to));
        match rng.u32(0..4) {
            0 => Shape::Flat { level },
            1 => Shape::Daily { level, swing: between(rng, 0.2, 1.0), period: minutes(rng, 60.0, 240.0) },
            2 => Shape::Spikes {
                level,
                height: between(rng, 1.5, 5.0),
                every: minutes(rng, 20.0, 90.0),
                length: minutes(rng, 1.0, 10.0),
            },
            _ => Shape::Switching {
                low: if rng.bool() { 0.0 } else { level * 0.2 },
                high: level,
                every: minutes(rng, 10.0, 60.0),
            },
        }
    }

    /// The demand after `time`.
    pub fn at(&self, time: Duration) -> f64 {
        let inside = |period: Duration| (time.as_secs_f64() / period.as_secs_f64().max(1.0)).fract();
        match *self {
            Shape::Flat { level } => level,
            Shape::Daily { level, swing, period } => {
                (level * (1.0 + swing * (std::f64::consts::TAU * inside(period)).sin())).max(0.0)
            }
            Shape::Spikes { level, height, every, length } => {
                let peak = inside(every) * every.as_secs_f64() < length.as_secs_f64();
                if peak { level * height } else { level }
            }
            Shape::Switching { low, high, every } => {
                if inside(every * 2) < 0.5 {
                    low
                } else {
                    high
                }
            }
        }
    }
}

/// Uniform between two bounds.
pub(super) fn between(rng: &mut fastrand::Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.f64()
}
