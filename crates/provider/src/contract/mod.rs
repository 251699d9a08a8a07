//! The behaviour every provider must show, as a test suite that runs against the real thing.
//!
//! A provider's own tests implement [`ContractFixture`], and [`contract_tests!`](crate::contract_tests) makes one test
//! of each case. The cases talk to a small test service, [`serve_if_asked`], which the fixture makes the provider run;
//! they look at instances only through the provider, through the service, and through
//! [`ContractFixture::leftovers`], so they hold for processes, containers and machines alike.
//!
//! Nothing is mocked and nothing is timed closely: waits are bounded generously and end as soon as they may.

mod cycles;
mod life;
mod output;
mod parking;
mod restart;
mod service;
mod template;

pub use cycles::{Counts, Cycles, descriptors, nothing_is_left};
pub use life::*;
pub use output::*;
pub use parking::*;
pub use restart::*;
pub use service::{SERVICE_KEY, STARTUP_KEY, serve_if_asked};

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::face::{InstanceInfo, Provider};
use crate::name::InstanceName;
use crate::spec::InstanceSpec;

/// What a provider's tests supply.
pub trait ContractFixture: Send + Sync {
    /// The provider under test.
    type Provider: Provider;

    /// Opens a provider; always on the same state, so that a second one, after the first was dropped, is what a
    /// restarted control plane would have.
    fn open(&self) -> impl Future<Output = Self::Provider> + Send;

    /// An order that runs the test service with this behaviour: [`serve_if_asked`] must find it in the environment
    /// variable [`SERVICE_KEY`].
    fn spec(&self, name: &str, service: TestService) -> InstanceSpec;

    /// An order whose command does not exist, and a word that the error must have.
    fn missing_command(&self, name: &str) -> (InstanceSpec, String);

    /// Whatever of any instance is left on the machine, in words: processes, groups, records.
    fn leftovers(&self) -> Vec<String>;

    /// Whether [`crate::Listen::PassedSocket`] is supported.
    fn passes_sockets(&self) -> bool;

    /// Whether children live on when their instance ends and nobody clears up. Where the system itself ends them with
    /// the first process, as in a container or a machine, they do not.
    fn children_outlive(&self) -> bool {
        true
    }

    /// Why children of the service cannot be talked to and seen one by one, if that is so: they are inside something that
    /// ends and stands still as a whole. Cases that are only about them are skipped then.
    fn hides_children(&self) -> Option<&'static str> {
        None
    }

    /// Variables that the engine gives to every instance by itself, beside those that all are known to give.
    fn given_variables(&self) -> &'static [&'static str] {
        &[]
    }

    /// In what time a start surely comes to the first answer of the service, on a busy machine too.
    fn start_time_max(&self) -> Duration {
        Duration::from_secs(3)
    }
}

/// How the test service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestService {
    /// Serves.
    Normal,
    /// Writes a line, then answers everything with 503.
    NeverReady,
    /// Writes "these are my last words" in two pieces and exits with code 3.
    EndsAtOnce,
    /// Serves and does not end when asked to.
    Stubborn,
}

impl TestService {
    /// The value of [`SERVICE_KEY`].
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TestService::Normal => "normal",
            TestService::NeverReady => "never-ready",
            TestService::EndsAtOnce => "ends-at-once",
            TestService::Stubborn => "stubborn",
        }
    }
}

/// Makes a test of every case of the contract. The argument is an expression for `Option<impl ContractFixture>`,
/// evaluated for each; `None` when this machine cannot run it, which is said on the standard error. The calling crate
/// needs tokio with the macros and the multi-thread runtime.
#[macro_export]
macro_rules! contract_tests {
    ($fixture:expr) => {
        $crate::contract_tests! { @each $fixture;
            an_instance_starts_serves_and_stops_without_leftovers
            a_start_that_never_becomes_ready_leaves_nothing
            an_early_end_fails_the_start_at_once_with_the_last_words
            a_missing_command_is_named
            a_name_belongs_to_one_instance_at_a_time
            a_stop_calls_a_start_off
            a_start_that_nobody_waits_for_is_undone
            children_end_with_their_instance
            a_stubborn_instance_is_killed_after_its_grace
            many_instances_start_and_stop_at_once
            unknown_names_are_refused
            a_passed_socket_is_served
            a_parked_instance_uses_no_processor_time_and_a_promotion_answers
            parking_holds_children_too
            parking_and_promoting_twice_is_fine
            a_parked_instance_can_be_stopped
            a_starting_instance_cannot_be_parked
            a_killed_instance_is_reported_within_a_second
            an_exit_code_is_reported
            a_parked_instance_that_dies_is_reported_or_stays_parked
            a_later_control_plane_adopts_what_runs
            what_ended_unseen_is_cleared_away
            output_is_readable_and_bounded
            only_the_ordered_environment_is_passed_on
        }
    };
    (@each $fixture:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                match $fixture {
                    Some(fixture) => $crate::contract::$case(&fixture).await,
                    None => eprintln!("SKIPPED {}: not possible on this machine", stringify!($case)),
                }
            }
        )*
    };
}

/// Starts the test service, or says why not.
async fn start<P: Provider>(provider: &P, spec: InstanceSpec) -> InstanceInfo {
    let name = spec.name.clone();
    match provider.start(spec).await {
        Ok(info) => {
            assert!(info.ready && !info.parked && info.name == name, "{info:?}");
            info
        }
        Err(error) => panic!("{name} did not start: {}", chain(&error)),
    }
}

fn name(name: &str) -> InstanceName {
    InstanceName::new(name).expect("a good name")
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// One GET; the body of a 200, or `None` when there is no such answer in `time_max`.
async fn get(addr: SocketAddr, path: &str, time_max: Duration) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    let asked = async {
        let mut stream = TcpStream::connect(addr).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
    };
    timeout(time_max, asked).await.ok().flatten()
}

async fn answers(addr: SocketAddr) -> bool {
    get(addr, "/", PATIENCE).await.as_deref() == Some("ok")
}

/// Makes the instance start a child that serves by itself, outside the process group. None: it cannot be reached from
/// here.
async fn child_of<F: ContractFixture>(fixture: &F, info: &InstanceInfo) -> Option<SocketAddr> {
    let child = get(info.addr, "/child", PATIENCE).await.expect("the service starts a child");
    let child = child.parse().expect("an address");
    if fixture.hides_children().is_some() {
        return None;
    }
    assert!(answers(child).await, "the child serves");
    Some(child)
}

/// A child that can be reached and answers.
async fn child_answers(child: Option<SocketAddr>) -> bool {
    match child {
        Some(child) => answers(child).await,
        None => false,
    }
}

/// Says that a case is left out for its children, if it is.
fn is_about_hidden_children<F: ContractFixture>(fixture: &F, case: &str) -> bool {
    let reason = fixture.hides_children();
    if let Some(reason) = reason {
        eprintln!("SKIPPED {case}: {reason}");
    }
    reason.is_some()
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing may be left; the kernel may take a moment to remove what was killed.
async fn assert_nothing_is_left<F: ContractFixture>(fixture: &F) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leftovers = fixture.leftovers();
        if leftovers.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left over: {leftovers:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long something that must not happen is waited for.
const SILENCE: Duration = Duration::from_millis(300);
/// A grace that a well-behaved service does not need.
const GRACE: Duration = Duration::from_secs(10);
