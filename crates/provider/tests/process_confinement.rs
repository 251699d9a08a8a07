//! What instances that are processes may be held to besides processor time and memory: another user, disks, giving memory
//! back while they are parked.

mod process;

use std::fs;
use std::time::{Duration, Instant};

use process::{Fixture, service_spec};
use provider::contract::{self, ContractFixture, TestService};
use provider::{CgroupChoice, InstanceInfo, InstanceSpec, Probe, Provider, ResourceLimits, probe};

const GRACE: Duration = Duration::from_secs(10);
const KINDS: [CgroupChoice; 3] = [CgroupChoice::V2, CgroupChoice::V1, CgroupChoice::None];

/// Not a test: what the instances run.
#[test]
#[ignore = "run by the instances"]
fn service() {
    contract::serve_if_asked();
}

async fn serves(info: &InstanceInfo) -> bool {
    probe::ask(&Probe::Http { path: "/".to_owned() }, info.addr, Duration::from_millis(500)).await.is_ok()
}

#[tokio::test]
async fn an_instance_runs_as_the_ordered_user_without_a_way_back() {
    if !rustix::process::geteuid().is_root() {
        return skips::skip("instances of another user", "only root may become somebody else");
    }
    for kind in KINDS {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        let info = provider
            .start(InstanceSpec {
                user: Some("nobody".to_owned()),
                ..service_spec("web-1", TestService::Normal)
            })
            .await
            .expect("starts");
        assert!(serves(&info).await);
        let status = fs::read_to_string(format!("/proc/{}/status", info.pid)).expect("readable");
        let line = |key: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(key));
            found.map(|values| values.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(line("Uid:").as_deref(), Some("65534 65534 65534 65534"));
        assert_eq!(line("Gid:").as_deref(), Some("65534 65534 65534 65534"));
        assert_eq!(line("Groups:").as_deref(), Some(""));
        assert_eq!(line("NoNewPrivs:").as_deref(), Some("1"));
        provider.park(&info.name).await.expect("parks");
        provider.promote(&info.name).await.expect("promotes");
        let nobody = InstanceSpec {
            user: Some("nobody here".to_owned()),
            ..service_spec("web-2", TestService::Normal)
        };
        let refused = provider.start(nobody).await.expect_err("there is no such user").to_string();
        assert!(refused.contains("nobody here"), "{refused}");
        provider.shutdown(GRACE).await.expect("stops");
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn memory_of_a_parked_instance_is_given_back_where_the_kernel_can() {
    const WRITTEN: u64 = 48 << 20;
    for kind in [CgroupChoice::V2, CgroupChoice::V1] {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        // Pages of a file, which need no swap space to go.
        let file = fixture.state_dir().join("written");
        let script =
            format!("head -c {WRITTEN} /dev/zero >{0}; sync {0}; exec \"$0\" \"$@\"", file.display());
        let mut spec = service_spec("web-1", TestService::Normal);
        let service = std::mem::take(&mut spec.command);
        spec.command = ["sh", "-c", &script].map(str::to_owned).into_iter().chain(service).collect();
        let info = provider.start(InstanceSpec { reclaims: true, ..spec }).await.expect("starts");
        let memory = async || provider.usage(&info.name).await.expect("readable").memory_bytes;
        let before = memory().await;
        if before < WRITTEN {
            skips::skip(&format!("memory taken back, {kind:?}"), "no controller counts the memory of files");
        } else {
            provider.park(&info.name).await.expect("parks");
            let deadline = Instant::now() + Duration::from_secs(10);
            while memory().await > before / 2 {
                assert!(Instant::now() < deadline, "{kind:?}: {} of {before} bytes are left", memory().await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            provider.promote(&info.name).await.expect("promotes");
            assert!(serves(&info).await);
        }
        provider.shutdown(GRACE).await.expect("stops");
    }
}

#[tokio::test]
async fn disks_are_limited_where_the_controller_exists() {
    for kind in [CgroupChoice::V2, CgroupChoice::V1] {
        let Some(fixture) = Fixture::new(kind).await else { continue };
        let provider = fixture.open().await;
        let limits = ResourceLimits { read_bytes_per_s: Some(1 << 20), ..ResourceLimits::default() };
        let spec = InstanceSpec { limits, ..service_spec("web-1", TestService::Normal) };
        let info = provider.start(spec).await.expect("starts");
        let value =
            |file: &str| fixture.groups().iter().find_map(|group| fs::read_to_string(group.join(file)).ok());
        match value("blkio.throttle.read_bps_device").or_else(|| value("io.max")) {
            Some(text)
                if fs::read_dir("/sys/block").is_ok_and(|mut disks| {
                    disks.any(|disk| disk.is_ok_and(|disk| disk.path().join("device").exists()))
                }) =>
            {
                assert!(text.contains("1048576"), "{kind:?}: {text}")
            }
            Some(_) | None => {
                skips::skip(&format!("limits of disks, {kind:?}"), "no disk, or no controller for it")
            }
        }
        provider.stop(&info.name, GRACE).await.expect("stops");
        assert_eq!(fixture.leftovers(), [""; 0], "{kind:?}");
    }
}
