//! The test service: a tiny HTTP server with the habits, good and bad, that the contract needs to see.
//!
//! | path | does |
//! |---|---|
//! | `/` | says `ok` |
//! | `/burn` | from now on keeps one thread busy |
//! | `/child` | starts a child in a process group of its own, which burns and serves; says its address |
//! | `/write?n` | writes n numbered lines to the standard output |
//! | `/fill?n` | uses n MiB more memory, for ever |
//! | `/environment` | says its environment, a line each |
//! | `/touch?n` | from now on uses n MiB of memory, instead of what it used so far |
//! | `/clock` | says the milliseconds since 1970 |
//! | `/random` | says 32 random bytes of the kernel, in hexadecimal digits |
//! | `/panic` | makes the kernel panic; for machines only |
//! | `/exit?code` | exits |
//! | `/die` | kills itself |

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal, getpid, kill_process};

use super::TestService;

/// The environment variable that asks for the test service.
pub const SERVICE_KEY: &str = "FORESHADOW_TEST_SERVICE";
/// The environment variable that says how many milliseconds the test service takes to initialise.
pub const STARTUP_KEY: &str = "FORESHADOW_TEST_STARTUP_MS";

/// Becomes the test service, or a template of it, and does not return, if the environment variable [`SERVICE_KEY`] asks for it. To be called
/// in the program that the fixture's orders run; children are made by running it again with the same arguments.
///
/// # Panics
/// When it cannot listen.
pub fn serve_if_asked() {
    let Ok(word) = std::env::var(SERVICE_KEY) else { return };
    if let Some(millis) = std::env::var(STARTUP_KEY).ok().and_then(|millis| millis.parse().ok()) {
        thread::sleep(Duration::from_millis(millis));
    }
    super::template::fork_if_asked();
    if word == CHILD {
        burn();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        serve(&listener, "200 OK");
    }
    let services =
        [TestService::Normal, TestService::NeverReady, TestService::EndsAtOnce, TestService::Stubborn];
    match services.into_iter().find(|service| service.word() == word) {
        Some(TestService::Normal) => serve(&listener(), "200 OK"),
        Some(TestService::NeverReady) => {
            println!("I will never be ready");
            serve(&listener(), "503 Service Unavailable");
        }
        Some(TestService::EndsAtOnce) => {
            // In two pieces, as programs do that write without a buffer: an engine may keep them apart.
            print!("these are ");
            let _ = std::io::stdout().flush();
            thread::sleep(Duration::from_millis(50));
            println!("my last words");
            exit(3);
        }
        Some(TestService::Stubborn) => {
            // SAFETY: ignoring a signal has no handler that could do wrong.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            serve(&listener(), "200 OK");
        }
        None => {
            eprintln!("no test service is called {word:?}");
            exit(2);
        }
    }
}

/// The passed socket if there is one for us, else the port we are told, on the address we are told or else the loopback.
fn listener() -> TcpListener {
    let variable = |key| std::env::var(key).ok();
    if variable("LISTEN_FDS").as_deref() == Some("1") {
        assert_eq!(variable("LISTEN_PID"), Some(std::process::id().to_string()), "LISTEN_PID must be ours");
        // SAFETY: the protocol says that descriptor 3 is a listening socket that belongs to us.
        return unsafe { TcpListener::from_raw_fd(3) };
    }
    let port: u16 = variable("PORT").and_then(|port| port.parse().ok()).expect("PORT is a port");
    let host = variable("HOST").and_then(|host| host.parse().ok()).unwrap_or(Ipv4Addr::LOCALHOST);
    TcpListener::bind((host, port)).expect("the port is free")
}

fn serve(listener: &TcpListener, status: &'static str) -> ! {
    loop {
        if let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || answer(stream, status));
        }
    }
}

fn answer(mut stream: TcpStream, status: &str) -> Option<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    reader.by_ref().take(4096).read_line(&mut line).ok()?;
    // The rest of the head, so that closing does not reset the connection.
    let mut head = String::new();
    while reader.by_ref().take(4096).read_line(&mut head).ok()? > 2 {}
    let target = line.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = act(path, query);
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .ok()
}

fn act(path: &str, query: &str) -> String {
    match path {
        "/burn" => burn(),
        "/child" => return child().to_string(),
        "/write" => {
            let mut text = String::new();
            for line in 0..query.parse::<u64>().unwrap_or(1) {
                let _ = writeln!(text, "numbered line {line}");
            }
            std::io::stdout().write_all(text.as_bytes()).expect("the output can be written");
        }
        "/fill" => {
            let bytes = query.parse::<usize>().unwrap_or(1) << 20;
            // Written to, or it would be no memory yet.
            std::mem::forget(std::hint::black_box(vec![1u8; bytes]));
        }
        "/environment" => {
            return std::env::vars_os()
                .map(|(key, value)| format!("{}={}\n", key.display(), value.display()))
                .collect();
        }
        "/touch" => {
            let bytes = query.parse::<usize>().unwrap_or(1) << 20;
            static USED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
            let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
            *used = Vec::new();
            *used = vec![1; bytes];
        }
        "/clock" => {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            return since_epoch.as_millis().to_string();
        }
        "/random" => {
            let mut bytes = [0_u8; 32];
            let mut file = File::open("/dev/urandom").expect("there is randomness");
            file.read_exact(&mut bytes).expect("random bytes");
            return bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        "/panic" => std::fs::write("/proc/sysrq-trigger", "c").expect("may panic"),
        "/exit" => exit(query.parse().unwrap_or(0)),
        "/die" => drop(kill_process(getpid(), Signal::KILL)),
        _ => {}
    }
    "ok".to_owned()
}

fn burn() {
    thread::spawn(|| {
        loop {
            // A little rest, so that a test on a small machine does not starve its neighbours.
            (0..200_000_u64).for_each(|number| {
                std::hint::black_box(number);
            });
            thread::sleep(Duration::from_micros(200));
        }
    });
}

/// Starts a child outside our process group, and returns where it listens.
#[expect(clippy::zombie_processes, reason = "the child is to live as long as we do")]
fn child() -> SocketAddr {
    let mut child = Command::new(std::env::current_exe().expect("we are a file"))
        .args(std::env::args_os().skip(1))
        .env(SERVICE_KEY, CHILD)
        .env_remove("LISTEN_FDS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a child");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    // A test program may say something of its own first.
    let addr = output.lines().map_while(Result::ok).find_map(|line| line.trim().parse().ok());
    addr.expect("the child says its address")
}

const CHILD: &str = "child";
