//! What the machines run that the tests of the machine provider boot: the test service, and nothing else.

use std::process::Command;

fn main() {
    if std::process::id() == 1 {
        let ended = provider::guest::be_first_process(|_| Command::new("/init"));
        // The host sees the panic of the kernel that follows.
        panic!("the machine cannot run: {ended:?}");
    }
    provider::contract::serve_if_asked();
}
