//! The command line: what can be asked for, and which function answers.

use std::path::PathBuf;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::{
    endpoints, evaluate, events, explain, forecast, guest, load, metrics, models, overrides, proxy, replay,
    requests, run, sample_service, sessions, simulate, status, tether,
};
use crate::demo;
use crate::failure::Failure;

/// Keeps capacity ready just before demand needs it.
#[derive(Parser, Debug)]
#[command(name = "foreshadow", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show the main job on a real trace beside a rival, then a verdict
    Demo(demo::DemoArgs),
    /// Run control plane and data plane with a configuration
    Run(run::RunArgs),
    /// Show what foreshadow would have done on recorded demand, beside its rivals
    Replay(Box<replay::ReplayArgs>),
    /// Forecast a recorded series as quantiles
    Forecast(forecast::ForecastArgs),
    /// Score every model on a recorded series by rolling-origin evaluation
    Evaluate(evaluate::EvaluateArgs),
    /// Throw faults at the planner on virtual time, one bad day for each seed
    Simulate(simulate::SimulateArgs),
    /// Show a running daemon at a glance
    Status(status::StatusArgs),
    /// Tell what was seen, forecast, decided and refused for a workload, and what reacting alone would do
    Explain(explain::ExplainArgs),
    /// Know better than the plan or the forecast of a workload, for a time
    Override(overrides::OverrideArgs),
    /// Tell what moves demand: campaigns, matches, deploys, past and to come
    Events(events::EventsArgs),
    /// Show what single requests cost and what was predicted for them
    Requests(requests::RequestsArgs),
    /// Show rate, errors and durations of requests by endpoint
    Endpoints(endpoints::EndpointsArgs),
    /// Ask for places for sessions, end them, and see where they are
    Sessions(sessions::SessionsArgs),
    /// Show the series kept of a workload, and forecast any of them
    Metrics(metrics::MetricsArgs),
    /// Look at trained models, put one in charge, go back, or move one between machines
    Models(models::ModelsArgs),
    /// Restart the data plane's process without losing a connection
    Proxy(proxy::ProxyArgs),
    /// A small HTTP server with a known capacity
    #[command(hide = true)]
    SampleService(sample_service::SampleServiceArgs),
    /// The first process of a virtual machine of the demo
    #[command(hide = true)]
    Guest,
    /// A command that ends with the process that asked for it
    #[command(hide = true)]
    Tether(tether::TetherArgs),
    /// Steady open-loop load at one address
    #[command(hide = true)]
    Load(load::LoadArgs),
}

/// What the command line takes from the environment; read once, here.
struct Environment {
    /// Filter of the log on stderr, such as `info` or `daemon=debug`.
    log: Option<String>,
    /// Who is at the keyboard.
    user: String,
    /// What is kept between runs is below it.
    home: Option<PathBuf>,
}

/// Parses the command line and does what it says. clap itself ends the process, with code 2, when it does not parse.
pub(crate) fn run() -> Result<(), Failure> {
    let environment = Environment {
        log: std::env::var("FORESHADOW_LOG").ok(),
        user: user(),
        home: std::env::var_os("HOME").map(PathBuf::from),
    };
    let command = parse().command;
    log_to_stderr(&command, environment.log.as_deref())?;
    match command {
        Command::Demo(args) => demo::run(&args, environment.home.as_deref()),
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Forecast(args) => forecast::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Override(args) => overrides::run(&args, environment.user),
        Command::Events(args) => events::run(&args, environment.user),
        Command::Requests(args) => requests::run(&args),
        Command::Endpoints(args) => endpoints::run(&args),
        Command::Sessions(args) => sessions::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Models(args) => models::run(&args, environment.user),
        Command::Proxy(args) => proxy::run(&args, environment.user),
        Command::SampleService(args) => sample_service::run(&args),
        Command::Guest => guest::run(),
        Command::Tether(args) => tether::run(&args),
        Command::Load(args) => load::run(&args),
    }
}

/// The user by name, or by number where nothing has set the name, as in containers.
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty());
    named.into_iter().next().unwrap_or_else(|| format!("user {}", rustix::process::getuid()))
}

/// A number below zero is never an option's name: whoever reads it says what is wrong with it.
fn parse() -> Cli {
    let command = with_negative_numbers(Cli::command());
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_positional();
    command
        .mut_args(move |arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_numbers)
}

/// Long-running commands log what matters; the others only when asked to.
fn log_to_stderr(command: &Command, filter: Option<&str>) -> Result<(), Failure> {
    let default = match command {
        Command::Run(_) => "info",
        Command::Proxy(args) if args.serves() => "info",
        Command::Demo(_)
        | Command::Replay(_)
        | Command::Forecast(_)
        | Command::Evaluate(_)
        | Command::Simulate(_)
        | Command::Status(_)
        | Command::Explain(_)
        | Command::Override(_)
        | Command::Events(_)
        | Command::Metrics(_)
        | Command::Models(_)
        | Command::Requests(_)
        | Command::Endpoints(_)
        | Command::Sessions(_)
        | Command::Proxy(_)
        | Command::SampleService(_)
        | Command::Guest
        | Command::Tether(_)
        | Command::Load(_) => "error",
    };
    let filter = EnvFilter::try_new(filter.unwrap_or(default)).map_err(|error| {
        Failure::usage(format!(
            "FORESHADOW_LOG cannot be understood ({error}); write for example `info` or `daemon=debug`"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::output::colourful())
        .init();
    Ok(())
}
