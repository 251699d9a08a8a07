//! The daemon with instances of every kind, and with all of them at once: the same whole life for each.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use daemon::client::Client;
use provider::{Probe, probe};
use tokio::sync::Mutex;

use crate::engine::{Daemon, IMAGE, Options};
use crate::guest::{Guest, guest};
use crate::support::{Load, Running, Stage, eventually, patiently, pin_workload, request, runs};

/// A workload of one kind.
struct Kind {
    name: &'static str,
    listen: SocketAddr,
    /// What makes it of this kind, in a configuration.
    lines: String,
}

impl Kind {
    fn processes() -> Kind {
        let program = std::env::current_exe().expect("we are a file");
        let arguments = r#""service", "--ignored", "--exact", "--nocapture""#;
        let service = "env = { FORESHADOW_TEST_SERVICE = \"normal\" }";
        Kind::new("proc", format!("command = [{:?}, {arguments}]\n{service}", program.display().to_string()))
    }

    fn containers() -> Kind {
        let container = format!("container = {{ image = {IMAGE:?}, network = \"host\" }}");
        let service = "env = { FORESHADOW_TEST_SERVICE = \"normal\" }\nlimits = { memory = \"256MiB\" }";
        Kind::new("cont", format!("{container}\n{service}"))
    }

    fn machines(guest: &Guest) -> Kind {
        let machine = format!(
            "machine = {{ kernel = {:?}, initrd = {:?}, memory = \"128MiB\" }}\ncommand = [\"console=tty0\", \"quiet\"]",
            guest.kernel.display().to_string(),
            guest.initrd.display().to_string()
        );
        let service = "env = { FORESHADOW_TEST_SERVICE = \"normal\", HOST = \"0.0.0.0\" }";
        Kind::new("vm", format!("{machine}\n{service}"))
    }

    fn new(name: &'static str, lines: String) -> Kind {
        Kind { name, listen: loopback::free_address(), lines }
    }

    fn text(&self) -> String {
        format!(
            "[[workload]]\nname = {:?}\nlisten = \"{}\"\n{}\nprobe = \"/\"\ncapacity = 50\nstep = \"1s\"\ntick = \"100ms\"\n\
             replicas = {{ min = 1, max = 3 }}\nshift = {{ first_share = 1.0, step_every = \"1s\" }}\n\
             deadlines = {{ start = \"4m\", drain = \"5s\", stop = \"10s\" }}\n",
            self.name, self.listen, self.lines
        )
    }

    async fn instances(&self, client: &Client) -> Vec<api::Instance> {
        let mut instances = client.workload(self.name).await.expect("the workload").instances;
        instances.sort_by(|one, other| one.name.cmp(&other.name));
        instances
    }
}

/// A configuration file with workloads of these kinds.
fn configuration(stage: &Stage, server: &str, kinds: &[Kind]) -> std::path::PathBuf {
    stage.config("kinds.toml", |_| {
        let mut text = format!("[server]\nlisten = \"{}\"\nstate_dir = \"state\"\n{server}\n", stage.api);
        kinds.iter().for_each(|kind| {
            let _ = write!(text, "{}", kind.text());
        });
        text
    })
}

/// What tells whether instances are still the same.
fn identities(instances: &[api::Instance]) -> Vec<(String, Option<u32>, bool)> {
    instances.iter().map(|instance| (instance.name.clone(), instance.pid, instance.parked)).collect()
}

/// Starts, serves through the proxy, parks a standby and promotes it under load, is killed and adopted, and ends: no request
/// fails, the instances stay the same, and nothing is left.
async fn whole_life(server: &str, kinds: &[Kind]) {
    // One after the other: machines that are emulated leave little to others.
    static TURNS: Mutex<()> = Mutex::const_new(());
    let _turn = TURNS.lock().await;
    let stage = Stage::new("");
    let config = configuration(&stage, server, kinds);
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    for kind in kinds {
        // The first machine is booted, emulated, and saved.
        patiently("an instance that serves", START_TIME_MAX, async || {
            (client.workload(kind.name).await.ok()?.summary.counts.active > 0).then_some(())
        })
        .await;
        let (status, body, _) = request(kind.listen, "GET", "/", &[], "").await.expect("answered");
        assert_eq!((status, body.as_str()), (200, "ok"), "{}", kind.name);
    }
    let loads: Vec<Load> = kinds.iter().map(|kind| Load::start(kind.listen, PER_SECOND)).collect();
    for kind in kinds {
        pin_workload(&client, kind.name, 1, 1).await;
        let instances = kind.instances(&client).await;
        let parked = instances.iter().find(|instance| instance.parked).expect("a standby");
        let address = parked.address.as_deref().expect("an address").parse().expect("an address");
        let asked =
            probe::ask(&Probe::Http { path: "/".to_owned() }, address, Duration::from_millis(300)).await;
        assert!(asked.is_err(), "{}: what is parked does not answer", kind.name);
        pin_workload(&client, kind.name, 2, 0).await;
        // It counts as active from the decision on.
        eventually("a promotion", async || {
            (client.workload(kind.name).await.ok()?.promotion_ms.count >= 1).then_some(())
        })
        .await;
        pin_workload(&client, kind.name, 1, 1).await;
    }
    let mut before = Vec::new();
    for kind in kinds {
        before.push(identities(&kind.instances(&client).await));
    }

    daemon.kill();
    more(&loads, "traffic without a control plane").await;
    let daemon = Running::start(&config).expect("the next daemon starts");
    more(&loads, "traffic with the next one").await;
    for (kind, before) in kinds.iter().zip(&before) {
        pin_workload(&client, kind.name, 1, 1).await;
        assert_eq!(&identities(&kind.instances(&client).await), before, "{}: adopted", kind.name);
    }
    for (kind, load) in kinds.iter().zip(loads) {
        let (good, bad, complaints) = load.finish().await;
        assert_eq!(bad, 0, "{}, of {}: {complaints}", kind.name, good + bad);
    }
    daemon.terminate();
    assert!(!before.iter().flatten().any(|(_, pid, _)| pid.is_some_and(runs)), "{before:?}");
    assert_eq!(stage.processes(), [0; 0]);
    assert_eq!(stage.instance_files(), [""; 0].map(std::path::PathBuf::from));
}

/// Is replaced under load once the configuration gives it another environment, and no request fails.
async fn rolled_out(server: &str, mut kind: Kind) {
    let stage = Stage::new("");
    let daemon = Running::start(&configuration(&stage, server, std::slice::from_ref(&kind)))
        .expect("the daemon starts");
    let client = stage.client();
    patiently("an instance that serves", START_TIME_MAX, async || {
        (client.workload(kind.name).await.ok()?.summary.counts.active > 0).then_some(())
    })
    .await;
    pin_workload(&client, kind.name, 1, 1).await;
    let load = Load::start(kind.listen, PER_SECOND);
    let before: Vec<String> =
        kind.instances(&client).await.into_iter().map(|instance| instance.name).collect();
    daemon.kill();
    kind.lines = kind.lines.replace("\"normal\"", "\"normal\", VERSION = \"2\"");
    let daemon =
        Running::start(&configuration(&stage, server, std::slice::from_ref(&kind))).expect("the next starts");
    patiently("all are others", START_TIME_MAX, async || {
        let detail = client.workload(kind.name).await.ok()?;
        let others = detail.instances.iter().all(|instance| !before.contains(&instance.name));
        (others && (detail.summary.counts.active, detail.summary.counts.parked) == (1, 1)).then_some(())
    })
    .await;
    let (good, bad, complaints) = load.finish().await;
    assert!(good > 100 && bad == 0, "{bad} of {}: {complaints}", good + bad);
    daemon.terminate();
    assert_eq!(stage.instance_files(), [""; 0].map(std::path::PathBuf::from));
}

/// Waits for more requests to each of them.
async fn more(loads: &[Load], what: &str) {
    for load in loads {
        let so_far = load.good();
        eventually(what, async || (load.good() > so_far + u64::from(PER_SECOND)).then_some(())).await;
    }
}

/// An engine of the test's own, with the image; none, said aloud, where it cannot run.
async fn engine() -> Option<(Daemon, String)> {
    let daemon =
        tokio::task::spawn_blocking(|| Daemon::start(Options::default())).await.expect("no panic")?;
    let line = format!("docker = {{ endpoint = \"unix://{}\" }}", daemon.socket().display());
    Some((daemon, line))
}

/// No container is left, and the engine ends.
async fn is_clean(engine: Daemon) {
    let checked = tokio::task::spawn_blocking(move || {
        let left = engine.containers("foreshadow.owner");
        engine.end(rustix::process::Signal::TERM);
        left
    });
    assert_eq!(checked.await.expect("no panic"), []);
}

/// The machine to boot; none, said aloud, where none can be made.
async fn machine() -> Option<Guest> {
    match tokio::task::spawn_blocking(guest).await.expect("no panic") {
        Ok(guest) => Some(guest.clone()),
        Err(why) => {
            skips::skip("virtual machines of the daemon", why);
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_live_a_whole_life() {
    let Some(guest) = machine().await else { return };
    whole_life(EMULATED, &[Kind::machines(&guest)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_containers_and_machines_live_a_whole_life_together() {
    let Some(guest) = machine().await else { return };
    let Some((engine, server)) = engine().await else { return };
    let kinds = [Kind::processes(), Kind::containers(), Kind::machines(&guest)];
    whole_life(&format!("{server}\n{EMULATED}"), &kinds).await;
    is_clean(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_live_a_whole_life() {
    let Some((engine, server)) = engine().await else { return };
    whole_life(&server, &[Kind::containers()]).await;
    is_clean(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_an_earlier_version_are_replaced_under_load() {
    let Some((engine, server)) = engine().await else { return };
    rolled_out(&server, Kind::containers()).await;
    is_clean(engine).await;
}

/// The same everywhere, and the fastest to emulate.
const EMULATED: &str = "qemu = { acceleration = \"emulation\", cpu = \"qemu64\" }";
/// Requests per second to each workload.
const PER_SECOND: u32 = 20;
/// The longest start: an emulated boot on busy processors.
const START_TIME_MAX: Duration = Duration::from_secs(240);
