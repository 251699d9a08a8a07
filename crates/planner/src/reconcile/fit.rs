//! The size of instances: of those that run, and of those that join them.

use std::cmp::Reverse;

use super::{Want, leaves_first};
use crate::action::ActionKind;
use crate::desk::Desk;
use crate::fleet::Fleet;
use crate::ids::InstanceId;
use crate::instance::{Instance, Order, Phase, Role};
use crate::profiles::{WORTH_SPARE, fits};
use crate::size::Size;

impl Fleet {
    /// Gives instances the wanted size, those that serve first. An order keeps a standby from being promoted, so no more
    /// than one of them waits for its answer; and what serves does not shrink while instances are missing. Standbys wait until all
    /// that are to serve have grown: some that serve now may only then turn out to be too many.
    pub(super) fn fit(&mut self, want: Want, desk: &mut Desk<'_>) {
        if self.resizes.off(desk.now()) || (want.size.is_none() && want.profiles.is_none()) {
            return;
        }
        let joining = self.joins_with(want);
        let target = |i: &Instance| match (want.size, &want.profiles) {
            (None, Some(profiles)) => fits(i, profiles),
            (size, _) => {
                let size = if i.role == Role::Active { joining } else { size };
                size.filter(|size| i.phase == Phase::Ready && i.size != Some(*size))
            }
        };
        let missing = self.serving_missing(want);
        let leaving = self.leave_as_they_are(want);
        let growing = want.grown > 1.0 + WORTH_SPARE;
        let resizing = |i: &Instance| i.pending.is_some_and(|p| p.order == Order::Resize);
        for role in [Role::Active, Role::Standby] {
            let wait = role == Role::Standby
                && (missing || growing || self.instances.iter().any(|i| i.role == role && resizing(i)));
            if wait {
                return;
            }
            for at in 0..self.instances.len() {
                let i = &self.instances[at];
                let Some(mut size) = target(i).filter(|_| i.role == role) else { continue };
                let free = i.pending.is_none() && !i.doomed && i.retry.waiting(desk.now()).is_none();
                let kept = |now: &Size| match size.cpu_cores < now.cpu_cores {
                    true => missing,
                    false => leaving.contains(&i.id),
                };
                if let Some(now) = i.size.filter(kept) {
                    // Memory does not wait. A profile is had as a whole.
                    size.cpu_cores = now.cpu_cores;
                    if size == now || want.size.is_none() {
                        continue;
                    }
                }
                if !free {
                    continue;
                }
                let kind = ActionKind::Resize { instance: i.id, size };
                if self.order(at, Order::Resize, kind, desk) {
                    let instance = &mut self.instances[at];
                    instance.size_ordered = Some(size);
                    instance.memory_ordered = instance.memory_ordered.max(size.memory_bytes);
                }
                if role == Role::Standby {
                    return;
                }
            }
        }
    }

    /// Those that serve and will not be needed once the others have grown.
    fn leave_as_they_are(&self, want: Want) -> Vec<InstanceId> {
        if want.grown <= 1.0 + WORTH_SPARE {
            return Vec::new();
        }
        let mut serving: Vec<&Instance> = self.instances.iter().filter(|i| i.serving()).collect();
        serving.sort_by_key(|i| Reverse(leaves_first(i, want)));
        let stay = (f64::from(want.active) / want.grown - WORTH_SPARE).ceil().max(f64::from(want.least));
        serving.iter().skip(stay as usize).map(|i| i.id).collect()
    }

    /// The size of who is to serve beside the others: those keep their processor time while instances are missing, and one
    /// with less of it would look slow and be taken back.
    pub(super) fn joins_with(&self, want: Want) -> Option<Size> {
        let size = want.size?;
        let settled = self.instances.iter().filter(|i| i.serving() && i.ramp.is_none());
        let held = settled.filter_map(|i| i.size).map(|size| size.cpu_cores).min_by(f64::total_cmp);
        let kept = held.filter(|_| self.serving_missing(want)).unwrap_or(0.0);
        Some(Size { cpu_cores: size.cpu_cores.max(kept), ..size })
    }

    fn serving_missing(&self, want: Want) -> bool {
        self.worth(Instance::serving) < f64::from(want.active) - WORTH_SPARE
    }
}
