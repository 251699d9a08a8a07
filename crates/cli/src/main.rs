//! The `foreshadow` binary.
fn main() {}
