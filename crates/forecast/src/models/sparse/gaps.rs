//! Times between uses: a histogram with one bin for each minute at first and eight for each doubling beyond.

use serde::{Deserialize, Serialize};

/// A fading histogram of gaps, in steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gaps {
    /// Gaps in each bin; grows to the longest one seen.
    counts: Vec<f32>,
}

impl Gaps {
    pub(crate) fn new() -> Gaps {
        Gaps { counts: Vec::new() }
    }

    /// Takes a gap; all before count a little less from now on.
    pub(crate) fn add(&mut self, gap: u32) {
        for count in &mut self.counts {
            *count *= FADING;
        }
        let bin = bin(gap);
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0.0);
        }
        self.counts[bin] += 1.0;
    }

    /// Gaps that were as long as `gap` within `slack` bins, nearer ones counting more; and gaps at least that long.
    pub(crate) fn hazard(&self, gap: u32, slack: usize) -> (f64, f64) {
        let place = bin(gap);
        let width = f64::from(width(place));
        let (low, high) = (place.saturating_sub(slack), (place + slack + 1).min(self.counts.len()));
        let mut here = 0.0;
        for at in low..high.max(low) {
            let weight = 1.0 - at.abs_diff(place) as f64 / (slack + 1) as f64;
            here += weight * f64::from(self.counts[at]);
        }
        here /= (slack + 1) as f64;
        let longer: f32 = self.counts.iter().skip(low).sum();
        (here / width, f64::from(longer))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<f32>()
    }
}

/// The bin of a gap.
fn bin(gap: u32) -> usize {
    if gap < EXACT {
        return gap as usize;
    }
    // Octave above the exact part, and the eighth of it.
    let octave = (gap / EXACT).ilog2();
    let eighth = (gap - (EXACT << octave)) / (EXACT_EIGHTH << octave);
    ((EXACT + 8 * octave + eighth) as usize).min(BINS - 1)
}

fn width(bin: usize) -> u32 {
    let bin = bin as u32;
    if bin < EXACT { 1 } else { EXACT_EIGHTH << ((bin - EXACT) / 8) }
}

/// Shorter gaps have a bin for each step.
const EXACT: u32 = 128;
const EXACT_EIGHTH: u32 = EXACT / 8;
/// Eight octaves: up to 32,768 steps, three weeks of minutes. Longer gaps count as the longest.
const BINS: usize = 128 + 8 * 8;
const FADING: f32 = 0.995;

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bin: usize) -> u32 {
        let bin = bin as u32;
        if bin < EXACT {
            return bin;
        }
        let (octave, eighth) = ((bin - EXACT) / 8, (bin - EXACT) % 8);
        (EXACT << octave) + eighth * (EXACT_EIGHTH << octave)
    }

    #[test]
    fn bins_join_without_holes() {
        for place in 0..BINS - 1 {
            assert_eq!(first(place) + width(place), first(place + 1));
            assert_eq!(bin(first(place)), place);
            assert_eq!(bin(first(place + 1) - 1), place);
        }
        assert_eq!(bin(u32::MAX), BINS - 1);
    }

    #[test]
    fn the_hazard_is_the_share_of_the_longer_gaps_that_end_here() {
        let mut gaps = Gaps::new();
        for gap in [5, 5, 10, 300] {
            gaps.add(gap);
        }
        let (here, longer) = gaps.hazard(5, 0);
        assert!((here / longer - 0.5).abs() < 0.01);
        let (here, longer) = gaps.hazard(10, 0);
        assert!((here / longer - 0.5).abs() < 0.01);
        assert_eq!(gaps.hazard(20, 0).0, 0.0);
        assert_eq!(gaps.hazard(4000, 1), (0.0, 0.0));
    }
}
