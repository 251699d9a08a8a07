//! Attacks from the other side: backends whose answers two readers may take differently, that never end or that flood, and the
//! same by frames of HTTP/2. The kinds are those of published advisories; every text is ours.
//!
//! After each, the next client must get its own answer, from the same backend.

mod answers;
mod client;
#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/mod.rs"]
mod support;
mod upstream;
