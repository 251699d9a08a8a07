//! Turns an order into what `execve` takes: a program that exists, its arguments, its environment.
//!
//! The program is looked up here, before anything is made, so that a typing error is reported with the name of the
//! command instead of as a child that failed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::error::ProviderError;
use crate::spec::InstanceSpec;

/// Finds the program of an order.
pub(super) fn resolve(
    spec: &InstanceSpec,
    base: &BTreeMap<String, String>,
) -> Result<PathBuf, ProviderError> {
    if let Some(dir) = &spec.working_dir {
        let usable = std::fs::metadata(dir).and_then(|facts| {
            if facts.is_dir() {
                Ok(access(dir, Access::EXEC_OK)?)
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        });
        usable.map_err(|source| ProviderError::WorkingDir {
            name: spec.name.clone(),
            path: dir.clone(),
            source,
        })?;
    }
    let command = spec.command[0].replace("{name}", spec.name.as_str());
    let (places, searched) = candidates(spec, base, &command);
    let mut denied = None;
    for place in places {
        match std::fs::metadata(&place) {
            Ok(facts) if facts.is_file() && access(&place, Access::EXEC_OK).is_ok() => return Ok(place),
            Ok(_) => denied = denied.or(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = denied.or(Some(place)),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(path) => ProviderError::CommandDenied { name: spec.name.clone(), path },
        None => ProviderError::CommandNotFound { name: spec.name.clone(), command, searched },
    })
}

/// Where the command may be, and the same in words.
fn candidates(spec: &InstanceSpec, base: &BTreeMap<String, String>, command: &str) -> (Vec<PathBuf>, String) {
    if command.contains('/') {
        // As the kernel sees it after the change of the folder.
        let place = spec.working_dir.as_deref().unwrap_or(Path::new("")).join(command);
        let searched = format!("there is no file {}", place.display());
        return (vec![place], searched);
    }
    let path = spec.env.get("PATH").or_else(|| base.get("PATH")).map_or(PATH_DEFAULT, String::as_str);
    let places =
        path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(command)).collect();
    (places, format!("not in PATH={path}"))
}

/// The arguments, with the command as it was written first.
pub(crate) fn arguments(spec: &InstanceSpec, ports: &[u16]) -> Vec<String> {
    spec.command.iter().map(|part| replaced(part, spec, ports)).collect()
}

/// The whole environment: the base, what we tell, and what the order adds, the later winning. LISTEN_FDS and LISTEN_PID
/// are not here: they are not known before the fork.
pub(super) fn environment(
    spec: &InstanceSpec,
    base: &BTreeMap<String, String>,
    mark: (&str, String),
    ports: &[u16],
) -> BTreeMap<String, String> {
    let mut environment = base.clone();
    environment.entry("PATH".to_owned()).or_insert_with(|| PATH_DEFAULT.to_owned());
    let mut environment = told(spec, environment, ports);
    // Not to be overruled: without it orphans are not recognised.
    environment.insert(mark.0.to_owned(), mark.1);
    environment
}

/// What is told to an instance and what its order adds, over a base.
pub(crate) fn told(
    spec: &InstanceSpec,
    mut environment: BTreeMap<String, String>,
    ports: &[u16],
) -> BTreeMap<String, String> {
    environment.insert("PORT".to_owned(), ports.first().map(u16::to_string).unwrap_or_default());
    if ports.len() > 1 {
        environment.insert("PORTS".to_owned(), list(ports));
    }
    environment.extend(spec.env.iter().map(|(key, value)| (key.clone(), replaced(value, spec, ports))));
    environment
}

fn replaced(text: &str, spec: &InstanceSpec, ports: &[u16]) -> String {
    let first = ports.first().map(u16::to_string).unwrap_or_default();
    text.replace("{port}", &first).replace("{ports}", &list(ports)).replace("{name}", spec.name.as_str())
}

/// With commas.
pub(crate) fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Where commands are looked for when there is no PATH.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &[&str]) -> InstanceSpec {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        InstanceSpec::new("web-7".parse().expect("a name"), "web", command)
    }

    #[test]
    fn a_command_is_found_in_the_path_of_the_order() {
        let found = resolve(&spec(&["sh"]), &BTreeMap::new()).expect("every machine has it");
        assert!(found.is_absolute() && found.ends_with("sh"));
        let elsewhere = InstanceSpec {
            env: [("PATH".to_owned(), "/nowhere:relative".to_owned())].into(),
            ..spec(&["sh"])
        };
        let error = resolve(&elsewhere, &BTreeMap::new()).expect_err("not there").to_string();
        assert!(error.contains("\"sh\"") && error.contains("PATH=/nowhere:relative"), "{error}");
    }

    #[test]
    fn a_relative_command_counts_from_the_working_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let order = InstanceSpec { working_dir: Some(dir.path().to_owned()), ..spec(&["./run"]) };
        assert!(matches!(resolve(&order, &BTreeMap::new()), Err(ProviderError::CommandNotFound { .. })));
        std::fs::write(dir.path().join("run"), "#!/bin/sh\n").expect("written");
        assert!(matches!(resolve(&order, &BTreeMap::new()), Err(ProviderError::CommandDenied { .. })));
        let missing = InstanceSpec { working_dir: Some(dir.path().join("no")), ..spec(&["sh"]) };
        assert!(matches!(resolve(&missing, &BTreeMap::new()), Err(ProviderError::WorkingDir { .. })));
    }

    #[test]
    fn port_and_name_are_replaced_and_only_told_variables_are_passed_on() {
        let mut order = spec(&["serve", "--listen=127.0.0.1:{port}", "{name}-{name}"]);
        order.env = [("WHO", "{name}@{port}"), ("LANG", "C"), ("FORESHADOW_INSTANCE", "forged")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        assert_eq!(arguments(&order, &[81]), ["serve", "--listen=127.0.0.1:81", "web-7-web-7"]);
        let base =
            [("LANG", "de"), ("TZ", "UTC")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let environment = environment(&order, &base, ("FORESHADOW_INSTANCE", "id/web-7".to_owned()), &[81]);
        let pairs: Vec<String> = environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            pairs,
            [
                "FORESHADOW_INSTANCE=id/web-7",
                "LANG=C",
                "PATH=/usr/local/bin:/usr/bin:/bin",
                "PORT=81",
                "TZ=UTC",
                "WHO=web-7@81"
            ]
        );
        let several = spec(&["serve", "{port}", "{ports}"]);
        assert_eq!(arguments(&several, &[81, 90]), ["serve", "81", "81,90"]);
        let mark = ("FORESHADOW_INSTANCE", String::new());
        assert_eq!(super::environment(&several, &base, mark, &[81, 90])["PORTS"], "81,90");
    }
}
