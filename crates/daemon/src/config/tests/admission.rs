//! Admission in the configuration: what of a request is looked at, and what cannot be.

use std::time::Duration;

use proxy::control::{Amount, Measure};

use super::super::DemandSource;
use super::{mistake, parse, workload};

#[test]
fn a_workload_says_what_requests_cost_and_who_goes_first() {
    let lines = "demand = \"cost\"\nadmission = { endpoints = [\"POST /v1/{model}/chat\", { path = \"/pay/*\", class = \"high\" }], \
                 numbers = [\"json:/max_tokens\", \"length\"], names = [\"path:model\"], \
                 costs = [{ name = \"tokens\", measure = \"header:X-Tokens\", per_instance = 4000 }, \
                 { name = \"at_once\", measure = \"one\", per_instance = 64, quantile = 0.99 }], \
                 classes = [\"high\", { name = \"low\", deadline = \"2s\" }], class_header = \"X-Priority\", \
                 class_default = \"low\", body_max = \"16KiB\", samples = 5 }";
    let config = parse(&workload(lines)).expect("valid");
    let web = &config.workloads[0];
    assert_eq!((web.demand, web.unit.as_str()), (DemandSource::Cost, "tokens/s"));
    let admission = web.admission.as_ref().expect("as configured");
    assert_eq!(admission.costs[0].measure, Measure::Header("x-tokens".into()));
    assert_eq!(admission.costs[0].initial, Amount::from_f64(400.0));
    assert_eq!((admission.costs[0].quantile_milli, admission.costs[1].quantile_milli), (900, 990));
    assert_eq!((admission.priority.header.as_str(), admission.priority.default), ("x-priority", 1));
    assert_eq!(admission.priority.classes[1].deadline, Some(Duration::from_secs(2)));
    assert_eq!(admission.endpoints[1].class, Some(0));
    assert_eq!((admission.body_bytes_max, admission.samples_per_second), (16 << 10, 5));
    assert_eq!(parse(&config.to_toml()), Ok(config));
}

#[test]
fn admission_that_cannot_be_is_refused_by_key() {
    let cost = "costs = [{ name = \"seconds\", measure = \"duration\", per_instance = 4 }]";
    for (lines, part) in [
        (
            "demand = \"cost\"".to_owned(),
            "workload.web.demand: is \"cost\", and requests are not admitted by cost",
        ),
        ("admission = {}".to_owned(), "workload.web.admission.costs: is missing"),
        ("admission = { costs = [] }".to_owned(), "admission.costs: has 0 entries"),
        (
            "admission = { costs = [{ name = \"a\", per_instance = 1 }] }".to_owned(),
            "admission.costs[0].measure: is missing",
        ),
        (
            "admission = { costs = [{ name = \"a\", measure = \"joules\", per_instance = 1 }] }".to_owned(),
            "\"joules\" is no way to measure a cost",
        ),
        (
            "admission = { costs = [{ name = \"A b\", measure = \"one\", per_instance = 1 }] }".to_owned(),
            "\"A b\" cannot be the name of a cost",
        ),
        (
            format!("admission = {{ {cost}, numbers = [\"body\"] }}"),
            "admission.numbers[0]: `body` is not one of",
        ),
        (
            format!("admission = {{ {cost}, endpoints = [\"items\"] }}"),
            "endpoints[0]: `items` is no path template",
        ),
        (
            format!("admission = {{ {cost}, endpoints = [{{ path = \"/\", class = \"high\" }}] }}"),
            "\"high\" is not among `classes`",
        ),
        (format!("admission = {{ {cost}, classes = [\"a\"] }}"), "only make sense together"),
        (
            format!("admission = {{ {cost}, sampels = 3 }}"),
            "admission.sampels: is not a known key; did you mean `samples`?",
        ),
        (
            format!("protocol = \"tcp\"\nadmission = {{ {cost} }}"),
            "admission: needs requests, and the protocol is",
        ),
        (
            format!("demand = \"cost\"\ncapacity = {{ learn_from = 5 }}\nadmission = {{ {cost} }}"),
            "capacity: is to be learned",
        ),
    ] {
        let said = mistake(&lines);
        assert!(said.contains(part), "{said}");
    }
}
