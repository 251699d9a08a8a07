//! The daemon with real instances and a real proxy, every one a process of its own.

mod admission;
mod api;
mod cache;
#[path = "../../../proxy/tests/support/tls.rs"]
mod certificates;
#[path = "../../../provider/tests/docker/daemon.rs"]
mod engine;
mod explain;
#[path = "../../../provider/tests/machine/guest.rs"]
mod guest;
mod haproxy;
mod hosts;
mod inputs;
mod kinds;
mod knowledge;
mod life;
mod metric_forecast;
mod models;
mod nodes;
mod observe;
mod profiles;
mod protocols;
mod pushing;
mod raise;
mod registry;
mod rollout;
mod sessions;
mod shift;
mod sizes;
mod support;
mod vertical;
mod watch;

/// Not a test: what containers run.
#[test]
#[ignore = "run by containers"]
fn service() {
    provider::contract::serve_if_asked();
}
