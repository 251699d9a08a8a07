//! The real binary with real processes, a real proxy and a real browser: what must hold when things are killed.

mod end_to_end {
    mod dashboard;
    mod demo;
    #[path = "../../../provider/tests/docker/daemon.rs"]
    mod engine;
    mod events;
    mod models;
    mod survival;
    mod world;
}
