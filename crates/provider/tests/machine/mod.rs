//! A machine provider on a folder of its own, which looks for everything that could be left over and in the end leaves
//! nothing, also when a test fails.

mod guest;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use provider::contract::{ContractFixture, SERVICE_KEY, TestService};
use provider::{
    Acceleration, Birth, InstanceName, InstanceSpec, MachineSpec, Provider, VmConfig, VmProvider,
};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use guest::Guest;

/// See the module.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    guest: Guest,
    birth: Birth,
    ids: OnceLock<[String; 2]>,
    _turn: SemaphorePermit<'static>,
}

/// One test after another: several emulated machines at once leave none enough time.
static TURNS: Semaphore = Semaphore::const_new(1);

impl Fixture {
    /// None, and a word about it, when this machine cannot run machines.
    pub(crate) async fn new(birth: Birth) -> Option<Fixture> {
        // The first of all tests builds the machine, and that takes a while.
        let guest = tokio::task::spawn_blocking(guest::guest).await.expect("no panic");
        match guest {
            Ok(guest) => {
                let turn = TURNS.acquire().await.expect("never closed");
                let dir = tempfile::tempdir().expect("a folder");
                Some(Fixture { dir, guest: guest.clone(), birth, ids: OnceLock::new(), _turn: turn })
            }
            Err(reason) => {
                skips::skip("virtual machines of the provider", reason);
                None
            }
        }
    }

    pub(crate) fn config(&self) -> VmConfig {
        VmConfig {
            acceleration: Acceleration::Emulation,
            // The fastest to emulate.
            cpu: "qemu64".to_owned(),
            ..VmConfig::new(self.dir.path().join("state"))
        }
    }

    pub(crate) fn machine(&self) -> MachineSpec {
        MachineSpec {
            memory_bytes: 128 << 20,
            memory_min_bytes: 128 << 20,
            birth: self.birth,
            ..MachineSpec::of_kernel(&self.guest.kernel, &self.guest.initrd)
        }
    }

    /// Folders of this fixture's instances in any hierarchy.
    fn groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        let points = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        let ids = self.ids.get().into_iter().flatten();
        let parents =
            points.flat_map(|point| ids.clone().map(move |id| Path::new(point).join("foreshadow").join(id)));
        let below = parents.flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten());
        below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Living processes with the mark of this fixture.
    fn processes(&self) -> Vec<u32> {
        let marks: Vec<String> =
            self.ids.get().into_iter().flatten().map(|id| format!("FORESHADOW_INSTANCE={id}/")).collect();
        let pids = fs::read_dir("/proc").expect("readable").flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let mut entries = environment.split(|byte| *byte == 0);
                entries.any(|entry| marks.iter().any(|mark| entry.starts_with(mark.as_bytes())))
            })
            .collect()
    }
}

impl ContractFixture for Fixture {
    type Provider = VmProvider;

    async fn open(&self) -> VmProvider {
        let provider = VmProvider::open(self.config()).await.expect("opens");
        let _ = self.ids.set(provider.ids().map(str::to_owned));
        provider
    }

    fn spec(&self, name: &str, service: TestService) -> InstanceSpec {
        // Not to our output: the kernel's last words would come after those of the service.
        let command = ["console=tty0", "quiet"].map(str::to_owned).to_vec();
        let mut spec = InstanceSpec::new(InstanceName::new(name).expect("a good name"), "web", command);
        spec.env.insert(SERVICE_KEY.to_owned(), service.word().to_owned());
        spec.env.insert("HOST".to_owned(), "0.0.0.0".to_owned());
        // Eight at once on two busy cores take their time.
        spec.start_deadline = Duration::from_secs(300);
        spec.machine = Some(self.machine());
        spec
    }

    fn missing_command(&self, name: &str) -> (InstanceSpec, String) {
        let mut spec = self.spec(name, TestService::Normal);
        let machine = MachineSpec { kernel: Some("/no-such-kernel-anywhere".into()), ..self.machine() };
        spec.machine = Some(machine);
        (spec, "no-such-kernel-anywhere".to_owned())
    }

    fn leftovers(&self) -> Vec<String> {
        let groups = self.groups().into_iter().map(|group| format!("group {}", group.display()));
        let processes = self.processes().into_iter().map(|pid| format!("process {pid}"));
        let folders = ["machines", "templates"]
            .into_iter()
            .flat_map(|part| ["instances", "files"].map(|kind| format!("state/{part}/{kind}")));
        let files = folders
            .flat_map(|folder| fs::read_dir(self.dir.path().join(folder)).into_iter().flatten().flatten());
        let files = files.map(|entry| format!("file {}", entry.path().display()));
        groups.chain(processes).chain(files).collect()
    }

    fn passes_sockets(&self) -> bool {
        false
    }

    fn children_outlive(&self) -> bool {
        false
    }

    fn hides_children(&self) -> Option<&'static str> {
        Some("what runs in a machine ends and stands still with it")
    }

    fn start_time_max(&self) -> Duration {
        Duration::from_secs(60)
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
                for _ in 0..200 {
                    if let Ok(provider) = VmProvider::open(config.clone()).await {
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
            assert_eq!(self.leftovers(), [] as [&str; 0], "a test leaves nothing behind");
        }
    }
}
