//! Puts route tables into force, one at a time, always the newest.
//!
//! A table that arrives while another is on its way replaces any that still waits: nothing waits for a timer, and no
//! table is sent that is already outdated. Orders that a newer table overtook are answered together with it.

use std::sync::{Arc, Mutex, PoisonError};

use planner::{ActionId, WorkloadId};
use proxy::control::{Route, RouteTable, Router as _};
use tokio::sync::{Notify, mpsc, watch};

use crate::data_plane::{DataPlane, DataPlaneError};
use crate::error::chain;

/// An order that a table carries out.
pub(crate) type Order = (ActionId, WorkloadId);

/// What became of a table.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) orders: Vec<Order>,
    /// The generation in force, or why it is not.
    pub(crate) result: Result<u64, String>,
}

/// Where the owner of the table leaves it.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    slot: Arc<Slot>,
    generation: watch::Receiver<u64>,
}

#[derive(Debug, Default)]
struct Slot {
    next: Mutex<Option<Next>>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Next {
    routes: Vec<Route>,
    orders: Vec<Order>,
}

impl Router {
    /// Starts the writer. `generation` is that of the table in force.
    pub(crate) fn start(plane: DataPlane, generation: u64, results: mpsc::Sender<Applied>) -> Router {
        let slot = Arc::new(Slot::default());
        let (sender, receiver) = watch::channel(generation);
        tokio::spawn(write_tables(plane, slot.clone(), sender, results));
        Router { slot, generation: receiver }
    }

    /// Asks for this table, and for an answer to `order` once it or a newer one is in force.
    pub(crate) fn want(&self, routes: Vec<Route>, order: Option<Order>) {
        let mut next = self.slot.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next.get_or_insert_default();
        next.routes = routes;
        next.orders.extend(order);
        self.slot.filled.notify_one();
    }

    /// The generation in force, as far as it is known.
    pub(crate) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }
}

async fn write_tables(
    plane: DataPlane,
    slot: Arc<Slot>,
    generation: watch::Sender<u64>,
    results: mpsc::Sender<Applied>,
) {
    loop {
        slot.filled.notified().await;
        let next = slot.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Next { routes, orders }) = next else { continue };
        let before = *generation.borrow();
        let result = set_table(&plane, before, routes).await.map_err(|error| chain(&error));
        if let Ok(applied) = result {
            generation.send_replace(applied);
        }
        if results.send(Applied { orders, result }).await.is_err() {
            return;
        }
    }
}

/// Applies a table above `before`, or above whatever another control plane has put into force since.
pub(crate) async fn set_table(
    plane: &DataPlane,
    before: u64,
    routes: Vec<Route>,
) -> Result<u64, DataPlaneError> {
    let table = RouteTable { generation: before + 1, routes };
    let result = plane.set_table(table.clone()).await;
    match result.as_ref().err().and_then(DataPlane::newer) {
        Some(newer) => plane.set_table(RouteTable { generation: newer + 1, ..table }).await,
        None => result,
    }
}
