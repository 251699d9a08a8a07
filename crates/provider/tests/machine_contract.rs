//! The machine provider keeps the contract, with machines that are booted and with machines restored from a snapshot.
//!
//! The machines are real: Debian's kernel with the test service as its only program, emulated, so this takes minutes.

mod machine;

use machine::Fixture;
use provider::Birth;

mod booted {
    use super::*;
    provider::contract_tests!(Fixture::new(Birth::Boot).await);
}

mod restored {
    use super::*;
    provider::contract_tests!(Fixture::new(Birth::Snapshot).await);
}
