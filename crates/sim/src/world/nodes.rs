//! The hosts that instances live on: how many fit, and which are away.

use std::collections::BTreeMap;

/// Hosts by number. Without any, there is room for everything everywhere.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    hosts: Vec<Host>,
    homes: BTreeMap<u64, usize>,
}

#[derive(Debug, Clone)]
struct Host {
    room: u32,
    away: Option<Away>,
}

/// Why a node is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// It is gone, with everything on it.
    Lost,
    /// It cannot be reached; what runs there goes on.
    Cut,
}

impl Nodes {
    /// That many nodes with room for that many instances each.
    pub fn new(nodes: u32, room: u32) -> Nodes {
        let hosts = (0..nodes).map(|_| Host { room, away: None }).collect();
        Nodes { hosts, homes: BTreeMap::new() }
    }

    /// Finds a home for a new instance: on the node that was asked for, or else on the one with most room.
    ///
    /// # Errors
    /// There is no room on a node that is there, as a sentence.
    pub fn place(
        &mut self,
        instance: u64,
        asked: Option<usize>,
        exists: impl Fn(u64) -> bool,
    ) -> Result<(), &'static str> {
        if self.hosts.is_empty() {
            return Ok(());
        }
        self.homes.retain(|instance, _| exists(*instance));
        let mut free: Vec<u32> = self.hosts.iter().map(|host| host.room).collect();
        for home in self.homes.values() {
            free[*home] = free[*home].saturating_sub(1);
        }
        let candidates = self.hosts.iter().enumerate().filter(|(node, host)| {
            host.away.is_none() && asked.is_none_or(|asked| asked == *node) && free[*node] > 0
        });
        let home = candidates.map(|(node, _)| node).max_by_key(|node| (free[*node], usize::MAX - node));
        self.homes.insert(instance, home.ok_or("no room on any node")?);
        Ok(())
    }

    /// The instances that live on a node, those that are gone meanwhile among them.
    pub fn on(&self, node: usize) -> Vec<u64> {
        self.homes.iter().filter(|(_, home)| **home == node).map(|(instance, _)| *instance).collect()
    }

    /// Where an instance lives.
    pub fn home(&self, instance: u64) -> Option<usize> {
        self.homes.get(&instance).copied()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none, and so room everywhere.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Sets whether a node is away. Returns what it was before.
    pub fn set_away(&mut self, node: usize, away: Option<Away>) -> Option<Away> {
        self.hosts.get_mut(node).and_then(|host| std::mem::replace(&mut host.away, away))
    }

    /// Why a node is away, if it is.
    pub fn away(&self, node: usize) -> Option<Away> {
        self.hosts.get(node).and_then(|host| host.away)
    }

    /// Whoever else took up the room is gone.
    pub fn make_room(&mut self) {
        for host in &mut self.hosts {
            host.room = u32::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_spread_and_a_node_that_is_full_or_away_takes_none() {
        let mut nodes = Nodes::new(2, 1);
        let all = |_| true;
        assert_eq!(nodes.place(1, None, all), Ok(()));
        assert_eq!(nodes.place(2, None, all), Ok(()));
        assert_eq!((nodes.on(0), nodes.on(1)), (vec![1], vec![2]));
        assert!(nodes.place(3, None, all).is_err());
        assert_eq!(nodes.place(3, None, |instance| instance != 2), Ok(()), "2 is gone");
        nodes.set_away(0, Some(Away::Lost));
        assert!(nodes.place(4, Some(0), |_| false).is_err());
        nodes.set_away(0, None);
        assert_eq!(nodes.place(4, Some(0), |_| false), Ok(()));
    }
}
