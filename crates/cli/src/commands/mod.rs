//! One file per subcommand: its options, and what it does with them.

pub(crate) mod forecast;
pub(crate) mod load;
pub(crate) mod sample_service;
