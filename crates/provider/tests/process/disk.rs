//! The state folder on a disk that is full, of bytes or of files.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use provider::contract::{ContractFixture, TestService};
use provider::{CgroupChoice, Provider, ProviderError, probe};
use tempfile::TempDir;

use crate::process::{Fixture, service_spec};

/// A disk of one megabyte and few files, unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    /// None, and a word about it, where none can be made.
    fn mount() -> Option<Disk> {
        let disk = Disk(tempfile::tempdir().expect("a folder"));
        let options = ["-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "none"];
        let mounted = Command::new("mount").args(options).arg(disk.0.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(disk);
        }
        skips::skip("processes on a full disk", "only root can mount a disk");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn fill(&self) {
        fs::create_dir(self.path("fill")).expect("there is room yet");
        let mut file = File::create(self.path("fill/bytes")).expect("there is room yet");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn fill_with_files(&self) {
        fs::create_dir(self.path("fill")).expect("there is room yet");
        let mut names = 0..;
        while names.next().is_some_and(|name| File::create(self.path(&format!("fill/{name}"))).is_ok()) {}
    }

    fn mend(&self) {
        fs::remove_dir_all(self.path("fill")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// A standby that is parked when the disk fails can be promoted, parked and stopped; what would have to be written down is
/// refused with the cause, and leaves nothing; and when the disk is well again, all is.
async fn whole_life(name: &str, fail: impl Fn(&Disk)) {
    let Some(disk) = Disk::mount() else { return };
    let Some(fixture) = Fixture::below(disk.0.path(), CgroupChoice::default()) else { return };
    let provider = fixture.open().await;
    let standby = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    provider.park(&standby.name).await.expect("parks");
    fail(&disk);
    let refused = provider.start(service_spec("web-2", TestService::Normal)).await.expect_err("refused");
    assert!(told(&refused).contains("No space left on device"), "{name}: {}", told(&refused));
    assert!(told(&refused).contains("web-2"), "{name}: {}", told(&refused));
    assert_eq!(provider.list().len(), 1, "{name}");
    assert_eq!(fixture.processes().len(), 1, "{name}: a refused start leaves no process");
    provider.promote(&standby.name).await.expect("promotes");
    probe::ask(&provider::Probe::Http { path: "/".to_owned() }, standby.addr, PATIENCE)
        .await
        .expect("serves");
    provider.park(&standby.name).await.expect("parks");
    disk.mend();
    let second = provider.start(service_spec("web-2", TestService::Normal)).await.expect("starts again");
    provider.stop(&second.name, PATIENCE).await.expect("stops");
    fail(&disk);
    let stopped = provider.stop(&standby.name, PATIENCE).await;
    assert_eq!(fixture.processes(), [] as [u32; 0], "{name}: {stopped:?}");
    disk.mend();
    provider.shutdown(PATIENCE).await.expect("ends");
    drop(provider);
    drop(fixture);
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_starts_and_nothing_else() {
    whole_life("bytes", Disk::fill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_with_too_many_files_refuses_starts_and_nothing_else() {
    whole_life("files", Disk::fill_with_files).await;
}

fn told(error: &ProviderError) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        text += &format!(": {source}");
        cause = source;
    }
    text
}

const PATIENCE: Duration = Duration::from_secs(10);
