//! `foreshadow override`: an operator's decision that wins over the plan, with author, reason and expiry.

use std::time::Duration;

use clap::{Args, Subcommand};
use forecast::Timestamp;

use super::remote::RemoteArgs;
use crate::failure::Failure;
use crate::{output, values};

/// Options of `override`.
#[derive(Args, Clone, Debug)]
pub(crate) struct OverrideArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Pin the number of active or standby instances
    Set(SetArgs),
    /// Let the plan decide again
    Clear(ClearArgs),
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

/// Sets or clears. `user` is the author when none is named.
pub(crate) fn run(args: &OverrideArgs, user: Option<String>) -> Result<(), Failure> {
    match &args.what {
        What::Set(args) => set(args, user),
        What::Clear(args) => {
            args.remote.ask(|client| async move { client.clear_override(&args.workload).await })?;
            Ok(output::print(&format!("{}: the plan decides again\n", args.workload))?)
        }
    }
}

fn set(args: &SetArgs, user: Option<String>) -> Result<(), Failure> {
    let request = api::OverrideRequest {
        active: args.active,
        standby: args.standby,
        author: args.author.clone().or(user).unwrap_or_else(|| "unknown".to_owned()),
        reason: args.reason.clone(),
        expires_in_s: args.lasting.map(|lasting| lasting.as_secs_f64()),
    };
    let set = args.remote.ask(|client| async move { client.set_override(&args.workload, &request).await })?;
    let count = |count: Option<u32>| count.map_or("as planned".to_owned(), |count| count.to_string());
    let until = set
        .expires_at_ms
        .map_or("until it is cleared".to_owned(), |at| format!("until {}", Timestamp::from_millis(at)));
    Ok(output::print(&format!(
        "{}: active {}, standby {}, {until}\n",
        set.workload,
        count(set.active),
        count(set.standby)
    ))?)
}
