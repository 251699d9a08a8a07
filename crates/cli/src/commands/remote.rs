//! What the commands that talk to a running daemon share: where it is, a runtime to talk in, who changes something and
//! why, and how files come in and answers go out.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use daemon::client::{Client, ClientError};
use forecast::Timestamp;
use jiff::tz::TimeZone;

use crate::failure::{Failure, OrFail};
use crate::moment::{Moment, Towards, clock};
use crate::{output, values};

/// Where the daemon answers.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RemoteArgs {
    /// Address of the daemon's API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878", value_parser = values::api_address)]
    api: SocketAddr,
}

impl RemoteArgs {
    /// Asks the daemon.
    pub(crate) fn ask<T, F>(self, question: impl FnOnce(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .or_failed("cannot start an async runtime")?;
        runtime.block_on(question(Client::new(self.api))).map_err(as_failure)
    }
}

impl RemoteArgs {
    /// The instant that is meant; a time of day is that of the workload's place, and of UTC for all workloads (`*`).
    pub(crate) fn instant(
        self,
        workload: &str,
        moment: Option<Moment>,
        towards: Towards,
    ) -> Result<Option<Timestamp>, Failure> {
        let Some(moment) = moment else { return Ok(None) };
        let mut zone = TimeZone::UTC;
        if moment.needs_zone() && workload != "*" {
            let detail = self.ask(|client| async move { client.workload(workload).await })?;
            zone = detail.policy.time_zone.and_then(|name| TimeZone::get(&name).ok()).unwrap_or(zone);
        }
        moment.resolve(clock(), &zone, towards).map(Some).map_err(Failure::usage)
    }
}

/// Who and why, for a change that needs a reason.
#[derive(Args, Clone, Debug)]
pub(crate) struct ByArgs {
    /// Why; kept in the journal
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    who: AuthorArgs,
}

/// Who and why, for a change that explains itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct MaybeByArgs {
    /// Why; kept in the journal
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    who: AuthorArgs,
}

#[derive(Args, Clone, Debug)]
struct AuthorArgs {
    /// Who decided; kept in the journal. Default: the user of this shell
    #[arg(long)]
    author: Option<String>,
}

impl ByArgs {
    pub(crate) fn author(&self, user: String) -> String {
        self.who.author(user)
    }

    pub(crate) fn reason(&self) -> String {
        self.reason.clone()
    }
}

impl MaybeByArgs {
    pub(crate) fn author(&self, user: String) -> String {
        self.who.author(user)
    }

    pub(crate) fn reason(&self, default: &str) -> String {
        self.reason.clone().unwrap_or_else(|| default.to_owned())
    }
}

impl AuthorArgs {
    fn author(&self, user: String) -> String {
        self.author.clone().unwrap_or(user)
    }
}

/// Prints what the API answered, as JSON or in words.
pub(crate) fn answer<T: serde::Serialize>(
    json: bool,
    value: &T,
    text: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(value).or_failed("cannot print the answer")? + "\n"
    } else {
        text(value)
    };
    Ok(output::print(&text)?)
}

/// A file, or standard input for `-`; at most `bytes_max` of it, for a reader that refuses what is longer.
pub(crate) fn read_whole(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(bytes_max).read_to_end(&mut content)?;
    } else {
        File::open(path)?.take(bytes_max).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// What was asked wrongly is a usage error; a daemon that is not there, or broken, is a failure, and so is a sensible
/// wish that the daemon's state does not allow.
fn as_failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused { status: 409, .. } => Failure::Failed(error.into()),
        ClientError::Refused { status: 400..=499, .. } => Failure::Usage(error.into()),
        ClientError::Refused { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Broken { .. }
        | ClientError::TimedOut { .. }
        | ClientError::NotUnderstood { .. } => Failure::Failed(error.into()),
    }
}
