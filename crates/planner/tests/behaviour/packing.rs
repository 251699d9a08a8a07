//! Room that is there in pieces: who moves for whom, and who gives way.

use planner::{MoveCause, Resources, SharingReason, WorkloadPolicy};

use crate::nodes::{GIB, Nodes, node, workload};

#[test]
fn room_in_pieces_is_put_together_for_who_was_granted_it() {
    let mut big = workload("big", 200);
    (big.replicas_min, big.needs) = (0, Resources::new(4.0, GIB));
    let mut world = Nodes::new(&[workload("small", 50), big], &[node("a", 4.0), node("b", 4.0)]);
    world.pin("big", 0, 0);
    world.pin("small", 4, 0);
    world.sleep(60);
    assert_eq!((world.on("a", "small"), world.on("b", "small")), (2, 2), "spread for availability");
    world.served_least.clear();
    world.pin("big", 1, 0);
    world.sleep(180);
    assert_eq!((world.ready("big").0, world.ready("small").0), (1, 4));
    assert_eq!(world.served_least.get("small"), Some(&4), "nobody was taken away before its replacement");
}

/// Any one of the small instances could leave a node, but not as many as the big one needs to.
#[test]
fn nobody_moves_for_room_that_cannot_be_made() {
    let needing = |name: &str, class, cores| WorkloadPolicy {
        replicas_min: 0,
        needs: Resources::new(cores, GIB),
        ..workload(name, class)
    };
    let workloads = [needing("small", 50, 1.34), needing("big", 50, 2.67)];
    let mut world = Nodes::new(&workloads, &[node("a", 3.95), node("b", 3.5)]);
    world.pin("big", 0, 0);
    world.pin("small", 3, 0);
    world.sleep(60);
    world.pin("big", 1, 0);
    world.sleep(600);
    assert!(world.says("big", |r| matches!(r, SharingReason::WaitsForRoom { instances: 1 })));
    assert_eq!(world.moves, [].into(), "no move brings it any nearer");
    world.pin("small", 2, 0);
    world.sleep(180);
    assert_eq!(
        (world.ready("big").0, world.ready("small").0),
        (1, 2),
        "now there is room, or it can be made"
    );
}

/// All together have room for the big one beside the small ones, but no node has.
#[test]
fn where_no_move_makes_room_a_lower_class_gives_way_down_to_its_minimum() {
    let needing = |name: &str, class, cores, replicas_min| WorkloadPolicy {
        replicas_min,
        needs: Resources::new(cores, GIB),
        ..workload(name, class)
    };
    let workloads = [needing("small", 50, 2.0, 2), needing("big", 200, 3.0, 0)];
    let mut world = Nodes::new(&workloads, &["a", "b", "c", "d"].map(|name| node(name, 3.0)));
    world.pin("big", 0, 0);
    world.pin("small", 4, 0);
    world.sleep(60);
    assert_eq!(world.ready("small").0, 4);
    for (asked, big, small) in [(1, 1, 3), (3, 2, 2)] {
        world.pin("big", asked, 0);
        world.sleep(50);
        let taken =
            |r: &SharingReason| matches!(r, SharingReason::Preempted { by, .. } if by.as_str() == "big");
        assert!(world.says("small", taken), "{:?}", world.reasons("small"));
        world.sleep(130);
        assert_eq!((world.ready("big").0, world.ready("small").0), (big, small), "{asked}");
    }
    assert!(
        world.moves.values().all(|why| *why == MoveCause::RoomFor("big".into())) && !world.moves.is_empty()
    );
    let orders = world.log.len();
    world.sleep(600);
    assert_eq!(world.log.len(), orders, "not back and forth");
    world.pin("big", 1, 0);
    world.sleep(180);
    assert_eq!((world.ready("big").0, world.ready("small").0), (1, 3), "what is free again is used");
}

#[test]
fn an_instance_too_large_for_what_is_left_waits_and_says_so() {
    let mut big = workload("big", 100);
    (big.replicas_min, big.needs) = (0, Resources::new(3.0, GIB));
    let mut world = Nodes::new(&[workload("small", 100), big], &[node("a", 4.0), node("b", 4.0)]);
    world.pin("small", 2, 0);
    world.pin("big", 2, 0);
    world.sleep(120);
    assert_eq!((world.ready("big").0, world.ready("small").0), (2, 2));
    world.pin("small", 1, 0);
    world.pin("big", 3, 0);
    world.sleep(60);
    assert_eq!(world.ready("big").0, 2);
    assert!(
        world.says("big", |r| matches!(r, SharingReason::Refused { granted: 2, .. })),
        "{:?}",
        world.reasons("big")
    );
}
