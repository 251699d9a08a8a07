//! The planner on virtual time: world model, rivals, scores, fault injection.
