//! Machines of a test: each a network namespace with an engine of containers in it, reached by a cable that can be pulled.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::engine::{Daemon, Options, program, skipped};
use crate::support::kill;

/// One machine. Gone, with all that ran on it, when it is dropped.
pub(crate) struct Host {
    pub(crate) engine: Daemon,
    space: Space,
}

/// A network namespace and the cable to it.
struct Space {
    name: String,
    /// Our end, and that inside.
    ends: [String; 2],
    outside: Ipv4Addr,
    address: Ipv4Addr,
}

impl Host {
    /// None, said aloud, where that cannot be. `arguments`: of the engine.
    pub(crate) async fn new(arguments: &[&str]) -> Option<Host> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        tokio::task::spawn_blocking(|| Host::make(arguments)).await.expect("no panic")
    }

    fn make(mut arguments: Vec<String>) -> Option<Host> {
        let space = Space::make()?;
        arguments.push(format!("--host=tcp://{}:{PORT}", space.address));
        arguments.push("--insecure-registry=198.18.0.0/15".to_owned());
        // It is nobody's but ours.
        arguments.push("--tls=false".to_owned());
        let enter = ["nsenter".to_owned(), format!("--net=/run/netns/{}", space.name), "--".to_owned()];
        let engine = Daemon::start(Options { arguments, runner: enter.to_vec(), ..Options::default() })?;
        Some(Host { engine, space })
    }

    /// `[[node]]` in a configuration.
    pub(crate) fn node(&self, name: &str, lines: &str) -> String {
        let address = self.space.address;
        format!(
            "[[node]]\nname = {name:?}\n{lines}\n\
             docker = {{ endpoint = \"tcp://{address}:{PORT}\", address = \"{address}\" }}\n"
        )
    }

    /// Our address at the other end of its cable.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        self.space.outside
    }

    /// Whether its engine has an image.
    pub(crate) async fn has_image(&self, image: &str) -> bool {
        let asked = tokio::task::block_in_place(|| self.engine.get(&format!("/images/{image}/json")));
        asked.is_some_and(|answer| answer.lines().next().is_some_and(|status| status.contains("200")))
    }

    /// Pulls the cable out, or plugs it in again.
    pub(crate) fn plug(&self, is_in: bool) {
        let [_, inside] = &self.space.ends;
        let state = if is_in { "up" } else { "down" };
        assert!(ip(&["-n", &self.space.name, "link", "set", inside, state]), "the cable is {state}");
    }

    /// Kills everything that runs on it at once: the engine, what belongs to it, and the containers.
    pub(crate) fn crash(&self) {
        self.space.kill_all();
        self.engine.end(rustix::process::Signal::KILL);
        // As after a start of a machine: the number in it may be that of another process by now.
        let _ = std::fs::remove_file(self.engine.path("exec/containerd/containerd.pid"));
    }

    /// The states of all containers that are there.
    pub(crate) async fn states(&self) -> Vec<String> {
        let containers = tokio::task::block_in_place(|| self.engine.containers("foreshadow.owner"));
        containers.into_iter().map(|(_, state)| state).collect()
    }

    /// How many that is.
    pub(crate) async fn containers(&self) -> usize {
        self.states().await.len()
    }
}

impl Space {
    fn make() -> Option<Space> {
        if !rustix::process::geteuid().is_root() || program("ip").is_none() || program("nsenter").is_none() {
            skipped("nodes of a test are network namespaces: that needs root, ip and nsenter");
            return None;
        }
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Of the range for tests of networks (RFC 2544): eight addresses for each, some for each test program.
        let number = (std::process::id() % 1024) * 16 + MADE.fetch_add(1, Ordering::Relaxed) % 16;
        let at = |host: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number * 8 + host);
        let name = format!("fs{}-{number}", std::process::id());
        let ends = [format!("fso{number}"), format!("fsi{number}")];
        let space = Space { name, ends, outside: at(1), address: at(2) };
        let ([outside, inside], name) = (&space.ends, space.name.as_str());
        let (ours, theirs) = (format!("{}/29", at(1)), format!("{}/29", at(2)));
        let made = ip(&["netns", "add", name])
            && ip(&["link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name])
            && ip(&["addr", "add", &ours, "dev", outside])
            && ip(&["link", "set", outside, "up"])
            && ip(&["-n", name, "addr", "add", &theirs, "dev", inside])
            && ip(&["-n", name, "link", "set", inside, "up"])
            && ip(&["-n", name, "link", "set", "lo", "up"])
            && ip(&["-n", name, "route", "add", "default", "via", &at(1).to_string()]);
        if !made {
            skipped("network namespaces cannot be made here");
            return None;
        }
        Some(space)
    }

    fn kill_all(&self) {
        let Ok(listed) = Command::new("ip").args(["netns", "pids", &self.name]).output() else { return };
        let pids = String::from_utf8_lossy(&listed.stdout);
        pids.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).for_each(kill);
    }
}

impl Drop for Host {
    /// First what could live on without the engine. After a failure it may not answer, and everything is killed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for (id, _) in self.engine.containers("foreshadow.owner") {
                let _ = self.engine.ask("DELETE", &format!("/containers/{id}?force=1&v=1"), &[]);
            }
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.kill_all();
        let [outside, _] = &self.ends;
        ip(&["link", "del", outside]);
        ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).status().is_ok_and(|status| status.success())
}

const PORT: u16 = 2375;
