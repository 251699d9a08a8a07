//! A process provider on a folder of its own, which looks for everything that could be left over and in the end leaves
//! nothing, also when a test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use provider::contract::{ContractFixture, SERVICE_KEY, TestService};
use provider::{
    CgroupChoice, InstanceName, InstanceSpec, ProcessConfig, ProcessProvider, Provider, ProviderError,
};
use tempfile::TempDir;

/// See the module.
pub(crate) struct Fixture {
    dir: TempDir,
    cgroups: CgroupChoice,
    id: OnceLock<String>,
}

impl Fixture {
    /// None, and a word about it, when this machine has no such control groups or we may not use them.
    pub(crate) async fn new(cgroups: CgroupChoice) -> Option<Fixture> {
        Self::below(&std::env::temp_dir(), cgroups)
    }

    /// The same in a folder below this one.
    pub(crate) fn below(parent: &Path, cgroups: CgroupChoice) -> Option<Fixture> {
        let dir = tempfile::tempdir_in(parent).expect("a folder");
        let fixture = Fixture { dir, cgroups, id: OnceLock::new() };
        match ProcessProvider::open(fixture.config()) {
            Ok(provider) => {
                let _ = fixture.id.set(provider.id().to_owned());
                Some(fixture)
            }
            Err(error @ ProviderError::Cgroup { .. }) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                skips::skip(
                    &format!("processes in control groups of {cgroups:?}"),
                    &format!("{error}: {reason}"),
                );
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn config(&self) -> ProcessConfig {
        ProcessConfig { cgroups: self.cgroups, ..ProcessConfig::new(self.state_dir()) }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Folders of this fixture's instances in any hierarchy.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let id = self.id.get().expect("opened once");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        let points = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        points.flat_map(|point| groups_below(Path::new(point), id, 4)).collect()
    }

    /// Living processes with the mark of this fixture.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = format!("FORESHADOW_INSTANCE={}/", self.id.get().expect("opened once"));
        let pids = fs::read_dir("/proc").expect("readable").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != std::process::id())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
            })
            .collect()
    }
}

/// An order for this test program as the test service.
pub(crate) fn service_spec(name: &str, service: TestService) -> InstanceSpec {
    let program = std::env::current_exe().expect("we are a file").display().to_string();
    let command =
        [program.as_str(), "--ignored", "--exact", "service", "--nocapture"].map(str::to_owned).to_vec();
    let mut spec = InstanceSpec::new(InstanceName::new(name).expect("a good name"), "web", command);
    spec.env.insert(SERVICE_KEY.to_owned(), service.word().to_owned());
    spec
}

impl ContractFixture for Fixture {
    type Provider = ProcessProvider;

    async fn open(&self) -> ProcessProvider {
        ProcessProvider::open(self.config()).expect("opens")
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
        let groups = self.groups().into_iter().map(|group| format!("group {}", group.display()));
        let processes = self.processes().into_iter().map(|pid| format!("process {pid}"));
        let records = fs::read_dir(self.state_dir().join("instances")).into_iter().flatten().flatten();
        let records = records.map(|entry| format!("record {}", entry.path().display()));
        groups.chain(processes).chain(records).collect()
    }

    fn passes_sockets(&self) -> bool {
        true
    }
}

impl Drop for Fixture {
    /// Adopting and shutting down on a thread of its own: the test's runtime may be in any state.
    fn drop(&mut self) {
        let config = self.config();
        let cleaning = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                // The provider of a failed test may be on its way out.
                for _ in 0..100 {
                    if let Ok(provider) = ProcessProvider::open(config.clone()) {
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
            assert_eq!(self.processes(), [] as [u32; 0], "a test leaves no process behind");
            let id = self.id.get().cloned().unwrap_or_default();
            assert!(self.groups().is_empty(), "a test of {id} leaves no group behind");
        }
    }
}

fn groups_below(dir: &Path, id: &str, depth: u32) -> Vec<PathBuf> {
    let own = dir.join("foreshadow").join(id);
    let mut found: Vec<PathBuf> = fs::read_dir(own)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    if depth > 0 {
        let below = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let below = below.filter(|path| path.is_dir() && !path.ends_with("foreshadow"));
        found.extend(below.flat_map(|dir| groups_below(&dir, id, depth - 1)));
    }
    found
}
