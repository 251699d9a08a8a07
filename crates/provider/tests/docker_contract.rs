//! The Docker provider keeps the contract, on a real engine that the tests start, parking by the engine and by the freezer.

mod docker;

use docker::Fixture;
use provider::contract;

/// Not a test: what the containers run.
#[test]
#[ignore = "run by the containers"]
fn service() {
    contract::serve_if_asked();
}

mod by_the_engine {
    use super::*;
    provider::contract_tests!(Fixture::new(false).await);
}

mod by_the_freezer {
    use super::*;
    provider::contract_tests!(Fixture::new(true).await);
}
