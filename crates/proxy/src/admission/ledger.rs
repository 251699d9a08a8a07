//! What is reserved of an instance, over all shards.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::{Admission, Amount, COSTS_MAX};

/// Amounts of each cost, in millionths; those that the route does not have are zero.
pub(crate) type Need = [u64; COSTS_MAX];

/// How much an instance of this route has of each cost.
pub(crate) fn capacity(admission: &Admission) -> Need {
    let mut capacity = Need::default();
    for (amount, cost) in capacity.iter_mut().zip(&admission.costs) {
        *amount = cost.per_instance.micros();
    }
    capacity
}

/// The reservations on one backend.
#[derive(Debug, Default)]
pub(crate) struct Ledger([AtomicU64; COSTS_MAX]);

impl Ledger {
    /// Whether that much is left of everything. A request that needs more than there is of something runs while nobody
    /// else uses it: otherwise it never would.
    pub(crate) fn fits(&self, need: &Need, capacity: &Need) -> bool {
        (0..COSTS_MAX).all(|cost| has_room(self.0[cost].load(Ordering::SeqCst), need[cost], capacity[cost]))
    }

    /// Reserves all or nothing.
    pub(crate) fn reserve(&self, need: &Need, capacity: &Need) -> bool {
        for cost in 0..COSTS_MAX {
            let taken = self.0[cost].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |reserved| {
                has_room(reserved, need[cost], capacity[cost]).then(|| reserved + need[cost])
            });
            if taken.is_err() {
                for (reserved, amount) in self.0.iter().zip(need).take(cost) {
                    reserved.fetch_sub(*amount, Ordering::SeqCst);
                }
                return false;
            }
        }
        true
    }

    /// Gives back what was reserved.
    pub(crate) fn release(&self, need: &Need) {
        for (reserved, amount) in self.0.iter().zip(need) {
            reserved.fetch_sub(*amount, Ordering::SeqCst);
        }
    }

    /// Takes more for a request that runs already, whether it is there or not, or gives back a part.
    pub(crate) fn change(&self, cost: usize, from: u64, to: u64) {
        if to > from {
            self.0[cost].fetch_add(to - from, Ordering::SeqCst);
        } else if to < from {
            self.0[cost].fetch_sub(from - to, Ordering::SeqCst);
        }
    }

    /// The share that is reserved of what there is least left of. Above 1 when requests have outgrown it.
    pub(crate) fn load(&self, capacity: &Need) -> f64 {
        let shares = self.0.iter().zip(capacity).filter(|(_, capacity)| **capacity > 0);
        shares
            .map(|(reserved, capacity)| reserved.load(Ordering::Relaxed) as f64 / *capacity as f64)
            .fold(0.0, f64::max)
    }

    /// What is reserved of one cost.
    pub(crate) fn reserved(&self, cost: usize) -> Amount {
        Amount::from_micros(self.0[cost].load(Ordering::Relaxed))
    }
}

fn has_room(reserved: u64, need: u64, capacity: u64) -> bool {
    reserved == 0 || reserved.saturating_add(need) <= capacity
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const CAPACITY: Need = [100, 10, 0, 0];

    #[test]
    fn all_or_nothing_is_reserved() {
        let ledger = Ledger::default();
        assert!(ledger.reserve(&[60, 4, 0, 0], &CAPACITY));
        // There is enough of the first, not of the second.
        assert!(!ledger.reserve(&[10, 7, 0, 0], &CAPACITY));
        assert_eq!(ledger.reserved(0).micros(), 60);
        assert_eq!(ledger.load(&CAPACITY), 0.6);
        ledger.release(&[60, 4, 0, 0]);
        assert_eq!(ledger.load(&CAPACITY), 0.0);
    }

    #[test]
    fn what_is_larger_than_an_instance_runs_alone() {
        let ledger = Ledger::default();
        assert!(ledger.reserve(&[500, 1, 0, 0], &CAPACITY));
        assert!(!ledger.fits(&[1, 1, 0, 0], &CAPACITY) && !ledger.reserve(&[500, 1, 0, 0], &CAPACITY));
        ledger.release(&[500, 1, 0, 0]);
        assert!(ledger.fits(&[500, 1, 0, 0], &CAPACITY));
    }

    #[test]
    fn threads_never_reserve_more_than_there_is_and_leave_nothing_behind() {
        let ledger = Arc::new(Ledger::default());
        let threads: Vec<_> = (1..=4)
            .map(|size| {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || {
                    let need = [size * 9, 3, 0, 0];
                    for _ in 0..20_000 {
                        if ledger.reserve(&need, &CAPACITY) {
                            assert!(ledger.load(&CAPACITY) <= 1.0);
                            ledger.release(&need);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!((ledger.reserved(0), ledger.reserved(1)), (Amount::ZERO, Amount::ZERO));
    }
}
