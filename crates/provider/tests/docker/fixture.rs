//! A real engine of its own for the tests: started in a temporary folder, fed with an image made of this very test
//! program, stopped at the end. It looks for everything that could be left over.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use provider::contract::{ContractFixture, SERVICE_KEY, TestService};
use provider::{
    ContainerNetwork as Network, ContainerSpec, DockerConfig, DockerProvider, Endpoint, InstanceName,
    InstanceSpec, Provider,
};
use std::sync::Mutex;
use tempfile::TempDir;

use crate::daemon::{Daemon, IMAGE, Kind, Options};

/// A provider on a folder of its own, and the engine that all tests of a program share.
pub(crate) struct Fixture {
    dir: TempDir,
    pub(crate) daemon: Arc<Daemon>,
    kind: Kind,
    pub(crate) freezer: bool,
    owner: OnceLock<String>,
}

/// The engines of this test program, Docker's and Podman's. Each ends with the last test that uses it.
static SHARED: [Mutex<Weak<Daemon>>; 2] = [const { Mutex::new(Weak::new()) }; 2];

impl Fixture {
    /// On Docker's engine. None, and a word about it, where it cannot run.
    pub(crate) async fn new(freezer: bool) -> Option<Fixture> {
        Fixture::of(Kind::Docker, freezer).await
    }

    /// None, and a word about it, where no such engine can run.
    pub(crate) async fn of(kind: Kind, freezer: bool) -> Option<Fixture> {
        let daemon = tokio::task::spawn_blocking(move || {
            let mut shared = SHARED[kind as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(daemon) = shared.upgrade() {
                return Some(daemon);
            }
            let daemon = Arc::new(Daemon::start(Options { kind, ..Options::default() })?);
            *shared = Arc::downgrade(&daemon);
            Some(daemon)
        });
        let mut fixture = Fixture::on(daemon.await.expect("no panic")?, freezer);
        fixture.kind = kind;
        Some(fixture)
    }

    /// On an engine of Docker's.
    pub(crate) fn on(daemon: Arc<Daemon>, freezer: bool) -> Fixture {
        let dir = tempfile::tempdir().expect("a folder");
        Fixture { dir, daemon, kind: Kind::Docker, freezer, owner: OnceLock::new() }
    }

    pub(crate) fn config(&self) -> DockerConfig {
        let config = DockerConfig::new(self.state_dir());
        let check_interval = match self.kind {
            Kind::Docker => config.check_interval,
            // It tells of an end when a program has cleaned up, which takes its time on a busy machine.
            Kind::Podman => Duration::from_millis(400),
        };
        DockerConfig {
            endpoint: Endpoint::Unix(self.daemon.socket()),
            freezer: self.freezer,
            check_interval,
            ..config
        }
    }

    pub(crate) fn state_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    /// Identifiers and states of this fixture's containers, as the engine says.
    pub(crate) fn containers(&self) -> Vec<(String, String)> {
        let Some(owner) = self.owner.get() else { return Vec::new() };
        self.daemon.containers(&format!("foreshadow.owner={owner}"))
    }
}

/// An order for the image made of this test program, in the host's network: the service's children listen on the loopback.
pub(crate) fn service_spec(name: &str, service: TestService) -> InstanceSpec {
    let mut container = ContainerSpec::new(IMAGE);
    container.network = Network::Host;
    let name = InstanceName::new(name).expect("a good name");
    let mut spec = InstanceSpec::new(name, "web", Vec::new());
    spec.container = Some(container);
    // Two tests and an engine share two cores.
    spec.probe_timeout = Duration::from_secs(5);
    spec.env.insert(SERVICE_KEY.to_owned(), service.word().to_owned());
    spec
}

impl ContractFixture for Fixture {
    type Provider = DockerProvider;

    async fn open(&self) -> DockerProvider {
        let provider = DockerProvider::connect(self.config()).await.expect("connects");
        let _ = self.owner.set(provider.owner().to_owned());
        provider
    }

    fn spec(&self, name: &str, service: TestService) -> InstanceSpec {
        service_spec(name, service)
    }

    fn missing_command(&self, name: &str) -> (InstanceSpec, String) {
        let mut spec = service_spec(name, TestService::Normal);
        spec.command = vec!["no-such-program-anywhere".to_owned()];
        (spec, "no-such-program-anywhere".to_owned())
    }

    fn leftovers(&self) -> Vec<String> {
        let containers = self.containers();
        let groups = containers.iter().flat_map(|(id, _)| groups_of(id));
        let marks = std::fs::read_dir(self.state_dir().join("instances")).into_iter().flatten().flatten();
        let marks = marks.map(|entry| format!("mark {}", entry.path().display()));
        let containers = containers.iter().map(|(id, state)| format!("container {id} {state}"));
        containers.chain(groups).chain(marks).collect()
    }

    fn given_variables(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Docker => &[],
            Kind::Podman => &["TERM", "container"],
        }
    }

    fn passes_sockets(&self) -> bool {
        false
    }

    fn children_outlive(&self) -> bool {
        false
    }
}

/// Control groups named after a container, in any hierarchy.
fn group_folders(id: &str) -> Vec<PathBuf> {
    let below = |dir: &Path| {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let roots = below(Path::new("/sys/fs/cgroup")).into_iter().chain(["/sys/fs/cgroup".into()]);
    let named = [format!("docker/{id}"), format!("libpod_parent/libpod-{id}")];
    let groups = roots.flat_map(|root| named.each_ref().map(|name| root.join(name)));
    groups.filter(|group| group.exists()).collect()
}

/// The same in words.
pub(crate) fn groups_of(id: &str) -> Vec<String> {
    group_folders(id).into_iter().map(|group| format!("group {}", group.display())).collect()
}

/// What a file of a container's control groups says.
pub(crate) fn read_of(id: &str, file: &str) -> Option<String> {
    let read = |group: PathBuf| std::fs::read_to_string(group.join(file)).ok();
    group_folders(id).into_iter().find_map(read).map(|text| text.trim().to_owned())
}

impl Drop for Fixture {
    /// On a thread of its own: the test's runtime may be in any state.
    fn drop(&mut self) {
        let config = self.config();
        let cleaning = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                // The provider of a failed test may be on its way out.
                for _ in 0..100 {
                    if let Ok(provider) = DockerProvider::connect(config.clone()).await {
                        provider.adopt().await.expect("adopts");
                        return provider.shutdown(Duration::ZERO).await.expect("stops");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        });
        let cleaned = cleaning.join();
        if !std::thread::panicking() {
            cleaned.expect("cleaned up");
            assert_eq!(self.leftovers(), [""; 0], "a test leaves nothing behind");
        }
    }
}
