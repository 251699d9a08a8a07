//! The command line: what can be asked for, and which function answers.

use clap::{Parser, Subcommand};

use crate::commands::{forecast, load, sample_service};
use crate::failure::Failure;

/// Keeps capacity ready just before demand needs it.
#[derive(Parser, Debug)]
#[command(name = "foreshadow", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Forecast a recorded series as quantiles
    Forecast(forecast::ForecastArgs),
    /// A small HTTP server with a known capacity
    #[command(hide = true)]
    SampleService(sample_service::SampleServiceArgs),
    /// Steady open-loop load at one address
    #[command(hide = true)]
    Load(load::LoadArgs),
}

/// Parses the command line and does what it says. clap itself ends the process, with code 2, when it does not parse.
pub(crate) fn run() -> Result<(), Failure> {
    match Cli::parse().command {
        Command::Forecast(args) => forecast::run(&args),
        Command::SampleService(args) => sample_service::run(&args),
        Command::Load(args) => load::run(&args),
    }
}
