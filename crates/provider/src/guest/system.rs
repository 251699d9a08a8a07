//! A small machine: Debian's kernel for clouds with a few of its modules, and files of ours in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's kernel for clouds, unpacked in a folder.
#[derive(Debug, Clone)]
pub struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The one below `cache`; when there is none yet, apt fetches it, which needs a Debian and a network.
    ///
    /// # Errors
    /// The folder cannot be used, or apt has no such kernel or cannot fetch it.
    pub fn fetch(cache: &Path) -> io::Result<Kernel> {
        fs::create_dir_all(cache).map_err(about(cache))?;
        // Several programs may want it at the same time.
        let path = cache.join("system.lock");
        let lock = File::create(&path).map_err(about(&path))?;
        lock.lock()?;
        let system = cache.join("system");
        if !system.exists() {
            let new = cache.join("system.new");
            let _ = fs::remove_dir_all(&new);
            fs::create_dir_all(&new)?;
            download(&new)?;
            fs::rename(&new, &system)?;
        }
        let image = one_in(&system.join("boot"), "vmlinuz-")?;
        let modules = one_in(&system.join("lib/modules"), "")?.join("kernel");
        Ok(Kernel { image, modules })
    }

    /// What to boot.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// An initial file system with these files, by their path without the leading slash, and what the kernel and
    /// [`be_first_process`](super::be_first_process) need. One of the files must be `init`.
    ///
    /// # Errors
    /// A module cannot be read, or a file is longer than the format allows.
    pub fn initrd(&self, files: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
        let mut archive = Archive::default();
        let parents = files.keys().flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at]));
        for folder in parents.chain(["dev", "modules"]).collect::<BTreeSet<_>>() {
            archive.add(folder, 0o040_755, &[], 0)?;
        }
        for (name, data) in files {
            archive.add(name, 0o100_755, data, 0)?;
        }
        archive.add("dev/console", 0o020_600, &[], 5 << 8 | 1)?;
        let mut order = String::new();
        for module in MODULES {
            let path = self.modules.join(format!("{module}.ko"));
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archive.add(&format!("modules/{name}"), 0o100_644, &fs::read(&path).map_err(about(&path))?, 0)?;
            order += &format!("{name}\n");
        }
        archive.add("modules/order", 0o100_644, order.as_bytes(), 0)?;
        archive.add("TRAILER!!!", 0, &[], 0)?;
        Ok(archive.bytes)
    }
}

fn download(dir: &Path) -> io::Result<()> {
    // The package of this name only depends on that of the present version.
    let depends = output(Command::new("apt-cache").args(["depends", META]))?;
    let is_kernel =
        |word: &&str| word.starts_with("linux-image-") && word.ends_with("-cloud-amd64") && *word != META;
    let package = depends.split_whitespace().find(is_kernel);
    let package = package
        .ok_or_else(|| io::Error::other("apt knows no kernel for clouds; has `apt-get update` been run?"))?;
    output(Command::new("apt-get").args(["download", "--quiet", package]).current_dir(dir))?;
    let file = one_in(dir, "linux-image-")?;
    output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(dir))?;
    fs::remove_file(file)
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

fn one_in(dir: &Path, prefix: &str) -> io::Result<PathBuf> {
    let entries = fs::read_dir(dir).map_err(about(dir))?.flatten();
    let mut found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let found = found.next().ok_or_else(|| io::Error::other(format!("no {prefix} in {}", dir.display())))?;
    Ok(found.path())
}

fn about(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::other(format!("{}: {error}", path.display()))
}

/// An archive as the kernel unpacks it: cpio's "newc" format.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8], device: u32) -> io::Result<()> {
        self.entries += 1;
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        let name_length = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // Inode, mode, owner, group, links, time, length, four device numbers, name's length, checksum.
        let fields =
            [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device >> 8, device & 0xff, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        fields.iter().for_each(|field| self.bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Always depends on the newest kernel for clouds.
const META: &str = "linux-image-cloud-amd64";
/// In the order in which they need each other.
const MODULES: [&str; 19] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
    "drivers/virtio/virtio_balloon",
    "drivers/input/evdev",
    "drivers/acpi/button",
    "drivers/misc/pvpanic/pvpanic",
    "drivers/misc/pvpanic/pvpanic-pci",
    "fs/fat/fat",
    "fs/fat/vfat",
    "fs/nls/nls_cp437",
    "fs/nls/nls_ascii",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.add("a", 0o040_755, &[], 0).expect("added");
        archive.add("a/b", 0o100_644, b"text", 0).expect("added");
        let text = String::from_utf8_lossy(&archive.bytes).into_owned();
        assert!(text.starts_with("070701"), "{text}");
        assert_eq!(archive.bytes.len() % 4, 0);
        let (folder, file) = (text.find("a\0").expect("the folder"), text.find("a/b\0").expect("the file"));
        assert!(folder < file && text.contains("text"), "{text}");
    }
}
