//! The latest requests of an endpoint: a bounded window, also in order of cost.

use serde::{Deserialize, Serialize};

use super::parameters::Row;

/// A request that has run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) row: Row,
    /// Log of its cost.
    pub(crate) cost: f32,
}

/// The latest samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    samples: Vec<Sample>,
    /// Where the next sample goes once the window is full.
    next: usize,
    limit: usize,
    /// Places of the samples by rising cost.
    order: Vec<u16>,
}

impl Window {
    /// Holds at most `limit` samples, of which there is at least one.
    pub(crate) fn new(limit: usize) -> Window {
        Window { samples: Vec::new(), next: 0, limit: limit.clamp(1, 1 << 14), order: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Takes a sample, and drops the oldest when full.
    pub(crate) fn push(&mut self, sample: Sample) {
        let place = if self.samples.len() < self.limit {
            self.samples.push(sample);
            self.samples.len() - 1
        } else {
            self.order.retain(|&place| usize::from(place) != self.next);
            self.samples[self.next] = sample;
            self.next
        };
        self.next = (place + 1) % self.limit;
        let at = self.order.partition_point(|&other| self.samples[usize::from(other)].cost < sample.cost);
        self.order.insert(at, place as u16);
    }

    /// In no order that means anything.
    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Cheapest first.
    pub(crate) fn by_cost(&self) -> impl Iterator<Item = &Sample> + Clone {
        self.order.iter().map(|&place| &self.samples[usize::from(place)])
    }

    pub(crate) fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>() + self.order.capacity() * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Parameters;

    #[test]
    fn the_oldest_samples_go_and_the_order_holds() {
        let mut window = Window::new(4);
        for cost in [5.0, 1.0, 4.0, 2.0, 3.0, 0.0] {
            window.push(Sample { row: Row::new(&Parameters::default()), cost });
        }
        let by_cost: Vec<f32> = window.by_cost().map(|sample| sample.cost).collect();
        assert_eq!(by_cost, [0.0, 2.0, 3.0, 4.0]);
        assert_eq!(window.len(), 4);
    }
}
