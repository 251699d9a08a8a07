//! Sessions in the configuration: how they are counted and held, and what cannot be.

use std::time::Duration;

use super::super::DemandSource;
use super::{mistake, parse, workload};

#[test]
fn a_workload_with_sessions_counts_them_and_says_how_they_are_held() {
    let lines = "capacity = 8\nsessions = { types = { casual = { weight = 1 }, tournament = { weight = 2, class = 200, \
                 headroom = 3 } }, processes = 2, drain = \"20m\", queue_max = 50, wait_max = \"90s\", lease = \"30s\" }";
    let config = parse(&workload(lines)).expect("valid");
    let web = &config.workloads[0];
    assert_eq!((web.demand, web.unit.as_str()), (DemandSource::Sessions, "slots"));
    let policy = crate::workload_policy(web).sessions.expect("as configured");
    assert_eq!((policy.processes, policy.queue_max, policy.drain), (2, 50, Duration::from_secs(1_200)));
    let types: Vec<_> =
        policy.types.iter().map(|t| (t.name.as_str(), t.weight, t.class, t.headroom)).collect();
    assert_eq!(types, [("casual", 0.125, 100, 0), ("tournament", 0.25, 200, 3)]);
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn sessions_that_cannot_be_are_refused_by_key() {
    for (lines, part) in [
        (
            "demand = \"sessions\"",
            "workload.web.demand: is \"sessions\", and there are none; add `sessions = ",
        ),
        ("sessions = {}", "workload.web.sessions.types: is missing"),
        ("sessions = { types = {} }", "workload.web.sessions.types: has 0 types"),
        ("sessions = { types = { a = 1 } }", "workload.web.sessions.types.a: is an integer"),
        (
            "sessions = { types = { a = { wieght = 1 } } }",
            "types.a.wieght: is not a known key; did you mean `weight`?",
        ),
        (
            "sessions = { types = { a = {} }, lease = \"1ms\" }",
            "workload.web.sessions.lease: \"1ms\" is out of range",
        ),
        (
            "sessions = { types = { \"A b\" = {} } }",
            "workload.web.sessions.types.A b: \"A b\" cannot be the name",
        ),
        ("sessions = { types = { a = {} } }\ndemand = \"proxy\"", "workload.web.demand: is not \"sessions\""),
        (
            "sessions = { types = { a = {} } }\ncapacity = { learn_from = 5 }",
            "workload.web.capacity: is to be learned",
        ),
        (
            "sessions = { types = { a = { weight = 26 } }, processes = 2 }",
            "of weight 26, and one process holds 25",
        ),
        (
            "sessions = { types = { a = {} }, processes = 2 }\nlisten_mode = \"socket\"\nprobe = \"/\"",
            "cannot share",
        ),
    ] {
        let said = mistake(lines);
        assert!(said.contains(part), "{said}");
    }
}
