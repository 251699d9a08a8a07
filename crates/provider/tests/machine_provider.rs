//! What is special about instances that are virtual machines: snapshots and what their clones must not share, disks,
//! memory that changes, panics, hangs, and whether the processor itself can execute them.

mod machine;
mod talk;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use machine::Fixture;
use provider::contract::{ContractFixture, TestService};
use provider::{
    Acceleration, Accelerator, Birth, ExitReason, InstanceName, InstanceSpec, MachineConfiguration,
    MachineNetwork, MachineSpec, Provider, ProviderError, ProviderEvent, ResourceLimits, VmConfig,
    VmProvider,
};
use talk::{GRACE, PATIENCE, get, started};
use tokio::time::{sleep, timeout};

const CONTROL_PLANE_KEY: &str = "TEST_MACHINE_CONTROL_PLANE";

/// How far the clock of a machine is from ours.
async fn clock_error(addr: SocketAddr) -> Duration {
    let told: u64 = get(addr, "/clock").await.and_then(|text| text.parse().ok()).expect("a time");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.abs_diff(Duration::from_millis(told))
}

async fn next_exit(
    events: &mut tokio::sync::broadcast::Receiver<ProviderEvent>,
) -> (InstanceName, ExitReason) {
    let event = timeout(PATIENCE, events.recv()).await.expect("is reported").expect("the provider is there");
    let ProviderEvent::Exited { name, reason } = event;
    (name, reason)
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn snapshots(fixture: &Fixture) -> usize {
    fs::read_dir(fixture.config().state_dir.join("snapshots")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_share_a_snapshot_and_neither_clock_nor_randomness_nor_address() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await else { return };
    let provider = fixture.open().await;
    let first = started(&provider, fixture.spec("web-1", TestService::Normal)).await;
    assert_eq!(snapshots(&fixture), 1);
    // Old enough to be told from the right time.
    sleep(Duration::from_secs(3)).await;
    let second = started(&provider, fixture.spec("web-2", TestService::Normal)).await;
    assert_eq!(snapshots(&fixture), 1, "the same one");
    assert_ne!(first.addr, second.addr);
    let random = [get(first.addr, "/random").await, get(second.addr, "/random").await];
    assert!(random[0].is_some() && random[0] != random[1], "{random:?}");
    until("the clock is right", async || clock_error(second.addr).await < Duration::from_secs(1)).await;

    provider.park(&second.name).await.expect("parks");
    sleep(Duration::from_secs(3)).await;
    provider.promote(&second.name).await.expect("promotes");
    until("the clock is right again", async || clock_error(second.addr).await < Duration::from_secs(1)).await;

    // What one writes into its memory, others do not see, those restored later included.
    get(first.addr, "/touch?32").await.expect("touches");
    let third = started(&provider, fixture.spec("web-3", TestService::Normal)).await;
    assert_eq!(get(third.addr, "/").await.as_deref(), Some("ok"));
    provider.shutdown(GRACE).await.expect("stops");
    drop(provider);
    // Kept for the next control plane.
    let provider = fixture.open().await;
    started(&provider, fixture.spec("web-4", TestService::Normal)).await;
    assert_eq!(snapshots(&fixture), 1);
    // Another order is another snapshot.
    let mut other = fixture.spec("web-5", TestService::Normal);
    other.env.insert("OTHER".to_owned(), "1".to_owned());
    started(&provider, other).await;
    assert_eq!(snapshots(&fixture), 2);
    provider.shutdown(GRACE).await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_processor_time_change_while_a_machine_runs() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await else { return };
    let provider = fixture.open().await;
    let spec = |name: &str| {
        let machine =
            MachineSpec { memory_min_bytes: 64 << 20, memory_bytes: 192 << 20, ..fixture.machine() };
        InstanceSpec { machine: Some(machine), ..fixture.spec(name, TestService::Normal) }
    };
    let machine = started(&provider, spec("web-1")).await;
    let neighbour = started(&provider, spec("web-2")).await;
    let memory = async || provider.usage(&machine.name).await.expect("readable").memory_bytes;
    let resize = async |limits| provider.resize(&machine.name, limits).await;
    let to = |mib: u64| ResourceLimits { memory_bytes: Some(mib << 20), ..ResourceLimits::default() };

    // Used once, and free again inside, but not yet for the host.
    get(machine.addr, "/touch?96").await.expect("touches");
    get(machine.addr, "/touch?1").await.expect("gives back");
    let error = resize(to(32)).await.expect_err("too little").to_string();
    assert!(error.contains("from 64 to 192 MiB, not 32 MiB"), "{error}");
    let before = memory().await;
    resize(to(128)).await.expect("shrinks");
    until("the memory is given back", async || memory().await + (16 << 20) < before).await;
    assert_eq!(get(machine.addr, "/").await.as_deref(), Some("ok"), "it goes on");
    let told = async || provider.guest_memory(&machine.name).await.expect("answers").expect("has a balloon");
    until("the guest has given all of it", async || told().await.given_bytes == 128 << 20).await;
    // What it tells at first may be of before.
    let could_use = async || told().await.available_bytes;
    until("the guest could use less", async || could_use().await.is_some_and(|bytes| bytes < 64 << 20)).await;
    resize(to(192)).await.expect("grows");
    until("the memory can be used again", async || get(machine.addr, "/touch?32").await.is_some()).await;

    // A parked machine follows when it is promoted.
    provider.park(&machine.name).await.expect("parks");
    resize(to(160)).await.expect("is noted");
    assert!(provider.list()[0].parked);
    provider.promote(&machine.name).await.expect("promotes");

    let cores = |cores| ResourceLimits { cpu_cores: Some(cores), ..ResourceLimits::default() };
    resize(cores(0.1)).await.expect("slows down");
    get(machine.addr, "/burn").await.expect("burns");
    let cpu = async || provider.usage(&machine.name).await.expect("readable").cpu_time;
    let begin = cpu().await;
    sleep(Duration::from_secs(2)).await;
    let used = cpu().await - begin;
    assert!(used < Duration::from_millis(600), "{used:?} in two seconds");
    assert_eq!(get(neighbour.addr, "/").await.as_deref(), Some("ok"), "the neighbour has its memory still");
    provider.shutdown(GRACE).await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_guest_and_a_hang_of_qemu_end_the_instance_and_are_reported() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await else { return };
    let provider = fixture.open().await;
    let mut events = provider.events();
    let command = vec!["console=ttyS0".to_owned()];
    let spec = InstanceSpec { command, ..fixture.spec("web-1", TestService::Normal) };
    let panics = started(&provider, spec).await;
    let hangs = started(&provider, fixture.spec("web-2", TestService::Normal)).await;
    get(panics.addr, "/panic").await;
    assert_eq!(next_exit(&mut events).await, (panics.name.clone(), ExitReason::Panicked));
    let log = provider.logs(&panics.name, 10_000).await.expect("readable");
    assert!(log.contains("sysrq triggered crash"), "{log}");

    let pid = rustix::process::Pid::from_raw(i32::try_from(hangs.pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stands still");
    let error = provider.park(&hangs.name).await.expect_err("it does not answer");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(error.to_string().contains("web-2") && source.contains("did not answer"), "{error}: {source}");
    assert_eq!(next_exit(&mut events).await, (hangs.name.clone(), ExitReason::Signal(9)));
    until("nothing is left", async || fixture.leftovers().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_has_a_disk_of_its_own_over_the_image_and_is_configured_by_another() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await else { return };
    let provider = fixture.open().await;
    // A comma would end the path for QEMU if it were not written twice.
    let image = fixture.dir.path().join("golden, image.raw");
    fs::write(&image, vec![7; 4 << 20]).expect("written");
    let machine = MachineSpec {
        disk: Some(image.clone()),
        configuration: MachineConfiguration::CloudInit { user_data: "#cloud-config\n".to_owned() },
        ..fixture.machine()
    };
    for birth in [Birth::Boot, Birth::Snapshot] {
        let machine = MachineSpec { birth, ..machine.clone() };
        let mut spec = InstanceSpec { machine: Some(machine), ..fixture.spec("web-1", TestService::Normal) };
        spec.env.insert("TOLD".to_owned(), "by a disk, not \"by\" the command line".to_owned());
        let info = started(&provider, spec).await;
        let environment = get(info.addr, "/environment").await.expect("serves");
        assert!(environment.contains("TOLD=by a disk, not \"by\" the command line\n"), "{environment}");
        let maps = fs::read_dir(format!("/proc/{}/fd", info.pid)).expect("readable").flatten();
        let open: Vec<_> = maps.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        assert!(
            open.contains(&image) && open.iter().any(|path| path.ends_with("files/web-1/disk")),
            "{open:?}"
        );
        provider.stop(&info.name, GRACE).await.expect("stops");
    }
    assert_eq!(fs::read(&image).expect("readable"), vec![7; 4 << 20], "the image is as it was");
    let not_an_image = MachineSpec { disk: Some(fixture.dir.path().to_owned()), ..machine };
    let spec = InstanceSpec { machine: Some(not_an_image), ..fixture.spec("web-1", TestService::Normal) };
    let error = provider.start(spec).await.expect_err("a folder is no image");
    assert!(matches!(&error, ProviderError::Image { path, .. } if path == fixture.dir.path()), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardware_acceleration_is_used_only_after_a_boot_proved_it() {
    let Some(fixture) = Fixture::new(Birth::Boot).await else { return };
    let config = || VmConfig {
        acceleration: Acceleration::Auto,
        canary_deadline: Duration::from_secs(8),
        ..fixture.config()
    };
    let first = VmProvider::open(config()).await.expect("opens");
    assert_eq!(first.accelerator().await, None);
    let info = started(&first, fixture.spec("web-1", TestService::Normal)).await;
    let accelerator = first.accelerator().await.expect("is known by now");
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", info.pid)).expect("readable");
    let word = if accelerator == Accelerator::Kvm { "kvm" } else { "tcg" };
    assert!(arguments.contains(&format!("-accel\0{word}\0")), "{arguments}");
    first.shutdown(GRACE).await.expect("stops");
    drop(first);
    let second = VmProvider::open(config()).await.expect("opens");
    assert_eq!(second.accelerator().await, Some(accelerator), "found out once");
    let reason = fs::read_to_string(config().state_dir.join("accelerator")).expect("readable");
    eprintln!("machines are executed by {word}: {}", reason.lines().nth(2).unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_qemu_is_named_and_nothing_is_left() {
    let Some(fixture) = Fixture::new(Birth::Boot).await else { return };
    drop(fixture.open().await);
    let config = VmConfig { qemu: "no-such-qemu".to_owned(), ..fixture.config() };
    let provider = VmProvider::open(config).await.expect("opens without");
    let error = provider.start(fixture.spec("web-1", TestService::Normal)).await.expect_err("cannot start");
    assert!(
        matches!(&error, ProviderError::CommandNotFound { command, .. } if command == "no-such-qemu"),
        "{error:?}"
    );
    assert_eq!(fixture.leftovers(), [] as [&str; 0]);
}

/// A tap interface that goes with the test. None, and a word about it, where we may not make one.
struct Tap(&'static str);

impl Tap {
    fn new(name: &'static str) -> Option<Tap> {
        let run = |words: &[&str]| {
            Command::new("ip").args(words).output().is_ok_and(|output| output.status.success())
        };
        let tap = run(&["tuntap", "add", "dev", name, "mode", "tap"]).then_some(Tap(name));
        let is_up = run(&["addr", "add", "10.0.2.2/24", "dev", name]) && run(&["link", "set", name, "up"]);
        if !is_up {
            skips::skip("machines on a tap interface", "none can be made here");
        }
        tap.filter(|_| is_up)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", self.0]).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_on_a_tap_interface_is_reached_at_its_own_address() {
    let Some(fixture) = Fixture::new(Birth::Boot).await else { return };
    let Some(tap) = Tap::new("foreshadow-t0") else { return };
    let provider = fixture.open().await;
    let addr: SocketAddr = "10.0.2.15:8080".parse().expect("an address");
    let network = MachineNetwork::Tap { interface: tap.0.to_owned(), addr };
    let spec = |birth| {
        let machine = MachineSpec { network: network.clone(), birth, ..fixture.machine() };
        InstanceSpec { machine: Some(machine), ..fixture.spec("web-1", TestService::Normal) }
    };
    let error =
        provider.start(spec(Birth::Snapshot)).await.expect_err("clones would share an address").to_string();
    assert!(error.contains("hardware address"), "{error}");
    let info = started(&provider, spec(Birth::Boot)).await;
    assert_eq!(info.addr, addr);
    provider.park(&info.name).await.expect("parks");
    provider.promote(&info.name).await.expect("promotes");
    assert_eq!(get(addr, "/").await.as_deref(), Some("ok"));
    provider.shutdown(GRACE).await.expect("stops");
}

/// Not a test: a control plane in a process of its own. It starts two machines, parks the second, is in the middle of
/// making another snapshot, says so, and waits for its death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests"]
async fn control_plane() {
    let Ok(state_dir) = std::env::var(CONTROL_PLANE_KEY) else { return };
    let fixture = Fixture::new(Birth::Snapshot).await.expect("the test that runs this looked");
    let config = VmConfig { state_dir: state_dir.into(), ..fixture.config() };
    let provider = VmProvider::open(config).await.expect("opens");
    let active = started(&provider, fixture.spec("web-1", TestService::Normal)).await;
    let standby = started(&provider, fixture.spec("web-2", TestService::Normal)).await;
    provider.park(&standby.name).await.expect("parks");
    let saying = async {
        until("the third is being made", async || provider.list().len() == 3).await;
        println!("\ninstances {} {}", active.pid, standby.pid);
        std::future::pending::<()>().await;
    };
    tokio::join!(provider.start(fixture.spec("web-3", TestService::NeverReady)), saying)
        .0
        .expect_err("never ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_survive_the_kill_of_their_control_plane_and_half_a_snapshot_does_not() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await else { return };
    drop(fixture.open().await);
    let mut control_plane = Command::new(std::env::current_exe().expect("we are a file"))
        .args(["--ignored", "--exact", "control_plane", "--nocapture"])
        .env(CONTROL_PLANE_KEY, fixture.config().state_dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawned");
    let output = BufReader::new(control_plane.stdout.take().expect("piped"));
    let said = output
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("instances "))
        .expect("starts them");
    control_plane.kill().expect("killed with signal 9");
    control_plane.wait().expect("reaped");

    let provider = fixture.open().await;
    let adopted = provider.adopt().await.expect("adopts");
    let pids: Vec<String> = adopted.iter().map(|info| info.pid.to_string()).collect();
    assert_eq!(said, format!("instances {}", pids.join(" ")));
    assert_eq!(adopted.iter().map(|info| info.parked).collect::<Vec<_>>(), [false, true]);
    assert_eq!(provider.list(), adopted, "nothing of the third");
    assert_eq!(get(adopted[0].addr, "/").await.as_deref(), Some("ok"));
    provider.promote(&adopted[1].name).await.expect("promotes");
    started(&provider, fixture.spec("web-3", TestService::Normal)).await;
    assert_eq!(snapshots(&fixture), 1, "the one that was whole");
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lives_leave_no_descriptor_and_no_file_behind() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await else { return };
    let provider = fixture.open().await;
    // Sockets of probes close a moment after their answers.
    let descriptors = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut before = 0;
    for life in 0..12 {
        let info = started(&provider, fixture.spec("web-1", TestService::Normal)).await;
        for _ in 0..20 {
            provider.park(&info.name).await.expect("parks");
            provider.promote(&info.name).await.expect("promotes");
        }
        provider.stop(&info.name, GRACE).await.expect("stops");
        assert_eq!(fixture.leftovers(), [] as [&str; 0]);
        if life == 1 {
            sleep(Duration::from_millis(600)).await;
            before = descriptors();
        }
    }
    until("as many descriptors are open as after the first lives", async || descriptors() <= before).await;
    assert_eq!(snapshots(&fixture), 1);
    provider.shutdown(GRACE).await.expect("stops");
}
