//! The key about the cache.

use std::time::Duration;

use super::{mistake, parse, workload};

#[test]
fn a_cache_is_read_and_written() {
    let text = workload(
        r#"cache = { size = "128MiB", object_max = "1MiB", heuristic = 0.1, ignore_requests = true, wait = "2s" }"#,
    );
    let config = parse(&text).expect("valid");
    let spec = config.workloads[0].cache.clone().expect("a cache");
    assert_eq!((spec.bytes_max, spec.object_bytes_max, spec.heuristic_percent), (128 << 20, 1 << 20, 10));
    assert_eq!((spec.ignores_requests, spec.collapse_wait), (true, Duration::from_secs(2)));
    assert_eq!(spec.problem(), None);
    assert_eq!(parse(&config.to_toml()).expect("valid").workloads[0].cache, Some(spec));
    assert_eq!(parse(&workload("")).expect("valid").workloads[0].cache, None);
}

#[test]
fn caches_that_make_no_sense_are_refused() {
    for (more, part) in [
        ("cache = { }", "size"),
        ("cache = { size = \"1KiB\" }", "out of range"),
        ("cache = { size = \"1MiB\", object_max = \"1MiB\" }", "out of range"),
        ("cache = { size = \"1MiB\", heuristics = 0.1 }", "did you mean `heuristic`?"),
        ("cache = { size = \"1MiB\" }\nprotocol = \"tcp\"", "keeps HTTP responses"),
    ] {
        let said = mistake(more);
        assert!(said.contains(part), "{more}: {said}");
    }
}
