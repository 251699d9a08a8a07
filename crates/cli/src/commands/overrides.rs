//! `foreshadow override`: an operator's decision that wins over the plan, or demand that an operator knows better than the
//! forecast; with author, reason and expiry.

use std::time::Duration;

use clap::{Args, Subcommand};
use forecast::Timestamp;

use super::remote::{ByArgs, RemoteArgs, answer};
use crate::failure::Failure;
use crate::moment::{Moment, Towards, clock, moment};
use crate::{output, values};

/// Options of `override`.
#[derive(Args, Clone, Debug)]
pub(crate) struct OverrideArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Pin the number of active or standby instances, or of both; replaces what was pinned before
    Set(SetArgs),
    /// Let the plan decide again
    Clear(ClearArgs),
    /// Scale, raise or replace the demand that is forecast for a time
    Forecast(ForecastArgs),
    /// List the overrides of a workload
    List(ListArgs),
    /// Take an override of the forecast back
    Remove(RemoveArgs),
}

#[derive(Args, Clone, Debug)]
#[group(id = "counts", required = true, multiple = true, args = ["active", "standby"])]
struct SetArgs {
    /// The workload
    workload: String,
    /// Exactly so many active instances
    #[arg(long)]
    active: Option<u32>,
    /// Exactly so many standby instances
    #[arg(long)]
    standby: Option<u32>,
    /// Until it ends by itself, such as `2h`. Default: until it is cleared
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    lasting: Option<Duration>,
    /// Why; kept in the journal
    #[arg(long)]
    reason: String,
    /// Who decided; kept in the journal. Default: the user of this shell
    #[arg(long)]
    author: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ClearArgs {
    /// The workload
    workload: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
#[group(id = "change", required = true, multiple = false, args = ["scale", "add", "replace"])]
struct ForecastArgs {
    /// The workload
    workload: String,
    /// So many times the forecast
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// So much more than the forecast; below zero, less
    #[arg(long, value_name = "DEMAND")]
    add: Option<f64>,
    /// Exactly so much, whatever is forecast
    #[arg(long, value_name = "DEMAND")]
    replace: Option<f64>,
    /// From when on: `in 2h`, `14:05` at the workload's place, or `2026-11-22T05:30:00Z`. Default: now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Moment>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = moment, required_unless_present = "lasting", conflicts_with = "lasting")]
    to: Option<Moment>,
    /// How long, such as `2h`
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    lasting: Option<Duration>,
    #[command(flatten)]
    by: ByArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// The workload
    workload: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct RemoveArgs {
    /// The workload
    workload: String,
    /// The override's number, as in `override list`
    id: u64,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Sets or clears. `user` is the author when none is named.
pub(crate) fn run(args: &OverrideArgs, user: String) -> Result<(), Failure> {
    match &args.what {
        What::Set(args) => set(args, user),
        What::Clear(args) => {
            args.remote.ask(|client| async move { client.clear_override(&args.workload).await })?;
            Ok(output::print(&format!("{}: the plan decides again\n", args.workload))?)
        }
        What::Forecast(args) => forecast(args, user),
        What::List(args) => list(args),
        What::Remove(args) => {
            args.remote.ask(|client| async move {
                client.remove_forecast_override(&args.workload, args.id).await
            })?;
            Ok(output::print(&format!("{}: override {} is removed\n", args.workload, args.id))?)
        }
    }
}

fn forecast(args: &ForecastArgs, user: String) -> Result<(), Failure> {
    let instant = |moment| args.remote.instant(&args.workload, moment, Towards::Future);
    let (from, to) = (instant(args.from)?, instant(args.to)?);
    let end = to.unwrap_or_else(|| from.unwrap_or_else(clock) + args.lasting.unwrap_or_default());
    let request = api::ForecastOverrideRequest {
        scale: args.scale,
        add: args.add,
        replace: args.replace,
        from_ms: from.map(Timestamp::as_millis),
        to_ms: end.as_millis(),
        author: args.by.author(user),
        reason: args.by.reason(),
    };
    let set =
        args.remote.ask(|client| async move { client.override_forecast(&args.workload, &request).await })?;
    Ok(output::print(&format!("{}: override {}: {}\n", set.workload, set.id, set.sentence))?)
}

/// All overrides of a workload.
#[derive(serde::Serialize)]
struct Overrides {
    decision: Option<api::Override>,
    forecast: Vec<api::ForecastOverride>,
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let detail = args.remote.ask(|client| async move { client.workload(&args.workload).await })?;
    let overrides = Overrides { decision: detail.decision_override, forecast: detail.forecast_overrides };
    answer(args.json, &overrides, |overrides| {
        let mut text = String::new();
        if let Some(of) = &overrides.decision {
            text += &format!("{} by {} ({})\n", pinned(of), of.author, of.reason);
        }
        for of in &overrides.forecast {
            text += &format!("override {}: {}\n", of.id, of.sentence);
        }
        if text.is_empty() { format!("{}: no overrides\n", args.workload) } else { text }
    })
}

fn pinned(set: &api::Override) -> String {
    let count = |count: Option<u32>| count.map_or("as planned".to_owned(), |count| count.to_string());
    let until = set
        .expires_at_ms
        .map_or("until it is cleared".to_owned(), |at| format!("until {}", Timestamp::from_millis(at)));
    format!("{}: active {}, standby {}, {until}", set.workload, count(set.active), count(set.standby))
}

fn set(args: &SetArgs, user: String) -> Result<(), Failure> {
    let request = api::OverrideRequest {
        active: args.active,
        standby: args.standby,
        author: args.author.clone().unwrap_or(user),
        reason: args.reason.clone(),
        expires_in_s: args.lasting.map(|lasting| lasting.as_secs_f64()),
    };
    let set = args.remote.ask(|client| async move { client.set_override(&args.workload, &request).await })?;
    Ok(output::print(&format!("{}\n", pinned(&set)))?)
}
