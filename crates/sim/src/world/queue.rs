//! The event queue of virtual time: earliest first, first come first served among equals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use forecast::Timestamp;

/// What will happen, in order of time. Two happenings of one moment come out in the order they went in.
#[derive(Debug, Clone)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    entered: u64,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    at: Timestamp,
    number: u64,
    what: T,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new() -> Queue<T> {
        Queue { heap: BinaryHeap::new(), entered: 0 }
    }

    /// Adds a happening.
    pub fn push(&mut self, at: Timestamp, what: T) {
        self.heap.push(Reverse(Entry { at, number: self.entered, what }));
        self.entered += 1;
    }

    /// When the next one happens.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    /// Takes the next one, if it happens at `until` or before.
    pub fn pop_until(&mut self, until: Timestamp) -> Option<(Timestamp, T)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.0.at, entry.0.what))
    }

    /// How many are waiting.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn happenings_come_out_in_order_of_time_and_then_of_entry() {
        let mut queue = Queue::new();
        queue.push(Timestamp::from_secs(2), "c");
        queue.push(Timestamp::from_secs(1), "a");
        queue.push(Timestamp::from_secs(1), "b");
        let now = Timestamp::from_secs(1);
        assert_eq!(queue.pop_until(now), Some((now, "a")));
        assert_eq!(queue.pop_until(now), Some((now, "b")));
        assert_eq!(queue.pop_until(now), None);
        assert_eq!(queue.len(), 1);
    }
}
