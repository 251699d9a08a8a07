//! What is special about instances that are processes: real deaths of control planes, orphans, ports, limits, and the
//! rights of an ordinary user.

#[path = "process/disk.rs"]
mod disk;
mod process;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use process::{Fixture, service_spec};
use provider::contract::{self, ContractFixture, TestService};
use provider::{
    CgroupChoice, InstanceInfo, InstanceName, InstanceSpec, Probe, ProcessConfig, ProcessProvider, Provider,
    ProviderError, ResourceLimits, probe,
};

const GRACE: Duration = Duration::from_secs(10);
const KINDS: [CgroupChoice; 3] = [CgroupChoice::V2, CgroupChoice::V1, CgroupChoice::None];
const CONTROL_PLANE_KEY: &str = "TEST_CONTROL_PLANE";

/// Not a test: what the instances run.
#[test]
#[ignore = "run by the instances"]
fn service() {
    contract::serve_if_asked();
}

/// Not a test: a control plane in a process of its own. It starts two instances, parks the second, says so, and then
/// waits for its death, or with the word `promote` goes through a whole life and ends.
#[tokio::test]
#[ignore = "run by the tests"]
async fn control_plane() {
    let Ok(order) = std::env::var(CONTROL_PLANE_KEY) else { return };
    let (word, state_dir) = order.split_once(' ').expect("a word and a folder");
    let provider = ProcessProvider::open(ProcessConfig::new(state_dir)).expect("opens");
    let active = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    let standby = provider.start(service_spec("web-2", TestService::Normal)).await.expect("starts");
    provider.park(&standby.name).await.expect("parks");
    if word == "promote" {
        assert!(!serves(&standby).await);
        provider.promote(&standby.name).await.expect("promotes");
        assert!(serves(&standby).await);
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", standby.pid)).expect("readable");
        assert!(rustix_is_root() || !groups.contains("foreshadow"), "signals were the only way: {groups}");
        provider.shutdown(GRACE).await.expect("stops");
    }
    println!("\ninstances {} {}", active.pid, standby.pid);
    if word == "die" {
        std::future::pending::<()>().await;
    }
    // Not back into the test program, which would go on to write to whoever listened.
    std::process::exit(0);
}

fn control_plane_process(word: &str, fixture: &Fixture) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("we are a file"));
    command.args(["--ignored", "--exact", "control_plane", "--nocapture"]);
    command.env(CONTROL_PLANE_KEY, format!("{word} {}", fixture.state_dir().display()));
    command.stdout(Stdio::piped());
    command
}

/// The line with the pids, once the control plane has said it.
fn pids_said_by(child: &mut Child) -> Option<Vec<u32>> {
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let line = output.lines().map_while(Result::ok).find(|line| line.starts_with("instances "))?;
    Some(line.split(' ').skip(1).map(|pid| pid.parse().expect("a pid")).collect())
}

async fn serves(info: &InstanceInfo) -> bool {
    probe::ask(&Probe::Http { path: "/".to_owned() }, info.addr, Duration::from_millis(500)).await.is_ok()
}

fn shell(name: &str, script: &str) -> InstanceSpec {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    InstanceSpec {
        start_deadline: Duration::from_secs(20),
        ..InstanceSpec::new(InstanceName::new(name).expect("a good name"), "web", command)
    }
}

#[tokio::test]
async fn instances_survive_the_kill_of_their_control_plane_and_are_adopted() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let mut control_plane = control_plane_process("die", &fixture).spawn().expect("spawned");
    let pids = pids_said_by(&mut control_plane).expect("it starts two instances");
    assert!(matches!(ProcessProvider::open(fixture.config()), Err(ProviderError::Locked { .. })));
    control_plane.kill().expect("killed with signal 9");
    control_plane.wait().expect("reaped");

    let provider = fixture.open().await;
    let adopted = provider.adopt().await.expect("adopts");
    assert_eq!(adopted.iter().map(|info| info.pid).collect::<Vec<_>>(), pids);
    assert_eq!(adopted.iter().map(|info| info.parked).collect::<Vec<_>>(), [false, true]);
    assert!(serves(&adopted[0]).await && !serves(&adopted[1]).await);
    // They are not our children, and still their end is noticed.
    let mut events = provider.events();
    provider.promote(&adopted[1].name).await.expect("promotes");
    Command::new("kill").args(["-9", &pids[0].to_string()]).status().expect("killed");
    let event =
        tokio::time::timeout(Duration::from_secs(1), events.recv()).await.expect("in time").expect("sent");
    let provider::ProviderEvent::Exited { name, .. } = event;
    assert_eq!(name, adopted[0].name);
    assert_eq!(provider.list().len(), 1);
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [""; 0]);
}

#[tokio::test]
async fn an_ordinary_user_without_control_groups_can_do_everything() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    if !rustix_is_root() {
        skips::skip("an ordinary user as root", "the other tests run as an ordinary user now");
        return;
    }
    let own = fixture.state_dir();
    for path in [
        own.parent().expect("a folder").to_owned(),
        own.clone(),
        own.join("lock"),
        own.join("instances"),
        own.join("logs"),
    ] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("given away");
    }
    let mut command = control_plane_process("promote", &fixture);
    let spawned = command.uid(NOBODY).gid(NOBODY).current_dir("/").spawn();
    let Ok(mut control_plane) = spawned else {
        skips::skip("an ordinary user", "the test program cannot be read by one");
        return;
    };
    assert!(pids_said_by(&mut control_plane).is_some(), "a whole life without privileges");
    assert!(control_plane.wait().expect("reaped").success());
    assert_eq!(fixture.leftovers(), [""; 0]);
}

#[tokio::test]
async fn orphans_without_a_readable_record_are_killed_and_strangers_are_not() {
    for kind in KINDS {
        let (Some(fixture), Some(other)) = (Fixture::new(kind).await, Fixture::new(kind).await) else {
            continue;
        };
        let (first, stranger) = (fixture.open().await, other.open().await);
        let orphan = first.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
        let damaged = first.start(service_spec("web-2", TestService::Normal)).await.expect("starts");
        let foreign = stranger.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
        first.park(&orphan.name).await.expect("parks");
        drop(first);
        let records = fixture.state_dir().join("instances");
        fs::remove_file(records.join("web-1")).expect("removed");
        fs::write(records.join("web-2"), "foreshadow instance 1\nname=web-2\npid=").expect("cut");
        fs::write(records.join(".new-web-3"), "half").expect("written");

        let second = fixture.open().await;
        assert!(second.adopt().await.expect("adopts").is_empty());
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
        assert!(!serves(&damaged).await);
        assert!(serves(&foreign).await, "{kind:?}: another control plane's instance is none of ours");
        stranger.shutdown(GRACE).await.expect("stops");
    }
}

#[tokio::test]
async fn a_process_that_only_has_the_same_pid_is_left_alone() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let first = fixture.open().await;
    let info = first.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    let record = fixture.state_dir().join("instances").join("web-1");
    let text = fs::read_to_string(&record).expect("readable");
    first.stop(&info.name, GRACE).await.expect("stops");
    drop(first);
    // A pid comes round again much later than a tick of the clock, by which the kernel tells start times.
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The recorded pid is that of a stranger now, once in this boot and once after a reboot.
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("spawned");
    let boot_line = text.lines().find(|line| line.starts_with("boot_id=")).expect("there");
    let reused = text.replace(&format!("pid={}\n", info.pid), &format!("pid={}\n", stranger.id()));
    for text in [reused.clone(), reused.replace(boot_line, "boot_id=of-an-earlier-boot")] {
        fs::write(&record, text).expect("written");
        let provider = fixture.open().await;
        assert!(provider.adopt().await.expect("adopts").is_empty());
        assert!(!record.exists());
        assert!(stranger.try_wait().expect("our child").is_none(), "the stranger lives");
    }
    stranger.kill().expect("killed");
    stranger.wait().expect("reaped");
}

#[tokio::test]
async fn an_address_in_use_is_tried_again_and_then_reported() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let provider = fixture.open().await;
    let tries = fixture.state_dir().join("tries");
    let fails = format!("echo {{port}} >> {}; echo 'bind: Address already in use'; exit 1", tries.display());
    let error = provider.start(shell("web-1", &fails)).await.expect_err("in use");
    assert!(matches!(&error, ProviderError::PortInUse { .. }), "{error:?}");
    assert!(error.to_string().contains("in use") && error.to_string().contains("127.0.0.1:"), "{error}");
    let ports = fs::read_to_string(&tries).expect("readable");
    let ports: std::collections::BTreeSet<&str> = ports.lines().collect();
    assert_eq!(ports.len(), 3, "three different ports: {ports:?}");

    // The second port works: the service takes over from the shell.
    let mut spec = service_spec("web-2", TestService::Normal);
    let once = fixture.state_dir().join("once");
    let script = format!("if mkdir {}; then echo EADDRINUSE; exit 1; fi; exec \"$0\" \"$@\"", once.display());
    let service = std::mem::take(&mut spec.command);
    spec.command = ["sh", "-c", &script].map(str::to_owned).into_iter().chain(service).collect();
    let info = provider.start(spec).await.expect("starts at the second try");
    assert!(serves(&info).await);
    provider.shutdown(GRACE).await.expect("stops");
}

#[tokio::test]
async fn limits_change_while_an_instance_runs_and_while_it_is_parked() {
    for kind in KINDS {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        let of = |cpu: f64, mib: u64| ResourceLimits::of(Some(cpu), Some(mib << 20));
        let spec = InstanceSpec { limits: of(0.5, 64), ..service_spec("web-1", TestService::Normal) };
        let info = provider.start(spec).await.expect("starts");
        let groups = fixture.groups();
        let value = |file: &str| {
            let read = |group: &std::path::PathBuf| fs::read_to_string(group.join(file)).ok();
            groups.iter().find_map(read).map(|text| text.trim().to_owned())
        };
        let [quota, memory] = match value("cpu.cfs_quota_us") {
            Some(_) => ["cpu.cfs_quota_us", "memory.limit_in_bytes"],
            None => ["cpu.max", "memory.max"],
        };
        if value(quota).is_none() || value(memory).is_none() {
            let refused = provider.resize(&info.name, of(1.0, 128)).await.expect_err("no controllers");
            assert!(refused.to_string().contains("limits"), "{refused}");
            eprintln!("{kind:?}: no limits here, and it says so");
        } else {
            provider.resize(&info.name, of(1.5, 128)).await.expect("grows");
            assert!(value(quota).expect("quota").starts_with("150000"), "{:?}", value(quota));
            assert_eq!(value(memory), Some((128 << 20).to_string()));
            provider.park(&info.name).await.expect("parks");
            provider.resize(&info.name, of(0.25, 96)).await.expect("shrinks while parked");
            assert!(value(quota).expect("quota").starts_with("25000"), "{:?}", value(quota));
            assert_eq!(value(memory), Some((96 << 20).to_string()));
            provider.promote(&info.name).await.expect("still serves");
            let usage = provider.usage(&info.name).await.expect("readable");
            assert!(usage.throttling.is_some_and(|t| t.throttled <= t.periods), "{usage:?}");
            provider.resize(&info.name, of(0.0, 96)).await.expect_err("no such limit");
        }
        provider.shutdown(GRACE).await.expect("stops");
    }
}

#[tokio::test]
async fn limits_are_enforced_where_the_controllers_exist() {
    for kind in [CgroupChoice::V2, CgroupChoice::V1] {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        let limits = ResourceLimits {
            cpu_weight: Some(50),
            memory_high_bytes: Some(32 << 20),
            pids: Some(20),
            ..ResourceLimits::of(Some(0.5), Some(64 << 20))
        };
        let spec = InstanceSpec { limits, ..service_spec("web-1", TestService::Normal) };
        let info = provider.start(spec).await.expect("starts");
        let groups = fixture.groups();
        let value = |file: &str| {
            groups
                .iter()
                .find_map(|group| fs::read_to_string(group.join(file)).ok())
                .map(|text| text.trim().to_owned())
        };
        let wanted = [
            ("cpu.cfs_quota_us", "50000", "cpu.max", "50000 100000"),
            ("cpu.shares", "512", "cpu.weight", "50"),
            ("memory.limit_in_bytes", "67108864", "memory.max", "67108864"),
            ("memory.soft_limit_in_bytes", "33554432", "memory.high", "33554432"),
            ("pids.max", "20", "pids.max", "20"),
        ];
        for (v1, v1_value, v2, v2_value) in wanted {
            match (value(v1), value(v2)) {
                (Some(value), _) => assert_eq!(value, v1_value, "{v1}"),
                (None, Some(value)) => assert_eq!(value, v2_value, "{v2}"),
                (None, None) => skips::skip(&format!("{v1} of {kind:?}"), "no controller for it"),
            }
        }
        let usage = provider.usage(&info.name).await.expect("readable");
        assert!((1..=64 << 20).contains(&usage.memory_bytes), "{usage:?}");
        provider.park(&info.name).await.expect("parks");
        provider.promote(&info.name).await.expect("promotes");
        provider.shutdown(GRACE).await.expect("stops");
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn processes_that_fork_faster_than_they_can_be_listed_are_killed_too() {
    for kind in KINDS {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        // Each generation makes the next and ends, so that no list of pids is ever right.
        let script = fixture.state_dir().join("runaway");
        fs::write(&script, "#!/bin/sh\n\"$0\" &\n\"$0.leaf\" &\nexit 0\n").expect("written");
        fs::write(fixture.state_dir().join("runaway.leaf"), "#!/bin/sh\nexec sleep 0.2\n").expect("written");
        for path in [script.clone(), fixture.state_dir().join("runaway.leaf")] {
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(path, executable).expect("set");
        }
        let error =
            provider.start(shell("web-1", &script.display().to_string())).await.expect_err("never serves");
        assert!(matches!(error, ProviderError::ExitedEarly { .. }), "{error:?}");
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn workers_have_the_whole_grace_when_their_leader_ends_first() {
    for kind in KINDS {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        let (done, works) = (fixture.state_dir().join("done"), fixture.state_dir().join("works"));
        let script = format!(
            "(trap 'sleep 0.3; touch {}; exit' TERM; touch {}; while :; do sleep 0.05; done) & exec \"$0\" \"$@\"",
            done.display(),
            works.display()
        );
        let mut spec = service_spec("web-1", TestService::Normal);
        let service = std::mem::take(&mut spec.command);
        spec.command = ["sh", "-c", &script].map(str::to_owned).into_iter().chain(service).collect();
        let info = provider.start(spec).await.expect("starts");
        // The service may be ready before the worker knows what to do when it is told to end.
        while !works.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        provider.stop(&info.name, GRACE).await.expect("stops");
        assert!(done.exists(), "{kind:?}: the worker could finish its work");
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
    }
}

/// One that stands still cannot answer: its promotion right after its start asks nothing, a later one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_just_answered_is_not_asked_again() {
    // Where signals hold instances, a promotion would let it go on.
    for kind in [CgroupChoice::V2, CgroupChoice::V1] {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        let mut promoted = false;
        for attempt in 0..20 {
            let spec = service_spec(&format!("web-{attempt}"), TestService::Normal);
            let spec = InstanceSpec { probe_timeout: Duration::from_millis(500), ..spec };
            let info = provider.start(spec).await.expect("starts");
            let pid = rustix::process::Pid::from_raw(info.pid.cast_signed()).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("ours");
            // On a busy machine that can have taken too long.
            promoted |= provider.promote(&info.name).await.is_ok();
            tokio::time::sleep(Duration::from_millis(120)).await;
            let later = provider.promote(&info.name).await;
            assert!(matches!(later, Err(ProviderError::Unverified { .. })), "{kind:?}: {later:?}");
            provider.stop(&info.name, Duration::ZERO).await.expect("stops");
            if promoted {
                break;
            }
        }
        assert!(promoted, "{kind:?}");
    }
}

#[tokio::test]
async fn there_is_a_most_number_of_instances() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let provider =
        ProcessProvider::open(ProcessConfig { instances_max: 1, ..fixture.config() }).expect("opens");
    provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    let error = provider.start(service_spec("web-2", TestService::Normal)).await.expect_err("full");
    assert!(matches!(error, ProviderError::TooMany { limit: 1, .. }), "{error:?}");
    provider.shutdown(GRACE).await.expect("stops");
}

#[tokio::test]
async fn an_instance_inherits_no_open_files() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let provider = fixture.open().await;
    let secret = fs::File::open("/proc/version").expect("opens");
    // SAFETY: plain system call on an open descriptor.
    assert_eq!(unsafe { libc::fcntl(secret.as_raw_fd(), libc::F_SETFD, 0) }, 0, "open across an exec");
    for (name, listen) in [("web-1", provider::Listen::Port), ("web-2", provider::Listen::PassedSocket)] {
        let spec = InstanceSpec { listen, ..service_spec(name, TestService::Normal) };
        let info = provider.start(spec).await.expect("starts");
        let open: Vec<String> = fs::read_dir(format!("/proc/{}/fd", info.pid))
            .expect("readable")
            .flatten()
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect();
        assert!(open.iter().all(|file| !file.contains("version") && !file.contains("cgroup")), "{open:?}");
        let session = fs::read_to_string(format!("/proc/{}/stat", info.pid)).expect("readable");
        let session = session.rsplit_once(')').expect("a name").1.split(' ').nth(4).map(str::to_owned);
        assert_eq!(session, Some(info.pid.to_string()), "a session of its own");
    }
    provider.shutdown(GRACE).await.expect("stops");
}

#[tokio::test]
async fn commands_that_cannot_be_executed_say_why() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let provider = fixture.open().await;
    let dir = fixture.state_dir();
    let script = |name: &str, text: &str, mode| {
        let path = dir.join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("set");
        path.display().to_string()
    };
    let cases = [
        (script("plain", "#!/bin/sh\n", 0o644), "permission to execute"),
        (script("lost", "#!/no/such/interpreter\n", 0o755), "interpreter"),
        (dir.display().to_string(), "permission to execute"),
        (dir.join("nothing").display().to_string(), "was not found"),
    ];
    for (command, words) in cases {
        let spec =
            InstanceSpec::new(InstanceName::new("web-1").expect("a good name"), "web", vec![command.clone()]);
        let error = provider.start(spec).await.expect_err(words).to_string();
        assert!(error.contains(words) && error.contains("web-1"), "{command}: {error}");
        assert_eq!(fixture.leftovers(), [""; 0]);
    }
}

#[tokio::test]
async fn a_provider_can_be_used_again_after_its_shutdown() {
    let fixture = Fixture::new(CgroupChoice::Best).await.expect("always possible");
    let provider = fixture.open().await;
    provider.shutdown(GRACE).await.expect("nothing to stop");
    let info = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    assert!(serves(&info).await);
    provider.shutdown(GRACE).await.expect("stops");
}

fn rustix_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user and group `nobody`.
const NOBODY: u32 = 65534;
