//! Ends that nobody asked for, and control planes that come back.

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::{
    ContractFixture, GRACE, PATIENCE, SILENCE, TestService, answers, assert_nothing_is_left, child_answers,
    child_of, get, start, until,
};
use crate::face::{ExitReason, Provider, ProviderEvent};
use crate::name::InstanceName;
use crate::spec::InstanceSpec;

/// A ready instance that is killed is reported within a second, with its children and itself cleared away.
pub async fn a_killed_instance_is_reported_within_a_second<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let mut events = provider.events();
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    let child = child_of(fixture, &info).await;
    let begin = Instant::now();
    get(info.addr, "/die", PATIENCE).await;
    let (name, reason) = next_exit(&mut events).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(name, info.name);
    assert!(matches!(reason, ExitReason::Signal(9) | ExitReason::Unknown), "{reason}");
    assert!(provider.list().is_empty());
    assert!(!child_answers(child).await);
    assert_nothing_is_left(fixture).await;
}

/// An instance that ends by itself is reported with its exit code; one that was stopped is not reported.
pub async fn an_exit_code_is_reported<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let mut events = provider.events();
    let stopped = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    let ended = start(&provider, fixture.spec("web-2", TestService::Normal)).await;
    provider.stop(&stopped.name, GRACE).await.expect("stops");
    get(ended.addr, "/exit?5", PATIENCE).await;
    let (name, reason) = next_exit(&mut events).await;
    assert_eq!(name, ended.name, "the first to be reported");
    assert!(matches!(reason, ExitReason::Code(5) | ExitReason::Unknown), "{reason}");
    assert_nothing_is_left(fixture).await;
}

/// Whatever happens to a parked instance, it is either there, parked and promotable, or was reported.
pub async fn a_parked_instance_that_dies_is_reported_or_stays_parked<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let mut events = provider.events();
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    provider.park(&info.name).await.expect("parks");
    // The request waits in the kernel and is read only after the promotion: the instance then dies in the middle of it.
    let dying = tokio::spawn(async move { get(info.addr, "/die", PATIENCE).await });
    tokio::time::sleep(SILENCE).await;
    assert!(events.try_recv().is_err(), "nothing happens to a parked instance");
    let promoted = provider.promote(&info.name).await;
    let (name, _) = next_exit(&mut events).await;
    assert_eq!(name, info.name);
    if let Err(error) = promoted {
        assert!(error.to_string().contains("web-1"), "{error}");
    }
    dying.await.expect("the request ends");
    assert_nothing_is_left(fixture).await;
}

/// A second provider finds the instances of a first that went without a word: the same ones, serving all the time,
/// parked as they were, watched again.
pub async fn a_later_control_plane_adopts_what_runs<F: ContractFixture>(fixture: &F) {
    let first = fixture.open().await;
    let revised = |spec| InstanceSpec { revision: "7c".to_owned(), ..spec };
    let active = start(&first, revised(fixture.spec("web-1", TestService::Normal))).await;
    assert_eq!(active.revision, "7c");
    let standby = start(&first, fixture.spec("web-2", TestService::Normal)).await;
    first.park(&standby.name).await.expect("parks");
    let mut before = first.list();
    drop(first);
    assert!(answers(active.addr).await, "it does not notice");

    let second = fixture.open().await;
    assert!(second.list().is_empty(), "known only after the adoption");
    let mut events = second.events();
    let adopted = second.adopt().await.expect("adopts");
    before.sort_by(|a, b| a.name.cmp(&b.name));
    let mut found = adopted.clone();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, before, "the same instances, pids and all");
    assert_eq!(second.list(), before);
    assert!(answers(active.addr).await);
    assert!(second.adopt().await.expect("adopts").is_empty(), "nothing is adopted twice");

    second.promote(&standby.name).await.expect("promotes");
    assert!(answers(standby.addr).await);
    second.park(&active.name).await.expect("parks");
    get(standby.addr, "/die", PATIENCE).await;
    assert_eq!(next_exit(&mut events).await.0, standby.name);
    second.shutdown(GRACE).await.expect("stops");
    assert_nothing_is_left(fixture).await;
}

/// What ended while no control plane ran is not adopted, and its children are killed.
pub async fn what_ended_unseen_is_cleared_away<F: ContractFixture>(fixture: &F) {
    let first = fixture.open().await;
    let info = start(&first, fixture.spec("web-1", TestService::Normal)).await;
    let child = child_of(fixture, &info).await;
    drop(first);
    get(info.addr, "/die", PATIENCE).await;
    until("the instance is gone", async || !answers(info.addr).await).await;
    if fixture.children_outlive() {
        assert!(child_answers(child).await, "nobody has cleared up yet");
    } else {
        until("the system has ended the child", async || !child_answers(child).await).await;
        // An engine hears of it a moment later.
        sleep(SILENCE).await;
    }
    let second = fixture.open().await;
    assert!(second.adopt().await.expect("adopts").is_empty());
    assert!(!child_answers(child).await);
    assert_nothing_is_left(fixture).await;
}

async fn next_exit(events: &mut Receiver<ProviderEvent>) -> (InstanceName, ExitReason) {
    let event = timeout(PATIENCE, events.recv()).await.expect("is reported").expect("the provider is there");
    let ProviderEvent::Exited { name, reason } = event;
    (name, reason)
}
