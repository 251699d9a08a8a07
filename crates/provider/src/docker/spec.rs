//! What a container is to be, beside what every instance is ordered to be.

/// The part of an order that only containers have. [`ContainerSpec::new`] fills in sane values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The node whose engine is to make it; none: the first. For [`Providers`](crate::Providers), which have several.
    pub node: Option<String>,
    /// The image by reference, for example `registry.example/web:1.2` or with `@sha256:...`.
    pub image: String,
    /// What to do about an image that is not on the engine. Default [`Pull::Never`]: a start must not wait for a
    /// registry; pull beforehand with [`DockerProvider::pull`](crate::DockerProvider::pull).
    pub pull: Pull,
    /// How it is reached. Default [`Network::Bridge`].
    pub network: Network,
    /// The first port it serves on inside a network of its own, told as `{port}` and PORT; further processes have the
    /// next ones. Default 8080. In the host's network a free port is chosen instead.
    pub port: u16,
    /// Publish the first port on exactly this port of the engine's machine, so that there can be one such instance.
    /// Default: the engine chooses.
    pub host_port: Option<u16>,
    /// Run an init process that passes signals on and reaps orphans. Default true: without one, a program without a
    /// handler does not hear the request to end, and every stop takes its whole grace.
    pub init: bool,
    /// It is ready only when the image's own HEALTHCHECK says so, too. Default false, and then the engine is told not to
    /// run that check: it would cost processor time in every instance.
    pub health_check: bool,
}

/// What to do about an image that may not be on the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pull {
    /// The start fails with the name of the image.
    #[default]
    Never,
    /// Pull it when it is missing.
    Missing,
}

/// How a container is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// The engine's default network, with published ports.
    #[default]
    Bridge,
    /// A network of this name, made by somebody else, with published ports.
    Named(String),
    /// The network of the engine's machine itself: fastest to start, no isolation.
    Host,
}

impl ContainerSpec {
    /// An order with the default values for this image.
    #[must_use]
    pub fn new(image: impl Into<String>) -> ContainerSpec {
        ContainerSpec {
            node: None,
            image: image.into(),
            pull: Pull::default(),
            network: Network::default(),
            port: 8080,
            host_port: None,
            init: true,
            health_check: false,
        }
    }

    pub(crate) fn problem(&self, processes: u32) -> Option<String> {
        if self.image.is_empty() || self.image.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Some(format!("{:?} cannot be the name of an image", self.image));
        }
        if let Network::Named(name) = &self.network
            && (name.is_empty()
                || name.contains(['/', '\0', ':'])
                || matches!(name.as_str(), "host" | "none"))
        {
            return Some(format!("{name:?} cannot be the name of a network of containers"));
        }
        let last = u64::from(self.port) + u64::from(processes.max(1)) - 1;
        if self.port == 0 || last > u64::from(u16::MAX) {
            return Some("the port in the container must be from 1 to 65535".to_owned());
        }
        if self.host_port == Some(0) || (self.host_port.is_some() && self.network == Network::Host) {
            return Some("a fixed port of the host needs a network of its own, and is not 0".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_would_refuse_or_misread_is_refused_first() {
        let good = ContainerSpec::new("web:1");
        assert_eq!(good.problem(1), None);
        for (bad, words) in [
            (ContainerSpec::new(""), "image"),
            (ContainerSpec::new("a b"), "image"),
            (ContainerSpec { network: Network::Named("container:x".into()), ..good.clone() }, "network"),
            (ContainerSpec { port: 0, ..good.clone() }, "port"),
            (ContainerSpec { host_port: Some(80), network: Network::Host, ..good.clone() }, "fixed port"),
        ] {
            assert!(bad.problem(1).is_some_and(|text| text.contains(words)), "{bad:?}");
        }
        assert!(ContainerSpec { port: u16::MAX, ..good }.problem(2).is_some(), "no port for the second");
    }
}
