//! Groups of workloads whose predicted days look alike.
//!
//! One pass, in the order of the policy: a workload joins the first group whose founder's day is like its own, or founds
//! one. The same outlines give the same groups. Those without a pattern are in none.

use super::outline::Outline;

/// The group of each workload; numbered from 0 in the order of their founders.
pub(crate) fn group<'a>(outlines: impl Iterator<Item = Option<&'a Outline>>) -> Vec<Option<u32>> {
    let mut founders: Vec<&Outline> = Vec::new();
    outlines
        .map(|outline| {
            let outline = outline.filter(|outline| outline.likeness(outline).is_some())?;
            let alike = |founder: &&Outline| founder.likeness(outline).is_some_and(|r| r >= ALIKE);
            let found = founders.iter().position(alike).or_else(|| {
                (founders.len() < GROUPS_MAX).then(|| {
                    founders.push(outline);
                    founders.len() - 1
                })
            });
            found.and_then(|group| u32::try_from(group).ok())
        })
        .collect()
}

/// Two days are alike from this correlation on.
const ALIKE: f64 = 0.8;
/// Bounds the work to this many comparisons for each workload.
const GROUPS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::outline::tests::wave;
    use super::*;

    #[test]
    fn days_that_look_alike_are_one_group() {
        let (flat, day, night) = (Outline::flat(1.0, 0.1), wave(2.0, 1.0, 13, 0.1), wave(9.0, 3.0, 1, 1.0));
        let near = wave(7.0, 2.0, 14, 0.5);
        let outlines = [Some(&flat), Some(&day), None, Some(&night), Some(&near)];
        assert_eq!(group(outlines.into_iter()), [None, Some(0), None, Some(1), Some(0)]);
    }

    #[test]
    fn there_are_only_so_many_groups() {
        let spikes: Vec<Outline> = (0..24)
            .flat_map(|a| (a + 1..24).map(move |b| (a, b)))
            .map(|(a, b)| {
                let mut outline = Outline::flat(1.0, 0.1);
                (outline.median[a], outline.median[b]) = (9.0, 9.0);
                outline
            })
            .collect();
        let groups = group(spikes.iter().map(Some));
        assert_eq!(groups.iter().flatten().max(), Some(&(GROUPS_MAX as u32 - 1)));
        assert!(groups.iter().any(Option::is_none));
    }
}
