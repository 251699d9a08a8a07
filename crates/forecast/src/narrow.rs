//! Arithmetic in few bits, and numbers in 16: sign, five bits of exponent, ten of fraction, as IEEE 754 defines them, but
//! never infinite.
//!
//! What is kept for long (history, forecasts that wait for their outcome) needs no more than three digits, and memory is
//! what limits how many series a machine can follow. Written out because hardware support cannot be assumed.

/// The nearest number that fits; beyond the range, and for NaN, its end.
#[inline]
pub(crate) fn pack(x: f32) -> u16 {
    let size = if x.abs() < LARGEST { x.abs() } else { LARGEST };
    // Multiplied into the range where the exponents of both formats share their bits.
    let bits = (size * DOWN).to_bits();
    let rounded = (bits + 0xfff + (bits >> 13 & 1)) >> 13;
    (rounded | (x.to_bits() >> 16 & 0x8000)) as u16
}

/// The number that was packed.
#[inline]
pub(crate) fn unpack(half: u16) -> f32 {
    let half = u32::from(half);
    f32::from_bits((half & 0x7fff) << 13 | (half & 0x8000) << 16) * UP
}

/// The larger of two numbers; the second when the first is NaN. One instruction, where `f32::max` takes several.
#[inline]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller of two numbers; the second when the first is NaN.
#[inline]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// e^x for |x| <= 30 with a relative error below 1e-5: two to the whole part by its bits, the rest by a polynomial.
/// Free of branches, so that the compiler handles four at once.
#[inline]
pub(crate) fn exponential(x: f32) -> f32 {
    let doublings = x * std::f32::consts::LOG2_E;
    let shifted = doublings + ROUNDER;
    let whole = shifted - ROUNDER;
    let y = (doublings - whole) * std::f32::consts::LN_2;
    // Estrin's scheme: fewer products wait for one before than in Horner's.
    let square = y * y;
    let high = (1.0 / 6.0 + y * (1.0 / 24.0)) + square * (1.0 / 120.0);
    let polynomial = (1.0 + y) + square * (0.5 + y * high);
    polynomial * f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23)
}

/// The largest number that fits.
pub(crate) const LARGEST: f32 = 65_504.0;
/// Two to the power of -112 and 112: the difference of the exponents' offsets.
const DOWN: f32 = f32::from_bits((127 - 112) << 23);
const UP: f32 = f32::from_bits((127 + 112) << 23);
/// Adding it leaves the whole number in the low bits of a float.
const ROUNDER: f32 = 12_582_912.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_their_known_bits() {
        for (x, bits) in [(0.0, 0), (1.0, 0x3c00), (-2.0, 0xc000), (65_504.0, 0x7bff), (5.960_464_5e-8, 1)] {
            assert_eq!(pack(x), bits, "{x}");
            assert_eq!(unpack(bits), x);
        }
    }

    #[test]
    fn every_packed_number_survives_and_others_keep_three_digits() {
        for bits in 0..=0x7bff {
            assert_eq!(pack(unpack(bits)), bits);
        }
        for i in 1..10_000 {
            let x = 0.37 * i as f32;
            assert!((unpack(pack(x)) / x - 1.0).abs() <= 1.0 / 2048.0);
        }
    }

    #[test]
    fn what_does_not_fit_becomes_the_end_of_the_range() {
        assert_eq!((pack(f32::INFINITY), pack(-1e30), pack(f32::NAN) & 0x7fff), (0x7bff, 0xfbff, 0x7bff));
    }

    #[test]
    fn the_fast_exponential_is_exact_to_five_digits() {
        for i in -300..=300 {
            let x = i as f32 / 10.0;
            assert!((exponential(x) / x.exp() - 1.0).abs() < 1e-5, "{x}");
        }
    }
}
