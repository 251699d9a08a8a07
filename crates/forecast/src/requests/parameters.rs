//! The parameters of a request as the model takes them: a few numbers on a log scale and a few hashed categories.

use serde::{Deserialize, Serialize};

/// Numbers that are looked at; further ones are not.
pub const NUMERIC_MAX: usize = 8;
/// Categories that are looked at; further ones are not.
pub const CATEGORICAL_MAX: usize = 8;

/// What is known of a request before it runs. The order of the parameters is the same for all requests of a workload; a
/// NaN and an empty text mean "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parameters<'a> {
    /// Sizes and counts: bytes to read, tokens of the prompt, items in the basket.
    pub numeric: &'a [f64],
    /// Names: kind of report, model, format.
    pub categorical: &'a [&'a str],
}

/// Parameters made ready.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Logs of the numbers; NaN where not known.
    pub(crate) numeric: [f32; NUMERIC_MAX],
    /// Hashes of the categories; zero where not known.
    pub(crate) categorical: [u32; CATEGORICAL_MAX],
}

impl Row {
    pub(crate) fn new(parameters: &Parameters<'_>) -> Row {
        let mut row = Row { numeric: [f32::NAN; NUMERIC_MAX], categorical: [0; CATEGORICAL_MAX] };
        for (kept, &number) in row.numeric.iter_mut().zip(parameters.numeric) {
            if number.is_finite() {
                // Signed, so that numbers below zero are legal; one is added, so that zero is.
                *kept = number.abs().ln_1p().copysign(number) as f32;
            }
        }
        for (kept, text) in row.categorical.iter_mut().zip(parameters.categorical) {
            *kept = hash(text);
        }
        row
    }
}

/// FNV-1a, folded to 32 bits: short texts, and the same on every machine. Zero only for the empty text.
fn hash(text: &str) -> u32 {
    if text.is_empty() {
        return 0;
    }
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash >> 32) as u32 ^ hash as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_numbers_become_missing_and_surplus_ones_are_left_out() {
        let numeric = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 1.0, 1.0, 1.0, 1.0, 1.0];
        let row = Row::new(&Parameters { numeric: &numeric, categorical: &["", "a", "b"] });
        assert!(row.numeric[0].is_nan() && row.numeric[1].is_nan() && row.numeric[4].is_finite());
        assert!((row.numeric[2] + 2.0f32.ln()).abs() < 1e-6 && row.numeric[3] == 0.0);
        assert_eq!(row.categorical[0], 0);
        assert!(row.categorical[1] != row.categorical[2] && row.categorical[1] != 0);
    }
}
