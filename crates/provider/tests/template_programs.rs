//! The program in `docs/processes.md` is a template that works, is as fast and as small as it should be, and whatever goes
//! wrong with it costs nobody an instance.

mod process;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::Fixture;
use provider::contract::ContractFixture;
use provider::{
    CgroupChoice, ExitReason, InstanceInfo, InstanceSpec, Listen, Probe, ProcessConfig, ProcessProvider,
    Provider, ProviderEvent, probe,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GRACE: Duration = Duration::from_secs(10);
const PYTHON: &str = "/usr/bin/python3";
const CONTROL_PLANE_KEY: &str = "FORESHADOW_TEST_CONTROL_PLANE";
const ROUNDS: usize = 30;

/// The program of the document, or none, and a word about it, where it cannot run.
fn program(test: &str) -> Option<String> {
    if !Path::new(PYTHON).exists() {
        skips::skip(test, &format!("there is no {PYTHON}"));
        return None;
    }
    Some(block("python", 0))
}

/// The block of this number that the document has in this language.
fn block(language: &str, number: usize) -> String {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/processes.md"));
    let document = document.expect("readable");
    let block = document.split(&format!("```{language}\n")).nth(number + 1).expect("the document has it");
    block.split_once("```\n").expect("it has an end").0.to_owned()
}

/// The program with what the document adds for clones that are born in their groups.
fn with_births(program: &str) -> String {
    let lines = block("diff", 0);
    let lines: Vec<&str> = lines.lines().collect();
    let change = |program: String, pair: &[&str]| {
        let [old, new] = [0, 1].map(|line| format!("\n{}\n", &pair[line][1..]));
        with(&program, &old, &new)
    };
    block("python", 1) + &lines.chunks(2).fold(program.to_owned(), change)
}

/// The same with something else in one place.
fn with(program: &str, place: &str, instead: &str) -> String {
    assert_eq!(program.matches(place).count(), 1, "{place}");
    program.replace(place, instead)
}

async fn fixture(test: &str) -> Option<Fixture> {
    match Fixture::new(CgroupChoice::V2).await {
        Some(fixture) => Some(fixture),
        None => Fixture::new(CgroupChoice::V1).await.or_else(|| {
            skips::skip(test, "no control groups");
            None
        }),
    }
}

fn order(fixture: &Fixture, name: &str, program: &str) -> InstanceSpec {
    let file = fixture.state_dir().join("program.py");
    fs::write(&file, program).expect("written");
    let command = vec![PYTHON.to_owned(), file.display().to_string()];
    // Somebody else on the machine may take a port before it is used, but not a socket.
    let listen = Listen::PassedSocket;
    InstanceSpec {
        template: true,
        listen,
        ..InstanceSpec::new(name.parse().expect("a name"), "web", command)
    }
}

async fn get(info: &InstanceInfo) -> String {
    let mut stream = TcpStream::connect(info.addr).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    answer.rsplit_once("\r\n\r\n").expect("has a body").1.trim().to_owned()
}

async fn serves(info: &InstanceInfo) -> bool {
    probe::ask(&Probe::Http { path: "/".to_owned() }, info.addr, Duration::from_secs(1)).await.is_ok()
}

/// The groups of templates.
fn templates(fixture: &Fixture) -> Vec<PathBuf> {
    let mut groups = fixture.groups();
    groups.retain(|group| group.display().to_string().contains("/i-template."));
    groups
}

fn members(group: &Path) -> Vec<u32> {
    let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// A field of `/proc/PID/FILE`, such as `PPid` or `Pss`.
fn field(pid: u32, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("readable");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("there");
    line.split_whitespace().next().expect("a value").parse().expect("a number")
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("readable").count()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn stopped(fixture: &Fixture, provider: ProcessProvider) {
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_clones_with_output_environment_and_end_of_their_own() {
    let test = "instances_are_clones";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let provider = fixture.open().await;
    let mut events = provider.events();
    let spec = |name| order(&fixture, name, &program);
    let first = provider.start(spec("web-1")).await.expect("starts");
    let on_port = InstanceSpec { listen: Listen::Port, ..spec("web-2") };
    let second = provider.start(on_port).await.expect("starts");
    let group = templates(&fixture).pop().expect("there is one template");
    let template = members(&group);
    for info in [&first, &second] {
        assert_eq!(get(info).await, format!("{} has 500000", info.pid));
        assert_eq!(vec![field(info.pid, "status", "PPid") as u32], template, "a child of the template alone");
        let session = rustix::process::getsid(Some(pid(info.pid))).expect("there");
        assert_eq!(session, pid(info.pid), "a session of its own");
    }
    let logs = provider.logs(&first.name, 10_000).await.expect("readable");
    assert!(logs.contains("GET / HTTP/1"), "{logs}");
    // Its end is noticed, with the reason from its template.
    rustix::process::kill_process(pid(first.pid), rustix::process::Signal::USR1).expect("killed");
    let event = tokio::time::timeout(GRACE, events.recv()).await.expect("in time").expect("an event");
    assert_eq!(event, ProviderEvent::Exited { name: first.name, reason: ExitReason::Signal(10) });
    assert!(serves(&second).await);
    stopped(&fixture, provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_the_template_keeps_to_itself_is_noticed_all_the_same() {
    let test = "an_end_that_the_template_keeps_to_itself";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let report = "say(control, exited=pid, status=os.waitstatus_to_exitcode(status))";
    let program = with(&program, report, "pass");
    let provider = fixture.open().await;
    let mut events = provider.events();
    let info = provider.start(order(&fixture, "web-1", &program)).await.expect("starts");
    rustix::process::kill_process(pid(info.pid), rustix::process::Signal::KILL).expect("killed");
    let event = tokio::time::timeout(Duration::from_secs(1), events.recv()).await.expect("in time");
    let reason = ExitReason::Unknown;
    assert_eq!(event.expect("an event"), ProviderEvent::Exited { name: info.name, reason });
    stopped(&fixture, provider).await;
}

fn pid(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_are_fast_and_share_memory() {
    let test = "clones_are_fast_and_share_memory";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let provider = fixture.open().await;
    let cold = |name: &str| InstanceSpec { template: false, ..order(&fixture, name, &program) };
    let (mut starts, mut forks, mut births, mut thaws) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let told = fixture.state_dir().join("told.py");
    fs::write(&told, with_births(&program)).expect("written");
    let born = |name: &str| InstanceSpec {
        command: vec![PYTHON.to_owned(), told.display().to_string()],
        ..order(&fixture, name, &program)
    };
    let ordinary = provider.start(cold("ordinary")).await.expect("starts");
    assert!(serves(&ordinary).await);
    let pss_ordinary = field(ordinary.pid, "smaps_rollup", "Pss");
    provider.start(order(&fixture, "first", &program)).await.expect("starts");
    provider.start(born("second")).await.expect("starts");
    let open_before = descriptors();
    for round in 0..ROUNDS {
        for (times, spec) in [
            (&mut starts, cold(&format!("cold-{round}"))),
            (&mut forks, order(&fixture, &format!("fork-{round}"), &program)),
            (&mut births, born(&format!("born-{round}"))),
        ] {
            let begin = Instant::now();
            let info = provider.start(spec).await.expect("starts");
            times.push(begin.elapsed());
            if info.name.as_str().starts_with("fork") {
                provider.park(&info.name).await.expect("parks");
                let begin = Instant::now();
                provider.promote(&info.name).await.expect("promotes");
                thaws.push(begin.elapsed());
            }
            provider.stop(&info.name, GRACE).await.expect("stops");
        }
    }
    let clone = provider.start(order(&fixture, "clone", &program)).await.expect("starts");
    assert!(serves(&clone).await);
    let pss_clone = field(clone.pid, "smaps_rollup", "Pss");
    let own = ["Private_Clean", "Private_Dirty"]
        .map(|key| field(clone.pid, "smaps_rollup", key))
        .iter()
        .sum::<u64>();
    println!("decision to verified answer, ms, of {ROUNDS}:");
    let forks = [("fork, moved", forks), ("fork, born", births)];
    let medians: Vec<Duration> = [("cold start", starts), ("thaw", thaws)]
        .into_iter()
        .chain(forks)
        .map(|(what, times)| report(what, times))
        .collect();
    println!(
        "proportional set size, KiB: ordinary {pss_ordinary}, clone {pss_clone}, of which its own {own}"
    );
    assert!(medians[2] * 3 < medians[0], "a fork is much faster than a start: {medians:?}");
    assert!(pss_clone * 2 < pss_ordinary && own * 5 < pss_ordinary, "{own}, {pss_clone}, {pss_ordinary}");
    provider.stop(&clone.name, GRACE).await.expect("stops");
    until("no descriptor is left open", || descriptors() <= open_before).await;
    stopped(&fixture, provider).await;
}

fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{what:14} median {:8.2}  p99 {:8.2}", ms(at(0.5)), ms(at(0.99)));
    at(0.5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_fails_costs_nobody_an_instance() {
    let test = "a_template_that_fails_costs_nobody_an_instance";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let ready = "say(control, ready=True)";
    let forked = "say(control, forked=pid)";
    let cases = [
        ("it ends", with(&program, ready, "raise SystemExit('cannot')")),
        ("it cannot initialise", with(&program, ready, "say(control, error='no licence')")),
        ("it talks nonsense", with(&program, ready, "control.send(b'hello')")),
        ("it is never ready", with(&program, ready, "signal.pause()")),
        ("it does not fork", with(&program, "pid = os.fork()", "signal.pause()")),
        ("it refuses", with(&program, "pid = os.fork()", "say(control, error='no'); continue")),
        ("it answers nonsense", with(&program, forked, "say(control, ready=True)")),
        ("it lies", with(&program, forked, "say(control, forked=1)")),
        ("it ends at an order", with(&program, "pid = os.fork()", "os._exit(4)")),
    ];
    for (what, program) in cases {
        let provider = fixture.open().await;
        let spec =
            |name| InstanceSpec { start_deadline: Duration::from_secs(8), ..order(&fixture, name, &program) };
        let first = provider.start(spec("web-1")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        // Soon after a failure nobody waits for a template.
        let begin = Instant::now();
        let second = provider.start(spec("web-2")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(begin.elapsed() < Duration::from_secs(3), "{what}: {:?}", begin.elapsed());
        assert!(serves(&first).await && serves(&second).await, "{what}");
        let own = std::process::id();
        assert_eq!(field(first.pid, "status", "PPid"), u64::from(own), "{what}: an ordinary start");
        stopped(&fixture, provider).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_are_born_in_their_groups_where_the_template_is_told_or_else_moved() {
    let test = "clones_are_born_in_their_groups";
    let Some(plain) = program(test) else { return };
    // A clone tells where it was born before anybody hears of it.
    let plain = with(&plain, "def serve(", "TOLD = os.pipe()\n\ndef serve(");
    let wait = "    if not os.read(go, 1):";
    let tell = "    print(open('/proc/self/cgroup').read(), flush=True)\n    os.write(TOLD[1], b'.')\n";
    let plain = with(&plain, wait, &format!("{tell}{wait}"));
    let answer = "        say(control, forked=pid)";
    let plain = with(&plain, answer, &format!("        os.read(TOLD[0], 1)\n{answer}"));
    let told = with_births(&plain);
    let unable = with(&told, "1 << 33", "1 << 63");
    // Who does not ask for it is passed nothing more than ever.
    let close = "        for descriptor in descriptors:";
    let count = format!("        assert len(descriptors) == 3 and b'into_group' not in packet\n{close}");
    let plain = with(&plain, close, &count);
    for kind in [CgroupChoice::V2, CgroupChoice::V1] {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        for (what, program, is_told) in
            [("it can", &told, true), ("it cannot", &unable, false), ("it does not say so", &plain, false)]
        {
            let provider = fixture.open().await;
            provider.start(order(&fixture, "web-1", program)).await.expect("starts");
            let info = provider.start(order(&fixture, "web-2", program)).await.expect("starts");
            let template = members(&templates(&fixture)[0])[0];
            assert_eq!(field(info.pid, "status", "PPid"), u64::from(template), "{kind:?}, {what}: a clone");
            let born = provider.logs(&info.name, 10_000).await.expect("readable");
            let is_born_there = born.contains("/i-web-2");
            assert_eq!(is_born_there, is_told && kind == CgroupChoice::V2, "{kind:?}, {what}: {born}");
            assert_ne!(is_born_there, born.contains("/i-template."), "{kind:?}, {what}: {born}");
            let groups = fs::read_to_string(format!("/proc/{}/cgroup", info.pid)).expect("readable");
            assert!(
                groups.contains("/i-web-2") && !groups.contains("/i-template."),
                "{kind:?}, {what}: {groups}"
            );
            assert!(serves(&info).await);
            stopped(&fixture, provider).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_in_its_group_that_nobody_admits_is_killed() {
    let test = "a_clone_in_its_group_that_nobody_admits";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let stays = with(&with_births(&program), "        os._exit(1)", "        signal.pause()");
    let elsewhere = "        group = os.open('..', os.O_RDONLY, dir_fd=descriptors[-1])\n        descriptors[-1] = group\n";
    let take = "        pid = fork_into";
    for (what, program) in [
        ("it names another process", with(&stays, "say(control, forked=pid)", "say(control, forked=1)")),
        ("it ends at once", with(&stays, "        say(control, forked=pid)", "        os._exit(4)")),
        ("it forks elsewhere", with(&with_births(&program), take, &format!("{elsewhere}{take}"))),
    ] {
        let provider = fixture.open().await;
        let info = provider.start(order(&fixture, "web-1", &program)).await.expect("starts all the same");
        let own = std::process::id();
        assert_eq!(field(info.pid, "status", "PPid"), u64::from(own), "{what}: an ordinary start");
        assert!(serves(&info).await, "{what}");
        until(&format!("no clone is left: {what}"), || {
            let known: Vec<u32> = templates(&fixture).iter().flat_map(|group| members(group)).collect();
            running(&fixture).iter().all(|pid| *pid == info.pid || known.contains(pid))
        })
        .await;
        stopped(&fixture, provider).await;
    }
}

/// Processes that run the program of this fixture.
fn running(fixture: &Fixture) -> Vec<u32> {
    let file = fixture.state_dir().display().to_string();
    let pids = fs::read_dir("/proc").expect("readable").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let runs =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.contains(&file));
    pids.filter(runs).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_template_leaves_its_clones_alone_and_is_made_again() {
    let test = "a_killed_template_leaves_its_clones_alone";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let provider = fixture.open().await;
    let first = provider.start(order(&fixture, "web-1", &program)).await.expect("starts");
    let killed = members(&templates(&fixture)[0])[0];
    rustix::process::kill_process(pid(killed), rustix::process::Signal::KILL).expect("killed");
    let second = provider.start(order(&fixture, "web-2", &program)).await.expect("starts all the same");
    assert!(serves(&first).await && serves(&second).await);
    until("there is another template", || {
        templates(&fixture).iter().flat_map(|group| members(group)).any(|pid| pid != killed)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let third = provider.start(order(&fixture, "web-3", &program)).await.expect("starts");
    let template = members(&templates(&fixture)[0])[0];
    assert_eq!(field(third.pid, "status", "PPid"), u64::from(template));
    provider.park(&first.name).await.expect("parks");
    provider.promote(&first.name).await.expect("promotes");
    stopped(&fixture, provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_template_ends_when_its_workload_has_no_instance() {
    let test = "an_idle_template_ends";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let config = ProcessConfig { template_idle: Duration::from_millis(300), ..fixture.config() };
    let provider = ProcessProvider::open(config).expect("opens");
    let info = provider.start(order(&fixture, "web-1", &program)).await.expect("starts");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(templates(&fixture).len(), 1, "kept beside its instance");
    provider.stop(&info.name, GRACE).await.expect("stops");
    until("the template is gone", || templates(&fixture).is_empty()).await;
    let again = provider.start(order(&fixture, "web-1", &program)).await.expect("starts");
    assert_eq!(templates(&fixture).len(), 1);
    assert!(serves(&again).await);
    stopped(&fixture, provider).await;
}

/// Not a test: a control plane in a process of its own, which starts a clone, says so, and waits for its death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests"]
async fn control_plane() {
    let Ok(state_dir) = std::env::var(CONTROL_PLANE_KEY) else { return };
    let file = format!("{state_dir}/program.py");
    let provider = ProcessProvider::open(ProcessConfig::new(state_dir)).expect("opens");
    let spec = InstanceSpec::new("web-1".parse().expect("a name"), "web", vec![PYTHON.to_owned(), file]);
    let info = provider.start(InstanceSpec { template: true, ..spec }).await.expect("starts");
    println!("\ninstance {}", info.pid);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_control_plane_leaves_clones_and_at_most_a_template_for_the_sweep() {
    let test = "a_killed_control_plane_leaves_clones";
    let Some(program) = program(test) else { return };
    // The second one does not end with its socket.
    for stubborn in [false, true] {
        let Some(fixture) = fixture(test).await else { return };
        let end = "        if not packet:\n            return\n";
        let endless = "        if not packet:\n            signal.pause()\n";
        drop(order(
            &fixture,
            "web-1",
            &if stubborn { with(&program, end, endless) } else { program.clone() },
        ));
        let mut control_plane = Command::new(std::env::current_exe().expect("we are a file"))
            .args(["--ignored", "--exact", "control_plane", "--nocapture"])
            .env(CONTROL_PLANE_KEY, fixture.state_dir())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawned");
        let output = BufReader::new(control_plane.stdout.take().expect("piped"));
        let said = output.lines().map_while(Result::ok).find(|line| line.starts_with("instance "));
        control_plane.kill().expect("killed with signal 9");
        control_plane.wait().expect("reaped");
        let template = templates(&fixture).pop().expect("its group is left");
        until("the template has ended", || stubborn || members(&template).is_empty()).await;
        assert_eq!(members(&template).len(), usize::from(stubborn));

        let provider = fixture.open().await;
        let adopted = provider.adopt().await.expect("adopts");
        assert_eq!(said, Some(format!("instance {}", adopted[0].pid)));
        assert!(serves(&adopted[0]).await);
        assert!(templates(&fixture).is_empty(), "swept");
        stopped(&fixture, provider).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_template_of_a_dropped_control_plane_ends_and_its_clones_are_adopted() {
    let test = "the_template_of_a_dropped_control_plane_ends";
    let (Some(program), Some(fixture)) = (program(test), fixture(test).await) else { return };
    let provider = fixture.open().await;
    let info = provider.start(order(&fixture, "web-1", &program)).await.expect("starts");
    drop(provider);
    until("the template is gone", || templates(&fixture).is_empty()).await;
    let provider = fixture.open().await;
    let adopted = provider.adopt().await.expect("adopts");
    assert_eq!(adopted, [info]);
    assert!(serves(&adopted[0]).await);
    stopped(&fixture, provider).await;
}
