//! Parts of the tests that cannot run on a machine, named so that `cargo xtask test` can tell.

#![expect(unreachable_pub, reason = "part of a test")]

use std::io::Write as _;

/// Where parts that cannot run are named.
const SKIPS_VARIABLE: &str = "FORESHADOW_SKIPS";

/// Notes that this part cannot run here.
pub fn skip(part: &str) {
    eprintln!("could not run: {part}");
    let Some(file) = std::env::var_os(SKIPS_VARIABLE) else { return };
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    opened.and_then(|mut file| writeln!(file, "{part}")).expect("the list can be written");
}
