//! `foreshadow tether`: the process in front of a user's own model, which ends with whoever asked for it.

use std::ffi::OsString;

use clap::Args;
use daemon::external_model::tether;

use crate::failure::{Failure, OrFail};

/// Options of `tether`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TetherArgs {
    /// The process that must live
    #[arg(value_name = "PID")]
    of: i32,
    /// What is run as long as it does
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command with this process's pipes, and ends as it ends.
pub(crate) fn run(args: &TetherArgs) -> Result<(), Failure> {
    Err(Failure::Ended(tether(args.of, &args.command).or_failed("the command cannot be run")?))
}
