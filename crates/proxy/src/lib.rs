//! The data plane: a fail-static HTTP proxy steered by whole route tables.
//!
//! It runs as a process of its own ([`run`]) and is told what to do over a Unix socket ([`control`]). It
//! knows workloads only as listen addresses with weighted backends; plans, forecasts and providers are none
//! of its business. What it promises:
//!
//! - **Fail-static**: without a control plane it keeps its last table, keeps checking health, keeps serving.
//! - **Whole tables**: a table applies completely or not at all; once it is acknowledged, no new request
//!   goes to a backend that it does not list or lists with weight 0.
//! - **No request is lost to a change**: requests in flight on a removed backend finish; requests that find
//!   no usable backend wait (bounded in time and number) and go on the moment one appears.
//! - **Everything is bounded**: connections, headers, waiting requests, retries, pooled connections, frames.

pub mod control;

mod admission;
mod attempt;
mod body;
mod cache;
mod choice;
mod connection;
mod counters;
mod director;
mod enter;
mod exchange;
mod extended;
mod forward;
mod forwarded;
#[cfg(test)]
mod fuzz;
mod gather;
mod handover;
mod headers;
mod health;
mod helm;
mod hold;
mod lease;
mod link;
mod listener;
mod multiplex;
mod observe;
mod options;
mod outliers;
mod patience;
mod pool;
mod proxy_protocol;
mod relay;
mod run;
mod server;
mod shard;
mod shedding;
mod socket;
mod speak;
mod state;
mod stream;
mod tasks;
mod tcp;
mod tls;
mod tunnel;
mod view;
mod wish;

pub use options::{Limits, ProxyOptions};
pub use run::{RunError, run};
