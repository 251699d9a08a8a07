//! The `foreshadow` binary.
//!
//! It only parses what was asked for, wires the other crates together and prints results: no decision is made here. One binary
//! carries everything, the data plane included (`foreshadow proxy`, started by `foreshadow run` as a process of its own), so that
//! there is one file to install and no version skew between the parts.

mod cli;
mod commands;
mod demo;
mod failure;
mod loadgen;
mod moment;
mod output;
mod page;
mod trace_file;
mod values;

use std::process::ExitCode;

/// The data plane makes several small allocations for each request; this allocator takes about a tenth off their CPU time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
