//! Makes, parks, promotes and stops instances.
//!
//! [`Provider`] is the face every provider shows: the process provider here, and later those for containers, virtual
//! machines and clusters. It exists apart from the planner so that the planner never learns what an instance is made
//! of; the daemon translates between both vocabularies. [`contract`] is the behaviour all of them must show, as one
//! test suite that runs against the real thing.
//!
//! [`ProcessProvider`] makes instances that are plain processes of this machine, each in a control group of its own
//! (version 1, 2 or the hybrid of both). Promises:
//! - an instance survives a killed control plane, with its log, and is found again by [`Provider::adopt`];
//! - a parked instance uses no processor time at all and answers again within a few milliseconds of a promotion;
//! - a failed start and a stop leave no process, no group and no record behind, children of the instance included.
//!
//! [`DockerProvider`] makes instances that are containers of one engine, near or far; [`VmProvider`] such that are virtual
//! machines, by QEMU; with the same promises.
//!
//! None restarts instances: they report [`ProviderEvent::Exited`] and the planner decides.

mod cgroup;
pub mod contract;
mod docker;
mod error;
mod face;
pub mod guest;
mod name;
mod perf;
pub mod probe;
mod process;
mod procfs;
mod providers;
mod spec;
mod traffic;
mod vm;

pub use cgroup::{CgroupChoice, CgroupError};
pub use docker::{
    ContainerSpec, DockerConfig, DockerProvider, Endpoint, EngineError, EngineHealth, EngineSize,
    Network as ContainerNetwork, Pull, TlsFiles,
};
pub use error::ProviderError;
pub use face::{
    EVENTS_MAX, ExitReason, InstanceInfo, Promoted, Provider, ProviderEvent, Strain, Throttling, Traffic,
    Usage,
};
pub use name::{InstanceName, NAME_LENGTH_MAX, NameError};
pub use process::{
    INSTANCES_MAX, ProcessConfig, ProcessProvider, TEMPLATE_IDLE, check_user, execute, free_address,
    hear_signals,
};
pub use providers::Providers;
pub use spec::{InstanceSpec, LOG_LIMIT_MIN, Listen, Probe, ResourceLimits};
pub use vm::{
    Acceleration, Accelerator, Birth, GuestMemory, MachineConfiguration, MachineNetwork, MachineSpec,
    QmpError, VmConfig, VmProvider,
};
