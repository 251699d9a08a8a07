//! Control groups.

use thiserror::Error;

/// A failed operation on a control group.
#[derive(Debug, Error)]
pub enum CgroupError {}
