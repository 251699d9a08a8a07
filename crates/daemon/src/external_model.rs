//! A user's own model as a child process: requests as lines of JSON on its standard input, answers on its standard output.
//!
//! `forecast::models::external` holds the protocol and judges the answers. This is the other half: it starts the command with a
//! small environment, bounds the time and the size of each answer, ends a command that breaks the protocol together with
//! everything it started, and starts it anew after a pause that doubles with each failure. A new one is told the last
//! history again and what was observed since, so that whoever asks notices only the delay.
//!
//! Calls block: they belong on a thread of the background, never on the one that answers requests.

mod follower;
mod tether;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forecast::models::external::{Answer, ForecastRequest, ObserveRequest, Request, Speaker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

pub use follower::Follower;
pub use tether::tether;

/// How to run a user's model, and how much of it to bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalModelConfig {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Program and first arguments that run [`tether`], put in front of the command so that it ends with this process, however
    /// that ends. Default: nothing, and a command that is busy then goes on until it reads again.
    pub tether: Vec<OsString>,
    /// Variables beside `PATH`, `HOME` and `LANG`, which are passed on; nothing else of the daemon's environment is.
    pub environment: Vec<(String, String)>,
    /// Where it runs. Default: where this process does.
    pub working_dir: Option<PathBuf>,
    /// How long an answer to `observe` and `forecast` may take. Default 5 s.
    pub answer_within: Duration,
    /// How long an answer to `fit` may take. Default 10 minutes.
    pub fit_within: Duration,
    /// Longest answer in bytes. Default 16 MiB: a day of minutes at a hundred quantiles is under 3 MiB.
    pub answer_bytes_max: usize,
    /// Pause before the first restart; each failure in a row doubles it. Default 1 s.
    pub pause: Duration,
    /// Longest pause. Default 5 minutes.
    pub pause_max: Duration,
}

impl ExternalModelConfig {
    /// The defaults for a command.
    pub fn new(command: Vec<String>) -> ExternalModelConfig {
        ExternalModelConfig {
            command,
            tether: Vec::new(),
            environment: Vec::new(),
            working_dir: None,
            answer_within: Duration::from_secs(5),
            fit_within: Duration::from_secs(600),
            answer_bytes_max: 16 << 20,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(300),
        }
    }
}

/// A command that is a model. Started when it is first asked; ended when this is dropped.
#[derive(Debug)]
pub struct ExternalModel {
    config: ExternalModelConfig,
    state: Mutex<State>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    /// What a new process has to be told: the last history, and what was observed since.
    told: Vec<Request>,
    /// Failures in a row, the last one's reason, and when the next start is allowed.
    failures: u32,
    reason: String,
    not_before: Option<Instant>,
}

impl ExternalModel {
    /// Nothing is started yet.
    pub fn new(config: ExternalModelConfig) -> ExternalModel {
        ExternalModel { config, state: Mutex::new(State::default()), stop: Arc::default() }
    }

    /// Processor time that the running command and what it started have used, in user and in system mode; zero when none
    /// runs. In steps of ten milliseconds.
    pub fn cpu_time(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &state.running else { return Duration::ZERO };
        // A shell in front of the program would hide it: all of the group count.
        let group = running.child.id().to_string();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ticks: u64 = processes.filter_map(|process| ticks_in(&group, &process.path())).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Set, it ends the exchange under way within a tenth of a second, and every later one at once.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    fn exchange(&self, state: &mut State, request: &Request) -> Result<Answer, String> {
        if state.running.is_none() {
            if let Some(left) = state.not_before.and_then(|at| at.checked_duration_since(Instant::now())) {
                let (reason, failures) = (&state.reason, state.failures);
                return Err(format!("not started again for {left:.1?}, after {failures} failures: {reason}"));
            }
            let mut running = Running::start(&self.config, self.stop.clone())?;
            // A new history makes what was told before it void.
            if !matches!(request, Request::Fit(_)) {
                for request in &state.told {
                    self.retell(&mut running, request)?;
                }
            }
            state.running = Some(running);
        }
        let Some(running) = &mut state.running else { return Err("it is not running".to_owned()) };
        running.exchange(request, &self.config)
    }

    fn retell(&self, running: &mut Running, request: &Request) -> Result<(), String> {
        match running.exchange(request, &self.config)? {
            Answer::Ok(true) => Ok(()),
            Answer::Ok(false) => Err("told its history again, it answered not ok".to_owned()),
            Answer::Error(reason) => Err(format!("told its history again, it said: {reason}")),
            Answer::Values(_) => Err("told its history again, it answered with values".to_owned()),
        }
    }
}

impl Speaker for ExternalModel {
    fn ask(&self, request: &Request) -> Result<Answer, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        match self.exchange(state, request) {
            Ok(answer) => {
                (state.failures, state.not_before) = (0, None);
                if answer == Answer::Ok(true) {
                    remember(&mut state.told, request);
                }
                Ok(answer)
            }
            Err(reason) => {
                // Dropping ends the process: after a broken exchange its next line may answer any question.
                let ran = state.running.take().is_some();
                let waited = state.not_before.is_none_or(|at| at <= Instant::now());
                if ran || waited {
                    let pause = self.config.pause.saturating_mul(1 << state.failures.min(20));
                    state.not_before = Instant::now().checked_add(pause.min(self.config.pause_max));
                    state.failures = state.failures.saturating_add(1);
                    state.reason.clone_from(&reason);
                }
                Err(reason)
            }
        }
    }
}

/// Keeps what a new process must be told. Observed values are joined into one request; when they outgrow their limit,
/// the oldest history is no longer worth telling and the next failure asks for a new fit.
fn remember(told: &mut Vec<Request>, request: &Request) {
    match (request, told.last_mut()) {
        (Request::Fit(_), _) => *told = vec![request.clone()],
        (Request::Observe(new), Some(Request::Observe(old))) if old.values.len() < RETOLD_MAX => {
            join(old, new);
        }
        (Request::Observe(_), Some(Request::Fit(_))) => told.push(request.clone()),
        (Request::Observe(_), Some(Request::Observe(_)) | None) => told.clear(),
        (Request::Observe(_), Some(Request::Forecast(_)))
        | (Request::Forecast(ForecastRequest { .. }), _) => {}
    }
}

fn join(old: &mut ObserveRequest, new: &ObserveRequest) {
    let rows = old.values.len();
    old.values.extend(&new.values);
    for (name, values) in &new.covariates {
        let column = old.covariates.entry(name.clone()).or_default();
        column.resize(rows, None);
        column.extend(values);
    }
    old.covariates.values_mut().for_each(|column| column.resize(old.values.len(), None));
}

/// A process that answers.
#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
    /// What was read of the output beyond the last answer.
    read: Vec<u8>,
    /// The last of what it wrote to standard error.
    complaint: Vec<u8>,
    complains: bool,
    stop: Arc<AtomicBool>,
}

impl Running {
    fn start(config: &ExternalModelConfig, stop: Arc<AtomicBool>) -> Result<Running, String> {
        let words = words(config);
        let (program, arguments) = words.split_first().ok_or("no command is given")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().process_group(0);
        if let Some(dir) = &config.working_dir {
            command.current_dir(dir);
        }
        let passed = PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(passed).envs(config.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| format!("failed to start {program:?}: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(format!("failed to start {program:?}: it has no pipes"));
        };
        let running = Running {
            child,
            input,
            output,
            errors,
            read: Vec::new(),
            complaint: Vec::new(),
            complains: true,
            stop,
        };
        for pipe in [running.input.as_fd(), running.output.as_fd(), running.errors.as_fd()] {
            let flags = fcntl_getfl(pipe).map_err(|error| failed(error.into()))?;
            fcntl_setfl(pipe, flags | OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        }
        Ok(running)
    }

    /// Sends one line and reads one.
    fn exchange(&mut self, request: &Request, config: &ExternalModelConfig) -> Result<Answer, String> {
        let within = match request {
            Request::Fit(_) => config.fit_within,
            Request::Observe(_) | Request::Forecast(_) => config.answer_within,
        };
        let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        line.push(b'\n');
        // A line too many would be taken for the answer to this question, and so on for ever.
        let mut early = [0; EXCERPT_BYTES];
        if let Ok(count) = self.output.read(&mut early) {
            self.read.extend_from_slice(&early[..count]);
        }
        if !self.read.is_empty() {
            return Err(format!("it wrote without being asked: {}", excerpt(&self.read)));
        }
        let deadline = Instant::now().checked_add(within);
        let answer = self.converse(&line, deadline, within, config.answer_bytes_max)?;
        serde_json::from_slice(&answer)
            .map_err(|error| format!("{} is no answer: {error}{}", excerpt(&answer), self.complaint()))
    }

    fn converse(
        &mut self,
        line: &[u8],
        deadline: Option<Instant>,
        within: Duration,
        bytes_max: usize,
    ) -> Result<Vec<u8>, String> {
        let mut sent = 0;
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let mut answer = std::mem::replace(&mut self.read, rest);
                answer.pop();
                return Ok(answer);
            }
            if self.read.len() > bytes_max {
                return Err(format!("its answer is longer than {bytes_max} bytes{}", self.complaint()));
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if self.stop.load(Ordering::Relaxed) {
                return Err("it was called off".to_owned());
            }
            if left == Some(Duration::ZERO) {
                return Err(format!("no answer within {within:?}{}", self.complaint()));
            }
            self.wait(sent < line.len(), left.map_or(LOOK_UP, |left| left.min(LOOK_UP)))?;
            self.hear();
            if sent < line.len() {
                match self.input.write(&line[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if passing(&error) => {}
                    Err(error) => return Err(self.ended(&format!("it takes no input: {error}"))),
                }
            }
            let mut chunk = [0; CHUNK_BYTES];
            match self.output.read(&mut chunk) {
                Ok(0) => return Err(self.ended("it closed its output")),
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if passing(&error) => {}
                Err(error) => return Err(self.ended(&error.to_string())),
            }
        }
    }

    /// Waits until something can be read or written.
    fn wait(&self, writes: bool, left: Duration) -> Result<(), String> {
        let mut fds = vec![PollFd::new(&self.output, PollFlags::IN)];
        if self.complains {
            fds.push(PollFd::new(&self.errors, PollFlags::IN));
        }
        if writes {
            fds.push(PollFd::new(&self.input, PollFlags::OUT));
        }
        let left = Timespec::try_from(left).ok();
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).to_string()),
        }
    }

    /// Takes what it writes to standard error, so that it never waits for a reader; the last of it is kept.
    fn hear(&mut self) {
        let mut chunk = [0; CHUNK_BYTES];
        match self.errors.read(&mut chunk) {
            Ok(0) => self.complains = false,
            Ok(count) => {
                self.complaint.extend_from_slice(&chunk[..count]);
                let surplus = self.complaint.len().saturating_sub(COMPLAINT_BYTES);
                self.complaint.drain(..surplus);
            }
            Err(error) => self.complains = passing(&error),
        }
    }

    fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.complaint);
        match text.trim() {
            "" => String::new(),
            text => format!("; it wrote: {text}"),
        }
    }

    /// Why it no longer answers: how it ended, where it has.
    fn ended(&mut self, sign: &str) -> String {
        let deadline = Instant::now() + LAST_WORDS;
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            self.hear();
            status = self.child.try_wait().ok().flatten();
            if status.is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.hear();
        let how = status.map_or_else(|| sign.to_owned(), |status| format!("it ended with {status}"));
        format!("{how}{}", self.complaint())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Its children as well. It is not waited for yet, so the number is still its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is to be run: the command, behind its tether where there is one.
fn words(config: &ExternalModelConfig) -> Vec<OsString> {
    let mut words = config.tether.clone();
    if !words.is_empty() {
        words.push(std::process::id().to_string().into());
    }
    words.extend(config.command.iter().map(OsString::from));
    words
}

/// Ticks that a process of a group has used; `None` for one of another group.
fn ticks_in(group: &str, process: &Path) -> Option<u64> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    // The name before the last bracket may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let [_, _, of, ..] = fields.as_slice() else { return None };
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    (*of == group).then(|| number(11).unwrap_or(0) + number(12).unwrap_or(0))
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES)]);
    format!("{:?}", text.trim_end())
}

/// Variables of the daemon's environment that a program cannot well do without.
const PASSED_ON: [&str; 3] = ["PATH", "HOME", "LANG"];
/// Observed values that a new process is told; a model is refitted long before there are more.
const RETOLD_MAX: usize = 20_000;
const CHUNK_BYTES: usize = 16 << 10;
const COMPLAINT_BYTES: usize = 2 << 10;
const EXCERPT_BYTES: usize = 120;
/// Linux tells times in this unit, whatever its own clock does.
const TICKS_PER_SECOND: u64 = 100;
/// How often it is looked up whether an exchange was called off.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long a process that closed its pipes may take to end before it is ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests;
