//! Instances that are forked from templates keep the contract too, and templates that fail cost nobody an instance.

mod process;

use process::Fixture;
use provider::contract::{self, ContractFixture, TestService};
use provider::{CgroupChoice, InstanceSpec, ProcessProvider};

/// Not a test: what the instances run.
#[test]
#[ignore = "run by the instances"]
fn service() {
    let word = std::env::var(contract::SERVICE_KEY);
    let is_start = word.is_ok_and(|word| word != "child") && std::env::var("FORESHADOW_TEMPLATE").is_err();
    assert!(!is_start, "an ordinary start instead of a clone");
    contract::serve_if_asked();
}

/// Orders instances from templates, which stay between orders and so are nothing left over: that they go with their provider
/// is what the inner fixture looks for in the end.
struct Templates(Fixture);

impl Templates {
    async fn new(cgroups: CgroupChoice) -> Option<Templates> {
        Fixture::new(cgroups).await.map(Templates)
    }
}

impl ContractFixture for Templates {
    type Provider = ProcessProvider;

    async fn open(&self) -> ProcessProvider {
        self.0.open().await
    }

    fn spec(&self, name: &str, service: TestService) -> InstanceSpec {
        InstanceSpec { template: true, ..self.0.spec(name, service) }
    }

    fn missing_command(&self, name: &str) -> (InstanceSpec, String) {
        self.0.missing_command(name)
    }

    fn leftovers(&self) -> Vec<String> {
        self.0.leftovers().into_iter().filter(|left| !left.contains("/i-template.")).collect()
    }

    fn passes_sockets(&self) -> bool {
        self.0.passes_sockets()
    }
}

mod version_2 {
    use super::*;
    provider::contract_tests!(Templates::new(CgroupChoice::V2).await);
}

mod version_1 {
    use super::*;
    provider::contract_tests!(Templates::new(CgroupChoice::V1).await);
}
