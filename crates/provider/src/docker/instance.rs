//! One container that is an instance.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::cgroup::Group;
use crate::face::{ExitReason, InstanceInfo};
use crate::name::InstanceName;
use crate::probe::LastAnswer;
use crate::spec::Probe;

/// One container that is an instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) facts: Facts,
    /// Known once it runs.
    place: OnceLock<Place>,
    life: Mutex<Life>,
    parked: AtomicU8,
    pub(super) last_answer: LastAnswer,
    ended: watch::Sender<Option<ExitReason>>,
    oom_kills: AtomicU64,
}

/// What is known from the order, and written on the container's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: InstanceName,
    /// The engine's identifier of the container.
    pub(super) id: String,
    pub(super) workload: String,
    pub(super) revision: String,
    pub(super) probe: Probe,
    pub(super) probe_timeout: Duration,
    pub(super) health_check: bool,
    /// Its memory is given back while it is parked.
    pub(super) reclaims: bool,
    pub(super) started_at: SystemTime,
    pub(super) log_limit: u64,
}

/// Where it runs.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) pid: u32,
    pub(super) addr: SocketAddr,
    pub(super) further: Vec<SocketAddr>,
    /// Its own control group, where we can see it.
    pub(super) group: Option<Group>,
    /// The signal that asks it to end.
    pub(super) stop_signal: String,
}

/// How an instance is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Parked {
    No = 0,
    ByEngine = 1,
    ByFile = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Starting,
    /// The start came to nothing; what there is of it is cleared away.
    Failed,
    Ready,
    /// It was ready. Its end is wanted, or has been noticed; somebody clears it away.
    Ending,
}

impl Instance {
    pub(super) fn new(facts: Facts) -> Arc<Instance> {
        Arc::new(Instance {
            facts,
            place: OnceLock::new(),
            life: Mutex::new(Life::Starting),
            parked: AtomicU8::new(Parked::No as u8),
            last_answer: LastAnswer::default(),
            ended: watch::Sender::new(None),
            oom_kills: AtomicU64::new(0),
        })
    }

    pub(super) fn set_place(&self, place: Place) {
        let _ = self.place.set(place);
    }

    pub(super) fn place(&self) -> Option<&Place> {
        self.place.get()
    }

    /// None until it runs.
    pub(super) fn info(&self) -> Option<InstanceInfo> {
        let place = self.place()?;
        Some(InstanceInfo {
            name: self.facts.name.clone(),
            workload: self.facts.workload.clone(),
            revision: self.facts.revision.clone(),
            pid: place.pid,
            addr: place.addr,
            further: place.further.clone(),
            parked: self.parked() != Parked::No,
            started_at: self.facts.started_at,
            ready: matches!(*self.life(), Life::Ready | Life::Ending),
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.life() == Life::Ready
    }

    /// The start is complete; false if it has ended meanwhile.
    pub(super) fn set_ready(&self) -> bool {
        let mut life = self.life();
        let alive = *life == Life::Starting && self.ended.borrow().is_none();
        if alive {
            *life = Life::Ready;
        }
        alive
    }

    /// Says that its end is wanted.
    pub(super) fn want_end(&self) {
        let mut life = self.life();
        *life = if matches!(*life, Life::Starting | Life::Failed) { Life::Failed } else { Life::Ending };
    }

    /// It has ended. True if nobody wanted that or knows of it yet: the caller is to clear it away and to report it.
    pub(super) fn note_end(&self, reason: ExitReason) -> bool {
        let mut life = self.life();
        // The first word is the best one.
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(reason);
            }
            first
        });
        let unasked = *life == Life::Ready;
        if unasked {
            *life = Life::Ending;
        }
        unasked
    }

    pub(super) fn reason(&self) -> Option<ExitReason> {
        *self.ended.borrow()
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> ExitReason {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(ExitReason::Unknown),
            Err(_) => ExitReason::Unknown,
        }
    }

    pub(super) fn parked(&self) -> Parked {
        match self.parked.load(Ordering::Relaxed) {
            0 => Parked::No,
            1 => Parked::ByEngine,
            _ => Parked::ByFile,
        }
    }

    pub(super) fn set_parked(&self, parked: Parked) {
        self.parked.store(parked as u8, Ordering::Relaxed);
        if parked != Parked::No {
            self.last_answer.forget();
        }
    }

    /// The engine has told of a process killed for lack of memory.
    pub(super) fn count_oom_kill(&self) {
        self.oom_kills.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::InstanceSpec;

    fn instance() -> Arc<Instance> {
        let spec = InstanceSpec::new(InstanceName::new("web-1").expect("a name"), "web", Vec::new());
        let instance = Instance::new(Facts {
            name: spec.name,
            id: "1".to_owned(),
            workload: spec.workload,
            revision: spec.revision,
            probe: spec.probe,
            probe_timeout: spec.probe_timeout,
            health_check: false,
            reclaims: false,
            started_at: SystemTime::UNIX_EPOCH,
            log_limit: spec.log_limit,
        });
        instance.set_place(Place {
            pid: 1,
            addr: "127.0.0.1:1".parse().expect("literal"),
            further: Vec::new(),
            group: None,
            stop_signal: String::new(),
        });
        instance
    }

    #[test]
    fn a_failed_start_was_never_ready_and_a_stopped_instance_was() {
        let is_ready = |instance: &Instance| instance.info().expect("it has a place").ready;
        let [failed, stopped] = [instance(), instance()];
        assert!(!is_ready(&failed));
        failed.want_end();
        failed.want_end();
        assert!(!is_ready(&failed) && !failed.set_ready() && !failed.note_end(ExitReason::Lost));
        assert!(stopped.set_ready());
        stopped.want_end();
        assert!(is_ready(&stopped) && !stopped.note_end(ExitReason::Lost));
    }
}
