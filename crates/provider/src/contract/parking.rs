//! Parking and promoting.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    ContractFixture, GRACE, PATIENCE, SILENCE, TestService, answers, assert_nothing_is_left, child_of, get,
    is_about_hidden_children, name, start, until,
};
use crate::error::ProviderError;
use crate::face::Provider;
use crate::spec::InstanceSpec;

/// A busy instance stands still while it is parked, answers nothing, and goes on after its promotion.
pub async fn a_parked_instance_uses_no_processor_time_and_a_promotion_answers<F: ContractFixture>(
    fixture: &F,
) {
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    get(info.addr, "/burn", PATIENCE).await.expect("burns");
    let cpu = async || provider.usage(&info.name).await.expect("usage is readable").cpu_time;
    let before = cpu().await;
    until("processor time advances", async || cpu().await > before).await;

    provider.park(&info.name).await.expect("parks");
    assert!(provider.list()[0].parked);
    let parked = cpu().await;
    assert!(get(info.addr, "/", SILENCE).await.is_none(), "a parked instance does not answer");
    assert_eq!(cpu().await, parked, "and uses no processor time");

    let promoted = provider.promote(&info.name).await.expect("promotes");
    assert!(promoted.took > Duration::ZERO && promoted.took < PATIENCE, "{promoted:?}");
    assert!(!provider.list()[0].parked);
    assert!(answers(info.addr).await);
    until("processor time advances again", async || cpu().await > parked).await;
    provider.stop(&info.name, GRACE).await.expect("stops");
    assert_nothing_is_left(fixture).await;
}

/// Children stand still with their instance, those outside its process group too.
pub async fn parking_holds_children_too<F: ContractFixture>(fixture: &F) {
    if is_about_hidden_children(fixture, "parking_holds_children_too") {
        return;
    }
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    let child = child_of(fixture, &info).await.expect("can be reached");
    provider.park(&info.name).await.expect("parks");
    let parked = provider.usage(&info.name).await.expect("readable");
    assert!(get(child, "/", SILENCE).await.is_none(), "the child does not answer");
    let later = provider.usage(&info.name).await.expect("readable");
    assert_eq!((later.cpu_time, later.processes), (parked.cpu_time, parked.processes));
    assert!(parked.processes >= 2, "{parked:?}");
    provider.promote(&info.name).await.expect("promotes");
    assert!(answers(child).await, "the child goes on");
    provider.stop(&info.name, GRACE).await.expect("stops");
    assert_nothing_is_left(fixture).await;
}

/// Parking a parked instance and promoting a promoted one change nothing; and so many times over.
pub async fn parking_and_promoting_twice_is_fine<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    provider.promote(&info.name).await.expect("only verifies");
    for _ in 0..20 {
        provider.park(&info.name).await.expect("parks");
        provider.park(&info.name).await.expect("still parked");
        provider.promote(&info.name).await.expect("promotes");
        provider.promote(&info.name).await.expect("only verifies");
    }
    assert!(answers(info.addr).await);
    provider.stop(&info.name, GRACE).await.expect("stops");
    assert_nothing_is_left(fixture).await;
}

/// A stop thaws first, so a parked instance ends as asked and not only when it is killed.
pub async fn a_parked_instance_can_be_stopped<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let info = start(&provider, fixture.spec("web-1", TestService::Normal)).await;
    child_of(fixture, &info).await;
    provider.park(&info.name).await.expect("parks");
    let begin = tokio::time::Instant::now();
    provider.stop(&info.name, PATIENCE * 10).await.expect("stops");
    assert!(begin.elapsed() < PATIENCE, "it heard the request to end");
    assert_nothing_is_left(fixture).await;
}

/// An instance that is not ready is not parked: it would never become ready.
pub async fn a_starting_instance_cannot_be_parked<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let spec = InstanceSpec {
        start_deadline: Duration::from_secs(2),
        ..fixture.spec("web-1", TestService::NeverReady)
    };
    let parking = async {
        until("the instance is listed", async || !provider.list().is_empty()).await;
        assert!(!provider.list()[0].ready);
        provider.park(&name("web-1")).await
    };
    let (started, parked) = tokio::join!(provider.start(spec), parking);
    assert!(matches!(parked, Err(ProviderError::NotReady(_))), "{parked:?}");
    assert!(matches!(started, Err(ProviderError::NeverReady { .. })), "{started:?}");
    // The failed start must not leave a late freeze behind either.
    sleep(SILENCE).await;
    assert_nothing_is_left(fixture).await;
}
