//! What the planner does, in sentences, in a small virtual world.

mod day;
mod lifecycle;
mod nodes;
mod operator;
mod packing;
mod profiles;
mod random;
mod renewal;
mod room;
mod scarcity;
mod sessions;
mod sizing;
mod spares;
mod warmth;
mod world;
