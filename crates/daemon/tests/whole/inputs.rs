//! What goes in beside demand: metrics of any name, what the instances use, and events past and announced.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::support::{Load, Stage, eventually, request, serves};

const JSON: (&str, &str) = ("content-type", "application/json");

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a date")
}

fn metric(metric: &str, at_ms: i64, value: f64, zone: &str) -> api::MetricSample {
    let labels: BTreeMap<String, String> = [("zone".to_owned(), zone.to_owned())].into();
    api::MetricSample { metric: metric.into(), at_ms, value, labels }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_instances_use_and_how_they_answer_becomes_series() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let client = stage.client();
    let load = Load::start(stage.web, 40);
    let wanted = [
        "demand",
        "requests",
        "sessions",
        "errors",
        "latency_p50_ms",
        "latency_p90_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "latency_max_ms",
        "cpu_cores",
        "memory_bytes",
        "proxied_sent_bytes_per_s",
        "proxied_received_bytes_per_s",
        "total_cpu_cores",
        "total_memory_bytes",
    ];
    let found = eventually("every series", async || {
        let series = client.metrics("web").await.ok()?.series;
        wanted.iter().all(|name| series.iter().any(|series| series.metric == *name)).then_some(series)
    })
    .await;
    load.finish().await;
    let cpu = found.iter().find(|series| series.metric == "cpu_cores").expect("there");
    assert!(cpu.labels.contains_key("instance") && cpu.last >= 0.0, "{cpu:?}");
    let sent = found.iter().find(|series| series.metric == "proxied_sent_bytes_per_s").expect("there");
    assert!(sent.last > 0.0, "each answer has a body: {sent:?}");
    // Where the kernel counts disk bytes by process, they are kept, too.
    if std::path::Path::new("/proc/self/io").exists() {
        eventually("disk traffic", async || {
            let series = client.metrics("web").await.ok()?.series;
            series.iter().any(|series| series.metric == "total_disk_written_bytes_per_s").then_some(())
        })
        .await;
        let detail = client.workload("web").await.expect("the workload");
        assert!(detail.instances.iter().any(|instance| instance.disk_read_bytes_per_s.is_some()));
    }
    let now = now_ms();
    let memory = client.metric("web", "memory_bytes", now - 60_000, now).await.expect("the series");
    assert!(memory.series.iter().flat_map(|column| &column.values).all(|bytes| *bytes > 10_000.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_any_name_are_taken_and_survive_a_crash() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    let now = now_ms();
    let samples = vec![
        metric("queue_length", now - 1000, 7.0, "a"),
        metric("queue_length", now - 2000, 5.0, "a"),
        metric("queue_length", now - 1000, 70.0, "b"),
        metric("wind_speed_m_per_s", now + 86_400_000, 3.5, "a"),
    ];
    let accepted = client.push_metrics("web", &api::MetricsRequest { samples }).await.expect("taken");
    assert_eq!(accepted.accepted, 4);
    serves(&client).await;
    daemon.kill();
    let _daemon = stage.start();
    let queue = client.metric("web", "queue_length", now - 60_000, now).await.expect("kept");
    let columns: Vec<(&str, &[f64])> =
        queue.series.iter().map(|column| (column.labels["zone"].as_str(), &column.values[..])).collect();
    assert_eq!(columns, [("a", &[5.0, 7.0][..]), ("b", &[70.0][..])]);
    let to_come = client.metric("web", "wind_speed_m_per_s", now, now + 90_000_000).await.expect("kept");
    assert_eq!(to_come.series[0].values, [3.5]);
    let listed = client.metrics("web").await.expect("listed").series;
    assert!(listed.iter().any(|series| series.metric == "queue_length" && series.last == 70.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_announced_changed_called_off_and_journaled() {
    let stage = Stage::new("");
    let daemon = stage.start();
    let client = stage.client();
    let now = now_ms();
    let event = |name: &str, in_hours: i64, hours: i64| api::NewCalendarEvent {
        name: name.into(),
        kind: None,
        start_ms: now + in_hours * 3_600_000,
        end_ms: now + (in_hours + hours) * 3_600_000,
        magnitude: None,
    };
    let announce = |events: Vec<api::NewCalendarEvent>| api::CalendarRequest {
        author: "ana".into(),
        reason: "plan of marketing".into(),
        events,
    };
    let events = vec![event("Sale 2026", 48, 24), event("Match #3", -72, 2)];
    let accepted = client.announce("web", &announce(events)).await.expect("taken");
    assert_eq!((accepted.added.len(), accepted.unchanged), (2, 0));
    assert_eq!((accepted.added[0].kind.as_str(), accepted.added[0].magnitude), ("sale", 1.0));
    let again = vec![event("Sale 2026", 48, 36), event("Match #3", -72, 2)];
    let again = client.announce("web", &announce(again)).await.expect("taken");
    assert_eq!((again.added.len(), again.changed.len(), again.unchanged), (0, 1, 1));
    client.announce("*", &announce(vec![event("Holiday", 24, 24)])).await.expect("taken");
    serves(&client).await;
    daemon.kill();
    let _daemon = stage.start();
    let found = client.calendar("web", None, None).await.expect("kept").events;
    assert_eq!(found.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["Match #3", "Sale 2026"]);
    assert_eq!(found[1].end_ms, now + 84 * 3_600_000);
    assert_eq!(client.calendar("web", Some(now), None).await.expect("kept").events.len(), 1);
    assert_eq!(client.calendar("*", None, None).await.expect("kept").events.len(), 1);
    client.remove_event("web", found[0].id, "bo", "rain").await.expect("gone");
    client.remove_event("web", found[0].id, "bo", "rain").await.expect_err("gone already");
    let journal = client.events(50).await.expect("the journal").events;
    let said: Vec<&str> =
        journal.iter().filter(|e| e.kind == "calendar_changed").map(|e| e.message.as_str()).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[0].contains("was removed: Match #3") && said[0].ends_with("(bo: rain)"), "{}", said[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_about_inputs_is_refused_with_a_hint() {
    let stage = Stage::new("");
    let _daemon = stage.start();
    let now = now_ms();
    let sample = |metric: &str, at: i64, value: &str| {
        format!("{{\"samples\":[{{\"metric\":\"{metric}\",\"at_ms\":{at},\"value\":{value}}}]}}")
    };
    let event = |name: &str, start: i64, end: i64| {
        format!(
            "{{\"author\":\"a\",\"reason\":\"b\",\"events\":[{{\"name\":\"{name}\",\"start_ms\":{start},\"end_ms\":{end}}}]}}"
        )
    };
    let (metrics, events) = ("/api/v1/workloads/web/metrics", "/api/v1/workloads/web/events");
    for (method, path, json, body, expected) in [
        ("POST", metrics, true, sample("", now, "1"), 400),
        ("POST", metrics, true, sample("queue", now, "1e999"), 400),
        ("POST", metrics, true, sample("queue", now, "null"), 400),
        ("POST", metrics, true, sample("queue", 12, "1"), 400),
        ("POST", metrics, true, sample("demand", now, "1"), 409),
        ("POST", metrics, true, "{\"samples\":[]}".to_owned(), 400),
        ("POST", metrics, false, sample("queue", now, "1"), 415),
        ("POST", "/api/v1/workloads/nobody/metrics", true, sample("queue", now, "1"), 404),
        ("GET", "/api/v1/workloads/nobody/metrics", false, String::new(), 404),
        ("GET", "/api/v1/workloads/web/metrics/nothing", false, String::new(), 404),
        ("GET", "/api/v1/workloads/web/metrics/demand?from=5&to=1", false, String::new(), 400),
        ("POST", events, true, event("", 1, 2), 400),
        ("POST", events, true, event("sale", now, now - 1), 400),
        ("POST", events, true, event("sale", i64::MIN, i64::MAX), 400),
        ("POST", events, true, "{\"author\":\"a\",\"reason\":\"b\",\"events\":[]}".to_owned(), 400),
        ("POST", events, true, event("sale", 1, 2).replace("\"a\"", "\" \""), 400),
        ("POST", events, false, event("sale", 1, 2), 415),
        ("POST", "/api/v1/workloads/nobody/events", true, event("sale", 1, 2), 404),
        ("GET", "/api/v1/workloads/web/events?from=tomorrow", false, String::new(), 400),
        ("GET", "/api/v1/workloads/web/events?to=0", false, String::new(), 400),
        ("DELETE", "/api/v1/workloads/web/events/1?author=a&reason=b", true, String::new(), 404),
        ("DELETE", "/api/v1/workloads/web/events/1", true, String::new(), 400),
        ("DELETE", "/api/v1/workloads/web/events/one?author=a&reason=b", true, String::new(), 400),
        ("DELETE", "/api/v1/workloads/web/events/1?author=a&reason=b", false, String::new(), 415),
    ] {
        let headers: &[(&str, &str)] = if json { &[JSON] } else { &[] };
        let (status, answer, _) = request(stage.api, method, path, headers, &body).await.expect("answered");
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        let refusal: api::ErrorBody =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert!(!refusal.error.is_empty() && !refusal.hint.is_empty(), "{path}: {refusal:?}");
    }
}
