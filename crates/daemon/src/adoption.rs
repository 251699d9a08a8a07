//! Taking over what an earlier daemon left: its instances, its route table, its numbers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use history::Store;
use planner::{Event, InstanceId, NodeId, Planner};
use provider::InstanceInfo;
use proxy::control::{Refusal, Router as _};

use crate::config::Config;
use crate::control_loop::{NEXT_INSTANCE_KEY, Workload};
use crate::data_plane::DataPlane;
use crate::error::DaemonError;
use crate::instances::{Place, id_of};
use crate::knowledge::Knowledge;
use crate::recorder::clock;
use crate::router::set_table;
use crate::{learn, policy, routes};

/// Pieces of a daemon while it is being built.
pub(crate) struct Adoption {
    pub(crate) planner: Planner,
    pub(crate) workloads: Vec<Workload>,
    /// What the planner is told, with the workload it concerns.
    pub(crate) adopted: Vec<(usize, Event)>,
    /// Left over and of no use.
    pub(crate) unwanted: Vec<InstanceInfo>,
    /// Smallest number that no instance of this state folder has had.
    pub(crate) next_instance: u64,
}

/// Instances of one workload: where each is, whether it is parked, and on which node.
type Found = BTreeMap<InstanceId, (Place, bool, Option<NodeId>)>;

impl Adoption {
    /// Sorts what was found, each with the node whose engine has it, into workloads, and makes a planner that has learned.
    pub(crate) fn new(
        config: &Config,
        store: &Store,
        seed: u64,
        learned: Vec<learn::Learned>,
        known: Vec<Knowledge>,
        found: Vec<(Option<String>, InstanceInfo)>,
    ) -> Result<Adoption, DaemonError> {
        let next_known = store.get(NEXT_INSTANCE_KEY).map_err(DaemonError::History)?;
        let mut next_instance = next_known
            .and_then(|value| String::from_utf8(value).ok()?.parse().ok())
            .unwrap_or(FIRST_INSTANCE);
        let mut places: Vec<Found> = vec![Found::new(); config.workloads.len()];
        let mut unwanted = Vec::new();
        for (node, info) in found {
            // What is no container runs on the one node that there can be then.
            let node = node.filter(|node| !node.is_empty()).map(NodeId::from);
            let node = node.or_else(|| config.nodes.first().map(|first| first.name.as_str().into()));
            let owner = config.workloads.iter().position(|w| w.name == info.workload);
            let id = owner.and_then(|owner| Some((owner, id_of(&config.workloads[owner].name, &info.name)?)));
            next_instance = next_instance.max(id.map_or(0, |(_, id)| id.get() + 1));
            match id.filter(|_| info.ready) {
                Some((owner, id)) => {
                    places[owner].insert(id, (Place::from(&info), info.parked, node));
                }
                None => unwanted.push(info),
            }
        }
        let policy = policy::policy(config);
        let mut planner = Planner::new(policy, seed, clock())
            .map_err(DaemonError::Policy)?
            .with_first_instance(next_instance);
        let mut workloads = Vec::with_capacity(config.workloads.len());
        let mut adopted = Vec::new();
        for (index, ((configured, learned), known)) in
            config.workloads.iter().zip(learned).zip(known).enumerate()
        {
            let id = planner::WorkloadId::from(configured.name.as_str());
            // Before the history is learned, so that effects are learned with it.
            planner.announce(&id, &known.events);
            if let Some((first, _)) = learned.first() {
                planner.know(&id, Arc::new(known.covariates(*first, configured.step)));
            }
            planner.learn(&id, &learned);
            let last = learned.last().map(|(at, _)| *at);
            let snapshot = planner.snapshot();
            let Some(forecaster) = snapshot.workload(&id).map(|view| Arc::new(view.forecaster.clone()))
            else {
                return Err(DaemonError::Stopped { task: "planner" });
            };
            let mut workload = Workload::new(Arc::new(configured.clone()), forecaster, last);
            workload.knowledge = known;
            for (instance, (place, parked, node)) in std::mem::take(&mut places[index]) {
                workload.places.insert(instance, place);
                adopted.push((index, instance, parked, node));
            }
            workloads.push(workload);
        }
        // Roles are filled in when the proxy's table is known.
        let adopted = adopted
            .into_iter()
            .map(|(index, instance, parked, node)| {
                let workload: &Workload = &workloads[index];
                (index, routes::adopted(&workload.id, (instance, node), parked, &workload.weights, config))
            })
            .collect();
        Ok(Adoption { planner, workloads, adopted, unwanted, next_instance })
    }

    /// Takes over the proxy's table, without what is gone, and puts it into force with today's settings. What is not found at
    /// the addresses of silent engines may only be out of sight, and stays.
    pub(crate) async fn first_table(
        &mut self,
        config: &Config,
        plane: &DataPlane,
        silent: &[IpAddr],
    ) -> Result<u64, DaemonError> {
        let table = plane.table().await.map_err(DaemonError::ProxyTable)?;
        for (workload, configured) in self.workloads.iter_mut().zip(&config.workloads) {
            workload.weights = routes::weights_in(&table, configured, &workload.places);
            workload.unasked = routes::unknown_in(&table, configured, &workload.places, silent);
        }
        // The number given last may not have been written down.
        let backends = table.routes.iter().flat_map(|route| &route.backends);
        let beyond = backends.map(|backend| backend.id.saturating_add(1)).max().unwrap_or_default();
        self.next_instance = self.next_instance.max(beyond);
        self.planner.skip_instances(self.next_instance);
        for (index, event) in &mut self.adopted {
            if let Event::InstanceAdopted { workload, instance, parked, node, .. } = event {
                let (found, weights) = ((*instance, node.take()), &self.workloads[*index].weights);
                *event = routes::adopted(workload, found, *parked, weights, config);
            }
        }
        let wanted: Vec<_> = self.workloads.iter().filter_map(Workload::route).collect();
        if table.generation > 0 && table.routes == wanted {
            return Ok(table.generation);
        }
        set_table(plane, table.generation, wanted).await.map_err(|error| match error.refusal() {
            Some(Refusal::Listen { workload, listen, reason }) => DaemonError::WorkloadListen {
                address: *listen,
                workload: workload.clone(),
                reason: reason.clone(),
            },
            Some(_) | None => DaemonError::ProxyTable(error),
        })
    }
}

const FIRST_INSTANCE: u64 = 1;
