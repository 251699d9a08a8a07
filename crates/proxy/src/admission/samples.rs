//! The latest requests of a route, kept until somebody reads them.

use std::collections::VecDeque;

use crate::control::RequestSample;

/// The latest samples, numbered in order.
#[derive(Debug, Default)]
pub(crate) struct SampleRing {
    kept: VecDeque<RequestSample>,
    next: u64,
    /// The second that is counted, since the Unix epoch, and how many were kept in it.
    second: (u64, u32),
}

impl SampleRing {
    /// Keeps a sample unless `per_second` were kept in its second already; the oldest makes room.
    pub(crate) fn keep(&mut self, mut sample: RequestSample, per_second: u32) {
        let second = sample.at / 1000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        if self.second.1 >= per_second {
            return;
        }
        self.second.1 += 1;
        self.next += 1;
        sample.number = self.next;
        self.kept.push_back(sample);
        if self.kept.len() > SAMPLES_MAX {
            self.kept.pop_front();
        }
    }

    /// Those with a higher number than `after`, oldest first; a number from another life of the proxy begins anew.
    pub(crate) fn after(&self, after: u64) -> Vec<RequestSample> {
        let after = if after > self.next { 0 } else { after };
        self.kept.iter().filter(|sample| sample.number > after).cloned().collect()
    }
}

const SAMPLES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64) -> RequestSample {
        RequestSample {
            number: 0,
            at,
            endpoint: "GET".into(),
            class: 0,
            numbers: Vec::new(),
            names: Vec::new(),
            reserved: Vec::new(),
            measured: Vec::new(),
            waited_us: 0,
            backend: 1,
        }
    }

    #[test]
    fn no_more_are_kept_than_wanted_and_each_is_read_once() {
        let mut ring = SampleRing::default();
        (0..30).for_each(|i| ring.keep(sample(1000 + 100 * i), 2));
        let read = ring.after(0);
        assert_eq!(read.iter().map(|s| s.at).collect::<Vec<_>>(), [1000, 1100, 2000, 2100, 3000, 3100]);
        assert_eq!(ring.after(read[4].number).len(), 1);
        // As after a restart of the proxy.
        assert_eq!(ring.after(1000).len(), 6);
    }

    #[test]
    fn memory_is_bounded() {
        let mut ring = SampleRing::default();
        (0..10_000).for_each(|i| ring.keep(sample(i), u32::MAX));
        assert_eq!(ring.after(0).len(), SAMPLES_MAX);
    }
}
