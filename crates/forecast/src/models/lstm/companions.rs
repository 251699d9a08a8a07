//! Invented series that a network is trained on beside the few real ones it is given.
//!
//! A few weeks of one workload show few level shifts, bursts and outages; a network trained on them alone learns the weeks
//! by heart and is lost at the first shift. Companions show it such changes in all sizes, on the same steps and seasons.
//! They only stand in where other workloads are lacking: a pool of real ones needs none.

use super::view::Layout;

/// One invented series of `len` steps.
pub(super) fn invent(layout: &Layout, minutes: &[u16], random: &mut fastrand::Rng) -> Vec<f32> {
    let (short, _) = layout.seasons();
    let shape = Shape::draw(random);
    let weekend = if random.bool() { 1.0 } else { 0.3 + 0.9 * random.f64() };
    let noise = 0.02 * (20.0_f64).powf(random.f64());
    let memory = 0.98 * random.f64();
    let drift = 0.02 * random.f64() / (short as f64).sqrt();
    let (shift_rate, burst_rate) = (rare(random, 4.0) / short as f64, rare(random, 12.0) / short as f64);
    let (mut level, mut carried, mut burst, mut silent) = (1.0_f64, 0.0, 0.0, 0_usize);
    let fade = 1.0 - 1.0 / (1.0 + random.f64() * short as f64 / 12.0);
    minutes
        .iter()
        .map(|&minute| {
            level *= (drift * normal(random)).exp();
            if random.f64() < shift_rate {
                level *= (0.5 * normal(random)).exp();
            }
            if random.f64() < burst_rate {
                burst += 3.0 * noise + random.f64().powi(3) * 4.0;
            }
            if random.f64() < 0.02 / short as f64 {
                silent = random.usize(1..short / 4 + 2);
            }
            burst *= fade;
            level = level.clamp(0.01, 100.0);
            carried = memory * carried + (1.0 - memory * memory).sqrt() * normal(random);
            let day = shape.at(f64::from(minute % 1440) / 1440.0);
            let week = if minute >= 5 * 1440 { weekend } else { 1.0 };
            silent = silent.saturating_sub(1);
            let rest = if silent > 0 { 0.02 } else { 1.0 };
            (100.0 * rest * level * (day * week * (1.0 + noise * carried) + burst)).max(0.0) as f32
        })
        .collect()
}

/// Events in a day: none for half of all series.
fn rare(random: &mut fastrand::Rng, most: f64) -> f64 {
    if random.bool() { 0.0 } else { most * random.f64().powi(3) }
}

/// A standard normal number, nearly: the sum of twelve uniform ones.
fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// How demand goes over the day.
struct Shape {
    depth: f64,
    phases: [f64; 3],
    /// A job at a fixed hour: when it begins, how long it takes, how much it adds.
    job: (f64, f64, f64),
}

impl Shape {
    fn draw(random: &mut fastrand::Rng) -> Shape {
        let job = if random.bool() {
            (random.f64(), 0.01 + 0.05 * random.f64(), 2.0 * random.f64())
        } else {
            (0.0, 0.0, 0.0)
        };
        Shape { depth: random.f64().powi(2), phases: [random.f64(), random.f64(), random.f64()], job }
    }

    fn at(&self, part: f64) -> f64 {
        let wave = |times: f64, phase: f64| (std::f64::consts::TAU * (times * part + phase)).sin();
        let [first, second, third] = self.phases;
        let waves = wave(1.0, first) + 0.4 * wave(2.0, second) + 0.2 * wave(3.0, third);
        let (begins, takes, adds) = self.job;
        let job = if (part - begins).rem_euclid(1.0) < takes { adds } else { 0.0 };
        (1.0 + self.depth * waves).max(0.05) + job
    }
}
