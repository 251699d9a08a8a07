//! `foreshadow events`: the calendars of a running daemon. What was, or is announced, that moves demand.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use forecast::Timestamp;
use forecast::calendar::{Event, ReadOptions, read};
use jiff::tz::TimeZone;

use super::remote::{MaybeByArgs, RemoteArgs, answer, read_whole};
use crate::failure::{Failure, OrFail};
use crate::moment::{Moment, Towards, clock, moment};
use crate::{output, values};

/// Options of `events`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// List events, by default of the last 30 and the next 400 days
    List(ListArgs),
    /// Announce an event, or change the one of the same start and name
    Add(AddArgs),
    /// Call an event off, or forget a past one
    Remove(RemoveArgs),
    /// Announce all events of a file: CSV `start,end,name[,magnitude][,kind]`, or iCalendar
    Import(ImportArgs),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// The workload, or `*` for events that concern all
    workload: String,
    /// Only events that end after this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Moment>,
    /// Only events that begin before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Moment>,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
#[group(id = "length", required = true, multiple = false, args = ["end", "lasting"])]
struct AddArgs {
    /// The workload, or `*` for an event that concerns all
    workload: String,
    /// What it is called
    name: String,
    /// When it begins: `in 2h`, `14:05` at the workload's place, or `2026-11-22T05:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    start: Moment,
    /// When it is over
    #[arg(long, value_name = "TIME", value_parser = moment)]
    end: Option<Moment>,
    /// How long it lasts, such as `2h`
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    lasting: Option<Duration>,
    /// What sort of event it is; those of one kind are expected to act alike. Default: the name without its numbers
    #[arg(long)]
    kind: Option<String>,
    /// How large it is beside others of its kind
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    magnitude: f64,
    #[command(flatten)]
    by: MaybeByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct RemoveArgs {
    /// The workload, or `*`
    workload: String,
    /// The event's number, as in `events list`
    event: u64,
    #[command(flatten)]
    by: MaybeByArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ImportArgs {
    /// The workload, or `*` for events that concern all
    workload: String,
    /// The file, or `-` for stdin
    file: PathBuf,
    /// Time zone of days, and of times without one, such as `Europe/Berlin`. Default: UTC
    #[arg(long, value_name = "ZONE", value_parser = time_zone)]
    time_zone: Option<TimeZone>,
    /// Last moment at which a repeating event may begin. Default: in 400 days
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    until: Option<Timestamp>,
    #[command(flatten)]
    by: MaybeByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Does what was asked for. `user` is the author when none is named.
pub(crate) fn run(args: &EventsArgs, user: String) -> Result<(), Failure> {
    match &args.what {
        What::List(args) => list(args),
        What::Add(args) => add(args, user),
        What::Remove(args) => {
            let (author, reason) = (args.by.author(user), args.by.reason("called off"));
            args.remote.ask(|client| async move {
                client.remove_event(&args.workload, args.event, &author, &reason).await
            })?;
            Ok(output::print(&format!("{}: event {} is gone\n", args.workload, args.event))?)
        }
        What::Import(args) => import(args, user),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let millis = |moment, towards| {
        args.remote.instant(&args.workload, moment, towards).map(|at| at.map(Timestamp::as_millis))
    };
    let (from, to) = (millis(args.from, Towards::Past)?, millis(args.to, Towards::Future)?);
    let found = args.remote.ask(|client| async move { client.calendar(&args.workload, from, to).await })?;
    answer(args.json, &found, |found| table(&found.events))
}

fn add(args: &AddArgs, user: String) -> Result<(), Failure> {
    let instant = |moment| args.remote.instant(&args.workload, moment, Towards::Future);
    let start = instant(Some(args.start))?.unwrap_or_else(clock);
    let end = instant(args.end)?.unwrap_or_else(|| start.saturating_add(args.lasting.unwrap_or_default()));
    if end < start {
        return Err(Failure::usage(format!(
            "{} ends before it begins: exchange --start and --end",
            args.name
        )));
    }
    if !args.magnitude.is_finite() {
        return Err(Failure::usage(format!("--magnitude is {}, not a finite number", args.magnitude)));
    }
    let event = api::NewCalendarEvent {
        name: args.name.clone(),
        kind: args.kind.clone(),
        start_ms: start.as_millis(),
        end_ms: end.as_millis(),
        magnitude: Some(args.magnitude),
    };
    let request = api::CalendarRequest {
        author: args.by.author(user),
        reason: args.by.reason("announced"),
        events: vec![event],
    };
    let accepted =
        args.remote.ask(|client| async move { client.announce(&args.workload, &request).await })?;
    answer(args.json, &accepted, |accepted| summary(&args.workload, accepted))
}

fn import(args: &ImportArgs, user: String) -> Result<(), Failure> {
    let name = args.file.display();
    let content = read_whole(&args.file, FILE_BYTES_MAX).or_usage(format!("cannot read {name}"))?;
    let until = args.until.unwrap_or_else(|| clock().saturating_add(AHEAD_DEFAULT));
    let options = ReadOptions { zone: args.time_zone.clone(), until };
    let events = read(&content, &options).or_usage(format!("{name} cannot be used"))?;
    let events: Vec<api::NewCalendarEvent> = events.into_iter().map(new).collect();
    let (author, reason) = (args.by.author(user), args.by.reason(&format!("imported from {name}")));
    let mut all = api::CalendarAccepted::default();
    // In parts that the daemon takes in one request; the same file can be imported again when one fails.
    for part in events.chunks(EVENTS_AT_ONCE) {
        let (author, reason) = (author.clone(), reason.clone());
        let request = api::CalendarRequest { author, reason, events: part.to_vec() };
        let accepted =
            args.remote.ask(|client| async move { client.announce(&args.workload, &request).await })?;
        all.added.extend(accepted.added);
        all.changed.extend(accepted.changed);
        all.unchanged += accepted.unchanged;
    }
    answer(args.json, &all, |all| summary(&args.workload, all))
}

fn new(event: Event) -> api::NewCalendarEvent {
    api::NewCalendarEvent {
        name: event.name,
        kind: Some(event.kind),
        start_ms: event.start.as_millis(),
        end_ms: event.end.as_millis(),
        magnitude: Some(event.magnitude),
    }
}

fn summary(workload: &str, accepted: &api::CalendarAccepted) -> String {
    let (added, changed) = (accepted.added.len(), accepted.changed.len());
    format!("{workload}: events: {added} added, {changed} changed, {} unchanged\n", accepted.unchanged)
}

fn table(events: &[api::CalendarEvent]) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let mut table = output::table(&["name", "no", "kind", "start", "lasts", "size", "by"]);
    for event in events {
        output::row(&mut table, &cells(event));
    }
    output::keep_whole(&mut table);
    let mut text = String::new();
    let _ = writeln!(text, "{table}");
    text
}

fn cells(event: &api::CalendarEvent) -> [String; 7] {
    let lasts = u64::try_from(event.end_ms.saturating_sub(event.start_ms)).unwrap_or(0);
    [
        event.name.clone(),
        event.id.to_string(),
        event.kind.clone(),
        Timestamp::from_millis(event.start_ms).to_string(),
        humantime::format_duration(Duration::from_secs(lasts.div_ceil(1000))).to_string(),
        event.magnitude.to_string(),
        event.author.clone(),
    ]
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("there is no time zone `{name}`; write for example `Europe/Berlin` or `UTC`"))
}

/// Events in one request, well within the size of a request's body.
const EVENTS_AT_ONCE: usize = 1000;
/// More than is read of a calendar: what is longer is refused by the reader.
const FILE_BYTES_MAX: u64 = (64 << 20) + 1;
const AHEAD_DEFAULT: Duration = Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_of_at_most_eighty_columns() {
        let event = api::CalendarEvent {
            id: 12,
            name: "Sale 2026".into(),
            kind: "sale".into(),
            start_ms: 1_795_737_600_000,
            end_ms: 1_795_744_800_000,
            magnitude: 2.5,
            author: "ana".into(),
            noted_at_ms: 0,
        };
        let text = table(&[event]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for part in ["Sale 2026", "12", "2h", "2.5", "ana"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(table(&[]), "no events\n");
    }
}
