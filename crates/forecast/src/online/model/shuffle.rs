//! How the steps of a path hang together where a series is mostly idle: as they did in windows of its past (the Schaake
//! shuffle; Clark and others 2004). Being idle comes in long runs, which no likeness of neighbouring errors tells of.

use super::Model;

/// Windows of the past, each step's values replaced by their places among those of all windows.
#[derive(Debug)]
pub(super) struct Shuffle {
    /// By step, then by window.
    places: Vec<u16>,
}

impl Shuffle {
    /// Draws windows of so many steps that began as the series stands now, idle or busy; `None` where there is too little
    /// history.
    pub(super) fn of(model: &Model, steps: usize, random: &mut fastrand::Rng) -> Option<Shuffle> {
        let memory = &model.memory;
        let last = memory.next().checked_sub(steps as u64)?;
        let is_idle = |step: u64| memory.value(step) == 0.0;
        let now = is_idle(memory.next().checked_sub(1)?);
        let starts: Vec<u64> =
            (memory.oldest_fine() + 1..=last).filter(|&start| is_idle(start - 1) == now).collect();
        if starts.len() < STARTS_MIN.max(STARTS_A_STEP * steps) {
            return None;
        }
        let starts: Vec<u64> = (0..WINDOWS).map(|_| starts[random.usize(0..starts.len())]).collect();
        // Idle steps are all alike: which of two windows comes first there is settled once for all steps.
        let mut order: Vec<u16> = (0..WINDOWS as u16).collect();
        random.shuffle(&mut order);
        let mut places = vec![0; WINDOWS * steps];
        for (step, places) in places.chunks_exact_mut(WINDOWS).enumerate() {
            let value = |window: u16| memory.value(starts[usize::from(window)] + step as u64);
            let mut sorted = order.clone();
            sorted.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
            for (place, &window) in sorted.iter().enumerate() {
                places[usize::from(window)] = place as u16;
            }
        }
        Some(Shuffle { places })
    }

    /// The probability at which a path is at a step: paths follow the windows in turn, `within` (0 to 1) tells those of one
    /// window apart.
    pub(super) fn probability(&self, path: usize, step: usize, within: f64) -> f64 {
        let place = self.places[step * WINDOWS + path % WINDOWS];
        (f64::from(place) + within) / WINDOWS as f64
    }
}

const WINDOWS: usize = 256;
/// Windows may overlap, but not all of them.
const STARTS_MIN: usize = 50;
const STARTS_A_STEP: usize = 2;
