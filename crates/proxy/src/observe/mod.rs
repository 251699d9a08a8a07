//! What is told of requests where a route asks for it: counts by endpoint, an access log, trace context.
//!
//! A request that is looked at has a [`Watch`], which takes notes and accounts for them when the request is over. Requests of
//! other routes have none, and cost nothing. The log is written by a thread of its own, beside the traffic.

mod endpoint;
mod file;
mod line;
mod log;
mod observer;
pub(crate) mod trace;
mod watch;

pub(crate) use log::LogWriter;
pub(crate) use observer::RouteObserver;
pub(crate) use watch::{End, Watch};
