//! `container`: instances are containers of an image.

use provider::{ContainerNetwork, ContainerSpec, Pull};

use super::entry::Entry;
use super::write::quoted;

/// Reads it.
pub(super) fn container(e: &Entry<'_>) -> Option<ContainerSpec> {
    let mut s = e.section("{ image = \"registry.example/web:1\" }")?;
    let image = s.required("image", "\"registry.example/web:1\"", |e| e.text().map(str::to_owned));
    let mut spec = ContainerSpec::new(image.clone().unwrap_or_default());
    s.read("pull", &mut spec.pull, |e| e.word(&[("never", Pull::Never), ("missing", Pull::Missing)]));
    s.read("network", &mut spec.network, |e| {
        Some(match e.text()? {
            "bridge" => ContainerNetwork::Bridge,
            "host" => ContainerNetwork::Host,
            name => ContainerNetwork::Named(name.to_owned()),
        })
    });
    s.read("port", &mut spec.port, port);
    s.read("host_port", &mut spec.host_port, |e| port(e).map(Some));
    s.read("init", &mut spec.init, Entry::flag);
    s.read("health_check", &mut spec.health_check, Entry::flag);
    s.finish();
    image.map(|_| spec)
}

/// A port that can be listened at.
pub(super) fn port(e: &Entry<'_>) -> Option<u16> {
    e.count(1..=u32::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
}

/// As it is written in a file.
pub(super) fn write(spec: &ContainerSpec) -> String {
    let pull = match spec.pull {
        Pull::Never => "never",
        Pull::Missing => "missing",
    };
    let network = match &spec.network {
        ContainerNetwork::Bridge => "bridge",
        ContainerNetwork::Host => "host",
        ContainerNetwork::Named(name) => name,
    };
    let mut parts = vec![
        format!("image = {}", quoted(&spec.image)),
        format!("pull = {}", quoted(pull)),
        format!("network = {}", quoted(network)),
        format!("port = {}", spec.port),
        format!("init = {}", spec.init),
        format!("health_check = {}", spec.health_check),
    ];
    parts.extend(spec.host_port.map(|port| format!("host_port = {port}")));
    format!("{{ {} }}", parts.join(", "))
}
