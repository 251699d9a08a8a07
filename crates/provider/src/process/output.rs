//! The output of instances: one file each, of which the end is kept.
//!
//! Files, not pipes: when the control plane dies nobody reads a pipe any more, and a writing instance would hang or be
//! killed. The instance holds the file open for appending; a file that has grown too long loses its beginning, where
//! the file system can by cutting out whole blocks, which loses nothing else, and otherwise by copying the end to the
//! beginning, which may lose lines written in between. While no control plane runs, nothing is cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{FallocateFlags, fallocate};

use super::state::LOG_ENDING;

/// Opens an empty output file for a new instance.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Cuts the beginning off when the file is longer than `limit` bytes, leaving at least half of `limit`.
pub(crate) fn bound(path: &Path, limit: u64) -> io::Result<()> {
    // No instance, no file: its end may have come first.
    let length = match fs::metadata(path) {
        Ok(facts) => facts.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if length <= limit {
        return Ok(());
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let excess = length - limit / 2;
    let block = file.metadata()?.blksize().max(1);
    let whole_blocks = excess - excess % block;
    if whole_blocks > 0 && length - whole_blocks <= limit {
        let cut = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, whole_blocks);
        if cut.is_ok() {
            return Ok(());
        }
    }
    copy_end(path, file, limit / 2)
}

fn copy_end(path: &Path, mut file: File, keep: u64) -> io::Result<()> {
    let mut end = Vec::new();
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(keep)))?;
    (&file).take(keep).read_to_end(&mut end)?;
    file.set_len(0)?;
    OpenOptions::new().append(true).open(path)?.write_all(&end)
}

/// The last `bytes` of the file at most, without a line cut in two at the beginning.
pub(crate) fn tail(path: &Path, bytes: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    let begin = length.saturating_sub(bytes);
    // One byte more tells whether the first line is whole.
    file.seek(SeekFrom::Start(begin.saturating_sub(1)))?;
    let mut end = Vec::new();
    file.take(bytes.saturating_add(1)).read_to_end(&mut end)?;
    let text = if begin == 0 {
        &end[..end.len().min(usize::try_from(bytes).unwrap_or(usize::MAX))]
    } else {
        match end.iter().position(|byte| *byte == b'\n') {
            Some(line_end) if line_end + 1 < end.len() => &end[line_end + 1..],
            Some(_) | None => &end[1.min(end.len())..],
        }
    };
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// The last lines, for an error message.
pub(crate) fn quote(path: &Path) -> String {
    let text = tail(path, QUOTE_BYTES_MAX).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTE_LINES_MAX)..].join("\n")
}

/// Deletes the oldest files of instances that are no more, except the newest [`KEPT_MAX`].
pub(crate) fn prune(logs: &Path, is_known: impl Fn(&str) -> bool) {
    let mut old: Vec<(SystemTime, std::path::PathBuf)> = fs::read_dir(logs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str().and_then(|name| name.strip_suffix(LOG_ENDING)).is_some_and(|name| !is_known(name))
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.sort();
    for (_, path) in &old[..old.len().saturating_sub(KEPT_MAX)] {
        let _ = fs::remove_file(path);
    }
}

/// How many output files of instances that are no more are kept.
pub(crate) const KEPT_MAX: usize = 64;
/// How much output is quoted in an error.
const QUOTE_BYTES_MAX: u64 = 4096;
const QUOTE_LINES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 64 << 10;

    fn fill(path: &Path) -> File {
        let mut log = create(path).expect("made");
        for line in 0..20_000 {
            writeln!(log, "line {line}").expect("written");
        }
        log
    }

    fn assert_only_the_end_is_kept(path: &Path, mut log: File) {
        let length = fs::metadata(path).expect("exists").len();
        assert!((LIMIT / 2..=LIMIT).contains(&length), "{length}");
        writeln!(log, "written afterwards").expect("the writer goes on");
        let text = tail(path, LIMIT).expect("read");
        assert!(
            text.ends_with("line 19998\nline 19999\nwritten afterwards\n"),
            "{:?}",
            &text[text.len() - 80..]
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1..lines.len() - 1].iter().all(|line| line.starts_with("line ")));
    }

    #[test]
    fn the_end_of_a_long_output_is_kept_and_the_writer_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        let log = fill(&path);
        bound(&path, LIMIT).expect("cut");
        assert_only_the_end_is_kept(&path, log);
    }

    #[test]
    fn the_end_is_also_kept_where_blocks_cannot_be_cut_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        let log = fill(&path);
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        copy_end(&path, file, LIMIT / 2).expect("copied");
        assert_only_the_end_is_kept(&path, log);
    }

    #[test]
    fn a_short_output_is_left_alone_and_a_missing_one_is_no_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        bound(&path, LIMIT).expect("nothing to do");
        write!(create(&path).expect("made"), "short").expect("written");
        bound(&path, LIMIT).expect("nothing to do");
        assert_eq!(tail(&path, 1000).expect("read"), "short");
    }

    #[test]
    fn a_tail_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        write!(create(&path).expect("made"), "one\ntwo\nthree\n").expect("written");
        assert_eq!(tail(&path, 8).expect("read"), "three\n");
        assert_eq!(tail(&path, 10).expect("read"), "two\nthree\n");
        assert_eq!(tail(&path, 14).expect("read"), "one\ntwo\nthree\n");
        assert_eq!(tail(&path, 3).expect("read"), "ee\n", "a line longer than asked for is shown in part");
        assert_eq!(quote(&path), "one\ntwo\nthree");
    }

    #[test]
    fn only_old_outputs_of_unknown_instances_are_deleted() {
        let dir = tempfile::tempdir().expect("a folder");
        for index in 0..KEPT_MAX + 3 {
            create(&dir.path().join(format!("web-{index}.log"))).expect("made");
        }
        prune(dir.path(), |name| name == "web-0");
        assert!(dir.path().join("web-0.log").exists());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), KEPT_MAX + 1);
    }
}
