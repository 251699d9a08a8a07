//! Starting and stopping.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    ContractFixture, GRACE, PATIENCE, SILENCE, TestService, answers, assert_nothing_is_left, chain,
    child_answers, child_of, get, is_about_hidden_children, name, start, until,
};
use crate::error::ProviderError;
use crate::face::{ExitReason, Provider};
use crate::spec::{InstanceSpec, Listen};

/// A started instance is listed, serves, and is gone after its stop.
pub async fn an_instance_starts_serves_and_stops_without_leftovers<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    assert!(answers(info.addr).await);
    assert_eq!(provider.list(), std::slice::from_ref(&info));
    let usage = provider.usage(&info.name).await.expect("usage is readable");
    assert!(usage.memory_bytes > 0 && usage.processes >= 1, "{usage:?}");
    assert!(!fixture.leftovers().is_empty(), "the fixture sees what runs");
    provider.stop(&info.name, GRACE).await.expect("stops");
    assert!(provider.list().is_empty());
    assert!(get(info.addr, "/", SILENCE).await.is_none());
    assert_nothing_is_left(fixture).await;
}

/// A start whose probe never passes fails at its deadline with the reason and the output, and leaves nothing.
pub async fn a_start_that_never_becomes_ready_leaves_nothing<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let deadline = fixture.start_time_max();
    let spec = InstanceSpec { start_deadline: deadline, ..fixture.spec("web-1", TestService::NeverReady) };
    let error = provider.start(spec).await.expect_err("never ready");
    assert!(matches!(&error, ProviderError::NeverReady { after, .. } if *after == deadline), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("503") && text.contains("I will never be ready"), "{text}");
    assert!(provider.list().is_empty());
    assert_nothing_is_left(fixture).await;
}

/// A process that ends before it is ready fails the start long before the deadline, with its last output.
pub async fn an_early_end_fails_the_start_at_once_with_the_last_words<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let spec =
        InstanceSpec { start_deadline: PATIENCE * 10, ..fixture.spec("web-1", TestService::EndsAtOnce) };
    let time_max = PATIENCE + fixture.start_time_max();
    let started = timeout(time_max, provider.start(spec)).await.expect("fails at once");
    let error = started.expect_err("it ended");
    assert!(
        matches!(
            &error,
            ProviderError::ExitedEarly { reason: ExitReason::Code(3) | ExitReason::Unknown, .. }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("these are my last words"), "{error}");
    assert_nothing_is_left(fixture).await;
}

/// A command that does not exist is named in the error, and nothing is made for it.
pub async fn a_missing_command_is_named<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let (spec, word) = fixture.missing_command("web-1");
    let error = provider.start(spec).await.expect_err("there is no such command");
    assert!(error.to_string().contains(&word), "{error}");
    assert!(provider.list().is_empty());
    assert_nothing_is_left(fixture).await;
}

/// A second instance of the same name is refused and does the first no harm; after a stop the name is free.
pub async fn a_name_belongs_to_one_instance_at_a_time<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    let second = provider.start(fixture.spec("web-1", TestService::Normal)).await;
    assert!(matches!(&second, Err(ProviderError::NameTaken(taken)) if *taken == info.name), "{second:?}");
    assert!(answers(info.addr).await);
    provider.stop(&info.name, GRACE).await.expect("stops");
    let again = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    assert!(answers(again.addr).await);
    provider.shutdown(GRACE).await.expect("stops");
    assert_nothing_is_left(fixture).await;
}

/// A stop during a start ends both.
pub async fn a_stop_calls_a_start_off<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let spec =
        InstanceSpec { start_deadline: PATIENCE * 10, ..fixture.spec("web-1", TestService::NeverReady) };
    let stopping = async {
        until("the instance is listed", async || !provider.list().is_empty()).await;
        provider.stop(&name("web-1"), GRACE).await
    };
    let both = async { tokio::join!(provider.start(spec), stopping) };
    let (started, stopped) = timeout(PATIENCE, both).await.expect("both end");
    stopped.expect("stops");
    assert!(matches!(started, Err(ProviderError::CalledOff(_))), "{started:?}");
    assert_nothing_is_left(fixture).await;
}

/// Dropping the future of a start undoes it and frees the name.
pub async fn a_start_that_nobody_waits_for_is_undone<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let spec =
        InstanceSpec { start_deadline: PATIENCE * 10, ..fixture.spec("web-1", TestService::NeverReady) };
    timeout(SILENCE, provider.start(spec)).await.expect_err("still waiting");
    until("the start is undone", async || provider.list().is_empty()).await;
    assert_nothing_is_left(fixture).await;
    until("the name is free", async || {
        provider.start(fixture.spec("web-1", TestService::Normal)).await.is_ok()
    })
    .await;
    provider.shutdown(GRACE).await.expect("stops");
}

/// Children that left the process group end with the instance, whether it is stopped or ends by itself.
pub async fn children_end_with_their_instance<F: ContractFixture>(fixture: &F) {
    if is_about_hidden_children(fixture, "children_end_with_their_instance") {
        return;
    }
    let provider = fixture.open().await;
    let stopped = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    let ended = start(&provider, fixture.spec("web-2", TestService::Normal)).await;
    let children = [child_of(fixture, &stopped).await, child_of(fixture, &ended).await];
    provider.stop(&stopped.name, GRACE).await.expect("stops");
    assert!(!child_answers(children[0]).await, "gone when the stop returns");
    get(ended.addr, "/exit?0", PATIENCE).await;
    until("the ended instance is gone", async || provider.list().is_empty()).await;
    assert!(!child_answers(children[1]).await);
    assert_nothing_is_left(fixture).await;
}

/// What does not end when asked is killed, not before its grace and soon after.
pub async fn a_stubborn_instance_is_killed_after_its_grace<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Stubborn)).await;
    child_of(fixture, &info).await;
    let begin = Instant::now();
    let grace = Duration::from_millis(500);
    timeout(PATIENCE, provider.stop(&info.name, grace)).await.expect("ends").expect("stops");
    assert!(begin.elapsed() >= grace, "it had its grace");
    assert!(!answers(info.addr).await);
    assert_nothing_is_left(fixture).await;
}

/// Instances started together have different addresses, and a shutdown stops them all.
pub async fn many_instances_start_and_stop_at_once<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let names: Vec<String> = (0..8).map(|index| format!("web-{index}")).collect();
    let starts = names.iter().map(|name| Box::pin(start(&provider, fixture.spec(name, TestService::Normal))));
    let infos = join_all(starts.collect()).await;
    assert_eq!(infos.iter().map(|info| info.addr).collect::<BTreeSet<_>>().len(), names.len());
    assert_eq!(infos.iter().map(|info| info.pid).collect::<BTreeSet<_>>().len(), names.len());
    for info in &infos {
        assert!(answers(info.addr).await);
    }
    assert_eq!(provider.list().iter().map(|info| info.name.to_string()).collect::<Vec<_>>(), names);
    provider.park(&name("web-3")).await.expect("parks");
    provider.shutdown(GRACE).await.expect("stops");
    assert!(provider.list().is_empty());
    assert_nothing_is_left(fixture).await;
}

/// Every operation on an unknown name says so.
pub async fn unknown_names_are_refused<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let nobody = name("nobody");
    let errors = [
        provider.park(&nobody).await.map(drop),
        provider.promote(&nobody).await.map(drop),
        provider.stop(&nobody, GRACE).await,
        provider.usage(&nobody).await.map(drop),
        provider.logs(&nobody, 100).await.map(drop),
    ];
    for error in errors {
        assert!(matches!(&error, Err(ProviderError::Unknown(unknown)) if *unknown == nobody), "{error:?}");
    }
}

/// An instance can be given its listening socket instead of a port.
pub async fn a_passed_socket_is_served<F: ContractFixture>(fixture: &F) {
    if !fixture.passes_sockets() {
        eprintln!("SKIPPED a_passed_socket_is_served: not supported by this provider");
        return;
    }
    let provider = fixture.open().await;
    let spec = InstanceSpec { listen: Listen::PassedSocket, ..fixture.spec("web-1", TestService::Normal) };
    let info = start(&provider, spec).await;
    let environment = get(info.addr, "/environment", PATIENCE).await.expect("serves");
    assert!(environment.contains(&format!("LISTEN_PID={}\n", info.pid)), "{environment}");
    provider.stop(&info.name, GRACE).await.expect("stops");
    // Nobody keeps the socket open: a connection would hang in it.
    assert!(tokio::net::TcpStream::connect(info.addr).await.is_err());
    assert_nothing_is_left(fixture).await;
}

async fn join_all<T>(mut futures: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
