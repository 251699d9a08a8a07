//! What machines take, beside the bare mechanism: not a test of anything.
//!
//! `cargo test -p provider --test machine_measure -- --ignored --nocapture`

mod machine;
mod talk;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine::Fixture;
use provider::contract::{ContractFixture, TestService};
use provider::{Birth, InstanceInfo, InstanceSpec, MachineSpec, Provider};
use talk::{GRACE, get, started};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

/// A bare connection to QEMU.
struct Control(tokio::io::BufReader<tokio::net::UnixStream>);

impl Control {
    async fn connect(path: &str) -> Control {
        let stream = loop {
            match tokio::net::UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        };
        let mut control = Control(tokio::io::BufReader::new(stream));
        control.say("{\"execute\":\"qmp_capabilities\"}").await;
        control
    }

    /// Says one line and returns the answer.
    async fn say(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes()).await.expect("written");
        loop {
            let mut line = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut self.0, &mut line).await.expect("read");
            assert!(!line.contains("\"error\""), "{command}: {line}");
            if line.contains("\"return\"") {
                return line;
            }
        }
    }
}

/// The same command line as that of an instance, on another port, without us; to the first answer.
async fn bare_start(like: &InstanceInfo, is_restored: bool) -> Duration {
    let dir = tempfile::tempdir().expect("a folder");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let line = fs::read_to_string(format!("/proc/{}/cmdline", like.pid)).expect("readable");
    let line = line.replace(&like.addr.port().to_string(), &port.port().to_string());
    let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
    if is_restored {
        let state = fs::read_link(format!("/proc/{}/cwd/state", like.pid)).expect("a link");
        std::os::unix::fs::symlink(state, dir.path().join("state")).expect("a link");
    }
    let begin = Instant::now();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("spawned");
    if is_restored {
        let mut control = Control::connect(&dir.path().join("control").display().to_string()).await;
        let ignoring = "[{\"capability\":\"x-ignore-shared\",\"state\":true}]";
        control
            .say(&format!(
                "{{\"execute\":\"migrate-set-capabilities\",\"arguments\":{{\"capabilities\":{ignoring}}}}}"
            ))
            .await;
        control.say("{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"exec:cat state\"}}").await;
        while !control.say("{\"execute\":\"query-migrate\"}").await.contains("\"completed\"") {
            sleep(Duration::from_millis(1)).await;
        }
        control.say("{\"execute\":\"cont\"}").await;
    }
    while timeout(Duration::from_millis(200), get(port, "/")).await.ok().flatten().as_deref() != Some("ok") {
        sleep(Duration::from_millis(1)).await;
    }
    let took = begin.elapsed();
    child.kill().expect("killed");
    child.wait().expect("reaped");
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure() {
    const ROUNDS: usize = 15;
    let Some(fixture) = Fixture::new(Birth::Boot).await else { return };
    let provider = fixture.open().await;
    let spec = |name: &str, birth| {
        let machine = MachineSpec { birth, ..fixture.machine() };
        InstanceSpec { machine: Some(machine), ..fixture.spec(name, TestService::Normal) }
    };
    let memory = async |info: &InstanceInfo| {
        let maps = fs::read_to_string(format!("/proc/{}/smaps_rollup", info.pid)).expect("readable");
        let of = |key: &str| -> u64 {
            let line = maps.lines().find(|line| line.starts_with(key)).expect("there");
            line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
        };
        format!(
            "resident {} MiB, proportional {} MiB, private {} MiB",
            of("Rss:") >> 10,
            of("Pss:") >> 10,
            (of("Private_Dirty:") + of("Private_Clean:")) >> 10
        )
    };
    let mut boots = Vec::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let info = started(&provider, spec("boot", Birth::Boot)).await;
        boots.push(begin.elapsed());
        eprintln!("booted: {}", memory(&info).await);
        provider.stop(&info.name, GRACE).await.expect("stops");
    }
    say("boot to passed probe", &mut boots);
    let kept = started(&provider, spec("kept", Birth::Snapshot)).await;
    let mut restores = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let info = started(&provider, spec("restored", Birth::Snapshot)).await;
        restores.push(begin.elapsed());
        if restores.len() == ROUNDS {
            eprintln!("restored: {}", memory(&info).await);
        }
        provider.stop(&info.name, GRACE).await.expect("stops");
    }
    say("restore to passed probe", &mut restores);
    let (mut parks, mut promotions, mut verified) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS * 3 {
        let begin = Instant::now();
        provider.park(&kept.name).await.expect("parks");
        parks.push(begin.elapsed());
        let promoted = provider.promote(&kept.name).await.expect("promotes");
        promotions.push(promoted.took);
        verified.push(provider.promote(&kept.name).await.expect("verifies").took);
    }
    say("park", &mut parks);
    say("promotion to passed probe", &mut promotions);
    say("probe of a running machine", &mut verified);
    // The bare mechanism, without us: one connection that stays, `cont`, one request.
    let mut control = Control::connect(&format!("/proc/{}/cwd/control", kept.pid)).await;
    let mut bare = Vec::new();
    for _ in 0..ROUNDS * 3 {
        control.say("{\"execute\":\"stop\"}").await;
        sleep(Duration::from_millis(5)).await;
        let begin = Instant::now();
        control.say("{\"execute\":\"cont\"}").await;
        get(kept.addr, "/").await.expect("serves");
        bare.push(begin.elapsed());
    }
    say("bare: QMP cont to response", &mut bare);
    drop(control);
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(bare_start(&kept, true).await);
    }
    say("bare: spawn, restore by QMP, to response", &mut bare);
    let booted = started(&provider, spec("boot", Birth::Boot)).await;
    let mut bare = Vec::new();
    for _ in 0..3 {
        bare.push(bare_start(&booted, false).await);
    }
    say("bare: spawn, boot, to response", &mut bare);
    provider.stop(&booted.name, GRACE).await.expect("stops");
    provider.park(&kept.name).await.expect("parks");
    let before = provider.usage(&kept.name).await.expect("readable").cpu_time;
    sleep(Duration::from_secs(60)).await;
    let used = provider.usage(&kept.name).await.expect("readable").cpu_time - before;
    eprintln!("processor time of a parked machine in a minute: {used:?}");
    provider.shutdown(GRACE).await.expect("stops");
}

fn say(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let (least, most) = (times[0], times[times.len() - 1]);
    eprintln!("{what}: median {:?} ({least:?} to {most:?}, n = {})", times[times.len() / 2], times.len());
}
