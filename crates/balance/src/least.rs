//! Weighted least connections.

/// The target with the fewest requests in flight, the new one included, per weight; ties go to the one that follows
/// `random` in rotation, so that idle targets share. `targets` yields weight and in-flight count, or None for one that
/// cannot be used. Linear in the number of targets.
pub fn least_connections(targets: &[Option<(u32, u32)>], random: u64) -> Option<usize> {
    let count = targets.len();
    if count == 0 {
        return None;
    }
    let start = (random % count as u64) as usize;
    let mut best: Option<(usize, u32, u32)> = None;
    for index in (start..count).chain(0..start) {
        let Some((weight, in_flight)) = targets[index].filter(|&(weight, _)| weight > 0) else { continue };
        let fewer = best.is_none_or(|(_, best_weight, best_in_flight)| {
            // (in_flight + 1) / weight, compared without division.
            (u64::from(in_flight) + 1) * u64::from(best_weight)
                < (u64::from(best_in_flight) + 1) * u64::from(weight)
        });
        if fewer {
            best = Some((index, weight, in_flight));
        }
    }
    best.map(|(index, _, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_flight_requests_are_weighed() {
        assert_eq!(least_connections(&[Some((1000, 9)), Some((100, 0))], 0), Some(0));
        assert_eq!(least_connections(&[Some((1000, 10)), Some((100, 0))], 0), Some(1));
    }

    #[test]
    fn ties_rotate() {
        let targets = [Some((1, 0)), Some((1, 0)), None];
        assert_eq!(least_connections(&targets, 0), Some(0));
        assert_eq!(least_connections(&targets, 1), Some(1));
        assert_eq!(least_connections(&targets, 2), Some(0));
    }

    #[test]
    fn weight_zero_is_never_chosen() {
        assert_eq!(least_connections(&[Some((0, 0)), Some((1, 99))], 0), Some(1));
        assert_eq!(least_connections(&[Some((0, 0))], 0), None);
    }
}
