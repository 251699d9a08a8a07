//! An engine that is lost: whether its instances can still be heard, and letting go of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::instance::{Instance, Parked};
use super::table::Table;
use crate::face::{ExitReason, ProviderEvent};
use crate::name::InstanceName;
use crate::probe::ask;
use crate::spec::Probe;

/// Whether one of the instances answers.
pub(super) async fn is_heard(table: &Table, parked: bool, patience: Duration) -> bool {
    let instances = table.instances();
    let asked = instances.iter().filter(|one| one.is_ready() && (parked || one.parked() == Parked::No));
    let mut answers: FuturesUnordered<_> = asked.take(ASKED_MAX).map(|one| answers(one, patience)).collect();
    while let Some(answers) = answers.next().await {
        if answers {
            return true;
        }
    }
    false
}

async fn answers(instance: &Instance, patience: Duration) -> bool {
    let Some(place) = instance.place() else { return false };
    let probe = if instance.parked() == Parked::No { &instance.facts.probe } else { &Probe::Tcp };
    ask(probe, place.addr, patience).await.is_ok()
}

/// Gives up all instances.
pub(super) fn give_up(table: &Table) -> Vec<InstanceName> {
    // First, so that nothing of them is taken for nobody's when the engine is back.
    table.knows_all.store(false, Ordering::Relaxed);
    let mut given_up = Vec::new();
    for instance in table.instances() {
        let name = instance.facts.name.clone();
        let unasked = instance.note_end(ExitReason::Lost);
        // Also one that is being stopped: if that fails now, nobody would know of it.
        if instance.info().is_some_and(|info| info.ready) {
            table.let_go(&instance);
            given_up.push(name.clone());
        }
        if unasked {
            table.report(ProviderEvent::Exited { name, reason: ExitReason::Lost });
        }
    }
    // After that, so that starts which end by it know that there is nobody to ask for anything.
    for name in table.names() {
        table.call_off(&name);
    }
    given_up
}

/// One that answers is enough; of very many, not all are asked.
const ASKED_MAX: usize = 64;
