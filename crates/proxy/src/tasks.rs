//! The tasks of one HTTP/2 connection to a backend.
//!
//! What hyper hands back of a connection only passes requests on; the task that reads and writes is one of those it spawns,
//! and goes on until the backend has taken the goodbye. A backend that takes nothing would keep it for ever.

use std::cell::OnceCell;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// Spawns them onto the shard's thread, and can end the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionTasks {
    /// The first that hyper spawns is the one that reads and writes.
    driver: Rc<OnceCell<AbortHandle>>,
}

impl ConnectionTasks {
    /// Closes the connection, whatever is under way on it.
    pub(crate) fn cut(&self) {
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }
}

impl<F> hyper::rt::Executor<F> for ConnectionTasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        self.driver.get_or_init(|| task.abort_handle());
    }
}

/// Cuts the connection when dropped.
#[derive(Debug)]
pub(crate) struct CutOnDrop(pub(crate) ConnectionTasks);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}
