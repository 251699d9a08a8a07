//! The machine that the tests run: Debian's kernel for clouds with a few of its modules, and one program of ours.
//!
//! Made once per machine under `$HOME/.cache/foreshadow`; the program is built again whenever its source changes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use provider::guest::Kernel;

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
    let kernel = Kernel::fetch(cache)?;
    // Several test programs may want it at the same time.
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let archive = kernel.initrd(&BTreeMap::from([("init".to_owned(), fs::read(build(cache)?)?)]))?;
    let initrd = cache.join("initrd");
    if fs::read(&initrd).ok().as_ref() != Some(&archive) {
        let new = cache.join("initrd.new");
        fs::write(&new, &archive)?;
        fs::rename(&new, &initrd)?;
    }
    Ok(Guest { kernel: kernel.image().to_owned(), initrd })
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
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("{command:?} failed: {said}")));
    }
    Ok(target_dir.join(TARGET).join("release/examples/guest"))
}
