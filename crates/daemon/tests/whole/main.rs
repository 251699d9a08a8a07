//! The daemon with real instances and a real proxy, every one a process of its own.

mod admission;
mod api;
mod cache;
#[path = "../../../proxy/tests/support/tls.rs"]
mod certificates;
mod explain;
mod haproxy;
mod inputs;
mod knowledge;
mod life;
mod models;
mod observe;
mod protocols;
mod raise;
mod sessions;
mod shift;
mod sizes;
mod support;
mod watch;
