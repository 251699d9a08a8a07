//! One file per subcommand: its options, and what it does with them.

pub(crate) mod endpoints;
pub(crate) mod evaluate;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod forecast;
pub(crate) mod guest;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod overrides;
mod own_model;
pub(crate) mod proxy;
pub(crate) mod replay;
pub(crate) mod requests;
pub(crate) mod run;
pub(crate) mod sample_service;
pub(crate) mod sessions;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod tether;

mod cold_file;
mod known;
mod laid;
mod remote;
