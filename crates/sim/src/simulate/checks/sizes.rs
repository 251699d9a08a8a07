//! The rule about sizes: each that is ordered is one that the policy allows, and none is ordered where it is not the
//! planner's business.

use planner::{Action, ActionKind, WorkloadPolicy};

pub(super) fn see_order(action: &Action, policy: &WorkloadPolicy) -> Option<String> {
    let (instance, size) = match &action.kind {
        ActionKind::Start { instance, size, .. } => (instance, *size),
        ActionKind::Resize { instance, size } => (instance, Some(*size)),
        ActionKind::Promote { .. }
        | ActionKind::Claim { .. }
        | ActionKind::Halt { .. }
        | ActionKind::Restart { .. }
        | ActionKind::Park { .. }
        | ActionKind::SetWeights { .. }
        | ActionKind::Drain { .. }
        | ActionKind::Stop { .. } => return None,
    };
    if let (Some(size), Some(profiles)) = (size, &policy.profiles) {
        let known = [profiles.active, profiles.standby].contains(&size);
        return (!known).then(|| format!("instance {instance} is to have {size:?}, which no profile is"));
    }
    match (size, &policy.sizing) {
        (None, None) => None,
        (Some(size), None) => {
            Some(format!("instance {instance} is to have {size:?}, which nobody asked for"))
        }
        (None, Some(_)) => Some(format!("instance {instance} is to start without a size")),
        (Some(size), Some(sizing)) => {
            let (least, most) = (sizing.least, sizing.most);
            let cores = (least.cpu_cores..=most.cpu_cores).contains(&size.cpu_cores);
            let memory = (least.memory_bytes..=most.memory_bytes).contains(&size.memory_bytes);
            (!cores || !memory).then(|| {
                format!("instance {instance} is to have {size:?}, which is not from {least:?} to {most:?}")
            })
        }
    }
}
