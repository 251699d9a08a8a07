//! The order desk where nodes are finite: finds a seat for each start, and keeps count of what is taken.

use crate::desk::Desk;
use crate::ids::{InstanceId, NodeId};
use crate::reason::Reason;
use crate::scarcity::place::{Among, Seat};
use crate::scarcity::reason::SharingReason;

/// Where a new instance may be started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seated {
    /// There are no nodes to choose from.
    Anywhere,
    /// On this node; the room is taken.
    On(NodeId, Reason),
    /// Nowhere, for now.
    Waits,
}

impl Desk<'_> {
    /// Takes room for a new instance. `moving`: it replaces one that leaves the second node, for the first if that has room.
    pub(crate) fn seat(&mut self, instance: InstanceId, moving: Option<(NodeId, NodeId)>) -> Seated {
        let (at, now) = (self.index, self.now());
        let Some(cluster) = &mut self.shared.cluster else { return Seated::Anywhere };
        let yields = !cluster.sharing && cluster.yields(at);
        let seat = match moving {
            _ if yields => None,
            None => cluster.seat(at, Among::All),
            Some((to, from)) => {
                let wanted = cluster.node(&to).and_then(|to| cluster.seat(at, Among::Only(to)));
                let but = cluster.node(&from).map_or(Among::All, Among::But);
                wanted.or_else(|| cluster.seat(at, but))
            }
        };
        let Some(Seat { node, peak, rise }) = seat else {
            cluster.waiting.insert(at);
            cluster.wake(if yields { now } else { now.saturating_add(WAIT) });
            return Seated::Waits;
        };
        cluster.take(at, node, false);
        let policy = &cluster.nodes[node].policy;
        let (id, cores) = (policy.id.clone(), policy.size.cores());
        let reason = SharingReason::Placed { instance, node: id.clone(), rise, peak, cores };
        Seated::On(id, Reason::Sharing(reason))
    }

    /// Takes room for an instance that comes up again where its disk is; whether there was any.
    pub(crate) fn seat_again(&mut self, node: Option<&NodeId>) -> bool {
        let at = self.index;
        let Some(cluster) = &mut self.shared.cluster else { return true };
        if !cluster.sharing && cluster.yields(at) {
            return false;
        }
        let seat =
            node.and_then(|node| cluster.node(node)).and_then(|node| cluster.seat(at, Among::Only(node)));
        let Some(seat) = seat else { return false };
        cluster.take(at, seat.node, false);
        true
    }

    /// An instance was found on a node.
    pub(crate) fn found_on(&mut self, node: &NodeId) -> bool {
        let Some(cluster) = &mut self.shared.cluster else { return false };
        let Some(node) = cluster.node(node).filter(|node| cluster.nodes[*node].up) else { return false };
        cluster.take(self.index, node, true);
        true
    }

    /// An instance is on its node no more.
    pub(crate) fn leave(&mut self, node: Option<&NodeId>) {
        let now = self.now();
        if let (Some(cluster), Some(node)) = (&mut self.shared.cluster, node) {
            cluster.free(self.index, node, now);
        }
    }
}

/// Who finds no room looks again after this time, or when somebody leaves.
const WAIT: std::time::Duration = std::time::Duration::from_secs(5);
