//! The daemon with instances of every kind, and with all of them at once: the same whole life for each.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use daemon::client::Client;
use provider::{Probe, probe};

use crate::engine::{Daemon, IMAGE, Options};
use crate::support::{
    Load, Running, Stage, eventually, free_addresses, patiently, pin_workload, request, runs,
};

/// A workload of one kind.
struct Kind {
    name: &'static str,
    listen: SocketAddr,
    /// What makes it of this kind, in a configuration.
    lines: String,
}

impl Kind {
    fn containers() -> Kind {
        let container = format!(
            "container = {{ image = {IMAGE:?}, network = \"host\" }}\nlimits = {{ memory = \"256MiB\" }}"
        );
        Kind::new("cont", container)
    }

    fn new(name: &'static str, lines: String) -> Kind {
        let [listen] = free_addresses();
        let service = "env = { FORESHADOW_TEST_SERVICE = \"normal\" }";
        Kind { name, listen, lines: format!("{lines}\n{service}\nprobe = \"/\"") }
    }

    fn text(&self) -> String {
        format!(
            "[[workload]]\nname = {:?}\nlisten = \"{}\"\n{}\ncapacity = 50\nstep = \"1s\"\ntick = \"100ms\"\n\
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
    let stage = Stage::new("");
    let config = configuration(&stage, server, kinds);
    let daemon = Running::start(&config).expect("the daemon starts");
    let client = stage.client();
    for kind in kinds {
        // The first machine may have to prove an accelerator, and is booted.
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
        let detail = client.workload(kind.name).await.expect("the workload");
        assert!(detail.promotion_ms.count >= 1, "{}: {:?}", kind.name, detail.promotion_ms);
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

#[tokio::test(flavor = "multi_thread")]
async fn containers_live_a_whole_life() {
    let Some((engine, server)) = engine().await else { return };
    whole_life(&server, &[Kind::containers()]).await;
    is_clean(engine).await;
}

/// Requests per second to each workload.
const PER_SECOND: u32 = 20;
/// The longest start: a boot by an accelerator that turns out not to work, and another without it.
const START_TIME_MAX: Duration = Duration::from_secs(240);
