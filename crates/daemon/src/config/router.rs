//! `router = "builtin"` or `{ haproxy = { socket = PATH } }`: who forwards the requests.

use std::path::PathBuf;

use proxy::control::{Balancing, Protocols, Timeouts};

use super::entry::Entry;
use super::model::WorkloadConfig;
use super::read::Workloads;
use super::section::Context;

/// Who forwards the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouterConfig {
    /// `"builtin"`: the proxy that the daemon starts.
    #[default]
    Builtin,
    /// `{ haproxy = { socket = "/run/haproxy/admin.sock" } }`: a HAProxy of yours, with a backend of each workload's name; see
    /// `docs/haproxy.md`. The path is relative to the configuration file.
    Haproxy {
        /// `socket`: what its `stats socket` line names, with `level admin`.
        socket: PathBuf,
    },
}

/// Reads it.
pub(super) fn router(e: &Entry<'_>) -> Option<RouterConfig> {
    if let Some(word) = e.value.as_str() {
        return match word {
            "builtin" => Some(RouterConfig::Builtin),
            other => {
                e.refuse(format!("{other:?} is not a router"), format!("write \"builtin\" or {EXAMPLE}"))
            }
        };
    }
    let mut s = e.section(EXAMPLE)?;
    let haproxy = s.required("haproxy", "{ socket = \"/run/haproxy/admin.sock\" }", |e| {
        let mut s = e.section("{ socket = \"/run/haproxy/admin.sock\" }")?;
        let socket = s.required("socket", "\"/run/haproxy/admin.sock\"", Entry::path);
        s.finish();
        socket
    });
    s.finish();
    Some(RouterConfig::Haproxy { socket: haproxy? })
}

/// What only the built-in proxy can do.
pub(super) fn check(context: &Context<'_>, router: &RouterConfig, workloads: &Workloads) {
    if *router == RouterConfig::Builtin {
        return;
    }
    for (line, workload) in workloads {
        let Some(workload) = workload else { continue };
        for key in unknown_to_haproxy(workload) {
            let path = format!("workload.{}.{key}", workload.name);
            let hint = "leave it out, and say it in haproxy.cfg where HAProxy can do it";
            context.report(*line, &path, "is for the built-in router, and HAProxy is used", hint);
        }
    }
}

fn unknown_to_haproxy(w: &WorkloadConfig) -> Vec<&'static str> {
    let (p, b) = (&w.protocols.protocols, &w.balancing);
    let (usual_p, usual_b) = (Protocols::default(), Balancing::default());
    let set = [
        ("admission", w.admission.is_some()),
        ("shedding", w.shedding.is_some()),
        ("balance", (&b.policy, b.slow_start) != (&usual_b.policy, usual_b.slow_start)),
        ("sticky", b.sticky.is_some()),
        ("outliers", b.outliers != usual_b.outliers),
        ("retries", b.retries != usual_b.retries),
        ("tls", p.tls.is_some()),
        ("upstream", p.upstream != usual_p.upstream),
        ("upgrades", p.upgrades != usual_p.upgrades),
        ("proxy_protocol", p.proxy_protocol != usual_p.proxy_protocol),
        ("forwarded", p.forwarded != usual_p.forwarded),
        ("tunnel_idle", p.tunnel_idle != usual_p.tunnel_idle),
        ("body_max", p.body_bytes_max != usual_p.body_bytes_max),
        ("body_rate_min", p.body_rate_min != usual_p.body_rate_min),
        ("body_grace", p.body_grace != usual_p.body_grace),
        ("timeouts", w.protocols.timeouts != Timeouts::default()),
    ];
    set.into_iter().filter_map(|(key, set)| set.then_some(key)).collect()
}

/// The value as it is written in TOML.
pub(super) fn write(router: &RouterConfig, quoted: impl Fn(&str) -> String) -> String {
    match router {
        RouterConfig::Builtin => quoted("builtin"),
        RouterConfig::Haproxy { socket } => {
            format!("{{ haproxy = {{ socket = {} }} }}", quoted(&socket.display().to_string()))
        }
    }
}

const EXAMPLE: &str = "{ haproxy = { socket = \"/run/haproxy/admin.sock\" } }";
