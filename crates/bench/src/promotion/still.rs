//! What holds an instance still, and lets it go on, without foreshadow.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;
use tokio::time::sleep;

use super::bed::{SETTLE, Survivor};
use super::container::Engine;
use super::machine::Control;
use super::process::Freezer;
use super::request::Waiting;

/// See the module.
pub(super) enum Still {
    Process(Freezer),
    Container(Engine, String),
    Machine(Control),
}

impl Still {
    pub(super) fn of_process(survivor: &Survivor) -> Result<Still> {
        Freezer::of(survivor.pid).map(Still::Process)
    }

    pub(super) async fn of_machine(survivor: &Survivor) -> Result<Still> {
        Control::of(survivor).await.map(Still::Machine)
    }

    async fn set(&mut self, is_frozen: bool) -> Result<()> {
        match self {
            Still::Process(freezer) => freezer.set(is_frozen),
            Still::Container(engine, id) => engine.set(id, is_frozen).await,
            Still::Machine(control) => control.set(is_frozen).await,
        }
    }

    /// From the thaw to the first byte of a request that waited at the instance, in milliseconds.
    pub(super) async fn thaws(&mut self, addr: SocketAddr, times: usize) -> Result<Vec<f64>> {
        let mut measured = Vec::with_capacity(times);
        for _ in 0..times {
            self.set(true).await?;
            sleep(SETTLE).await;
            let waiting = Waiting::at(addr).await?;
            sleep(SETTLE).await;
            let begin = Instant::now();
            self.set(false).await?;
            measured.push(waiting.answered().await?.duration_since(begin).as_secs_f64() * 1e3);
        }
        Ok(measured)
    }
}
