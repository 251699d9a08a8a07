//! Pauses shorter than those of the runtime, whose clock ticks in milliseconds and makes two of one.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// A timer of the kernel for one wait after the other.
#[derive(Debug)]
pub(crate) struct Pauses(Option<AsyncFd<OwnedFd>>);

impl Pauses {
    /// Where there is no descriptor left for it, pauses are those of the runtime.
    pub(crate) fn new() -> Pauses {
        Pauses(timer().ok())
    }

    /// Waits so long. Nothing of it is left when the future is dropped.
    pub(crate) async fn wait(&self, pause: Duration) {
        match &self.0 {
            Some(timer) if pause < EXACT_BELOW && rings(timer, pause).await.is_ok() => {}
            _ => sleep(pause).await,
        }
    }
}

fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    // SAFETY: an owned descriptor stays open and the same as long as the value lives.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
}

async fn rings(timer: &AsyncFd<OwnedFd>, pause: Duration) -> io::Result<()> {
    // Of zero, it would never ring.
    let once = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().max(1).into() };
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let order = Itimerspec { it_interval: never, it_value: once };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &order)?;
    let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut [0; 8])?);
    timer.async_io(Interest::READABLE, read).await.map(drop)
}

/// A longer pause may as well be a millisecond longer.
const EXACT_BELOW: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test]
    async fn short_pauses_are_short_and_none_is_cut_short() {
        let pauses = Pauses::new();
        let mut shortest = Duration::MAX;
        for _ in 0..50 {
            let begin = Instant::now();
            pauses.wait(Duration::from_micros(100)).await;
            shortest = shortest.min(begin.elapsed());
        }
        assert!((Duration::from_micros(100)..Duration::from_millis(1)).contains(&shortest), "{shortest:?}");
        timeout(Duration::from_micros(100), pauses.wait(Duration::from_millis(9)))
            .await
            .expect_err("given up");
        let begin = Instant::now();
        pauses.wait(Duration::from_millis(9)).await;
        assert!(begin.elapsed() >= Duration::from_millis(9));
    }
}
