//! Overlays, configuration disks, and room for them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::machine::{MachineConfiguration, MachineSpec};
use crate::error::ProviderError;
use crate::name::InstanceName;
use crate::spec::InstanceSpec;

/// Refuses an order whose images are not there, before anything is made for it.
pub(super) fn check_images(name: &InstanceName, machine: &MachineSpec) -> Result<(), ProviderError> {
    for path in [&machine.disk, &machine.kernel, &machine.initrd].into_iter().flatten() {
        File::open(path)
            .and_then(|file| file.metadata())
            .and_then(|facts| if facts.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) })
            .map_err(|source| ProviderError::Image { name: name.clone(), path: path.clone(), source })?;
    }
    Ok(())
}

/// Makes a thin overlay of an image at `overlay`.
pub(super) async fn make_overlay(
    qemu_img: &str,
    name: &InstanceName,
    image: &Path,
    overlay: &Path,
) -> Result<(), ProviderError> {
    let failed = |source| ProviderError::Spawn {
        name: name.clone(),
        step: "make the overlay of the disk image",
        source,
    };
    let image = image.canonicalize().map_err(failed)?;
    let format = if is_qcow2(&image).map_err(failed)? { "qcow2" } else { "raw" };
    let mut command = Command::new(qemu_img);
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(&image).arg(overlay);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(OVERLAY_TIME_MAX, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProviderError::CommandNotFound {
                name: name.clone(),
                command: qemu_img.to_owned(),
                searched: "it makes the overlays of disk images".to_owned(),
            });
        }
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
    };
    if output.status.success() {
        return Ok(());
    }
    Err(failed(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())))
}

fn is_qcow2(image: &Path) -> io::Result<bool> {
    let mut magic = [0; 4];
    let mut file = File::open(image)?;
    Ok(file.read_exact(&mut magic).is_ok() && magic == *b"QFI\xfb")
}

/// Writes the folder of cloud-init's disk, if the order wants one. `port` is the one inside.
pub(super) fn make_seed(
    spec: &InstanceSpec,
    machine: &MachineSpec,
    port: &str,
    dir: &Path,
) -> io::Result<Option<PathBuf>> {
    let MachineConfiguration::CloudInit { user_data } = &machine.configuration else { return Ok(None) };
    let seed = dir.join("seed");
    fs::create_dir(&seed)?;
    let own = |text: &str| text.replace("{name}", spec.name.as_str()).replace("{port}", port);
    let port = [("PORT".to_owned(), port.to_owned())];
    let pairs = port.iter().map(|(key, value)| (key, value)).chain(&spec.env);
    let environment: String = pairs.map(|(key, value)| format!("{key}={}\n", own(value))).collect();
    let vendor_data = format!(
        "#cloud-config\nwrite_files:\n- path: /etc/foreshadow/environment\n  permissions: '0600'\n  content: |\n{}",
        environment.lines().map(|line| format!("    {line}\n")).collect::<String>()
    );
    let write = |file: &str, text: &str| -> io::Result<()> {
        File::create(seed.join(file))?.write_all(text.as_bytes())
    };
    // A snapshot is for many instances, so cloud-init must not take each for a new machine.
    let id = if machine.is_shared(spec) { spec.workload.as_str() } else { spec.name.as_str() };
    write("meta-data", &format!("instance-id: {id:?}\nlocal-hostname: {id:?}\n"))?;
    write("user-data", &own(user_data))?;
    write("vendor-data", &vendor_data)?;
    write("environment", &environment)?;
    Ok(Some(seed))
}

/// Refuses to begin what would fill the disk: QEMU would be killed in the middle of it.
pub(super) fn check_room(name: &InstanceName, dir: &Path, needed: u64) -> Result<(), ProviderError> {
    let failed = |source| ProviderError::State { step: "look for room in", path: dir.to_owned(), source };
    let facts = rustix::fs::statvfs(dir).map_err(|errno| failed(errno.into()))?;
    let available = facts.f_bavail.saturating_mul(facts.f_frsize);
    if available < needed.saturating_add(ROOM_MIN) {
        return Err(ProviderError::NoRoom { name: name.clone(), path: dir.to_owned(), needed, available });
    }
    Ok(())
}

/// Room that is left to others, and that every machine needs for its overlay and its output.
const ROOM_MIN: u64 = 64 << 20;
/// Longest time for making an overlay.
const OVERLAY_TIME_MAX: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_room_than_there_is_is_refused_with_numbers() {
        let name = InstanceName::new("web-1").expect("a name");
        check_room(&name, Path::new("/tmp"), 0).expect("there is a little");
        let error = check_room(&name, Path::new("/tmp"), u64::MAX / 2).expect_err("too much").to_string();
        assert!(error.contains("web-1") && error.contains("/tmp") && error.contains("MiB"), "{error}");
    }

    #[test]
    fn what_cloud_init_reads_has_the_environment_and_the_own_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut spec = InstanceSpec::new("web-1".parse().expect("a name"), "web", Vec::new());
        spec.env.insert("SELF".to_owned(), "{name}".to_owned());
        let machine = MachineSpec::of_disk("/disk", "#cloud-config\nhostname: {name}\n");
        make_seed(&spec, &machine, "8080", dir.path()).expect("written").expect("wanted");
        let read = |file| fs::read_to_string(dir.path().join("seed").join(file)).expect("there");
        assert_eq!(read("environment"), "PORT=8080\nSELF=web-1\n");
        assert_eq!(read("user-data"), "#cloud-config\nhostname: web-1\n");
        assert!(read("vendor-data").ends_with("  content: |\n    PORT=8080\n    SELF=web-1\n"));
        assert!(read("meta-data").starts_with("instance-id: \"web-1\"\n"));
    }
}
