//! Whether a command can be started, without starting it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a configuration's relative names refer to.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Folder that a relative path of the configuration file starts from.
    pub current_dir: PathBuf,
    /// Folders searched for programs, as in `PATH`.
    pub search_path: OsString,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Surroundings {
        Surroundings {
            current_dir: std::env::current_dir().unwrap_or_default(),
            search_path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }

    /// The executable that `program` names, a path being relative to `base`; or why there is none.
    pub(super) fn resolve(&self, program: &str, base: &Path) -> Result<PathBuf, String> {
        if program.contains('/') {
            let path = base.join(program);
            return executable(&path).map(|()| path);
        }
        std::env::split_paths(&self.search_path)
            .map(|dir| dir.join(program))
            .find(|path| executable(path).is_ok())
            .ok_or_else(|| format!("no program `{program}` in any folder of PATH"))
    }
}

fn executable(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    if !metadata.is_file() {
        return Err(format!("`{}` is not a file", path.display()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("`{}` is not executable", path.display()));
    }
    Ok(())
}
