//! Crash-safe embedded store of series, events and plans.
