//! What processes read, write, receive and send, as far as Linux tells.
//!
//! Disks are counted by process (`/proc/<pid>/io`: what really went to or came from storage, the page cache left out) and
//! by version 2 control groups that have the io controller. Network bytes are counted by network interface only, so they
//! can be told apart just where an instance has a network namespace of its own. Nothing here is an error: what cannot
//! be read is not known.

use std::fs;

use crate::face::Traffic;

/// What the processes have done to disks; `None` when that of no process is known.
pub(crate) fn disk_of(pids: &[u32]) -> Option<Traffic> {
    let of = |pid: &u32| io_lines(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?);
    pids.iter().filter_map(of).reduce(sum)
}

/// What went through the network namespace of a process, if it is not ours.
pub(crate) fn network_of(pid: u32) -> Option<Traffic> {
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
    let (its, ours) = (namespace(&pid.to_string())?, namespace("self")?);
    if its == ours {
        return None;
    }
    net_dev(&fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?)
}

/// `/proc/<pid>/io`.
fn io_lines(text: &str) -> Option<Traffic> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Traffic { bytes_in: field("read_bytes:")?, bytes_out: field("write_bytes:")? })
}

/// `io.stat` of a version 2 group: a line for each device. A group without any line has done nothing yet.
pub(crate) fn io_stat(text: &str) -> Option<Traffic> {
    let mut total = Traffic::default();
    for line in text.lines() {
        let field = |name: &str| {
            line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
        };
        let device = Traffic { bytes_in: field("rbytes=")?, bytes_out: field("wbytes=")? };
        total = sum(total, device);
    }
    Some(total)
}

/// `/proc/<pid>/net/dev`: two lines of header, then a line for each interface. The loopback is no network.
fn net_dev(text: &str) -> Option<Traffic> {
    let mut total = Traffic::default();
    for line in text.lines().skip(2) {
        let (interface, counts) = line.split_once(':')?;
        let counts: Vec<&str> = counts.split_ascii_whitespace().collect();
        if interface.trim() == "lo" {
            continue;
        }
        let number = |field: usize| counts.get(field)?.parse().ok();
        total = sum(total, Traffic { bytes_in: number(0)?, bytes_out: number(8)? });
    }
    Some(total)
}

fn sum(a: Traffic, b: Traffic) -> Traffic {
    Traffic {
        bytes_in: a.bytes_in.saturating_add(b.bytes_in),
        bytes_out: a.bytes_out.saturating_add(b.bytes_out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_went_to_storage_are_read() {
        let text = "rchar: 1000\nwchar: 2000\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\n\
                    cancelled_write_bytes: 0\n";
        assert_eq!(io_lines(text), Some(Traffic { bytes_in: 4096, bytes_out: 8192 }));
        assert_eq!(io_lines("rchar: 1000\n"), None);
    }

    #[test]
    fn all_devices_of_a_group_are_added_up() {
        let text =
            "8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=2\n";
        assert_eq!(io_stat(text), Some(Traffic { bytes_in: 101, bytes_out: 202 }));
        assert_eq!(io_stat(""), Some(Traffic::default()));
        assert_eq!(io_stat("8:0 rios=1\n"), None);
    }

    #[test]
    fn the_loopback_is_left_out() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
                    lo: 5555 1 0 0 0 0 0 0 5555 1 0 0 0 0 0 0\n  eth0: 70 1 0 0 0 0 0 0 90 1 0 0 0 0 0 0\n";
        assert_eq!(net_dev(text), Some(Traffic { bytes_in: 70, bytes_out: 90 }));
        assert_eq!(net_dev("a\nb\nnonsense\n"), None);
    }

    #[test]
    fn our_own_disk_traffic_is_known_and_our_own_network_is_not_an_instances() {
        let own = std::process::id();
        // Counting by process can be compiled out of a kernel.
        if std::path::Path::new("/proc/self/io").exists() {
            assert!(disk_of(&[own]).is_some());
        }
        assert_eq!(network_of(own), None);
        assert_eq!((disk_of(&[]), disk_of(&[u32::MAX]), network_of(u32::MAX)), (None, None, None));
    }
}
