//! Reserved work is given back while its request runs.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use proxy::control::{Admission, Amount, BackendSpec, CostSpec, Measure, Route};
use support::{Backend, Proxy, get, text, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

/// Each request is thought to take two of it, of which an instance has two and a half.
fn spent(proxy: &Proxy, backends: &[BackendSpec], measure: Measure) -> Route {
    let mut route = proxy.route(backends);
    route.admission = Some(Admission {
        costs: vec![CostSpec {
            name: "work".into(),
            measure,
            per_instance: Amount::from_f64(2.5),
            quantile_milli: 900,
            is_spent: true,
            initial: Amount::from_f64(2.0),
        }],
        ..Admission::new()
    });
    route
}

fn reserved(stats: &proxy::control::Stats) -> f64 {
    stats.workloads[0].costs[0].reserved.as_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_that_has_passed_is_not_ahead_any_more_and_the_next_one_is_let_in() {
    let (proxy, gate) = (Proxy::start().await, Arc::new(Semaphore::new(0)));
    let opens = Arc::clone(&gate);
    let backend = Backend::answering(1, move |_, _: Request<hyper::body::Incoming>| {
        let gate = Arc::clone(&opens);
        async move {
            gate.acquire().await.expect("open").forget();
            text("done")
        }
    })
    .await;
    proxy.set(1, spent(&proxy, &[backend.spec(1000)], Measure::Duration)).await;
    let listen = proxy.listen;
    let ask = || tokio::spawn(async move { get(listen, "/").await.0 });
    let first = ask();
    until(&proxy, "running", |stats| stats.workloads[0].backends[0].in_flight == 1).await;
    let second = ask();
    let stats = until(&proxy, "waiting", |stats| stats.workloads[0].waiting == 1).await;
    assert!(reserved(&stats) > 1.0);
    // Nothing has been answered: it is let in because a part of the first one's time has passed.
    until(&proxy, "both run", |stats| stats.workloads[0].backends[0].in_flight == 2).await;
    assert!(!first.is_finished());
    let stats = until(&proxy, "what may still come is kept", |stats| reserved(stats) < 1.6).await;
    assert!(reserved(&stats) >= 0.4 - 1e-6, "{}", reserved(&stats));
    // Who takes longer than that holds twice as much.
    let stats = until(&proxy, "outgrown", |stats| stats.workloads[0].backends[0].outgrown == 1).await;
    assert!(reserved(&stats) > 1.0, "{}", reserved(&stats));
    gate.add_permits(2);
    assert_eq!((first.await.expect("ran"), second.await.expect("ran")), (StatusCode::OK, StatusCode::OK));
    let stats = until(&proxy, "all given back", |stats| reserved(stats) == 0.0).await;
    assert_eq!(stats.workloads[0].backends[0].outgrown, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_response_s_head_says_it_takes_is_what_is_held_from_then_on() {
    let proxy = Proxy::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let finish = Arc::new(Notify::new());
    let finishes = Arc::clone(&finish);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.expect("a request");
        let answer = b"HTTP/1.1 200 OK\r\nx-work: 0.25\r\ncontent-length: 10\r\n\r\nhello";
        stream.write_all(answer).await.expect("sent");
        finishes.notified().await;
        stream.write_all(b"world").await.expect("sent");
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let backend = BackendSpec { id: 1, addr, weight: 1000 };
    proxy.set(1, spent(&proxy, &[backend], Measure::Header("x-work".into()))).await;
    let listen = proxy.listen;
    let answer = tokio::spawn(async move { get(listen, "/").await });
    until(&proxy, "what it said", |stats| reserved(stats) == 0.25).await;
    assert!(!answer.is_finished());
    finish.notify_one();
    assert_eq!(answer.await.expect("ran"), (StatusCode::OK, "helloworld".to_owned()));
    until(&proxy, "all given back", |stats| reserved(stats) == 0.0).await;
}
