//! How large one instance is.

use crate::scarcity::Resources;

/// What one instance may use at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Processor time, in cores: 0.5 is half of one core.
    pub cpu_cores: f64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl Size {
    /// Whether both numbers can be ordered from a provider.
    pub fn is_valid(&self) -> bool {
        self.cpu_cores.is_finite() && self.cpu_cores > 0.0 && self.memory_bytes > 0
    }

    /// What it takes of a node.
    pub fn resources(&self) -> Resources {
        Resources::new(self.cpu_cores, self.memory_bytes)
    }

    /// As much of it as there is room for.
    pub(crate) fn within(self, room: Resources) -> Size {
        // To a thousandth of a core it is the same.
        let fits = self.resources().millicores <= room.millicores;
        Size {
            cpu_cores: if fits { self.cpu_cores } else { room.cores() },
            memory_bytes: self.memory_bytes.min(room.memory),
        }
    }

    /// Of each part the larger.
    pub(crate) fn at_least(self, other: Size) -> Size {
        Size {
            cpu_cores: self.cpu_cores.max(other.cpu_cores),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }

    /// Whether one of the numbers differs from the other size by more than this share of it.
    pub fn differs(&self, from: &Size, share: f64) -> bool {
        let far = |new: f64, old: f64| (new - old).abs() > share * old;
        far(self.cpu_cores, from.cpu_cores) || far(self.memory_bytes as f64, from.memory_bytes as f64)
    }
}
