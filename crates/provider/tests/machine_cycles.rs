//! What thousands of machines leave behind: in us and on the computer.

mod machine;

use std::sync::Arc;

use machine::Fixture;
use provider::contract::{ContractFixture, Cycles, TestService, descriptors, nothing_is_left};
use provider::{Birth, Provider};

/// How many are made; without it 10,000.
const NUMBER_VARIABLE: &str = "FORESHADOW_CYCLES";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes hours: cargo test --release -p provider --test machine_cycles -- --ignored --nocapture"]
async fn cycles_leave_nothing_behind() {
    let Some(fixture) = Fixture::new(Birth::Snapshot).await.map(Arc::new) else { return };
    let number = std::env::var(NUMBER_VARIABLE).map_or(10_000, |number| number.parse().expect("a number"));
    let provider = Arc::new(fixture.open().await);
    let ordering = Arc::clone(&fixture);
    let order = move |index| ordering.spec(&format!("cycle-{index}"), TestService::Normal);
    let count = || {
        let mut counts = descriptors();
        counts.insert("listed".to_owned(), provider.list().len());
        counts.insert("processes, groups, files".to_owned(), fixture.leftovers().len());
        counts
    };
    let is_clean = nothing_is_left(&provider, Cycles { number, at_once: 2, kept: 0 }, order, count).await;
    assert!(is_clean.expect("no step fails"), "something is left");
}
