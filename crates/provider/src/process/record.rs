//! The record of an instance: what a later control plane needs to find it again.
//!
//! One small file per instance, `key=value` lines, replaced as a whole by a rename; only its last line, that the start was
//! completed, is written in place. It is not synced to the disk: a
//! record has to survive the death of the control plane, and after the death of the machine there is no instance to
//! find (the boot id tells). Whether the instance is parked is not written down but read from the freezer, so the two
//! can never disagree.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cgroup::Group;
use crate::name::InstanceName;
use crate::procfs::Stat;
use crate::spec::Probe;

/// What is known of an instance for its whole life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: InstanceName,
    pub(super) workload: String,
    pub(super) revision: String,
    pub(crate) pid: u32,
    /// With the pid and the boot, the process's name for ever.
    pub(super) start_ticks: u64,
    pub(super) boot_id: String,
    pub(crate) addr: SocketAddr,
    /// Addresses of its processes after the first.
    pub(super) further: Vec<SocketAddr>,
    pub(super) started_at_millis: u64,
    /// Its start was completed.
    pub(super) ready: bool,
    pub(crate) probe: Probe,
    pub(crate) probe_timeout: Duration,
    pub(super) log_limit: u64,
    pub(crate) reclaims: bool,
    pub(crate) group: Group,
}

impl Record {
    pub(super) fn started_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.started_at_millis)
    }

    /// Whether its process still lives: the same pid can mean another process later.
    pub(super) fn is_alive(&self, boot_id: &str) -> bool {
        self.boot_id == boot_id
            && Stat::of(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.is_alive())
    }

    /// Writes the record as a whole or not at all.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_file_name(format!("{NEW_PREFIX}{}", self.name));
        fs::write(&new, self.to_text())?;
        fs::rename(&new, path)
    }

    /// Writes that the start was completed, into the file as [`Record::write`] left it. Every start waits for it, and one
    /// write in place takes a fifth of the time of a new file.
    pub(super) fn complete(&self, path: &Path) -> io::Result<()> {
        let end = self.to_text().len() - NOT_READY.len();
        File::options().write(true).open(path)?.write_all_at(READY.as_bytes(), end as u64)
    }

    /// Reads a record; `InvalidData` when the file is not one.
    pub(super) fn read(path: &Path) -> io::Result<Record> {
        let text = fs::read_to_string(path)?;
        Record::parse(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a record of an instance"))
    }

    fn to_text(&self) -> String {
        let mut lines = vec![
            FIRST_LINE.to_owned(),
            format!("name={}", self.name),
            format!("workload={}", self.workload),
            format!("revision={}", self.revision),
            format!("pid={}", self.pid),
            format!("start_ticks={}", self.start_ticks),
            format!("boot_id={}", self.boot_id),
            format!("addr={}", self.addr),
            format!("started_at_millis={}", self.started_at_millis),
            match &self.probe {
                Probe::Http { path } => format!("probe=http {path}"),
                Probe::Http2 { path } => format!("probe=http2 {path}"),
                Probe::Tcp => "probe=tcp".to_owned(),
            },
            format!("probe_timeout_millis={}", self.probe_timeout.as_millis()),
            format!("log_limit={}", self.log_limit),
        ];
        lines.extend(self.reclaims.then(|| "reclaims=true".to_owned()));
        lines.extend(self.further.iter().map(|addr| format!("further={addr}")));
        lines.extend(self.group.to_lines().iter().map(|line| format!("group={line}")));
        lines.push(if self.ready { READY } else { NOT_READY }.to_owned());
        lines.join("\n")
    }

    fn parse(text: &str) -> Option<Record> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| pairs.iter().find(|(found, _)| *found == key).map(|(_, value)| *value);
        let (pid, start_ticks) = (value("pid")?.parse().ok()?, value("start_ticks")?.parse().ok()?);
        let group = pairs.iter().filter(|(key, _)| *key == "group").map(|(_, value)| *value);
        let name: InstanceName = value("name")?.parse().ok()?;
        Some(Record {
            workload: value("workload")?.to_owned(),
            // Not there in the records of earlier control planes.
            revision: value("revision").unwrap_or_default().to_owned(),
            pid,
            start_ticks,
            boot_id: value("boot_id")?.to_owned(),
            addr: value("addr")?.parse().ok()?,
            further: pairs
                .iter()
                .filter(|(key, _)| *key == "further")
                .map(|(_, value)| value.parse().ok())
                .collect::<Option<_>>()?,
            started_at_millis: value("started_at_millis")?.parse().ok()?,
            ready: value("ready")?.parse().ok()?,
            probe: match value("probe")?.split_once(' ') {
                Some(("http", path)) => Probe::Http { path: path.to_owned() },
                Some(("http2", path)) => Probe::Http2 { path: path.to_owned() },
                None if value("probe") == Some("tcp") => Probe::Tcp,
                Some(_) | None => return None,
            },
            probe_timeout: Duration::from_millis(value("probe_timeout_millis")?.parse().ok()?),
            log_limit: value("log_limit")?.parse().ok()?,
            reclaims: value("reclaims").is_some(),
            group: Group::from_lines(&name, group)?.led_by(pid, start_ticks),
            name,
        })
    }
}

/// The last line, of one length whether the start was completed or not.
const READY: &str = "ready=true\n\n";
const NOT_READY: &str = "ready=false\n";
/// Names the format and its version.
const FIRST_LINE: &str = "foreshadow instance 1";
/// Begins the name of a record being written. No instance name begins with a dot.
pub(super) const NEW_PREFIX: &str = ".new-";

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let group =
            ["v2:/sys/fs/cgroup/foreshadow/x/i-web-1", "memory:/sys/fs/cgroup/memory/foreshadow/x/i-web-1"];
        Record {
            name: "web-1".parse().expect("a name"),
            workload: "web = shop".to_owned(),
            revision: "5e7=".to_owned(),
            pid: 42,
            start_ticks: 4711,
            boot_id: "b".to_owned(),
            addr: "127.0.0.1:8080".parse().expect("an address"),
            further: Vec::new(),
            started_at_millis: 1_700_000_000_123,
            ready: true,
            probe: Probe::Http { path: "/health?a=b".to_owned() },
            probe_timeout: Duration::from_millis(1500),
            log_limit: 1 << 20,
            reclaims: false,
            group: Group::from_lines(&"web-1".parse().expect("a name"), group.into_iter()).expect("a group"),
        }
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("web-1");
        let further = ["127.0.0.1:8081", "127.0.0.1:8082"].map(|addr| addr.parse().expect("an address"));
        let several = Record { further: further.to_vec(), reclaims: true, ..record() };
        let http2 = Record { probe: Probe::Http2 { path: "/a b".to_owned() }, ..record() };
        for record in [several, http2, record(), Record { probe: Probe::Tcp, ready: false, ..record() }] {
            record.write(&path).expect("written");
            assert_eq!(Record::read(&path).expect("read"), record);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "no half-written file stays");
    }

    #[test]
    fn a_completed_start_is_written_into_the_record() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("web-1");
        let starting = Record { ready: false, ..record() };
        assert!(starting.complete(&path).is_err() && !path.exists(), "no record is made of what has ended");
        starting.write(&path).expect("written");
        for _ in 0..2 {
            starting.complete(&path).expect("written");
            assert_eq!(Record::read(&path).expect("read"), record());
        }
    }

    #[test]
    fn a_record_without_one_of_its_lines_is_no_record() {
        let text = record().to_text();
        assert!(Record::parse(&text).is_some());
        let optional = |line: &&str| line.starts_with("group=memory") || line.starts_with("revision=");
        for missing in text.lines().filter(|line| !optional(line)) {
            assert!(Record::parse(&text.replacen(&format!("{missing}\n"), "", 1)).is_none(), "{missing}");
        }
        for foreign in ["", "foreshadow instance 2\nname=x\n", "\u{0}\u{0}"] {
            assert!(Record::parse(foreign).is_none());
        }
    }

    #[test]
    fn another_boot_or_another_start_time_is_another_process() {
        let own = std::process::id();
        let start_ticks = Stat::of(own).expect("we exist").start_ticks;
        let record = Record { pid: own, start_ticks, ..record() };
        assert!(record.is_alive("b"));
        assert!(!record.is_alive("c"));
        assert!(!Record { start_ticks: start_ticks + 1, ..record }.is_alive("b"));
    }
}
