//! Instances that are forked from templates keep the contract too, and templates that fail cost nobody an instance.

mod process;

use std::fs;
use std::time::Duration;

use process::Fixture;
use provider::contract::{self, ContractFixture, TestService};
use provider::{CgroupChoice, InstanceSpec, ProcessProvider, Provider, ResourceLimits};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_have_the_ordered_user_and_limits() {
    if !rustix::process::geteuid().is_root() {
        return skips::skip("clones of another user", "only root may become somebody else");
    }
    for kind in [CgroupChoice::V2, CgroupChoice::V1] {
        let Some(fixture) = Templates::new(kind).await else { continue };
        let provider = fixture.open().await;
        let limits = ResourceLimits { pids: Some(64), ..ResourceLimits::of(Some(0.5), Some(256 << 20)) };
        let spec = fixture.spec("web-1", TestService::Normal);
        let spec = InstanceSpec { user: Some("nobody".to_owned()), limits, reclaims: true, ..spec };
        let info = provider.start(spec).await.expect("starts");
        let status = fs::read_to_string(format!("/proc/{}/status", info.pid)).expect("readable");
        assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", info.pid)).expect("readable");
        assert!(groups.lines().any(|line| line.ends_with("/i-web-1")), "{kind:?}: {groups}");
        assert!(!groups.contains("/i-template."), "{kind:?}: it has left its template everywhere: {groups}");
        let larger = ResourceLimits::of(Some(1.0), Some(512 << 20));
        provider.resize(&info.name, larger).await.expect("limits can be changed");
        provider.park(&info.name).await.expect("parks");
        provider.promote(&info.name).await.expect("promotes");
        provider.shutdown(Duration::from_secs(10)).await.expect("stops");
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
    }
}
