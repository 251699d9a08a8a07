//! Load balancing policies as pure functions over weights, in-flight counts and latency estimates.
