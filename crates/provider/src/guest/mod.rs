//! A small machine that runs one program of ours, for demonstrations and tests: a kernel of Debian, an initial file system with
//! that program in it, and what the program does as its first process.
//!
//! - `system`: kernel and initial file system, on the host. `first`: the first process, in the machine.

mod first;
mod system;

pub use first::be_first_process;
pub use system::Kernel;
