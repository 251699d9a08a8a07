//! The daemon with real instances and a real proxy, every one a process of its own.

mod api;
mod life;
mod support;
