//! `foreshadow sessions`: games, calls and other demand that stays where it was put, on a running daemon.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use forecast::Timestamp;

use super::remote::{RemoteArgs, answer};
use crate::failure::Failure;
use crate::{output, values};

/// Options of `sessions`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Ask for a place for a session, or where it is
    Open(OpenArgs),
    /// Say that a session is still there
    Renew(OneArgs),
    /// End a session
    Close(OneArgs),
    /// Show sessions by type, the instances that hold them, and where each is
    List(ListArgs),
}

#[derive(Args, Clone, Debug)]
struct OpenArgs {
    /// The workload
    workload: String,
    /// The name of the session
    session: String,
    /// Its type, as configured
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// How long to wait for room, such as `30s`; `0s`: not at all. Default: do not wait here, but keep its place in the queue
    #[arg(long, value_name = "DURATION", value_parser = values::duration_or_zero)]
    wait: Option<Duration>,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// The workload
    workload: String,
    /// The name of the session
    session: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// The workload
    workload: String,
    /// Sessions to show at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Does what was asked for.
pub(crate) fn run(args: &SessionsArgs) -> Result<(), Failure> {
    match &args.what {
        What::Open(args) => open(args),
        What::Renew(args) => {
            let renewed = args
                .remote
                .ask(|client| async move { client.renew_session(&args.workload, &args.session).await })?;
            Ok(output::print(&sentence(&renewed))?)
        }
        What::Close(args) => {
            args.remote
                .ask(|client| async move { client.close_session(&args.workload, &args.session).await })?;
            Ok(output::print(&format!("{}: ended\n", args.session))?)
        }
        What::List(args) => {
            let found = args
                .remote
                .ask(|client| async move { client.sessions(&args.workload, args.limit as usize).await })?;
            answer(args.json, &found, render)
        }
    }
}

/// Asks again while it waits, if it is to be waited for.
fn open(args: &OpenArgs) -> Result<(), Failure> {
    let request = api::SessionRequest {
        session: args.session.clone(),
        kind: args.kind.clone(),
        wait_s: args.wait.map(|wait| wait.as_secs_f64()),
    };
    let begun = Instant::now();
    let session = args.remote.ask(|client| async move {
        loop {
            let session = client.open_session(&args.workload, &request).await?;
            let again = session.retry_after_s.map(Duration::from_secs);
            // The last time just before its place in the queue is lost.
            let left = args.wait.unwrap_or_default().saturating_sub(begun.elapsed() + LAST_ASKED);
            match again.filter(|_| !left.is_zero()) {
                Some(again) => tokio::time::sleep(again.min(left)).await,
                None => return Ok(session),
            }
        }
    })?;
    answer(args.json, &session, sentence)?;
    match args.wait.filter(|_| session.instance.is_none()) {
        Some(wait) => {
            let (session, wait) = (&session.session, humantime::format_duration(wait));
            Err(Failure::failed(format!("{session} has found no place within {wait}")))
        }
        None => Ok(()),
    }
}

fn sentence(session: &api::Session) -> String {
    let until = Timestamp::from_millis(session.expires_at_ms);
    let mut text = match (&session.instance, &session.address) {
        (Some(instance), address) => format!(
            "{} ({}): on {instance}, process {}, at {}; renew before {until}",
            session.session,
            session.kind,
            session.process.unwrap_or(0),
            address.as_deref().unwrap_or("an address not known yet")
        ),
        (None, _) => format!(
            "{} ({}): waits for room, {} before it; ask again before {until}",
            session.session,
            session.kind,
            session.position.unwrap_or(0)
        ),
    };
    if let Some(leaves) = session.leaves_by_ms {
        let _ = write!(text, "; its instance leaves by {}", Timestamp::from_millis(leaves));
    }
    if !session.durable {
        text.push_str("; not on disk, so a restart of the daemon would forget it");
    }
    text.push('\n');
    text
}

fn render(found: &api::Sessions) -> String {
    let mut text = types(&found.summary);
    let mut table = output::table(&["instance", "process", "address", "used", "sessions", "state"]);
    for host in &found.hosts {
        let held: Vec<String> = host.held.iter().map(|(kind, held)| format!("{held} {kind}")).collect();
        let state = match (host.open, host.leaves_by_ms) {
            (_, Some(leaves)) => format!("leaves by {}", Timestamp::from_millis(leaves)),
            (true, None) => "open".to_owned(),
            (false, None) => "not in traffic".to_owned(),
        };
        for (number, process) in host.processes.iter().enumerate() {
            let first = |text: &str| if number == 0 { text.to_owned() } else { String::new() };
            let cells = [
                first(&host.instance),
                number.to_string(),
                process.address.clone().unwrap_or_default(),
                format!("{} of {}", output::rounded(process.used), output::rounded(process.size)),
                first(&held.join(", ")),
                first(&state),
            ];
            output::row(&mut table, &cells);
        }
    }
    let _ = writeln!(text, "{table}");
    for session in &found.sessions {
        text.push_str(&sentence(session));
    }
    text
}

/// Sessions by type, for this command, `status` and `explain`.
pub(super) fn types(summary: &api::SessionSummary) -> String {
    let mut text = String::new();
    let mut table = output::table(&["type", "class", "held", "on instances that leave", "waiting", "room"]);
    for kind in &summary.types {
        let cells = [
            kind.kind.clone(),
            kind.class.to_string(),
            kind.held.to_string(),
            kind.draining.to_string(),
            kind.waiting.to_string(),
            kind.room.to_string(),
        ];
        output::row(&mut table, &cells);
    }
    let _ = writeln!(text, "{table}");
    let _ = writeln!(
        text,
        "{} placed, {} ended, {} not renewed, {} refused, {} lost; {} instances wait for sessions to end",
        summary.placed,
        summary.ended,
        summary.expired,
        summary.refused,
        summary.lost,
        summary.instances_waiting
    );
    text
}

/// Whoever waits asks the last time so long before the end.
const LAST_ASKED: Duration = Duration::from_millis(100);
