//! What the control loop does about nodes whose engine is silent, lost, or back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use planner::{Event, NodeId, NodePolicy, Role};
use provider::{EngineHealth, InstanceInfo, InstanceName, Provider, Providers, Pull};
use tokio::sync::mpsc;

use super::ControlLoop;
use crate::config::{Config, NodeConfig, ProbeConfig};
use crate::error::chain;
use crate::instances::{Place, id_of};
use crate::inventory::Size;
use crate::launch::stop_unwanted;
use crate::nodes::{EngineNews, EngineReading, Standing, Turn, Vigil, fetch_images};
use crate::recorder::clock;
use crate::{convert, inventory};

/// The nodes that have an engine.
#[derive(Debug)]
pub(crate) struct EngineNodes {
    watched: BTreeMap<String, Watched>,
    /// Where the results of what is done apart from the loop are left.
    news: mpsc::Sender<EngineNews>,
}

#[derive(Debug)]
struct Watched {
    vigil: Vigil,
    /// As the planner knows it; `None` where no nodes are given.
    policy: Option<NodePolicy>,
    /// Set while its size is not known.
    open: Option<NodeConfig>,
    /// Where its instances are reached.
    address: IpAddr,
    /// Why the engine does not answer, and for how long by now.
    silent: Option<(Duration, String)>,
}

impl EngineNodes {
    pub(crate) fn new(config: &Config, provider: &Providers, news: mpsc::Sender<EngineNews>) -> EngineNodes {
        let configured: BTreeMap<&str, _> = config.engines().into_iter().collect();
        let watched = provider.engines().map(|(name, engine)| {
            // One that was silent when everything was adopted is taken back, with what it has.
            let there = *engine.health().borrow() == EngineHealth::Answers && engine.knows_all();
            let lost_after = configured.get(name).map(|engine| engine.lost_after).unwrap_or_default();
            let node = config.nodes.iter().find(|node| node.name == name);
            let open = node.filter(|node| inventory::is_open(node)).cloned();
            // Not used before its size is known.
            let vigil = Vigil::new(there && open.is_none(), lost_after);
            let (policy, address) = (node.map(NodeConfig::policy), engine.address());
            (name.to_owned(), Watched { vigil, policy, open, address, silent: None })
        });
        EngineNodes { watched: watched.collect(), news }
    }

    fn is_up_beside(&self, node: &str) -> bool {
        let mut others = self.watched.iter().filter(|(other, _)| other.as_str() != node);
        others.any(|(_, watched)| watched.vigil.standing() == Standing::Up)
    }

    /// How the node stands and why; `None` where it has no engine.
    pub(crate) fn health(&self, node: &str) -> Option<(Standing, Option<&str>)> {
        let watched = self.watched.get(node)?;
        Some((watched.vigil.standing(), watched.silent.as_ref().map(|(_, reason)| reason.as_str())))
    }
}

impl ControlLoop {
    /// Nodes whose engine did not answer when the daemon began are lost from the beginning.
    pub(crate) fn begin_nodes(&mut self) {
        let lost = |watched: &&Watched| watched.vigil.standing() == Standing::Lost;
        let lost: Vec<NodePolicy> =
            self.engine_nodes.watched.values().filter(lost).filter_map(|w| w.policy.clone()).collect();
        let unasked: usize = self.workloads.iter().map(|workload| workload.unasked.len()).sum();
        if unasked > 0 {
            let message = format!("{unasked} instances stay in traffic that no engine can tell about now");
            self.note_own("engine_silent", message);
        }
        for node in lost {
            let name = node.id.to_string();
            self.note_own("node_lost", format!("{} does not answer", called(&name)));
            self.planner.handle(clock(), Event::NodeLost { node: node.id });
        }
        let there = self.engine_nodes.watched.iter().filter(|(_, w)| w.vigil.standing() == Standing::Up);
        for node in there.map(|(node, _)| node.clone()).collect::<Vec<_>>() {
            self.warm(node);
        }
        self.say_nodes();
    }

    /// Spare nodes, and those that get instances when another is lost, should have the images already.
    fn warm(&mut self, node: String) {
        let containers = self.workloads.iter().filter_map(|workload| workload.config.container.as_ref());
        let images: BTreeSet<String> = containers
            .filter(|container| container.pull == Pull::Missing)
            .map(|one| one.image.clone())
            .collect();
        if !images.is_empty() {
            let fetching = fetch_images(Arc::clone(&self.provider), node, images.into_iter().collect());
            self.node_work.spawn(fetching);
        }
    }

    pub(crate) fn engine_news(&mut self, news: EngineNews) {
        match news {
            EngineNews::Read(readings) => readings.into_iter().for_each(|one| self.engine_read(one)),
            EngineNews::TakenBack { node, found: Ok(found), size } => self.node_is_back(&node, found, size),
            EngineNews::TakenBack { node, found: Err(reason), .. } => {
                tracing::warn!(node, reason, "what runs on the node cannot be taken over yet");
            }
        }
        self.say_nodes();
    }

    fn engine_read(&mut self, reading: EngineReading) {
        let serving = reading.silent.is_some() && self.is_serving(&reading.node);
        let elsewhere = self.engine_nodes.is_up_beside(&reading.node);
        let Some(watched) = self.engine_nodes.watched.get_mut(&reading.node) else { return };
        let turn = watched.vigil.look(Instant::now(), &reading, serving, elsewhere);
        watched.silent = reading.silent;
        let (node, who) = (reading.node.as_str(), called(&reading.node));
        match turn {
            None => {}
            Some(Turn::FellSilent) => {
                let why = self.why_silent(node);
                self.note_own("engine_silent", format!("the engine of {who} does not answer: {why}"));
                self.set_closed(node, true);
            }
            Some(Turn::SpokeAgain) => {
                self.note_own("engine_answers", format!("the engine of {who} answers again"));
                self.set_closed(node, false);
            }
            Some(Turn::Lost) => self.lose_node(node),
            Some(Turn::Back) => {
                let (provider, news) = (Arc::clone(&self.provider), self.engine_nodes.news.clone());
                let (node, open) = (node.to_owned(), watched.open.is_some());
                self.node_work.spawn(async move {
                    let size = if open { inventory::size_of(&node, &provider).await } else { None };
                    let found = match open && size.is_none() {
                        true => Err("its size is not known".to_owned()),
                        false => provider.take_back(&node).await.map_err(|error| chain(&error).to_string()),
                    };
                    let _ = news.send(EngineNews::TakenBack { node, found, size }).await;
                });
            }
        }
    }

    /// Whether the proxy, which asks what is in traffic all the time, says that an instance on a node is healthy.
    fn is_serving(&self, node: &str) -> bool {
        let healthy = |workload: &super::Workload, name: &InstanceName| {
            id_of(workload.name(), name)
                .filter(|id| workload.weights.iter().any(|(other, weight)| other == id && *weight > 0))
                .and_then(|id| workload.backends.get(&id.get()))
                .is_some_and(|backend| backend.healthy)
        };
        // Where a connection is the only probe, the proxy does not ask, and takes everything for healthy.
        let asked = self.workloads.iter().filter(|w| matches!(w.config.probe, ProbeConfig::Http(_)));
        let on = |name: &InstanceName| self.provider.node_of(name).as_deref() == Some(node);
        self.proxy.connected
            && asked
                .flat_map(|workload| workload.places.values().map(move |place| (workload, &place.name)))
                .any(|(workload, name)| on(name) && healthy(workload, name))
    }

    /// A node takes new instances, or none for now.
    fn set_closed(&mut self, node: &str, closed: bool) {
        let policy = self.engine_nodes.watched.get(node).and_then(|watched| watched.policy.clone());
        if let Some(policy) = policy {
            self.planner.handle(clock(), Event::NodeAppeared { node: NodePolicy { closed, ..policy } });
        }
    }

    fn lose_node(&mut self, node: &str) {
        let names = self.provider.give_up(node);
        let (who, count) = (called(node), names.len());
        let why = self.why_silent(node);
        let message =
            format!("{who} is lost with {count} instances: its engine does not answer ({why}), nor do they");
        self.note_own("node_lost", message);
        let known = self.knows(node);
        if known {
            self.planner.handle(clock(), Event::NodeLost { node: NodeId::from(node) });
        }
        for name in &names {
            self.lost_with_node(name, known);
        }
    }

    /// Whether the planner knows the node.
    fn knows(&self, node: &str) -> bool {
        self.engine_nodes.watched.get(node).is_some_and(|watched| watched.policy.is_some())
    }

    /// Forgets an instance; the planner has done so already where it knows of nodes.
    fn lost_with_node(&mut self, name: &InstanceName, known: bool) {
        let reason = provider::ExitReason::Lost.to_string();
        if !known {
            return self.exited(name, reason);
        }
        let found = self.workloads.iter_mut().find_map(|workload| {
            let id = id_of(workload.name(), name).filter(|id| workload.places.contains_key(id))?;
            workload.forget(id);
            Some((workload.id.clone(), id))
        });
        let Some((workload, instance)) = found else { return };
        let event = Event::InstanceExited { workload: workload.clone(), instance, reason };
        self.notes.extend(convert::event(clock(), workload.as_str(), &event));
    }

    /// A node that was lost is there again, and what still runs on it is ours again.
    fn node_is_back(&mut self, node: &str, found: Vec<InstanceInfo>, size: Option<Size>) {
        let Some(watched) = self.engine_nodes.watched.get_mut(node) else { return };
        if watched.vigil.standing() != Standing::Lost {
            return;
        }
        if let (Some(open), Some(size)) = (&watched.open, size) {
            watched.policy = Some(inventory::filled(open, size));
            watched.open = None;
        }
        watched.vigil.taken_back(Instant::now());
        let id = watched.policy.as_ref().map(|policy| policy.id.clone());
        let count = found.len();
        self.note_own(
            "node_back",
            format!("{} is back, with {count} instances that still run", called(node)),
        );
        // What runs there is counted before anything is started there.
        self.set_closed(node, true);
        // One that ended meanwhile has been reported already, when nobody knew it.
        let alive = self.provider.list();
        let found = found.into_iter().filter(|one| alive.iter().any(|info| info.name == one.name));
        let unwanted: Vec<InstanceInfo> = found.filter(|info| !self.take_in(info, id.clone())).collect();
        self.set_closed(node, false);
        self.node_work.spawn(stop_unwanted(Arc::clone(&self.provider), unwanted));
        self.warm(node.to_owned());
        self.forget_unasked();
    }

    /// What stayed in traffic and is not at the address of an engine that has yet to tell what it has is gone.
    fn forget_unasked(&mut self) {
        let untold = self.engine_nodes.watched.values().filter(|w| w.vigil.standing() == Standing::Lost);
        let untold: Vec<IpAddr> = untold.map(|watched| watched.address).collect();
        for workload in &mut self.workloads {
            workload.unasked.retain(|backend| untold.contains(&backend.addr.ip()));
        }
        self.router.want(self.routes(), None);
    }

    /// Takes in an instance that was found on a node; false if nobody wants it.
    fn take_in(&mut self, info: &InstanceInfo, node: Option<NodeId>) -> bool {
        let found = self.workloads.iter().enumerate().find_map(|(index, workload)| {
            Some((index, id_of(workload.name(), &info.name)?)).filter(|_| workload.name() == info.workload)
        });
        let Some((index, instance)) = found else { return false };
        let now = self.steady();
        let workload = &mut self.workloads[index];
        let place = Place::from(info);
        let role = if workload.claim(instance, &place) { Role::Active } else { Role::Standby };
        workload.places.insert(instance, place);
        if let Some(sessions) = &mut workload.sessions {
            sessions.adopted(now, instance);
        }
        let (workload, parked) = (workload.id.clone(), info.parked);
        let event = Event::InstanceAdopted { workload, instance, role, parked, node };
        self.handle(index, event);
        let taken = self.is_known(index, instance);
        if !taken {
            self.workloads[index].forget(instance);
        } else if self.outdated(index).any(|outdated| outdated == instance) {
            self.tell_outdated(index, vec![instance]);
        }
        taken
    }

    /// Whether the planner knows an instance.
    pub(crate) fn is_known(&self, index: usize, instance: planner::InstanceId) -> bool {
        let snapshot = self.planner.snapshot();
        let rows = snapshot.workload(&self.workloads[index].id).map(|view| view.instances);
        rows.unwrap_or_default().iter().any(|row| row.id() == instance)
    }

    fn why_silent(&self, node: &str) -> String {
        let silent = self.engine_nodes.watched.get(node).and_then(|watched| watched.silent.as_ref());
        silent.map(|(_, reason)| reason.clone()).unwrap_or_default()
    }

    /// Keeps the problems up to date.
    fn say_nodes(&mut self) {
        let say = |standing| {
            let those = self.engine_nodes.watched.iter().filter(|(_, w)| w.vigil.standing() == standing);
            let each = those.map(|(name, watched)| match &watched.silent {
                Some((silent, why)) => format!("{} for {} s ({why})", called(name), silent.as_secs()),
                None => called(name),
            });
            each.collect::<Vec<_>>().join(", ")
        };
        let (silent, lost) = (say(Standing::Silent), say(Standing::Lost));
        let message = format!("no answer from the engine of {silent}");
        let hint = "its instances serve on; none is started, stopped or changed there until it answers";
        self.problem_if(!silent.is_empty(), "engine_silent", message, hint);
        let hint =
            "its instances are replaced on other nodes; it is used again when its engine answers steadily";
        self.problem_if(!lost.is_empty(), "node_lost", format!("lost: {lost}"), hint);
    }
}

/// Without nodes there is one engine, which has no name.
fn called(node: &str) -> String {
    if node.is_empty() { "the only node".to_owned() } else { format!("node {node}") }
}
