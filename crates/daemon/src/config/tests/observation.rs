//! Keys about what is told of requests.

use std::time::Duration;

use proxy::control::{AccessLogSpec, Observation, SHARE_WHOLE, TracingSpec};

use super::{mistake, parse, workload};

#[test]
fn what_is_told_of_requests_is_read_and_written() {
    let text = workload(
        r#"
endpoints = ["GET /items/{id}", "/static/*"]
access_log = { path = "/var/log/web.json", sample = 0.25, slower_than = "250ms", errors = false, paths = true, fields = ["User-Agent"], size = "1MiB" }
tracing = { generate = true }
"#,
    );
    let config = parse(&text).expect("valid");
    let read = &config.workloads[0].observation;
    let log = AccessLogSpec {
        sample_ppm: SHARE_WHOLE / 4,
        slower_than: Some(Duration::from_millis(250)),
        errors: false,
        paths: true,
        fields: vec!["user-agent".into()],
        bytes_max: 1 << 20,
        ..AccessLogSpec::new("/var/log/web.json")
    };
    assert_eq!(read.access_log, Some(log));
    assert_eq!(read.tracing, Some(TracingSpec { sample_ppm: SHARE_WHOLE / 4 }), "as the log");
    assert_eq!(read.endpoints.len(), 2);
    assert_eq!(parse(&config.to_toml()).expect("valid").workloads[0].observation, *read);
    assert_eq!(parse(&workload("")).expect("valid").workloads[0].observation, Observation::default());
}

#[test]
fn defaults_are_sensible_and_all_can_be_turned_off() {
    let read = |text: &str| parse(&workload(text)).expect("valid").workloads[0].observation.clone();
    let log = read("access_log = { path = \"web.json\" }").access_log.expect("read");
    assert!(log.path.is_absolute() && log.errors && log.sample_ppm == SHARE_WHOLE / 100);
    let log = read("access_log = { path = \"web.json\", slower_than = false }").access_log.expect("read");
    assert_eq!(log.slower_than, None);
    assert_eq!(read("tracing = { generate = true }").tracing, Some(TracingSpec { sample_ppm: SHARE_WHOLE }));
    assert_eq!(read("tracing = { generate = false }").tracing, None);
}

#[test]
fn what_must_not_be_told_is_refused() {
    for (text, key) in [
        ("endpoints = [\"items\"]", "endpoints"),
        ("endpoints = [\"/a\", \"/a\"]", "endpoints"),
        ("access_log = { sample = 0.5 }", "path"),
        ("access_log = { path = \"a\", sample = 2 }", "sample"),
        ("access_log = { path = \"a\", size = \"1KiB\" }", "size"),
        ("access_log = { path = \"a\", fields = [\"Cookie\"] }", "access_log"),
        ("access_log = { path = \"a\", query = true }", "query"),
        ("protocol = \"tcp\"\nendpoints = [\"/a\"]", "endpoints"),
    ] {
        assert!(mistake(text).contains(key), "{text}");
    }
}
