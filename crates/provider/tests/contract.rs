//! The process provider keeps the contract, with every kind of control group this machine has.
//!
//! Instances are this very test program, run again as the test service.

mod process;

use process::Fixture;
use provider::{CgroupChoice, contract};

/// Not a test: what the instances run.
#[test]
#[ignore = "run by the instances"]
fn service() {
    contract::serve_if_asked();
}

mod version_2 {
    use super::*;
    provider::contract_tests!(Fixture::new(CgroupChoice::V2).await);
}

mod version_1 {
    use super::*;
    provider::contract_tests!(Fixture::new(CgroupChoice::V1).await);
}

mod signals {
    use super::*;
    provider::contract_tests!(Fixture::new(CgroupChoice::None).await);
}
