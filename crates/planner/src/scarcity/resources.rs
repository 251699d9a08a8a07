//! Amounts of what nodes have and instances need. Whole numbers, so that sums are exact in any order.

use std::fmt;

/// Cores and memory, together: of a node, of an instance, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Resources {
    /// Thousandths of a core.
    pub millicores: u64,
    /// Bytes.
    pub memory: u64,
}

impl Resources {
    /// Nothing.
    pub const NONE: Resources = Resources { millicores: 0, memory: 0 };

    /// So many cores (rounded to thousandths; what is no number is none) and bytes of memory.
    pub fn new(cores: f64, memory: u64) -> Resources {
        Resources { millicores: (cores * 1e3).round().clamp(0.0, CORES_MAX * 1e3) as u64, memory }
    }

    /// In cores.
    pub fn cores(self) -> f64 {
        self.millicores as f64 / 1e3
    }

    /// Both parts are there in `room`.
    pub fn fits(self, room: Resources) -> bool {
        self.millicores <= room.millicores && self.memory <= room.memory
    }

    /// The sum.
    pub fn plus(self, other: Resources) -> Resources {
        Resources {
            millicores: self.millicores.saturating_add(other.millicores),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    /// What is left, of each part at least nothing.
    pub fn minus(self, other: Resources) -> Resources {
        Resources {
            millicores: self.millicores.saturating_sub(other.millicores),
            memory: self.memory.saturating_sub(other.memory),
        }
    }

    /// Of each part the larger.
    pub fn at_least(self, other: Resources) -> Resources {
        Resources { millicores: self.millicores.max(other.millicores), memory: self.memory.max(other.memory) }
    }

    /// Of each part the smaller.
    pub fn at_most(self, other: Resources) -> Resources {
        Resources { millicores: self.millicores.min(other.millicores), memory: self.memory.min(other.memory) }
    }

    /// So many of it.
    pub fn times(self, count: u32) -> Resources {
        Resources {
            millicores: self.millicores.saturating_mul(count.into()),
            memory: self.memory.saturating_mul(count.into()),
        }
    }

    /// How many of it there is room for.
    pub fn count_in(self, room: Resources) -> u32 {
        let part = |need: u64, room: u64| room.checked_div(need).unwrap_or(u64::MAX);
        let count = part(self.millicores, room.millicores).min(part(self.memory, room.memory));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The larger of the two shares of `whole` (Ghodsi et al. 2011 call it the dominant share).
    pub fn share_of(self, whole: Resources) -> f64 {
        let part = |of: u64, whole: u64| if of == 0 { 0.0 } else { of as f64 / whole as f64 };
        part(self.millicores, whole.millicores).max(part(self.memory, whole.memory))
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory as f64;
        let (amount, unit) =
            if memory >= GIB { (memory / GIB, "GiB") } else { (memory / GIB * 1024.0, "MiB") };
        let memory = (amount * 10.0).round() / 10.0;
        let noun = if self.millicores == 1_000 { "core" } else { "cores" };
        write!(f, "{} {noun} and {memory} {unit}", self.cores())
    }
}

const GIB: f64 = (1u64 << 30) as f64;
/// Far above any machine, and far from the end of the numbers.
const CORES_MAX: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_part_decides_how_many_fit_and_what_share_it_is() {
        let room = Resources::new(8.0, 4 << 30);
        let one = Resources::new(1.0, 1 << 30);
        assert_eq!(one.count_in(room), 4);
        assert_eq!(one.share_of(room), 0.25);
        assert_eq!(Resources::NONE.count_in(room), u32::MAX);
        assert_eq!(Resources::new(f64::NAN, 0), Resources::NONE);
        assert_eq!(one.share_of(Resources::NONE), f64::INFINITY);
    }

    #[test]
    fn it_reads_as_people_say_it() {
        assert_eq!(Resources::new(1.5, 3 << 29).to_string(), "1.5 cores and 1.5 GiB");
        assert_eq!(Resources::new(0.25, 512 << 20).to_string(), "0.25 cores and 512 MiB");
    }
}
