//! Measures the promises of SPECIFICATION.md.
fn main() {}
