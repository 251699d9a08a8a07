//! Where instances go, beside what a packer by size would do.

use std::time::Duration;

use forecast::Timestamp;

use super::super::outline::tests::wave;
use super::super::outline::{Outline, Sum};
use super::super::{NodePolicy, Resources};
use super::*;
use crate::policy::{CapacityPolicy, Policy, WorkloadPolicy};

const GIB: u64 = 1 << 30;
const CORES: f64 = 8.0;

/// Twelve workloads of one instance each: six that are busy by day come first, then six that are busy by night.
fn outlines() -> Vec<Outline> {
    (0..12).map(|at| wave(1.6, 1.2, if at < 6 { 13 } else { 1 }, 0.1)).collect()
}

fn cluster(nodes: Vec<NodePolicy>, outlines: &[Outline]) -> Cluster {
    let workload = |at: usize| WorkloadPolicy {
        needs: Resources::new(3.0, GIB),
        ..WorkloadPolicy::new(format!("w{at}"), Duration::from_secs(60), CapacityPolicy::Pinned(1.0))
    };
    let workloads = (0..outlines.len()).map(workload).collect();
    let policy = Policy { workloads, nodes, ..Policy::default() };
    let now = Timestamp::from_millis(0);
    let mut cluster = *Cluster::new(&policy, now).unwrap();
    for (at, outline) in outlines.iter().enumerate() {
        cluster.outline(at, outline.clone(), now);
    }
    cluster
}

fn node(at: usize) -> NodePolicy {
    NodePolicy { overcommit: 2.0, ..NodePolicy::new(format!("n{at}"), CORES, 64 * GIB) }
}

/// Forecast peak of workloads together.
fn peak(outlines: &[Outline], on: &[usize]) -> f64 {
    let mut sum = Sum::empty();
    for at in on {
        sum.add(&outlines[*at], 1.0);
    }
    sum.peak()
}

/// First fit decreasing: all are of one size, so in their order, each to the first node where `fits` says so.
fn first_fit(count: usize, fits: impl Fn(&[usize]) -> bool) -> Vec<Vec<usize>> {
    let mut nodes: Vec<Vec<usize>> = Vec::new();
    for at in 0..count {
        let with = |node: &Vec<usize>| {
            let mut with = node.clone();
            with.push(at);
            fits(&with)
        };
        match nodes.iter().position(with) {
            Some(node) => nodes[node].push(at),
            None => nodes.push(vec![at]),
        }
    }
    nodes
}

#[test]
fn workloads_whose_peaks_complement_each_other_share_nodes_and_first_fit_decreasing_loses() {
    let outlines = outlines();
    let mut ours = cluster((0..3).map(node).collect(), &outlines);
    for at in 0..outlines.len() {
        let seat = ours.seat(at, Among::All).expect("all fit on three nodes");
        ours.take(at, seat.node, false);
    }
    let peaks: Vec<f64> = ours.nodes.iter().map(|n| n.load_without(&ours.members, None).peak()).collect();
    assert!(peaks.iter().all(|peak| *peak <= CORES), "{peaks:?}");
    for node in &ours.nodes {
        let by_day = node.on.keys().filter(|at| **at < 6).count();
        assert_eq!((by_day, node.on.len()), (2, 4), "two of each kind");
    }
    // By what is promised: as many nodes, and far too high a peak.
    let promised = first_fit(outlines.len(), |on| on.len() as f64 * 3.0 <= 2.0 * CORES);
    let worst = promised.iter().map(|on| peak(&outlines, on)).fold(0.0, f64::max);
    // Five of three cores each fit into what is promised of a node.
    assert!(promised.len() == 3 && worst > 1.5 * CORES, "{promised:?} {worst}");
    // By the peak of each alone: no peak too high, and twice as many nodes.
    let alone = |on: &[usize]| on.iter().map(|at| peak(&outlines, &[*at])).sum::<f64>() <= CORES;
    assert_eq!(first_fit(outlines.len(), alone).len(), 6);
}

#[test]
fn cores_promised_twice_are_not_overrun_by_peaks_that_meet() {
    let outlines: Vec<Outline> = (0..4).map(|_| wave(1.6, 1.2, 13, 0.1)).collect();
    let mut cluster = cluster(vec![node(0)], &outlines);
    let mut placed = 0;
    for at in 0..outlines.len() {
        if let Some(seat) = cluster.seat(at, Among::All) {
            cluster.take(at, seat.node, false);
            placed += 1;
        }
    }
    assert_eq!(placed, 2, "a third would peak at more than eight cores, although four are promised room");
}

#[test]
fn who_moves_takes_all_of_its_share_along() {
    let flat = [Outline::flat(1.5 * CORES, 0.1)];
    let mut cluster = cluster(vec![node(0), node(1)], &flat);
    cluster.take(0, 0, false);
    assert!(cluster.seat(0, Among::All).is_some(), "a second one halves what each has to do");
    assert_eq!(cluster.seat(0, Among::But(0)), None, "the only one is too much for the other node, too");
}

#[test]
fn among_equals_it_is_the_cheaper_and_never_a_spare_one_while_others_have_room() {
    let flat = [Outline::flat(1.0, 0.1), Outline::flat(1.0, 0.1), Outline::flat(1.0, 0.1)];
    let plain = |name: &str, price: f64| NodePolicy { price, ..NodePolicy::new(name, 3.0, GIB) };
    let spare = NodePolicy { spare: true, ..plain("spare", 0.0) };
    let mut cluster = cluster(vec![spare, plain("dear", 2.0), plain("cheap", 1.0)], &flat);
    let mut names = Vec::new();
    for at in 0..flat.len() {
        let seat = cluster.seat(at, Among::All).unwrap();
        cluster.take(at, seat.node, false);
        names.push(cluster.nodes[seat.node].policy.id.to_string());
    }
    assert_eq!(names, ["cheap", "dear", "spare"]);
}

#[test]
fn a_workload_keeps_away_from_those_of_its_group() {
    let outlines: Vec<Outline> = (0..4).map(|at| wave(0.3, 0.1, 13, 0.001 * f64::from(at))).collect();
    let plain = |name: &str| NodePolicy::new(name, 64.0, 64 * GIB);
    let mut cluster = cluster(vec![plain("a"), plain("b")], &outlines);
    for member in &mut cluster.members {
        member.group = Some(0);
    }
    for at in 0..outlines.len() {
        let seat = cluster.seat(at, Among::All).unwrap();
        cluster.take(at, seat.node, false);
    }
    assert_eq!(cluster.nodes.iter().map(|node| node.on.len()).collect::<Vec<_>>(), [2, 2]);
}
