//! What the planner does, in sentences, in a small virtual world.

mod lifecycle;
mod world;
