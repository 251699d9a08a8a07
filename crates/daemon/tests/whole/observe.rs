//! What is told of requests reaches `/metrics`, the API and the log.

use crate::support::{Stage, eventually, pin, request};

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_counted_and_shown() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let stage = Stage::new(&format!(
        "endpoints = [\"GET /items/{{id}}\"]\naccess_log = {{ path = {:?}, sample = 1 }}\ntracing = {{ generate = true }}",
        log.path()
    ));
    let _daemon = stage.start();
    let client = stage.client();
    pin(&client, 1, 0).await;
    for path in ["/items/1", "/items/2", "/elsewhere"] {
        request(stage.web, "GET", path, &[], "").await.expect("an answer");
    }
    let found = eventually("the requests are counted", async || {
        let found = client.endpoints("web").await.ok()?;
        let numbers: Vec<u64> = found.endpoints.iter().map(|endpoint| endpoint.requests).collect();
        (numbers == [2, 1] && found.log_written == 3).then_some(found)
    })
    .await;
    let slow = found.endpoints[0].slow_trace.as_ref().expect("a trace");
    let text = std::fs::read_to_string(log.path()).expect("a log");
    assert!(text.lines().count() == 3 && text.contains(&slow.trace_id), "{text}");
    let (_, metrics, _) = request(stage.api, "GET", "/metrics", &[], "").await.expect("metrics");
    for metric in [
        "foreshadow_endpoint_requests_total{workload=\"web\",endpoint=\"GET /items/{id}\",status=\"2xx\"} 2",
        "foreshadow_endpoint_requests_total{workload=\"web\",endpoint=\"other\",",
        "foreshadow_endpoint_errors_total{workload=\"web\",endpoint=\"GET /items/{id}\"} 0",
        "foreshadow_endpoint_duration_seconds_count{workload=\"web\",endpoint=\"GET /items/{id}\"} 2",
        "foreshadow_request_duration_seconds_count{workload=\"web\"} 3",
        "foreshadow_instance_requests_total{workload=\"web\",instance=\"1\"} 3",
        "foreshadow_instance_errors_total{workload=\"web\",instance=\"1\"} 0",
        "foreshadow_access_log_lines_total{workload=\"web\"} 3",
    ] {
        assert!(metrics.contains(metric), "{metric} is not in\n{metrics}");
    }
    let with_trace = format!("# {{trace_id=\"{}\"}} ", slow.trace_id);
    let exemplar = metrics.lines().find(|line| line.contains(&with_trace)).expect("an exemplar");
    assert!(exemplar.starts_with("foreshadow_endpoint_time_seconds_total{"), "{exemplar}");
}
