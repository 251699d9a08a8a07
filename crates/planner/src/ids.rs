//! Identities. Each is a newtype so that an instance can never be passed where an action is meant.

use std::fmt;
use std::sync::Arc;

/// The name of a workload, as the user wrote it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(Arc<str>);

impl WorkloadId {
    /// A workload id with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        WorkloadId(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for WorkloadId {
    fn from(name: &str) -> Self {
        WorkloadId(Arc::from(name))
    }
}

impl From<String> for WorkloadId {
    fn from(name: String) -> Self {
        WorkloadId(Arc::from(name))
    }
}

/// The name of a node, as the user wrote it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A node id with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        NodeId(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Into<Arc<str>>> From<T> for NodeId {
    fn from(name: T) -> Self {
        NodeId(name.into())
    }
}

/// One instance. Unique for the life of a planner, never used again after the instance is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u64);

impl InstanceId {
    /// The id with this number.
    pub const fn new(id: u64) -> Self {
        InstanceId(id)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One order given by a planner. Its result comes back as an event that carries the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(u64);

impl ActionId {
    /// The id with this number.
    pub const fn new(id: u64) -> Self {
        ActionId(id)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
