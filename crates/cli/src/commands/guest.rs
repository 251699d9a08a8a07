//! `foreshadow guest`: what this program does as the first process of a virtual machine of the demo: it makes the machine usable
//! and runs itself as the sample service.

use std::process::Command;

use provider::guest::be_first_process;

use crate::failure::{Failure, OrFail};

/// The environment variable with the arguments of the sample service, separated by blanks.
pub(crate) const SERVICE_KEY: &str = "FORESHADOW_SERVICE";
/// Where this program is in the machine.
pub(crate) const PROGRAM: &str = "/init";

/// Never returns unless the machine cannot be made usable.
pub(crate) fn run() -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err(Failure::usage("only for the first process of a virtual machine"));
    }
    let service = be_first_process(|environment| {
        let told = |key: &str| environment.get(key).map(String::as_str).unwrap_or_default();
        let mut command = Command::new(PROGRAM);
        // QEMU's network comes in by an address that is not the loopback's.
        command.args(["sample-service", "--saved", "--host=0.0.0.0", "--port", told("PORT")]);
        command.args(told(SERVICE_KEY).split_ascii_whitespace());
        command
    });
    service.or_failed("the machine cannot be made usable")
}
