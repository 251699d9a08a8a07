//! The machine that the tests run: Debian's kernel for clouds with a few of its modules, and one program of ours.
//!
//! Made once per machine under `$HOME/.cache/foreshadow`; the program is built again whenever its source changes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the machine provider boots.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// The machine, or why there is none here.
pub(crate) fn guest() -> &'static Result<Guest, String> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    GUEST.get_or_init(|| {
        for program in ["qemu-system-x86_64", "qemu-img", "apt-get", "dpkg-deb"] {
            if !is_program(program) {
                return Err(format!("{program} is not on this machine"));
            }
        }
        let home = std::env::var_os("HOME").ok_or("there is no HOME for the cache")?;
        make(&Path::new(&home).join(".cache/foreshadow/guest")).map_err(|error| error.to_string())
    })
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn make(cache: &Path) -> io::Result<Guest> {
    fs::create_dir_all(cache)?;
    // Several test programs may want it at the same time.
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let system = cache.join("system");
    if !system.exists() {
        let new = cache.join("system.new");
        let _ = fs::remove_dir_all(&new);
        fs::create_dir_all(&new)?;
        download_kernel(&new)?;
        fs::rename(&new, &system)?;
    }
    let kernel = one_in(&system.join("boot"), "vmlinuz-")?;
    let modules = one_in(&system.join("lib/modules"), "")?.join("kernel");
    let archive = archive(&fs::read(build(cache)?)?, &modules)?;
    let initrd = cache.join("initrd");
    if fs::read(&initrd).ok().as_ref() != Some(&archive) {
        let new = cache.join("initrd.new");
        fs::write(&new, &archive)?;
        fs::rename(&new, &initrd)?;
    }
    Ok(Guest { kernel, initrd })
}

fn download_kernel(dir: &Path) -> io::Result<()> {
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

/// A static program: there is nothing else in the machine that it could be linked with.
fn build(cache: &Path) -> io::Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target_dir = cache.join("target");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "provider",
        "--example",
        "guest",
        "--target",
        TARGET,
    ]);
    command.arg("--target-dir").arg(&target_dir).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    output(&mut command)?;
    Ok(target_dir.join(TARGET).join("release/examples/guest"))
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
fn archive(program: &[u8], modules: &Path) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.add("init", 0o100_755, program, 0);
    archive.add("dev", 0o040_755, &[], 0);
    archive.add("dev/console", 0o020_600, &[], 5 << 8 | 1);
    archive.add("modules", 0o040_755, &[], 0);
    let mut order = String::new();
    for module in MODULES {
        let path = modules.join(format!("{module}.ko"));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.add(&format!("modules/{name}"), 0o100_644, &fs::read(&path).map_err(about(&path))?, 0);
        order += &format!("{name}\n");
    }
    archive.add("modules/order", 0o100_644, order.as_bytes(), 0);
    archive.add("TRAILER!!!", 0, &[], 0);
    Ok(archive.bytes)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8], device: u32) {
        self.entries += 1;
        let length = u32::try_from(data.len()).expect("small");
        let name_length = u32::try_from(name.len() + 1).expect("short");
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
