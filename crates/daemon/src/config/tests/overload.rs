//! Keys about what is done when there is too much: shedding, and raises.

use std::time::Duration;

use super::{mistake, parse, workload};

const ADMISSION: &str =
    "admission = { costs = [{ name = \"s\", measure = \"duration\", per_instance = 4, spent = true }] }";

#[test]
fn shedding_is_read_and_written() {
    let lines = "shedding = { latency = \"150ms\", limit_min = 2, limit_max = 64, classes = [\"high\", { name = \"low\", deadline = \"1s\" }], \
                 class_header = \"X-Priority\", class_default = \"low\", endpoints = [{ path = \"/pay/*\", class = \"high\" }] }";
    let config = parse(&workload(lines)).expect("valid");
    let shedding = config.workloads[0].shedding.clone().expect("as configured");
    assert_eq!(
        (shedding.latency, shedding.limit_min, shedding.limit_max),
        (Duration::from_millis(150), 2, 64)
    );
    assert_eq!((shedding.priority.default, shedding.endpoints[0].class), (1, Some(0)));
    assert_eq!(parse(&config.to_toml()), Ok(config));
    assert_eq!(parse(&workload("")).expect("valid").workloads[0].shedding, None);
}

#[test]
fn a_raise_is_read_and_written() {
    let raise = "limits = { cpu = 0.5, memory = \"64MiB\" }\n\
                 raise = { cpu = 0.5, cpu_max = 2, memory = \"32MiB\", memory_max = \"256MiB\", hold = \"3s\" }";
    let config = parse(&workload(&format!("{ADMISSION}\n{raise}"))).expect("valid");
    let web = &config.workloads[0];
    let raised = web.raise.expect("as configured");
    assert_eq!(
        (raised.cpu, raised.cpu_max, raised.memory, raised.memory_max),
        (0.5, 2.0, 32 << 20, 256 << 20)
    );
    assert!(web.admission.as_ref().is_some_and(|admission| admission.costs[0].is_spent));
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn what_makes_no_sense_is_refused_by_key() {
    for (lines, part) in [
        ("shedding = {}".to_owned(), "workload.web.shedding.latency: is missing"),
        (
            "shedding = { latency = \"1s\", limit_min = 9, limit_max = 3 }".to_owned(),
            "is more than limit_max",
        ),
        ("shedding = { latency = \"1s\", limit = 3 }".to_owned(), "limit"),
        (format!("{ADMISSION}\nshedding = {{ latency = \"1s\" }}"), "does not go with `admission`"),
        ("raise = { cpu = 1, cpu_max = 2 }".to_owned(), "needs reservations that can be outgrown"),
        (
            format!("{ADMISSION}\nraise = {{ cpu = 1, cpu_max = 2 }}"),
            "raises cpu, of which instances have no limit",
        ),
        (format!("{ADMISSION}\nlimits = {{ cpu = 1 }}\nraise = {{ cpu = 1 }}"), "cpu_max"),
        (format!("{ADMISSION}\nraise = {{}}"), "there is nothing to raise"),
    ] {
        let said = mistake(&lines);
        assert!(said.contains(part), "{lines}: {said}");
    }
}
