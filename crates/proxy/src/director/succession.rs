//! The director's part in a hot restart, on either side: see [`crate::handover`].

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::Director;
use crate::control::{FrameError, Refusal};
use crate::handover::{Estate, Outline, Predecessor, Report, Sockets};
use crate::shard::Command;

impl Director {
    /// Has these sockets to go on with.
    pub(crate) fn inherit(&mut self, sockets: Sockets, predecessor: Predecessor) {
        self.inherited = sockets;
        self.predecessor = Some(predecessor);
    }

    /// The predecessor's table is only known by this.
    pub(crate) fn set_outline(&mut self, estate: &Estate) {
        self.outline = Some(estate.outline());
    }

    /// Backends that the predecessor leaves out are left out until they prove to be well.
    pub(super) fn inherit_health(&self) {
        let Some(past) = self.predecessor.as_ref().and_then(|predecessor| predecessor.past().stats()) else {
            return;
        };
        let elapsed = self.process.elapsed(Instant::now());
        for (workload, route) in &self.routes {
            let Some(past) = past.workload(workload) else { continue };
            for backend in &route.backends {
                let known = past.backends.iter().find(|b| (b.id, b.addr) == (backend.id, backend.addr));
                let Some(known) = known.filter(|known| known.routed) else { continue };
                backend.set_healthy(known.healthy);
                if known.ejected {
                    backend.eject(elapsed);
                }
            }
        }
    }

    /// Says that this proxy serves, and waits until all is its own.
    ///
    /// # Errors
    /// Why the predecessor goes on instead.
    pub(crate) async fn settle(&mut self, drain: Duration) -> Result<(), String> {
        let Some(predecessor) = &mut self.predecessor else { return Ok(()) };
        predecessor.settle(drain).await?;
        predecessor.follow(&self.table).await;
        Ok(())
    }

    /// What a successor needs, with the listening sockets in their order.
    ///
    /// # Errors
    /// When there are no descriptors left, or a shard does not answer.
    pub(crate) async fn estate(&mut self) -> Result<(Estate, Report, Vec<OwnedFd>), FrameError> {
        let failed = |error: Refusal| FrameError::Message(error.to_string());
        let lent = self.ask_shards(|lent| Command::Lend { lent }).await.map_err(failed)?;
        let mut listening: Vec<(SocketAddr, OwnedFd)> = Vec::new();
        for sockets in lent {
            listening.extend(sockets?);
        }
        let (addresses, files) = listening.into_iter().unzip();
        Ok((Estate::new(&self.table, addresses)?, self.report().await, files))
    }

    pub(crate) async fn report(&mut self) -> Report {
        Report::new(&self.stats().await)
    }

    /// Accepts nothing more: a successor does. When this returns, the number of connections only falls.
    pub(crate) async fn give_up(&mut self) {
        self.is_draining = true;
        // A dead shard has nothing to give up; its death is noticed elsewhere.
        let _ = self.ask_shards(|done| Command::GiveUp { done }).await;
    }

    /// Sends what is still open to no other backends than the successor's.
    pub(crate) async fn follow(&mut self, routes: &[Outline]) {
        let mut table = self.table.clone();
        table.generation += 1;
        for route in &mut table.routes {
            let found = routes.iter().find(|outline| outline.workload == route.workload);
            route.backends = found.map(Outline::backends).unwrap_or_default();
        }
        // No address is new, and no certificate, so nothing can be refused.
        if let Err(refusal) = self.put(table).await {
            tracing::warn!(%refusal, "the successor's backends cannot be followed");
        }
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.follow(&self.table).await;
        }
    }

    /// Asks a predecessor how far it is.
    pub(crate) async fn refresh_predecessor(&mut self) {
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.refresh().await;
        }
    }

    /// Has a predecessor end within `deadline`, too.
    pub(crate) async fn end_predecessor(&mut self, deadline: Duration) {
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.end(deadline).await;
        }
    }
}
