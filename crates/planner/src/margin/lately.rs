//! What every rule needed of late: the real plan does not stop what it needed within a start or two, nor do rules on paper.

use super::{LEVELS, Levels};

/// The most that each level needed in this stretch of some steps and in the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct Lately {
    this: Vec<u32>,
    before: Vec<u32>,
    /// Steps of this stretch so far.
    steps: usize,
}

impl Lately {
    /// A step of a stretch of so many begins, for so many levels.
    pub(super) fn begin_step(&mut self, stretch: usize, levels: usize) {
        if self.this.is_empty() {
            (self.this, self.before) = (vec![0; levels], vec![0; levels]);
        }
        if self.steps >= stretch {
            std::mem::swap(&mut self.this, &mut self.before);
            self.this.fill(0);
            self.steps = 0;
        }
        self.steps += 1;
    }

    /// Raises what is kept by the levels of a family, the first of which is `at`, to what they needed.
    pub(super) fn raise(&self, at: usize, keep: &mut Levels<u32>) {
        let levels = at..at + LEVELS;
        let (Some(this), Some(before)) = (self.this.get(levels.clone()), self.before.get(levels)) else {
            return;
        };
        for (keep, (this, before)) in keep.iter_mut().zip(this.iter().zip(before)) {
            *keep = (*keep).max(*this).max(*before);
        }
    }

    /// So much is needed now.
    pub(super) fn note(&mut self, at: usize, need: &Levels<u32>) {
        let Some(this) = self.this.get_mut(at..at + LEVELS) else { return };
        this.iter_mut().zip(need).for_each(|(this, need)| *this = (*this).max(*need));
    }
}
