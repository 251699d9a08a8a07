//! What every router must do.

use std::time::Duration;

use http::StatusCode;
use proxy::control::Router;

use crate::Subject;
use crate::support::{Backend, Http, get, get_request, text};

/// Who answers so many requests, each on a connection of its own.
async fn answers(subject: &impl Subject, count: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let (status, body) = get(subject.listen(), "/").await;
        answers.push(if status == StatusCode::OK { body } else { status.to_string() });
    }
    answers
}

fn count(answers: &[String], who: &str) -> usize {
    answers.iter().filter(|answer| *answer == who).count()
}

pub(crate) async fn a_new_backend_gets_requests_only_once_it_is_in_a_table<S: Subject>() {
    let subject = S::start().await;
    let (one, two) = (Backend::start(1).await, Backend::start(2).await);
    subject.set(1, &[(&one, 1000)]).await;
    assert_eq!(count(&answers(&subject, 30).await, "1"), 30);
    subject.set(2, &[(&one, 1000), (&two, 1000)]).await;
    let both = answers(&subject, 60).await;
    assert_eq!(count(&both, "1") + count(&both, "2"), 60);
    assert!(count(&both, "2") > 10, "{both:?}");
}

pub(crate) async fn weights_are_shares<S: Subject>() {
    let subject = S::start().await;
    let (one, two) = (Backend::start(1).await, Backend::start(2).await);
    let spread = async |generation, first, second| {
        subject.set(generation, &[(&one, first), (&two, second)]).await;
        count(&answers(&subject, 400).await, "2") as f64 / 400.0
    };
    let (tenth, half) = (spread(1, 1000, 111).await, spread(2, 1000, 1000).await);
    assert!((tenth - 0.1).abs() < 0.05, "a tenth is {tenth}");
    assert!((half - 0.5).abs() < 0.1, "a half is {half}");
}

pub(crate) async fn a_drained_backend_gets_no_request_and_finishes_the_one_it_has<S: Subject>() {
    let subject = S::start().await;
    let (slow, other) = (Backend::slow(1, Duration::from_millis(800)).await, Backend::start(2).await);
    subject.set(1, &[(&slow, 1000)]).await;
    let mut client = Http::connect(subject.listen()).await;
    let running = tokio::spawn(async move { client.send(get_request("/")).await });
    let in_flight = |stats: &proxy::control::Stats| {
        stats.workload("web").and_then(|web| web.backend(1)).map(|backend| backend.in_flight)
    };
    subject.until("a request runs", |stats| in_flight(stats) == Some(1)).await;
    subject.set(2, &[(&slow, 0), (&other, 1000)]).await;
    assert_eq!(count(&answers(&subject, 20).await, "2"), 20);
    assert_eq!(slow.requests(), 1);
    let answer = running.await.expect("it ran").expect("it was answered");
    assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, b"1".as_slice()));
    subject.until("it is drained", |stats| in_flight(stats) == Some(0)).await;
    subject.set(3, &[(&slow, 1000)]).await;
    assert_eq!(answers(&subject, 1).await, ["1"], "it can come back");
}

pub(crate) async fn a_removed_backend_finishes_its_request_and_is_gone<S: Subject>() {
    let subject = S::start().await;
    let (slow, other) = (Backend::slow(1, Duration::from_millis(800)).await, Backend::start(2).await);
    subject.set(1, &[(&slow, 1000)]).await;
    let mut client = Http::connect(subject.listen()).await;
    let running = tokio::spawn(async move { client.send(get_request("/")).await });
    subject
        .until("a request runs", |stats| stats.workload("web").is_some_and(|web| web.in_flight == 1))
        .await;
    subject.set(2, &[(&other, 1000)]).await;
    let leaving = subject.stats().await;
    let leaving = leaving.workload("web").and_then(|web| web.backend(1)).expect("it has a request yet");
    assert!(!leaving.routed);
    assert_eq!(count(&answers(&subject, 20).await, "2"), 20);
    let answer = running.await.expect("it ran").expect("it was answered");
    assert_eq!(answer.status(), StatusCode::OK);
    let gone = |stats: &proxy::control::Stats| stats.workload("web").is_some_and(|w| w.backend(1).is_none());
    subject.until("it is gone", gone).await;
    subject.set(3, &[]).await;
    let (status, _) = get(subject.listen(), "/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

pub(crate) async fn demand_counted_is_requests_sent<S: Subject>() {
    let subject = S::start().await;
    let (one, two) = (Backend::start(1).await, Backend::start(2).await);
    subject.set(1, &[(&one, 1000), (&two, 1000)]).await;
    let before = subject.stats().await;
    let before = before.workload("web").expect("counted").arrivals;
    // Several requests on one connection are several.
    let mut client = Http::connect(subject.listen()).await;
    for _ in 0..40 {
        assert_eq!(client.get("/").await.status(), StatusCode::OK);
    }
    answers(&subject, 60).await;
    let settled = |stats: &proxy::control::Stats| {
        stats.workload("web").is_some_and(|web| web.in_flight == 0 && web.completed == 100)
    };
    let stats = subject.until("all are counted", settled).await;
    let web = stats.workload("web").expect("counted");
    assert_eq!((web.arrivals - before, web.failed, web.cancelled, web.waiting), (100, 0, 0, 0));
    assert_eq!(web.backends.iter().map(|backend| backend.requests).sum::<u64>(), 100);
    assert_eq!(web.latency.count(), 100);
    assert_eq!(one.requests() + two.requests(), 100);
    assert!(web.bytes_out > 0);
}

pub(crate) async fn errors_are_counted_where_they_happen<S: Subject>() {
    let subject = S::start().await;
    let bad = Backend::answering(1, |_, _| async {
        let mut answer = text("broken");
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer
    })
    .await;
    subject.set(1, &[(&bad, 1000)]).await;
    assert_eq!(count(&answers(&subject, 10).await, "500 Internal Server Error"), 10);
    let failed = |stats: &proxy::control::Stats| stats.workload("web").is_some_and(|web| web.failed == 10);
    let stats = subject.until("they are counted", failed).await;
    let web = stats.workload("web").expect("counted");
    assert_eq!((web.arrivals, web.completed, web.backend(1).map(|b| b.errors)), (10, 0, Some(10)));
}

pub(crate) async fn an_address_that_changes_is_another_backend<S: Subject>() {
    let subject = S::start().await;
    let (first, second) = (Backend::start(1).await, Backend::start(1).await);
    subject.set(1, &[(&first, 1000)]).await;
    answers(&subject, 3).await;
    subject.set(2, &[(&second, 1000)]).await;
    answers(&subject, 5).await;
    assert_eq!((first.requests(), second.requests()), (3, 5));
}

pub(crate) async fn an_older_table_is_refused<S: Subject>() {
    let subject = S::start().await;
    let (one, two) = (Backend::start(1).await, Backend::start(2).await);
    subject.set(5, &[(&one, 1000)]).await;
    let older = subject.try_set(4, &[(&two, 1000)]).await.expect_err("refused");
    let reused = subject.try_set(5, &[(&two, 1000)]).await.expect_err("refused");
    assert_eq!((older.newer, reused.newer), (Some(5), Some(5)), "{older:?} {reused:?}");
    let invalid = subject.try_set(6, &[(&one, 1000), (&one, 1000)]).await.expect_err("refused");
    assert!(invalid.text.contains("backend 1 is listed twice"), "{}", invalid.text);
    subject.set(5, &[(&one, 1000)]).await;
    assert_eq!(count(&answers(&subject, 10).await, "1"), 10);
    assert_eq!(subject.stats().await.generation, 5);
}

pub(crate) async fn a_restart_is_noticed_and_filled_again<S: Subject>() {
    let mut subject = S::start().await;
    let one = Backend::start(1).await;
    subject.set(7, &[(&one, 1000)]).await;
    assert_eq!(answers(&subject, 2).await, ["1", "1"]);
    let before = subject.until("counted", |stats| stats.generation == 7).await;
    subject.restart().await;
    let after = subject.until("another one", |stats| stats.started_at != before.started_at).await;
    assert_eq!(after.generation, 0, "nothing is in force");
    assert_eq!(after.workload("web").map_or(0, |web| web.arrivals), 0, "counting began anew");
    subject.set(8, &[(&one, 1000)]).await;
    assert_eq!(answers(&subject, 2).await, ["1", "1"]);
    let filled = subject.stats().await;
    assert_eq!((filled.generation, filled.started_at), (8, after.started_at));
}

pub(crate) async fn a_reader_that_comes_later_finds_the_table<S: Subject>() {
    let subject = S::start().await;
    let (one, two) = (Backend::start(1).await, Backend::start(2).await);
    subject.set(1, &[(&one, 1000), (&two, 0)]).await;
    let table = subject.router().table().await.expect("a table");
    assert_eq!(table.routes.len(), 1);
    assert_eq!(table.routes[0].backends, [one.spec(1000), two.spec(0)]);
}

/// For a router that is there already, as HAProxy with another algorithm.
pub(crate) async fn every_newcomer_gets_requests(subject: &impl Subject) {
    let (one, two, three) = (Backend::start(1).await, Backend::start(2).await, Backend::start(3).await);
    subject.set(1, &[(&one, 1000), (&two, 1000), (&three, 1000)]).await;
    let answers = answers(subject, 150).await;
    let counts = ["1", "2", "3"].map(|who| count(&answers, who));
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}
