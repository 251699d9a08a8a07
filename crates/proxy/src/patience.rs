//! A limit of time for one wait after another.
//!
//! Nearly none of them comes near its limit, and to set a timer and take it back costs each a noticeable part of what it costs
//! altogether. So the timer of an earlier wait is left as it is. When it goes off and the limit has moved, it is set anew.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// The limit.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready once it is `until`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let until = tokio::time::Instant::from_std(until);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_wait_ends_at_its_own_limit() {
        let mut patience = Patience::default();
        let far = Instant::now() + Duration::from_secs(600);
        assert!(patience.poll(&mut Context::from_waker(Waker::noop()), far).is_pending());
        for limit in [20, 60, 20].map(Duration::from_millis) {
            let until = Instant::now() + limit;
            let waiting = poll_fn(|cx| patience.poll(cx, until));
            let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
            assert!(waited.is_ok() && Instant::now() >= until);
        }
    }
}
