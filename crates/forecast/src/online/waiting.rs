//! Forecasts that wait for their outcome, in the order in which they will be scored.

use serde::{Deserialize, Serialize};

/// A ring of items, each due at a step; later ones are due later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting<T> {
    /// None before the first item, then as many as can ever wait.
    slots: Box<[(u32, T)]>,
    front: u16,
    len: u16,
    /// Most items that wait at any time.
    most: u16,
}

impl<T: Copy> Waiting<T> {
    /// Empty; the oldest of more than `most` items is dropped.
    pub(crate) fn new(most: usize) -> Waiting<T> {
        let most = most.clamp(1, usize::from(u16::MAX / 2)) as u16;
        Waiting { slots: Box::default(), front: 0, len: 0, most }
    }

    /// Adds an item that is due at step `due`, which is later than all before.
    pub(crate) fn push(&mut self, due: u64, item: T) {
        if self.len == self.most {
            self.pop();
        }
        let mut at = self.front + self.len;
        if at >= self.most {
            at -= self.most;
        }
        let entry = (due as u32, item);
        if self.slots.is_empty() {
            self.slots = vec![entry; usize::from(self.most)].into_boxed_slice();
        }
        self.slots[usize::from(at)] = entry;
        self.len += 1;
    }

    /// The item that is due at step `now`; those that were due before are dropped. Steps are told apart by their low bits.
    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> Option<T> {
        while self.len > 0 {
            let (due, item) = self.slots[usize::from(self.front)];
            let late = (now as u32).wrapping_sub(due) as i32;
            if late < 0 {
                return None;
            }
            self.pop();
            if late == 0 {
                return Some(item);
            }
        }
        None
    }

    fn pop(&mut self) {
        self.front += 1;
        self.len -= 1;
        if self.front == self.most {
            self.front = 0;
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.len() * size_of::<(u32, T)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_when_they_are_due_and_missed_ones_are_dropped() {
        let mut waiting = Waiting::new(3);
        for now in 0..100u64 {
            let wanted = (now >= 6 && now % 2 == 0 && now != 42).then(|| now - 6);
            if now != 42 {
                assert_eq!(waiting.take(now), wanted);
            }
            if now % 2 == 0 {
                waiting.push(now + 6, now);
            }
        }
        assert!(waiting.heap_bytes() == 3 * size_of::<(u32, u64)>());
    }

    #[test]
    fn the_oldest_gives_way_when_there_are_too_many() {
        let mut waiting = Waiting::new(2);
        for due in [5, 6, 7] {
            waiting.push(due, due);
        }
        assert_eq!((waiting.take(5), waiting.take(6), waiting.take(7)), (None, Some(6), Some(7)));
    }
}
