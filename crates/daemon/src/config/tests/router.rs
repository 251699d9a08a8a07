//! `[server] router` as a user meets it.

use std::path::Path;

use super::{parse, workload};
use crate::config::{Config, RouterConfig};

fn with_router(router: &str, more: &str) -> String {
    format!("[server]\nrouter = {router}\n{}", workload(more))
}

const HAPROXY: &str = "{ haproxy = { socket = \"run/admin.sock\" } }";

#[test]
fn a_haproxy_is_named_by_its_socket_and_written_again() {
    assert_eq!(parse(&workload("")).expect("valid").server.router, RouterConfig::Builtin);
    let builtin = parse(&with_router("\"builtin\"", "")).expect("valid");
    assert_eq!(builtin.server.router, RouterConfig::Builtin);
    let config: Config = parse(&with_router(HAPROXY, "protocol = \"tcp\"")).expect("valid");
    let socket = Path::new("/etc/foreshadow/run/admin.sock").to_owned();
    assert_eq!(config.server.router, RouterConfig::Haproxy { socket });
    assert_eq!(parse(&config.to_toml()).expect("valid").server, config.server);
}

#[test]
fn mistakes_are_named_with_their_keys() {
    let mistakes =
        |router: &str, more: &str| parse(&with_router(router, more)).expect_err(router).to_string();
    assert!(mistakes("\"nginx\"", "").contains("\"nginx\" is not a router"));
    assert!(mistakes("{ haproxy = { path = \"x\" } }", "").contains("server.router.haproxy.path"));
    assert!(mistakes("{ haproxy = {} }", "").contains("server.router.haproxy.socket"));
    let both = mistakes(HAPROXY, "retries = { share = 0.5 }\nbody_max = \"1MiB\"");
    for key in ["workload.web.retries", "workload.web.body_max"] {
        assert!(both.contains(key), "{both}");
    }
}
