//! What instances write, and what they are told.

use std::collections::BTreeSet;

use super::{
    ContractFixture, GRACE, PATIENCE, SERVICE_KEY, TestService, assert_nothing_is_left, get, start, until,
};
use crate::face::Provider;
use crate::spec::InstanceSpec;

/// The end of the output can be read, during the life of the instance and after it, and never is longer than ordered.
pub async fn output_is_readable_and_bounded<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let log_limit = 64 << 10;
    let info =
        start(&provider, InstanceSpec { log_limit, ..fixture.spec("web-1", TestService::Normal) }).await;
    for _ in 0..3 {
        get(info.addr, "/write?20000", PATIENCE).await.expect("writes");
    }
    let logs = async || provider.logs(&info.name, 10 * log_limit).await.expect("readable");
    // Where an engine stands in between, it may have a moment's work with it.
    let end = "numbered line 19998\nnumbered line 19999\n";
    until("the end is readable", async || logs().await.ends_with(end)).await;
    until("the output is bounded", async || logs().await.len() as u64 <= log_limit).await;
    assert!(logs().await.ends_with(end));
    get(info.addr, "/write?3", PATIENCE).await.expect("still writes");
    until("the new lines are readable", async || logs().await.ends_with("numbered line 2\n")).await;
    let tail = provider.logs(&info.name, 36).await.expect("readable");
    assert_eq!(tail, "numbered line 1\nnumbered line 2\n", "whole lines only");
    provider.stop(&info.name, GRACE).await.expect("stops");
    assert!(logs().await.ends_with("numbered line 2\n"), "readable after the end");
    assert_nothing_is_left(fixture).await;
}

/// An instance sees what it was ordered to see and a few harmless things, not the environment of the control plane.
pub async fn only_the_ordered_environment_is_passed_on<F: ContractFixture>(fixture: &F) {
    let provider = fixture.open().await;
    let mut spec = fixture.spec("web-1", TestService::Normal);
    spec.env.insert("ORDERED".to_owned(), "{name} on {port}".to_owned());
    let ordered: BTreeSet<String> = spec.env.keys().cloned().collect();
    let info = start(&provider, spec).await;
    let environment = get(info.addr, "/environment", PATIENCE).await.expect("serves");
    assert!(environment.contains(&format!("ORDERED=web-1 on {}\n", info.addr.port())), "{environment}");
    assert!(environment.contains(SERVICE_KEY));
    let harmless = ["PATH", "HOME", "LANG", "TZ", "PORT", "HOST", "HOSTNAME", "FORESHADOW_INSTANCE"];
    for key in environment.lines().filter_map(|line| Some(line.split_once('=')?.0)) {
        let is_given = harmless.contains(&key) || fixture.given_variables().contains(&key);
        assert!(is_given || ordered.contains(key), "{key} was passed on");
    }
    provider.stop(&info.name, GRACE).await.expect("stops");
    assert_nothing_is_left(fixture).await;
}
