//! The first process of a machine that has nothing else: makes a bare Linux usable, runs one service, listens to the power
//! button and to the host, and turns the machine off when the service has ended.
//!
//! Its part of the guest agent's protocol is the clock (`guest-set-time`) and the entropy of `foreshadow-clone`; see
//! `docs/machines.md`.

use std::collections::BTreeMap;
use std::ffi::{CString, c_ulong};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// Is the first process of a machine: for a program that is `/init` in the initial file system made by
/// [`Kernel::initrd`](super::Kernel::initrd). Runs the service that `service` makes of the environment, which the kernel's
/// command line and a configuration disk tell, and turns the machine off when it has ended. Never returns unless the
/// machine cannot be made usable; the end of the first process is then a panic of the kernel, which the host sees.
///
/// # Errors
/// What the machine lacks.
pub fn be_first_process(service: impl FnOnce(&BTreeMap<String, String>) -> Command) -> io::Result<()> {
    mount("devtmpfs", "/dev", "devtmpfs", 0)?;
    mount("proc", "/proc", "proc", 0)?;
    load_modules()?;
    network()?;
    let environment = environment();
    let output = console()?;
    let service = service(&environment)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let service = Pid::from_child(&service);
    thread::spawn(move || power_button(service));
    thread::spawn(host);
    // Orphans are ours to reap, too.
    loop {
        if matches!(wait(WaitOptions::empty()), Ok(Some((ended, _))) if ended == service) {
            power_off();
        }
    }
}

fn power_off() {
    // SAFETY: plain system calls.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

fn mount(source: &str, target: &str, kind: &str, flags: c_ulong) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let (source, target, kind) = (CString::new(source)?, CString::new(target)?, CString::new(kind)?);
    // SAFETY: all texts end with a zero byte and live until the call returns.
    let done =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    checked(done)
}

fn load_modules() -> io::Result<()> {
    for name in fs::read_to_string("/modules/order")?.lines() {
        let module = File::open(Path::new("/modules").join(name))?;
        // SAFETY: the arguments are a descriptor, an empty text and no flags.
        let loaded = unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), 0) };
        checked(i32::try_from(loaded).unwrap_or(-1))?;
    }
    Ok(())
}

/// The address that QEMU's user-mode network gives to its first guest.
fn network() -> io::Result<()> {
    // SAFETY: plain system call.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    checked(socket)?;
    for (name, address) in [("lo", [127, 0, 0, 1]), ("eth0", [10, 0, 2, 15])] {
        set_address(socket, name, libc::SIOCSIFADDR, address)?;
        set_address(socket, name, libc::SIOCSIFNETMASK, [255, 255, 255, 0])?;
        let mut request = request(name);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        // SAFETY: the structure is what this request takes, and lives until the call returns.
        checked(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) })?;
    }
    Ok(())
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: zero bytes are a valid value of this structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    request
}

fn set_address(socket: i32, name: &str, what: c_ulong, address: [u8; 4]) -> io::Result<()> {
    let mut request = request(name);
    let mut data = [0; 14];
    for (place, byte) in data[2..].iter_mut().zip(address) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_addr = libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data: data };
    // SAFETY: the structure is what these requests take, and lives until the call returns.
    checked(unsafe { libc::ioctl(socket, what, &raw const request) })
}

/// What the kernel was told, and what a configuration disk says.
fn environment() -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        std::env::vars().filter(|(key, _)| key != "TERM").collect();
    for partition in devices("/dev", "vd").into_iter().filter(|path| path.to_string_lossy().ends_with('1')) {
        let told = mount(&partition.to_string_lossy(), "/seed", "vfat", libc::MS_RDONLY)
            .and_then(|()| fs::read_to_string("/seed/environment"));
        let told = told.unwrap_or_default();
        environment.extend(
            told.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
    }
    environment
}

/// The fast console where there is one; what is written to it must come out as it is.
fn console() -> io::Result<File> {
    let console = ["/dev/hvc0", "/dev/console"]
        .into_iter()
        .find_map(|path| OpenOptions::new().write(true).open(path).ok());
    let console = console.ok_or_else(|| io::Error::other("there is no console"))?;
    // SAFETY: the structure is filled by the first call and only read by the others.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        checked(libc::tcgetattr(console.as_raw_fd(), &raw mut settings))?;
        libc::cfmakeraw(&raw mut settings);
        checked(libc::tcsetattr(console.as_raw_fd(), libc::TCSANOW, &raw const settings))?;
    }
    Ok(console)
}

/// Asks the service to end when the power button is pressed.
fn power_button(service: Pid) {
    for mut events in devices("/dev/input", "event").into_iter().filter_map(|path| File::open(path).ok()) {
        thread::spawn(move || {
            let mut event = [0_u8; EVENT_SIZE];
            while events.read_exact(&mut event).is_ok() {
                let (kind, code) =
                    (u16::from_ne_bytes([event[16], event[17]]), u16::from_ne_bytes([event[18], event[19]]));
                if kind == EVENT_KEY && code == KEY_POWER && event[20] == 1 {
                    let _ = kill_process(service, Signal::TERM);
                }
            }
        });
    }
}

/// Does what the host asks for, line by line.
fn host() {
    let Some(port) = devices("/dev", "vport").pop().and_then(|path| File::open(path).ok()) else { return };
    let mut lines = BufReader::new(port).lines();
    loop {
        match lines.next() {
            Some(Ok(line)) => obey(&line),
            // Nobody is connected.
            Some(Err(_)) | None => thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

fn obey(line: &str) {
    let after = |key: &str| {
        let rest = line.split_once(&format!("\"{key}\":"))?.1.trim_start_matches([' ', '"']);
        rest.split(['"', ',', '}']).next()
    };
    if let Some(nanos) = after("time").and_then(|time| time.parse::<i64>().ok()) {
        let time = libc::timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        // SAFETY: the structure lives until the call returns.
        unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    }
    if let Some(seed) = after("seed") {
        let bytes: Vec<u8> = seed.bytes().collect();
        let mut entropy = [8 * SEED_BYTES as i32, SEED_BYTES as i32].map(i32::to_ne_bytes).concat();
        entropy.extend(bytes.into_iter().chain(std::iter::repeat(0)).take(SEED_BYTES));
        let Ok(random) = File::open("/dev/urandom") else { return };
        // SAFETY: two numbers and as many bytes as the second says, which live until the call returns; the second
        // request takes nothing.
        unsafe {
            libc::ioctl(random.as_raw_fd(), ADD_ENTROPY, entropy.as_ptr());
            libc::ioctl(random.as_raw_fd(), RESEED);
        }
    }
}

fn devices(folder: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn checked(returned: i32) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Of the kernel's `struct input_event` on 64-bit machines.
const EVENT_SIZE: usize = 24;
const EVENT_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// Bytes of a seed that are used.
const SEED_BYTES: usize = 64;
/// RNDADDENTROPY and RNDRESEEDCRNG of the kernel's `include/uapi/linux/random.h`.
const ADD_ENTROPY: c_ulong = 0x4008_5203;
const RESEED: c_ulong = 0x5207;
