//! The number type of the network: `f32` where it works, `f64` where its gradients are checked.

use std::ops::{Add, AddAssign, Div, Mul, Sub};

/// What the network needs of a floating point number.
pub(super) trait Real:
    Copy
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
{
    /// One.
    const ONE: Self;

    /// The nearest number.
    fn from_f64(value: f64) -> Self;

    /// The same number with more digits.
    fn to_f64(self) -> f64;

    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;

    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
}

impl Real for f64 {
    const ONE: f64 = 1.0;

    fn from_f64(value: f64) -> f64 {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn sigmoid(self) -> f64 {
        1.0 / (1.0 + (-self).exp())
    }

    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
}

impl Real for f32 {
    const ONE: f32 = 1.0;

    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sigmoid(self) -> f32 {
        1.0 / (1.0 + exp(-self))
    }

    #[inline(always)]
    fn tanh(self) -> f32 {
        2.0 / (1.0 + exp(-2.0 * self)) - 1.0
    }
}

/// `exp` to about seven digits without a branch or a call, so that a loop over it becomes vector instructions, and the
/// same on every machine: splits off a power of two, which is bits, and sums the Taylor series of what is left.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Beyond these, a gate is open or shut to the last digit.
    let x = x.clamp(-80.0, 80.0);
    // Adding and taking away 1.5 * 2^23 rounds to a whole number.
    let rounder = 12_582_912.0_f32;
    let shifted = x * std::f32::consts::LOG2_E + rounder;
    let whole = shifted - rounder;
    // ln 2 in two parts, the first with few digits, so that the difference is exact.
    let rest = (x - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    let tail = 1.0 / 24.0 + rest * (1.0 / 120.0 + rest * (1.0 / 720.0));
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0 + rest * tail)));
    // The low bits of the shifted number are the whole number itself.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    series * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_functions_agree_with_the_exact_ones() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.02;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1e-6, "exp({x})");
            assert!((Real::to_f64(x.sigmoid()) - f64::from(x).sigmoid()).abs() < 2e-7, "sigmoid({x})");
            assert!((Real::to_f64(Real::tanh(x)) - f64::from(x).tanh()).abs() < 4e-7, "tanh({x})");
        }
        assert!((500.0_f32.sigmoid() - 1.0).abs() < 1e-6 && (-500.0_f32).sigmoid() < 1e-6);
    }
}
