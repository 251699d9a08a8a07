//! A file system with nothing in it but this program and the libraries that it is linked with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Files by their path inside, without the leading slash.
pub(crate) struct Root {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Root {
    /// This program at `path`, and its libraries where they are on this machine.
    ///
    /// # Errors
    /// When it cannot be found out which they are, or one cannot be read.
    pub(crate) fn of_this_program(path: &str) -> anyhow::Result<Root> {
        let program = std::env::current_exe().context("cannot find out which program is running")?;
        // It fails for a program without any, and says nothing on its standard output then.
        let linked = Command::new("ldd").arg(&program).output();
        let linked = linked.context("cannot run `ldd`, which tells the libraries (Debian: libc-bin)")?;
        let linked = String::from_utf8(linked.stdout).context("the path of a library is not valid UTF-8")?;
        let libraries = linked.split_ascii_whitespace().filter(|word| word.starts_with('/'));
        let sources =
            libraries.map(|library| (library, Path::new(library))).chain([(path, program.as_path())]);
        let read = |(inside, from): (&str, &Path)| {
            let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            Ok((inside.trim_start_matches('/').to_owned(), data))
        };
        Ok(Root { files: sources.map(read).collect::<anyhow::Result<_>>()? })
    }

    /// All of it in the "ustar" format of POSIX.
    ///
    /// # Errors
    /// When a path has no room in the format.
    pub(crate) fn tar(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = Vec::new();
        for folder in self.folders() {
            add(&mut archive, &format!("{folder}/"), FOLDER, &[])?;
        }
        for (name, data) in &self.files {
            add(&mut archive, name, FILE, data)?;
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        Ok(archive)
    }

    /// Those above files, each after its own parent.
    fn folders(&self) -> BTreeSet<&str> {
        let places = self.files.keys().flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at]));
        places.collect()
    }
}

fn add(archive: &mut Vec<u8>, name: &str, kind: u8, data: &[u8]) -> anyhow::Result<()> {
    anyhow::ensure!(name.len() < NAME_LENGTH, "the path {name} is too long");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    put(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

const BLOCK: usize = 512;
const NAME_LENGTH: usize = 100;
const FILE: u8 = b'0';
const FOLDER: u8 = b'5';

#[cfg(test)]
mod tests {
    use super::*;

    /// Read back by the tar of this machine.
    #[test]
    fn the_archive_unpacks_to_a_program_that_runs_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("root.tar");
        fs::write(&archive, Root::of_this_program("/bin/program").unwrap().tar().unwrap()).unwrap();
        let status = Command::new("tar").arg("-C").arg(dir.path()).arg("-xf").arg(&archive).status();
        assert!(status.unwrap().success());
        let program = dir.path().join("bin/program");
        assert_eq!(fs::read(&program).unwrap(), fs::read(std::env::current_exe().unwrap()).unwrap());
        let listed = Command::new(program).arg("--list").output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        assert!(dir.path().join("lib").is_dir() || dir.path().join("lib64").is_dir());
    }
}
