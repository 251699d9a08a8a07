//! From decision to first byte, for every kind of instance: a cold start, a fork from a template, a restored snapshot, the
//! promotion of a parked instance; each beside the mechanism that is used for it, without foreshadow.
//!
//! All run the same service, which is this very program: the small HTTP server of the providers' contract tests, with a
//! start-up time of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use provider::contract::{SERVICE_KEY, STARTUP_KEY};

use crate::Setting;
use crate::rows::{Better, Rows, quantile};
use bed::TestBed;
use still::Still;
use template::Way;

mod bed;
mod container;
// Those of the providers' tests.
#[expect(dead_code, reason = "tests need more of it")]
#[path = "../../provider/tests/docker/daemon.rs"]
mod engine;
#[path = "../../provider/tests/machine/guest.rs"]
mod guest;
mod machine;
mod process;
mod request;
mod still;
mod template;

/// An emulated machine boots for seconds.
const BOOTS_MAX: usize = 5;
/// How long the service takes to initialise.
const STARTUP_MS: u64 = 500;
/// Most that foreshadow may add to the bare mechanism, at the median.
const OVER_MAX_MS: f64 = 3.0;

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        if setting.takes("process") {
            processes(setting, rows).await.context("processes")?;
        }
        if setting.takes("template") {
            templates(setting, rows).await.context("templates")?;
        }
        if setting.takes("container") {
            containers(setting, rows).await.context("containers")?;
        }
        if setting.takes("machine") {
            machines(setting, rows).await.context("machines")?;
        }
        Ok(())
    })
}

/// How often a thaw and a start are measured.
fn times(setting: &Setting) -> (usize, usize) {
    if setting.quick { (20, 3) } else { (200, 15) }
}

async fn processes(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let (thaws, starts) = times(setting);
    let bed = TestBed::start(&setting.foreshadow, "", &service("")?)?;
    let warm = bed.repeat(thaws, 1).await?;
    let cold = bed.repeat(starts, 0).await?;
    rest(setting, rows, "process", &bed).await?;
    let (bare_warm, bare_cold) = bed
        .outlive(async |survivor| {
            let thawed = Still::of_process(survivor)?.thaws(survivor.addr, thaws).await?;
            Ok((thawed, process::cold(survivor, starts).await?))
        })
        .await?;
    rows.at_most("process, thaw: median", quantile(&warm, 0.5), "ms", 5.0, None);
    rows.at_most("process, thaw: p99", quantile(&warm, 0.99), "ms", 25.0, None);
    tell(rows, "process, thaw", &warm, "freezer file", &bare_warm);
    tell(rows, "process, cold start", &cold, "spawn", &bare_cold);
    Ok(())
}

async fn templates(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let (_, starts) = times(setting);
    let bed = TestBed::start(&setting.foreshadow, "", &service("fork = true")?)?;
    // The first waits for the template to initialise.
    bed.repeat(1, 0).await?;
    let forked = bed.repeat(starts, 0).await?;
    drop(bed);
    for (name, way) in [("without a group", Way::Never), ("moved into a new group", Way::Moved)] {
        let median = quantile(&template::forks(STARTUP_MS, starts, way).await?, 0.5);
        rows.note(&format!("template fork: bare, {name}, median"), median, "ms", Better::Lower, None);
    }
    let bare = template::forks(STARTUP_MS, starts, Way::Born).await?;
    tell(rows, "template fork", &forked, "fork into a new group", &bare);
    Ok(())
}

async fn containers(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let (thaws, starts) = times(setting);
    let Some(engine) =
        tokio::task::spawn_blocking(|| engine::Daemon::start(engine::Options::default())).await?
    else {
        return Ok(());
    };
    let socket = engine.socket();
    let workload =
        format!("container = {{ image = {:?}, network = \"host\" }}\n{}", engine::IMAGE, environment());
    let server = |more: &str| format!("docker = {{ endpoint = \"unix://{}\"{more} }}", socket.display());
    let bed = TestBed::start(&setting.foreshadow, &server(""), &workload)?;
    let warm = bed.repeat(thaws, 1).await?;
    let cold = bed.repeat(starts, 0).await?;
    rest(setting, rows, "container", &bed).await?;
    let (bare_warm, bare_cold) = bed
        .outlive(async |survivor| {
            let mut api = container::Engine::connect(&socket).await?;
            let id = api.container(survivor).await?;
            let cold = api.cold(survivor, &id, starts).await?;
            Ok((Still::Container(api, id).thaws(survivor.addr, thaws).await?, cold))
        })
        .await?;
    tell(rows, "container, thaw by the engine", &warm, "unpause", &bare_warm);
    tell(rows, "container, cold start", &cold, "create and start", &bare_cold);
    let bed = TestBed::start(&setting.foreshadow, &server(", freezer = true"), &workload)?;
    let warm = bed.repeat(thaws, 1).await?;
    let bare =
        bed.outlive(async |survivor| Still::of_process(survivor)?.thaws(survivor.addr, thaws).await).await?;
    tell(rows, "container, thaw by its freezer", &warm, "freezer file", &bare);
    Ok(())
}

async fn machines(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let (thaws, starts) = times(setting);
    let guest = match tokio::task::spawn_blocking(guest::guest).await? {
        Ok(guest) => guest,
        Err(why) => {
            eprintln!("  no machine can be measured here: {why}");
            return Ok(());
        }
    };
    let workload = |start: &str| {
        format!(
            "machine = {{ kernel = {:?}, initrd = {:?}, memory = \"128MiB\", start = \"{start}\" }}\n\
             command = [\"console=tty0\", \"quiet\"]\ndeadlines = {{ start = \"2m\" }}\n{}",
            guest.kernel,
            guest.initrd,
            environment().replace("{ ", "{ HOST = \"0.0.0.0\", ")
        )
    };
    let bed = TestBed::start(&setting.foreshadow, "", &workload("snapshot"))?;
    // The first waits for the snapshot.
    bed.repeat(1, 0).await?;
    let warm = bed.repeat(thaws, 1).await?;
    let restored = bed.repeat(starts, 0).await?;
    rest(setting, rows, "machine", &bed).await?;
    let (answers, bare_warm, bare_restored) = bed
        .outlive(async |survivor| {
            let answers = request::answers(survivor.addr, thaws).await?;
            let thawed = Still::of_machine(survivor).await?.thaws(survivor.addr, thaws).await?;
            Ok((answers, thawed, machine::cold(survivor, starts).await?))
        })
        .await?;
    // What the probe after a thaw and a restore costs: in emulation, most of it.
    let answer = quantile(&answers, 0.5);
    rows.note("machine, one answer of the guest: median", answer, "ms", Better::Lower, None);
    tell(rows, "machine, thaw", &warm, "QMP cont", &bare_warm);
    tell(rows, "machine, restore from a snapshot", &restored, "restore by QMP", &bare_restored);
    let boots = starts.min(BOOTS_MAX);
    let bed = TestBed::start(&setting.foreshadow, "", &workload("boot"))?;
    let booted = bed.repeat(boots, 0).await?;
    let bare = bed.outlive(async |survivor| machine::cold(survivor, boots).await).await?;
    tell(rows, "machine, cold start", &booted, "boot", &bare);
    Ok(())
}

/// A workload of this program as the service.
fn service(more: &str) -> Result<String> {
    let program = std::env::current_exe()?;
    Ok(format!("command = [{program:?}]\n{}\n{more}", environment()))
}

fn environment() -> String {
    format!(r#"env = {{ {SERVICE_KEY} = "normal", {STARTUP_KEY} = "{STARTUP_MS}" }}"#)
}

/// That a parked instance uses no processor time.
async fn rest(setting: &Setting, rows: &mut Rows, kind: &str, bed: &TestBed) -> Result<()> {
    let seconds = if setting.quick { 5 } else { 60 };
    let used = bed.parked(Duration::from_secs(seconds)).await?;
    rows.at_most(&format!("{kind}, parked: processor time in {seconds} s"), used, "ms", 0.0, None);
    Ok(())
}

/// Decision to first byte beside the bare mechanism.
fn tell(rows: &mut Rows, what: &str, ours: &[f64], mechanism: &str, bare: &[f64]) {
    for (name, q) in [("median", 0.5), ("p99", 0.99)] {
        let peer = format!("{mechanism} {:.2} ms", quantile(bare, q));
        let name = format!("{what}: decision to first byte, {name}");
        rows.note(&name, quantile(ours, q), "ms", Better::Lower, Some(peer));
    }
    let over = quantile(ours, 0.5) - quantile(bare, 0.5);
    rows.at_most(&format!("{what}: over the {mechanism}, median"), over, "ms", OVER_MAX_MS, None);
}
