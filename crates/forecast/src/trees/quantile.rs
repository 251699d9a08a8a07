//! Weighted quantiles of small unsorted sets, for the values of leaves.

/// One value with its weight, packed so that whole numbers sort as the values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weighted(u64);

impl Weighted {
    /// Both must be finite, the weight above zero.
    #[inline]
    pub(crate) fn new(value: f32, weight: f32) -> Weighted {
        let bits = value.to_bits();
        // Negative numbers count downwards: all their bits flip. Of positive ones only the sign does.
        let flip = ((bits.cast_signed() >> 31).cast_unsigned()) | 0x8000_0000;
        Weighted(u64::from(bits ^ flip) << 32 | u64::from(weight.to_bits()))
    }

    #[inline]
    fn value(self) -> f32 {
        let key = (self.0 >> 32) as u32;
        let flip = if key & 0x8000_0000 == 0 { 0xffff_ffff } else { 0x8000_0000 };
        f32::from_bits(key ^ flip)
    }

    #[inline]
    fn weight(self) -> f32 {
        f32::from_bits(self.0 as u32)
    }
}

/// The `tau` quantile of a set, between its members in proportion to where `tau` lies between the middles of their
/// weights (Hazen 1914, with weights). Reorders the set. Zero when it is empty.
pub(crate) fn weighted_quantile(set: &mut [Weighted], tau: f32) -> f32 {
    let total: f32 = set.iter().map(|member| member.weight()).sum();
    set.sort_unstable();
    let wanted = tau * total;
    let (mut middle_before, mut value_before) = (f32::NEG_INFINITY, 0.0);
    let mut sum = 0.0;
    for member in set.iter() {
        let middle = sum + 0.5 * member.weight();
        if middle >= wanted {
            let value = member.value();
            if middle_before == f32::NEG_INFINITY {
                return value;
            }
            let part = (wanted - middle_before) / (middle - middle_before);
            return value_before + part * (value - value_before);
        }
        sum += member.weight();
        (middle_before, value_before) = (middle, member.value());
    }
    value_before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(members: &[(f32, f32)], tau: f32) -> f32 {
        let mut set: Vec<Weighted> = members.iter().map(|&(v, w)| Weighted::new(v, w)).collect();
        weighted_quantile(&mut set, tau)
    }

    #[test]
    fn quantiles_lie_between_members_as_the_weights_say() {
        let even = [(3.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (0.0, 1.0)];
        assert_eq!(quantile(&even, 0.5), 1.0);
        assert_eq!(quantile(&even, 0.01), -1.0);
        assert_eq!(quantile(&even, 0.99), 3.0);
        // A member of weight two counts as two members: -5, -5, 1 with middles at 1 and 2.5 of 3.
        assert!((quantile(&[(1.0, 1.0), (-5.0, 2.0)], 0.5) - -3.0).abs() < 1e-6);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn packing_keeps_values_and_their_order() {
        let values = [-f32::MAX, -2.5, -0.0, 0.0, 1e-30, 7.0, f32::MAX];
        let packed: Vec<Weighted> = values.iter().map(|&v| Weighted::new(v, 1.0)).collect();
        assert!(packed.is_sorted());
        assert!(packed.iter().zip(values).all(|(p, v)| p.value() == v && p.weight() == 1.0));
    }
}
