//! A cache of responses in memory (RFC 9111), for routes that want one.
//!
//! One per route, shared by all shards. What may be kept and for how long it is fresh is decided when a response comes
//! ([`policy`], over `http-cache-semantics`); what is kept, and what makes room for it, is `quick_cache`'s business ([`store`]).
//! A request looks there first ([`lookup`]); of several that miss the same, one asks a backend and the others wait for what it
//! gets ([`flight`]). A miss streams through while it is kept ([`body`]): nothing is delayed, and only what came to its end stays.

mod body;
mod counts;
mod directives;
mod flight;
#[cfg(test)]
mod fuzz;
mod heads;
mod key;
mod lookup;
mod policy;
mod reply;
mod room;
mod status;
mod store;

pub(crate) use body::{KeepingBody, StoredBody};
pub(crate) use counts::CacheCounters;
pub(crate) use lookup::Lookup;
pub(crate) use reply::Reply;
pub(crate) use store::RouteCache;
