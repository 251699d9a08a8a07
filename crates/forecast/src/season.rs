//! Seasons: periods after which a series resembles itself.

/// A period found in a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Season {
    /// Length in steps.
    pub period: usize,
    /// Autocorrelation at that lag when it was found, 0..1.
    pub strength: f64,
}
