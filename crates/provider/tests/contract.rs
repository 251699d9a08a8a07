//! The process provider keeps the contract, with every kind of control group this machine has, and behind the face of several
//! providers.
//!
//! Instances are this very test program, run again as the test service.

mod process;

use std::collections::BTreeMap;

use process::Fixture;
use provider::contract::{ContractFixture, TestService};
use provider::{CgroupChoice, InstanceSpec, Providers, contract};

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

/// The process provider among others, of which there are none.
struct Among(Fixture);

impl ContractFixture for Among {
    type Provider = Providers;

    async fn open(&self) -> Providers {
        Providers::new(self.0.open().await, None, BTreeMap::new())
    }

    fn spec(&self, name: &str, service: TestService) -> InstanceSpec {
        self.0.spec(name, service)
    }

    fn missing_command(&self, name: &str) -> (InstanceSpec, String) {
        self.0.missing_command(name)
    }

    fn leftovers(&self) -> Vec<String> {
        self.0.leftovers()
    }

    fn passes_sockets(&self) -> bool {
        true
    }
}

mod among_others {
    use super::*;
    provider::contract_tests!(Fixture::new(CgroupChoice::Best).await.map(Among));
}
