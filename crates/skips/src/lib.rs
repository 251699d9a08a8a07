//! Parts of the tests that cannot run on a machine, named so that the summary of `cargo xtask test` can tell. For tests only.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Names the file to which each such part appends a line; without it they are told on the standard error only.
pub const VARIABLE: &str = "FORESHADOW_SKIPS";

/// Notes that this part of the tests cannot run here, and why.
///
/// # Panics
/// When the list cannot be written: a part must not be left out in silence.
pub fn skip(part: &str, why: &str) {
    let why = why.lines().next().unwrap_or_default();
    eprintln!("could not run: {part}: {why}");
    if let Some(list) = std::env::var_os(VARIABLE) {
        note(Path::new(&list), &format!("{part}: {why}\n"))
            .expect("the list of skipped parts can be written");
    }
}

/// Several tests may lack the same thing, which is told once.
fn note(list: &Path, line: &str) -> std::io::Result<()> {
    let known = std::fs::read_to_string(list).unwrap_or_default();
    if known.lines().any(|known| known == line.trim_end()) {
        return Ok(());
    }
    OpenOptions::new().append(true).create(true).open(list)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::note;

    #[test]
    fn each_line_is_told_once() {
        let list = std::env::temp_dir().join(format!("skips-{}", std::process::id()));
        for line in ["an a: b\n", "a: b\n", "a: b\n"] {
            note(&list, line).expect("written");
        }
        let told = std::fs::read_to_string(&list).expect("there");
        std::fs::remove_file(&list).expect("ours");
        assert_eq!(told, "an a: b\na: b\n");
    }
}
