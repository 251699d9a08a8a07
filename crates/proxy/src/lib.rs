//! The data plane: a fail-static HTTP proxy steered by whole route tables.
