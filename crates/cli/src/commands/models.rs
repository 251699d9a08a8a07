//! `foreshadow models`: the model versions of a running daemon, who is in charge, and whether more are trained.

pub(super) mod show;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::remote::{ByArgs, MaybeByArgs, RemoteArgs, answer, read_whole};
use crate::failure::{Failure, OrFail};
use crate::output;

/// Options of `models`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// List versions with their scores
    List(ListArgs),
    /// Show everything about one version
    Show(ShowArgs),
    /// Make a version the champion, if it was measured to be better
    Promote(PromoteArgs),
    /// Go back to the version that the champion replaced
    Rollback(RollbackArgs),
    /// Write a version into a file
    Export(ExportArgs),
    /// Take in an exported version as a challenger
    Import(ImportArgs),
    /// Let trainings wait, also after a restart; models that are there take part as before
    Pause(PauseArgs),
    /// Let trainings go on where they were paused
    Resume(ResumeArgs),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// Only of this workload
    #[arg(long)]
    workload: Option<String>,
    /// Only of this kind of model
    #[arg(long)]
    model: Option<String>,
    /// Only in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum State {
    Challenger,
    Champion,
    Retired,
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// The version's number, as in `models list`
    version: u64,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct PromoteArgs {
    /// The version's number, as in `models list`
    version: u64,
    /// Whatever was measured
    #[arg(long, conflicts_with = "least_gain")]
    force: bool,
    /// Least measured gain, as a share of the champion's loss. Default: 0.01
    #[arg(long, value_name = "SHARE", value_parser = crate::values::share)]
    least_gain: Option<f64>,
    #[command(flatten)]
    by: ByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct RollbackArgs {
    /// The workload
    workload: String,
    /// The kind of model
    model: String,
    #[command(flatten)]
    by: ByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ExportArgs {
    /// The version's number, as in `models list`
    version: u64,
    /// The file to write, or `-` for stdout. Default: `WORKLOAD-MODEL-VERSION.fsmodel`
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that exists
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ImportArgs {
    /// The exported version, or `-` for stdin
    file: PathBuf,
    /// For this workload. Default: the one it was exported from
    #[arg(long)]
    workload: Option<String>,
    #[command(flatten)]
    by: ByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct PauseArgs {
    #[command(flatten)]
    by: ByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ResumeArgs {
    #[command(flatten)]
    by: MaybeByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Does what was asked for. `user` is the author when none is named.
pub(crate) fn run(args: &ModelsArgs, user: String) -> Result<(), Failure> {
    match &args.what {
        What::List(args) => list(args),
        What::Show(args) => {
            let detail = args.remote.ask(|client| async move { client.model(args.version).await })?;
            answer(args.json, &detail, show::detail)
        }
        What::Promote(args) => promote(args, user),
        What::Rollback(args) => rollback(args, user),
        What::Export(args) => export(args),
        What::Import(args) => import(args, user),
        What::Pause(args) => pause(args, user),
        What::Resume(args) => resume(args, user),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let state = args.state.map(|state| match state {
        State::Challenger => "challenger",
        State::Champion => "champion",
        State::Retired => "retired",
    });
    let (workload, model) = (args.workload.as_deref(), args.model.as_deref());
    let models = args.remote.ask(|client| async move { client.models(workload, model, state).await })?;
    answer(args.json, &models, show::list)
}

fn promote(args: &PromoteArgs, user: String) -> Result<(), Failure> {
    let request = api::PromoteRequest {
        author: args.by.author(user),
        reason: args.by.reason(),
        force: args.force,
        least_gain: args.least_gain,
    };
    let detail =
        args.remote.ask(|client| async move { client.promote_model(args.version, &request).await })?;
    answer(args.json, &detail, show::in_charge)
}

fn rollback(args: &RollbackArgs, user: String) -> Result<(), Failure> {
    let request = api::RollbackRequest { author: args.by.author(user), reason: args.by.reason() };
    let ask = args
        .remote
        .ask(|client| async move { client.roll_back_model(&args.workload, &args.model, &request).await });
    answer(args.json, &ask?, show::in_charge)
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let detail = args.remote.ask(|client| async move { client.model(args.version).await })?;
    let content = args.remote.ask(|client| async move { client.export_model(args.version).await })?;
    if args.output.as_deref() == Some(Path::new("-")) {
        let mut out = output::stdout();
        out.write_all(&content)?;
        return Ok(out.flush()?);
    }
    let path = args.output.clone().unwrap_or_else(|| show::file_name(&detail.summary).into());
    write_whole(&path, &content, args.overwrite)?;
    let size = output::grouped(content.len() as u64);
    Ok(output::print(&format!("{}: {size} bytes, version {}\n", path.display(), args.version))?)
}

fn import(args: &ImportArgs, user: String) -> Result<(), Failure> {
    let name = args.file.display();
    let content = read_whole(&args.file, FILE_BYTES_MAX).or_usage(format!("cannot read {name}"))?;
    let author = args.by.author(user);
    let detail = args.remote.ask(|client| async move {
        client.import_model(content.into(), &author, &args.by.reason(), args.workload.as_deref()).await
    })?;
    answer(args.json, &detail, |detail| {
        format!(
            "{name}: taken in as version {}, a challenger of {} ({})\n",
            detail.summary.id, detail.summary.workload, detail.summary.model
        )
    })
}

fn pause(args: &PauseArgs, user: String) -> Result<(), Failure> {
    let request = api::TrainingRequest { author: args.by.author(user), reason: args.by.reason() };
    let training = args.remote.ask(|client| async move { client.pause_training(&request).await })?;
    answer(args.json, &training, show::training)
}

fn resume(args: &ResumeArgs, user: String) -> Result<(), Failure> {
    let reason = args.by.reason("the pause is over");
    let request = api::TrainingRequest { author: args.by.author(user), reason };
    let training = args.remote.ask(|client| async move { client.resume_training(&request).await })?;
    answer(args.json, &training, show::training)
}

/// A file that appears whole or not at all.
fn write_whole(path: &Path, content: &[u8], overwrite: bool) -> Result<(), Failure> {
    let failed = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).or_failed(failed())?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).or_failed(failed())?;
    if overwrite {
        file.persist(path).or_failed(failed())?;
        return Ok(());
    }
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
            "{} exists already; write elsewhere with `--output FILE`, or over it with `--overwrite`",
            path.display()
        ))),
        Err(error) => Err(error).or_failed(failed()),
    }
}

/// More than the daemon takes; what is longer is cut off, and refused by it.
const FILE_BYTES_MAX: u64 = 64 << 20;
