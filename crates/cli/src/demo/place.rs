//! What instances of the demo are made of: what has to be there before the runs, what it puts into a configuration, and what
//! is put away afterwards.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use daemon::{Config, EngineConfig};
use provider::{ContainerNetwork, ContainerSpec, DockerConfig, DockerProvider, Endpoint};

use super::Interrupt;
use super::machines::Machines;
use super::plan::Script;
use super::root::Root;
use crate::failure::{Failure, OrFail};
use crate::output;

/// What instances are.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Processes of this machine
    #[default]
    Process,
    /// Containers of a Docker engine of this machine
    Docker,
    /// Virtual machines, by QEMU
    Vm,
}

impl Kind {
    /// The name in JSON, as on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Process => "process",
            Kind::Docker => "docker",
            Kind::Vm => "vm",
        }
    }

    /// What to call its instances.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Kind::Process => "processes",
            Kind::Docker => "containers",
            Kind::Vm => "virtual machines",
        }
    }

    /// What there is to know about how they come into being.
    pub(crate) fn birth(self) -> &'static str {
        match self {
            Kind::Process => "",
            Kind::Docker => " Each is a container of one image, in the host's network.",
            Kind::Vm => {
                " Each is restored from one snapshot of a booted machine, and only then does the service in it start."
            }
        }
    }
}

/// Where instances can be made now.
pub(crate) enum Place {
    /// There is nothing to prepare.
    Processes,
    /// An engine that has our image.
    Containers(Box<Containers>),
    /// QEMU, with a kernel and our program.
    Machines(Machines),
}

/// An engine that has our image.
pub(crate) struct Containers {
    socket: PathBuf,
    engine: DockerProvider,
    image: String,
}

impl Place {
    /// Makes what instances of this kind need, or says what is missing on this machine.
    pub(crate) async fn prepare(
        script: &Script,
        socket: &Path,
        home: Option<&Path>,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<Place, Failure> {
        match script.kind {
            Kind::Process => Ok(Place::Processes),
            Kind::Docker => Ok(Place::Containers(Box::new(Containers::prepare(socket, folder).await?))),
            Kind::Vm => Ok(Place::Machines(Machines::prepare(script, home, folder, interrupt).await?)),
        }
    }

    /// Makes the instances of the only workload what they are here.
    pub(crate) fn furnish(&self, script: &Script, config: &mut Config) -> anyhow::Result<()> {
        let web = config.workloads.first_mut().context("the demo has no workload")?;
        match self {
            Place::Processes => {
                let program = std::env::current_exe().context("cannot find out which program is running")?;
                let program = program.to_str().context("the path of this program is not valid UTF-8")?;
                web.command = service(program, script);
            }
            Place::Containers(containers) => {
                web.command = service(PROGRAM, script);
                web.container = Some(ContainerSpec {
                    // The service listens on the loopback only, and no network has to be made.
                    network: ContainerNetwork::Host,
                    ..ContainerSpec::new(&containers.image)
                });
                let endpoint = Endpoint::Unix(containers.socket.clone());
                config.server.docker = EngineConfig { endpoint, ..EngineConfig::default() };
            }
            Place::Machines(machines) => {
                (web.command, web.env) = machines.told(script);
                web.machine = Some(machines.machine());
                config.server.qemu = machines.qemu();
            }
        }
        Ok(())
    }

    /// Removes what was made for the demo.
    pub(crate) async fn put_away(self) -> anyhow::Result<()> {
        match self {
            // All that machines have is in the demo's own folder; the kernel is kept for the next time.
            Place::Processes | Place::Machines(_) => Ok(()),
            Place::Containers(containers) => {
                let removed = containers.engine.remove_image(&containers.image).await;
                removed.with_context(|| format!("the image {} is still there", containers.image))
            }
        }
    }
}

impl Containers {
    async fn prepare(socket: &Path, folder: &Path) -> Result<Containers, Failure> {
        let config = DockerConfig {
            endpoint: Endpoint::Unix(socket.to_owned()),
            ..DockerConfig::new(folder.join("image"))
        };
        let engine = DockerProvider::connect(config).await.or_usage(format!(
            "there is no Docker engine at {} for us; install and start one (Debian: `apt install docker.io`), \
             let this user use it, or name another socket with --docker",
            socket.display()
        ))?;
        let archive = Root::of_this_program(PROGRAM).and_then(|root| root.tar());
        let archive = archive.or_failed("cannot pack this program into an image")?;
        let tag = std::process::id().to_string();
        output::say(&format!(
            "making the image {REPOSITORY}:{tag} of this program and its libraries ({} MB), removed at the end",
            archive.len() / 1_000_000
        ));
        engine.import(REPOSITORY, &tag, archive).await.or_failed("cannot make the image")?;
        Ok(Containers { socket: socket.to_owned(), engine, image: format!("{REPOSITORY}:{tag}") })
    }
}

/// The command of an instance.
fn service(program: &str, script: &Script) -> Vec<String> {
    let head = [program, "sample-service", "--port={port}"].map(str::to_owned);
    head.into_iter().chain(manners(script)).collect()
}

/// How a service serves.
pub(super) fn manners(script: &Script) -> [String; 4] {
    let duration = |duration| humantime::format_duration(duration).to_string().replace(' ', "");
    [
        format!("--concurrency={}", script.slots),
        format!("--service-time={}", duration(script.service_time)),
        format!("--queue={}", script.queue),
        format!("--startup={}", duration(script.startup)),
    ]
}

/// Where this program is inside.
const PROGRAM: &str = "/foreshadow";
const REPOSITORY: &str = "foreshadow-demo";
