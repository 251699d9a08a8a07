//! Looks ahead: sees bottlenecks coming, and says which instance should move where before they are there.
//!
//! Three things make an instance move, in this order: another workload's granted instance fits on no node as things lie; a
//! node whose cores are promised more than once will peak above them; all normal nodes together will. In the last case the
//! lowest classes go to spare nodes, and come back some time after the peak can be held without. One proposal at a time:
//! the next one sees what the one before has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;

use super::cluster::Cluster;
use super::group::group;
use super::outline::{Sum, hour_of};
use super::place::Among;
use super::reason::MoveCause;

/// What was seen, and when to look again.
#[derive(Debug, Clone)]
pub(crate) struct Foresight {
    pub(crate) look_at: Timestamp,
    group_at: Timestamp,
    /// When moves are thought about next.
    pub(crate) propose_at: Timestamp,
    /// Looks in a row that saw a bottleneck.
    seen: u32,
    pub(crate) alarm: Option<Alarm>,
    /// Since when all would have had room on normal nodes.
    calm_since: Option<Timestamp>,
    /// Instances that are being replaced elsewhere, by workload and node.
    pub(crate) leaving: BTreeMap<usize, BTreeMap<usize, u32>>,
    /// Since when each workload waits for a node with room.
    waits_since: BTreeMap<usize, Timestamp>,
}

/// A bottleneck of all normal nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) at: Timestamp,
    pub(crate) peak: f64,
    pub(crate) cores: f64,
    /// The highest class, for whose sake the others move aside.
    pub(crate) class: u8,
    /// Some have moved.
    pub(crate) eased: bool,
}

/// One instance of a workload should leave a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) workload: usize,
    pub(crate) from: usize,
    /// Where it is replaced; `None` when it is not, because its workload gives way.
    pub(crate) to: Option<usize>,
    pub(crate) cause: MoveCause,
}

impl Foresight {
    pub(crate) fn new(now: Timestamp) -> Foresight {
        Foresight {
            look_at: now,
            group_at: now,
            propose_at: now,
            seen: 0,
            alarm: None,
            calm_since: None,
            leaving: BTreeMap::new(),
            waits_since: BTreeMap::new(),
        }
    }

    /// Instances that are being replaced elsewhere.
    pub(crate) fn leaving(&self) -> u32 {
        self.leaving.values().flat_map(|nodes| nodes.values()).sum()
    }

    fn leaving_from(&self, workload: usize, node: usize) -> u32 {
        self.leaving.get(&workload).and_then(|nodes| nodes.get(&node)).copied().unwrap_or(0)
    }
}

impl Cluster {
    /// Groups workloads and looks for a bottleneck of all normal nodes, if it is time for that.
    pub(crate) fn look_ahead(&mut self, now: Timestamp, wall: Timestamp) {
        if now >= self.foresight.group_at {
            let groups = group(self.members.iter().map(|member| member.outline.as_ref()));
            for (member, group) in self.members.iter_mut().zip(groups) {
                member.group = group;
            }
            self.foresight.group_at = now.saturating_add(GROUP_EVERY);
        }
        if now < self.foresight.look_at {
            return;
        }
        self.foresight.look_at = now.saturating_add(LOOK_EVERY);
        let cores = self.normal_cores();
        let (hour, peak) = self.normal_load(true).highest(hour_of(wall), HORIZON_HOURS);
        self.foresight.seen = if peak > cores { self.foresight.seen + 1 } else { 0 };
        let calm = peak < CALM_SHARE * cores;
        self.foresight.calm_since = if calm { self.foresight.calm_since.or(Some(now)) } else { None };
        if self.foresight.seen >= LOOKS_TO_BELIEVE || (self.foresight.alarm.is_some() && !calm) {
            let class = self.members.iter().filter(|m| m.outline.is_some()).map(|m| m.claim.class).max();
            let at = when(hour, wall);
            let eased = self.nodes.iter().any(|node| node.policy.spare && !node.on.is_empty());
            self.foresight.alarm = class.map(|class| Alarm { at, peak, cores, class, eased });
        } else {
            self.foresight.alarm = None;
        }
    }

    fn normal_cores(&self) -> f64 {
        let normal = self.nodes.iter().filter(|node| node.up && !node.policy.spare);
        normal.map(|node| node.policy.size.cores()).sum()
    }

    /// The forecast of all that runs on normal nodes, or would if there were no spare ones.
    fn normal_load(&self, with_spare: bool) -> Sum {
        let mut sum = Sum::empty();
        for (at, member) in self.members.iter().enumerate() {
            let Some(outline) = &member.outline else { continue };
            let staying = |(node, count): (&usize, &u32)| {
                let count = count - self.foresight.leaving_from(at, *node).min(*count);
                (self.nodes[*node].policy.spare, count)
            };
            let (mut spare, mut all) = (0, 0);
            for (is_spare, count) in member.on.iter().map(staying) {
                spare += if is_spare { count } else { 0 };
                all += count;
            }
            let away = if with_spare || all == 0 { 0.0 } else { f64::from(spare) / f64::from(all) };
            sum.add(outline, 1.0 - away);
        }
        sum
    }

    /// The next move that is worth making.
    pub(crate) fn propose(&mut self, now: Timestamp, wall: Timestamp) -> Option<Proposal> {
        if self.foresight.leaving() >= MOVES_MAX {
            return None;
        }
        // While room is being made nobody else moves, who might take it.
        if let Some(step) = self.make_room(now) {
            return step;
        }
        self.relieve_node(wall).or_else(|| self.move_aside(wall)).or_else(|| self.move_back(now, wall))
    }

    /// For the first for whom no node has room although all together have: the next move, or who leaves without one; none while
    /// those under way will do.
    fn make_room(&mut self, now: Timestamp) -> Option<Option<Proposal>> {
        let waiting = self.waiting.clone();
        self.foresight.waits_since.retain(|at, _| waiting.contains(at));
        for at in &waiting {
            self.foresight.waits_since.entry(*at).or_insert(now);
        }
        let mut waiters: Vec<usize> = self
            .foresight
            .waits_since
            .iter()
            .filter(|(_, since)| now.since(**since) >= WAIT_BEFORE_MOVES)
            .map(|(at, _)| *at)
            .collect();
        // While somebody still gives up what is no longer granted, room comes by itself.
        if waiters.is_empty() || (0..self.members.len()).any(|at| self.has_too_many(at)) {
            return None;
        }
        waiters.sort_by_key(|at| std::cmp::Reverse(self.members[*at].claim.class));
        let by_moves = waiters.iter().find_map(|waiter| self.make_room_for(*waiter));
        by_moves.or_else(|| self.let_one_yield(now, &waiters).map(Some))
    }

    fn has_too_many(&self, at: usize) -> bool {
        let member = &self.members[at];
        let leaving: u32 = self.foresight.leaving.get(&at).map_or(0, |nodes| nodes.values().sum());
        member.on.values().sum::<u32>() > member.grant.total() + leaving
    }

    fn make_room_for(&mut self, waiter: usize) -> Option<Option<Proposal>> {
        let mut best: Option<Vec<(usize, usize)>> = None;
        let mut from = 0;
        for node in 0..self.nodes.len() {
            let fewer = best.as_ref().map_or(usize::MAX, Vec::len);
            let Some(moves) = self.clear(node, waiter, fewer) else { continue };
            (best, from) = (Some(moves), node);
        }
        let cause = MoveCause::RoomFor(self.members[waiter].id.clone());
        best.map(|moves| {
            moves.first().map(|(workload, to)| Proposal { workload: *workload, from, to: Some(*to), cause })
        })
    }

    /// The workloads that must give up an instance on a node so that one of the waiter can be there, and where each goes.
    /// `None` if that cannot be done with fewer than so many moves.
    ///
    /// Each has a seat beside those before it, and the waiter has one after the last. So with each move one less is to be
    /// made, and none is ever made back.
    fn clear(&mut self, node: usize, waiter: usize, fewer: usize) -> Option<Vec<(usize, usize)>> {
        let (class, needs) = (self.members[waiter].claim.class, self.members[waiter].claim.needs);
        let (mut gone, mut movable, mut left) = (Vec::new(), Vec::new(), self.nodes[node].left());
        for (at, count) in &self.nodes[node].on {
            let (claim, leaving) =
                (&self.members[*at].claim, self.foresight.leaving_from(*at, node).min(*count));
            let may_go = *at != waiter && claim.class <= class;
            left = left.plus(claim.needs.times(if may_go { *count } else { leaving }));
            gone.extend(std::iter::repeat_n(*at, leaving as usize));
            movable.push((claim.class, *at, if may_go { count - leaving } else { 0 }));
        }
        let open = self.nodes[node].up && !self.nodes[node].policy.closed;
        if !open || !needs.fits(left) {
            return None;
        }
        movable.sort_unstable();
        let movable = movable.into_iter().flat_map(|(_, at, count)| std::iter::repeat_n(at, count as usize));
        let (adopted, outgrown) = (self.nodes[node].adopted, self.nodes[node].outgrown);
        // As if those that leave were gone already, and each that must had moved.
        gone.iter().for_each(|at| self.release(*at, node));
        let moves = self.clear_by(node, waiter, movable, fewer);
        for at in gone {
            self.take(at, node, false);
        }
        (self.nodes[node].adopted, self.nodes[node].outgrown) = (adopted, outgrown);
        moves
    }

    /// Lets one after the other of the movable go until the waiter has a seat; all of them come back before it returns.
    fn clear_by(
        &mut self,
        node: usize,
        waiter: usize,
        mut movable: impl Iterator<Item = usize>,
        fewer: usize,
    ) -> Option<Vec<(usize, usize)>> {
        let mut moves = Vec::new();
        let done = loop {
            if moves.len() >= fewer {
                break false;
            }
            if self.seat(waiter, Among::Only(node)).is_some() {
                break true;
            }
            let Some(at) = movable.next() else { break false };
            if let Some(seat) = self.seat(at, Among::But(node)) {
                self.take(at, seat.node, false);
                self.release(at, node);
                moves.push((at, seat.node));
            }
        };
        for (at, to) in &moves {
            self.release(*at, *to);
            self.take(*at, node, false);
        }
        done.then_some(moves)
    }

    /// A node whose cores are promised more than once will peak above them.
    fn relieve_node(&mut self, wall: Timestamp) -> Option<Proposal> {
        for node in 0..self.nodes.len() {
            let (up, policy) = (self.nodes[node].up, self.nodes[node].policy.clone());
            if !up || (policy.overcommit <= 1.0 && self.nodes[node].used.fits(policy.room())) {
                continue;
            }
            let (cores, from) = (policy.size.cores(), hour_of(wall));
            let (hour, peak) = self.nodes[node].load(&self.members).highest(from, HORIZON_HOURS);
            if peak <= cores * NODE_SLACK || self.is_leaving(node) {
                continue;
            }
            let cause = || MoveCause::NodePeak { at: when(hour, wall), peak, cores };
            let found = self.lowest_on(node, u8::MAX).into_iter().find_map(|at| {
                let seat = self.seat(at, Among::But(node))?;
                let fits = seat.peak <= self.nodes[seat.node].policy.size.cores();
                fits.then(|| Proposal { workload: at, from: node, to: Some(seat.node), cause: cause() })
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn is_leaving(&self, node: usize) -> bool {
        self.foresight.leaving.values().any(|nodes| nodes.contains_key(&node))
    }

    /// Workloads on a node that may be asked to go, the lowest class first.
    fn lowest_on(&self, node: usize, below: u8) -> Vec<usize> {
        // Where nothing can be started, nothing can be stopped either.
        if self.nodes[node].policy.closed {
            return Vec::new();
        }
        let mut found: Vec<(u8, usize)> = self.nodes[node]
            .on
            .iter()
            .filter(|(at, count)| **count > self.foresight.leaving_from(**at, node))
            .map(|(at, _)| (self.members[*at].claim.class, *at))
            .filter(|(class, _)| *class < below || below == u8::MAX)
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, at)| at).collect()
    }

    /// All normal nodes together will be too small: the lowest classes go to spare nodes, from the fullest node first.
    fn move_aside(&mut self, wall: Timestamp) -> Option<Proposal> {
        let alarm = self.foresight.alarm?;
        let (_, peak) = self.normal_load(false).highest(hour_of(wall), HORIZON_HOURS);
        if peak <= alarm.cores {
            return None;
        }
        let mut candidates: Vec<(u8, usize, usize)> = Vec::new();
        for node in (0..self.nodes.len()).filter(|node| !self.nodes[*node].policy.spare) {
            let lowest = self.lowest_on(node, alarm.class).into_iter();
            candidates.extend(lowest.map(|at| (self.members[at].claim.class, at, node)));
        }
        let fullness = |cluster: &mut Cluster, node: usize| {
            let cores = cluster.nodes[node].policy.size.cores();
            cluster.nodes[node].load(&cluster.members).peak() / cores
        };
        let mut ranked: Vec<(u8, f64, usize, usize)> = Vec::new();
        for (class, at, node) in candidates {
            ranked.push((class, fullness(self, node), at, node));
        }
        ranked.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then((a.2, a.3).cmp(&(b.2, b.3))));
        let cause = MoveCause::Bottleneck { at: alarm.at, peak: alarm.peak, cores: alarm.cores };
        ranked.into_iter().find_map(|(_, _, workload, from)| {
            let to = self.seat(workload, Among::Spare)?.node;
            Some(Proposal { workload, from, to: Some(to), cause: cause.clone() })
        })
    }

    /// Nothing is foreseen for long enough: what stands on spare nodes comes back, the highest class first.
    fn move_back(&mut self, now: Timestamp, wall: Timestamp) -> Option<Proposal> {
        let calm = self.foresight.calm_since.is_some_and(|since| now.since(since) >= CALM_FOR);
        let calm = calm && self.waiting.is_empty();
        if !calm || self.foresight.alarm.is_some() || self.foresight.leaving() > 0 {
            return None;
        }
        let spare: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up && self.nodes[*node].policy.spare)
            .collect();
        for from in spare {
            for workload in self.lowest_on(from, u8::MAX).into_iter().rev() {
                let Some(seat) = self.seat(workload, Among::Normal) else { continue };
                let (_, with, _) = self.loads(workload, seat.node, 0);
                let (_, peak) = with.highest(hour_of(wall), CALM_HOURS);
                if peak <= CALM_SHARE * self.nodes[seat.node].policy.size.cores() {
                    return Some(Proposal { workload, from, to: Some(seat.node), cause: MoveCause::Calm });
                }
            }
        }
        None
    }
}

/// The next time it is this hour.
fn when(hour: usize, wall: Timestamp) -> Timestamp {
    let begun = wall.as_millis().div_euclid(HOUR_MILLIS) * HOUR_MILLIS;
    let ahead = (hour + super::outline::HOURS - hour_of(wall)) % super::outline::HOURS;
    Timestamp::from_millis(begun + ahead as i64 * HOUR_MILLIS).max(wall)
}

const HOUR_MILLIS: i64 = 3_600_000;
/// How far ahead bottlenecks are looked for: this hour and the next.
const HORIZON_HOURS: usize = 4;
const LOOK_EVERY: Duration = Duration::from_secs(300);
const GROUP_EVERY: Duration = Duration::from_secs(3_600);
/// One look may see a forecast that is gone with the next sample.
const LOOKS_TO_BELIEVE: u32 = 2;
/// A bottleneck is over when the peak is below this share of the cores, and for so long.
const CALM_SHARE: f64 = 0.85;
/// What comes back from a spare node can stay for so many hours.
const CALM_HOURS: usize = 8;
const CALM_FOR: Duration = Duration::from_secs(3_600);
/// A node may peak this much above its cores before anybody is moved.
const NODE_SLACK: f64 = 1.05;
/// Instances that are on the move at one time, in all.
const MOVES_MAX: u32 = 4;
/// Room that is being given up should have come by then.
const WAIT_BEFORE_MOVES: Duration = Duration::from_secs(5);
