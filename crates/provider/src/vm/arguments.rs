//! The command line of QEMU.
//!
//! A snapshot can only be restored into a machine with the same devices under the same names, so everything is named and
//! nothing is left to defaults.

use std::path::{Path, PathBuf};

use super::accelerator::Accelerator;
use super::config::VmConfig;
use super::machine::{MachineConfiguration, MachineNetwork, MachineSpec};
use crate::spec::InstanceSpec;

/// The files of one machine, and what to do with them.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The overlay.
    pub(super) disk: Option<PathBuf>,
    /// The folder that becomes cloud-init's disk.
    pub(super) seed: Option<PathBuf>,
    /// The file that is its memory, and whether it may be written to. None: memory of its own.
    pub(super) memory: Option<(PathBuf, bool)>,
    /// Waits for a snapshot to restore.
    pub(super) is_restored: bool,
    /// The port inside.
    pub(super) port: String,
}

/// Program and arguments. `{port}` and `{name}` are left to be replaced. Sockets are made in the working folder, whose
/// own path may be longer than a socket's may be.
pub(super) fn of(
    config: &VmConfig,
    accelerator: Accelerator,
    spec: &InstanceSpec,
    machine: &MachineSpec,
    files: &Files,
) -> Vec<String> {
    let mut line = Line(vec![config.qemu.clone()]);
    line.flag("-nodefaults").flag("-no-user-config").add("-display", "none").add("-name", "{name}");
    line.add("-machine", "q35,memory-backend=memory0")
        .add("-accel", accelerator.word())
        .add("-cpu", &config.cpu);
    line.add("-smp", machine.vcpus.to_string()).add("-m", format!("{}M", machine.memory_bytes >> 20));
    line.add("-object", memory(machine, files));
    line.add("-action", "panic=exit-failure,reboot=shutdown,shutdown=poweroff");
    line.add("-rtc", "base=utc,clock=host");
    // What the kernel says early, and what is written to the fast console, goes to our standard output.
    line.add("-chardev", "stdio,id=output,mux=on,signal=off").add("-serial", "chardev:output");
    line.add("-device", "virtio-serial-pci,id=serial0")
        .add("-device", "virtconsole,id=console0,chardev=output");
    line.add("-chardev", "socket,id=agent,path=agent,server=on,wait=off");
    line.add("-device", "virtserialport,id=agent0,chardev=agent,name=org.qemu.guest_agent.0");
    line.add("-chardev", "socket,id=control,path=control,server=on,wait=off")
        .add("-mon", "chardev=control,mode=control");
    line.add("-device", "pvpanic-pci,id=panic0").add("-device", "vmgenid,id=generation0,guid=auto");
    line.add("-object", "rng-random,id=random0,filename=/dev/urandom");
    line.add("-device", "virtio-rng-pci,id=rng0,rng=random0");
    if machine.has_balloon() {
        line.add("-device", "virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on");
    }
    network(&mut line, machine, files);
    if let Some(disk) = &files.disk {
        line.add(
            "-blockdev",
            format!(
                "driver=qcow2,node-name=disk0,discard=unmap,file.driver=file,file.filename={}",
                escaped(disk)
            ),
        );
        // A full disk is the machine's problem to hear of, not a reason to halt it silently.
        // With a kernel of ours, that is what is booted.
        let boot = if machine.kernel.is_some() { "" } else { ",bootindex=0" };
        let device = format!("virtio-blk-pci,id=disk0dev,drive=disk0,werror=report,rerror=report{boot}");
        line.add("-device", device);
    }
    if let Some(seed) = &files.seed {
        line.add(
            "-blockdev",
            format!("driver=vvfat,node-name=seed0,read-only=on,label=cidata,dir={}", escaped(seed)),
        );
        line.add("-device", "virtio-blk-pci,id=seed0dev,drive=seed0");
    }
    if let Some(kernel) = &machine.kernel {
        line.add("-kernel", kernel.display().to_string())
            .add("-append", command_line(spec, machine, &files.port));
    }
    if let Some(initrd) = &machine.initrd {
        line.add("-initrd", initrd.display().to_string());
    }
    if files.is_restored {
        line.add("-incoming", "defer");
    }
    line.0
}

fn memory(machine: &MachineSpec, files: &Files) -> String {
    let size = machine.memory_bytes >> 20;
    match &files.memory {
        None => format!("memory-backend-ram,id=memory0,size={size}M"),
        Some((path, is_shared)) => {
            let share = if *is_shared { "on" } else { "off" };
            format!("memory-backend-file,id=memory0,size={size}M,mem-path={},share={share}", escaped(path))
        }
    }
}

fn network(line: &mut Line, machine: &MachineSpec, files: &Files) {
    match &machine.network {
        MachineNetwork::User => {
            line.add("-netdev", format!("user,id=net0,hostfwd=tcp:127.0.0.1:{{port}}-:{}", files.port));
        }
        MachineNetwork::Tap { interface, .. } => {
            line.add("-netdev", format!("tap,id=net0,ifname={},script=no,downscript=no", doubled(interface)));
        }
    }
    let mac = match &machine.network {
        // Alone in its network.
        MachineNetwork::User => "52:54:00:12:34:56".to_owned(),
        MachineNetwork::Tap { interface, .. } => hardware_address(interface),
    };
    line.add("-device", format!("virtio-net-pci,id=net0dev,netdev=net0,mac={mac},romfile="));
}

/// A locally administered address, the same for the same interface.
fn hardware_address(interface: &str) -> String {
    let hash = interface
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The kernel command line: the order's own words, then its environment where that is the way to tell it.
pub(super) fn command_line(spec: &InstanceSpec, machine: &MachineSpec, port: &str) -> String {
    let mut words = spec.command.clone();
    if machine.configuration == MachineConfiguration::CommandLine {
        let port = [("PORT".to_owned(), port.to_owned())];
        let pairs = port.iter().map(|(key, value)| (key, value)).chain(&spec.env);
        words.extend(pairs.map(|(key, value)| {
            if value.contains(' ') || value.is_empty() {
                format!("\"{key}={value}\"")
            } else {
                format!("{key}={value}")
            }
        }));
    }
    words.join(" ")
}

struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Line {
        self.0.push(flag.to_owned());
        self
    }

    fn add(&mut self, flag: &str, value: impl Into<String>) -> &mut Line {
        self.0.extend([flag.to_owned(), value.into()]);
        self
    }
}

fn escaped(path: &Path) -> String {
    doubled(&path.display().to_string())
}

/// QEMU's options are separated by commas; a comma in a value is written twice.
fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &MachineSpec, files: &Files) -> String {
        let mut spec = InstanceSpec::new("web-1".parse().expect("a name"), "web", vec!["quiet".to_owned()]);
        spec.env = [("A".to_owned(), "b c".to_owned()), ("D".to_owned(), "e".to_owned())].into();
        of(&VmConfig::new("/state"), Accelerator::Emulation, &spec, machine, files).join(" ")
    }

    #[test]
    fn a_clone_has_the_devices_of_its_template_and_private_memory() {
        let machine = MachineSpec::of_kernel("/kernel", "/initrd");
        let files = |is_restored: bool| Files {
            memory: Some(("/a,b/memory".into(), !is_restored)),
            is_restored,
            port: "8080".to_owned(),
            ..Files::default()
        };
        let (template, clone) = (line(&machine, &files(false)), line(&machine, &files(true)));
        assert!(template.contains("mem-path=/a,,b/memory,share=on"), "{template}");
        assert_eq!(template.replace("share=on", "share=off") + " -incoming defer", clone);
        assert!(template.contains("hostfwd=tcp:127.0.0.1:{port}-:8080"), "{template}");
        assert!(template.contains("-append quiet PORT=8080 \"A=b c\" D=e "), "{template}");
        assert!(!template.contains("balloon"), "it would punch holes into shared memory");
    }

    #[test]
    fn interfaces_have_different_hardware_addresses() {
        assert_ne!(hardware_address("tap0"), hardware_address("tap1"));
        assert!(hardware_address("tap0").starts_with("52:54:"));
    }
}
