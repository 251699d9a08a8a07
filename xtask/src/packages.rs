//! System packages that the tests use, and how they get onto a Debian machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One system package, the program that shows it is there, and what it is for.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) purpose: &'static str,
}

/// Needed by `cargo xtask test`.
pub(crate) const FOR_TESTS: &[Package] = &[
    Package { name: "chromium", program: "chromium", purpose: "looks at the dashboard in a real browser" },
    Package { name: "slowhttptest", program: "slowhttptest", purpose: "clients that never come to an end" },
    H2LOAD,
    Package { name: "haproxy", program: "haproxy", purpose: "a router beside the built-in one" },
    ENGINE,
    Package { name: "podman", program: "podman", purpose: "a container engine of the other kind" },
    Package {
        name: "catatonit",
        program: "catatonit",
        purpose: "the first process of that one's containers",
    },
    Package { name: "openssh-server", program: "sshd", purpose: "the way to a container engine far away" },
    MACHINES,
    DISKS,
];

/// Needed by `cargo xtask bench promotion`: what makes instances.
pub(crate) const FOR_PROMOTION_BENCH: &[Package] = &[ENGINE, MACHINES, DISKS];

/// Needed by `cargo xtask bench proxy`: the peers and the load.
pub(crate) const FOR_PROXY_BENCH: &[Package] = &[
    Package { name: "haproxy", program: "haproxy", purpose: "a proxy that ours is measured beside" },
    Package {
        name: "nginx",
        program: "nginx",
        purpose: "another such proxy, and the server behind all of them",
    },
    Package { name: "openssl", program: "openssl", purpose: "makes the certificate of the measurement" },
    Package { name: "wrk", program: "wrk", purpose: "makes the load" },
    H2LOAD,
];

const ENGINE: Package = Package {
    name: "docker.io",
    program: "dockerd",
    purpose: "a container engine, started by tests and measurements themselves",
};
const MACHINES: Package = Package {
    name: "qemu-system-x86",
    program: "qemu-system-x86_64",
    purpose: "instances that are machines",
};
const DISKS: Package =
    Package { name: "qemu-utils", program: "qemu-img", purpose: "disks of instances that are machines" };
const H2LOAD: Package =
    Package { name: "nghttp2-client", program: "h2load", purpose: "makes HTTP/2 load that is not ours" };

/// Installs the packages whose program is missing. Returns those that are still missing, each with the reason.
pub(crate) fn install(packages: &'static [Package]) -> Vec<(&'static Package, String)> {
    let missing: Vec<&Package> = packages.iter().filter(|p| find_program(p.program).is_none()).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    for package in &missing {
        println!("installing {}: {}", package.name, package.purpose);
    }
    let why = match apt_get_install(&missing) {
        Ok(()) => String::from("installed, but its program was not found"),
        Err(why) => why,
    };
    missing.into_iter().filter(|p| find_program(p.program).is_none()).map(|p| (p, why.clone())).collect()
}

fn apt_get_install(packages: &[&Package]) -> Result<(), String> {
    let apt_get = find_program("apt-get").ok_or("apt-get is not on this machine; install it by hand")?;
    let names: Vec<&str> = packages.iter().map(|p| p.name).collect();
    let install = ["install", "--yes", "--no-install-recommends"];
    // The package list of a fresh machine is empty or old; an update that fails may still leave a usable one.
    let _ = as_root(&apt_get).args(["update", "--quiet"]).stdout(std::process::Stdio::null()).status();
    let status = as_root(&apt_get)
        .args(install)
        .args(&names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|error| format!("failed to start apt-get: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`apt-get install {}` ended with {status}", names.join(" ")))
    }
}

/// `program` as root: directly when we are root already, else through sudo without asking for a password.
fn as_root(program: &Path) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|proc_self| {
        use std::os::unix::fs::MetadataExt;
        proc_self.uid() == 0
    });
    if root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--non-interactive").arg(program);
    command
}

/// The first executable of that name on PATH, or where Debian keeps servers, which not every user's PATH names.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// A folder under the build's, for what is installed there and nowhere else.
pub(crate) fn folder(name: &str) -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join(name);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    folder.canonicalize().map_err(|error| error.to_string())
}
