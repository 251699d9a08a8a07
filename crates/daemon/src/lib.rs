//! The event loop: signals in, planner, actions out; HTTP API and dashboard.
