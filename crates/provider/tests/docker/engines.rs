//! Engines that are missing, hang, restart or refuse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use provider::contract::{ContractFixture, TestService};
use provider::{
    DockerConfig, DockerProvider, Endpoint, EngineError, EngineHealth, ExitReason, Probe, Provider,
    ProviderError, ProviderEvent, Pull, ResourceLimits, probe,
};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::daemon::{Daemon, IMAGE, Options};
use crate::fixture::{Fixture, service_spec};
use crate::{GRACE, PATIENCE, chain, off, serves, until};

/// A fixture with an engine of its own, which the test may restart or stop.
pub(crate) async fn own_engine(arguments: &[&str], freezer: bool) -> Option<Fixture> {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let starting =
        tokio::task::spawn_blocking(move || Daemon::start(Options { arguments, ..Options::default() }));
    Some(Fixture::on(Arc::new(starting.await.expect("no panic")?), freezer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_image_is_named_and_a_pull_that_fails_says_why() {
    let Some(fixture) = Fixture::new(false).await else { return };
    let provider = fixture.open().await;
    let mut spec = service_spec("web-1", TestService::Normal);
    spec.container.as_mut().expect("a container").image = "no-such-image-anywhere:7".to_owned();
    let error = provider.start(spec.clone()).await.expect_err("no image");
    assert!(matches!(&error, ProviderError::ImageMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("no-such-image-anywhere:7"), "{error}");

    let container = spec.container.as_mut().expect("a container");
    // Nobody listens there, and it is this machine.
    container.image = "127.0.0.1:1/no-such-image:7".to_owned();
    container.pull = Pull::Missing;
    let error = chain(&provider.start(spec).await.expect_err("cannot be pulled"));
    assert!(error.contains("pull the image") && error.contains("127.0.0.1:1"), "{error}");
    provider.pull(IMAGE, false).await.expect("it is there, so nothing is pulled");
    provider.pull("127.0.0.1:1/no-such-image:7", false).await.expect_err("it is not");
    assert!(provider.list().is_empty());
    assert_eq!(fixture.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_there_or_not_for_us_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = DockerConfig {
        endpoint: Endpoint::Unix(dir.path().join("nothing.sock")),
        ..DockerConfig::new(dir.path().join("state"))
    };
    let error = DockerProvider::connect(config.clone()).await.expect_err("nobody listens");
    assert!(
        matches!(&error, ProviderError::Engine { source: EngineError::NotReachable(_), .. }),
        "{error:?}"
    );
    assert!(chain(&error).contains("nothing.sock"), "{}", chain(&error));

    // Something listens, and never answers.
    let mute = std::os::unix::net::UnixListener::bind(dir.path().join("mute.sock")).expect("bound");
    let config = DockerConfig {
        endpoint: Endpoint::Unix(dir.path().join("mute.sock")),
        deadline: Duration::from_millis(300),
        ..config
    };
    let error = DockerProvider::connect(config.clone()).await.expect_err("no answer");
    assert!(matches!(&error, ProviderError::Engine { source: EngineError::NoAnswer(_), .. }), "{error:?}");
    drop(mute);

    // An engine of another age.
    let old = tokio::net::UnixListener::bind(dir.path().join("old.sock")).expect("bound");
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = old.accept().await.expect("a connection");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.expect("a request");
        let body = r#"{"ApiVersion":"1.39"}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.expect("answered");
    });
    let config = DockerConfig {
        endpoint: Endpoint::Unix(dir.path().join("old.sock")),
        deadline: Duration::from_secs(5),
        ..config
    };
    let error = DockerProvider::connect(config).await.expect_err("too old");
    assert!(chain(&error).contains("too old") && chain(&error).contains("1.39"), "{}", chain(&error));
    answering.await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_is_noticed_and_nothing_waits_for_ever() {
    let Some(fixture) = own_engine(&[], true).await else { return };
    let config = DockerConfig {
        deadline: Duration::from_secs(1),
        check_interval: Duration::from_millis(300),
        ..fixture.config()
    };
    drop(fixture.open().await);
    let provider = DockerProvider::connect(config).await.expect("connects");
    provider.adopt().await.expect("adopts");
    let info = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    let mut health = provider.health();

    fixture.daemon.signal(Signal::STOP);
    timeout(PATIENCE, health.wait_for(|health| matches!(health, EngineHealth::Lost { .. })))
        .await
        .expect("noticed")
        .expect("watched");
    assert_eq!(provider.list(), std::slice::from_ref(&info), "it is not given up");
    assert!(serves(&info).await, "and serves");
    let begin = Instant::now();
    let errors = [
        provider.start(service_spec("web-2", TestService::Normal)).await.map(drop),
        provider.logs(&info.name, 100).await.map(drop),
        provider.resize(&info.name, ResourceLimits { pids: Some(50), ..ResourceLimits::default() }).await,
    ];
    for error in errors {
        let error = error.expect_err("the engine hangs");
        assert!(chain(&error).contains("did not answer within 1s"), "{}", chain(&error));
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    // The freezer needs no engine.
    provider.park(&info.name).await.expect("parks");
    assert!(!serves(&info).await);
    provider.promote(&info.name).await.expect("promotes");

    fixture.daemon.signal(Signal::CONT);
    timeout(PATIENCE, health.wait_for(|health| *health == EngineHealth::Answers))
        .await
        .expect("noticed")
        .expect("watched");
    // The start that failed may have gone on inside the engine.
    until("only ours is left", async || fixture.containers().len() == 1).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.containers().len(), 1);
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_restarts_is_found_again_and_its_containers_are_still_ours() {
    let Some(fixture) = own_engine(&["--live-restore"], false).await else { return };
    let provider = fixture.open().await;
    provider.adopt().await.expect("adopts");
    let mut events = provider.events();
    let kept = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    let lost = provider.start(service_spec("web-2", TestService::Normal)).await.expect("starts");

    let daemon = Arc::clone(&fixture.daemon);
    off(move || daemon.end(Signal::TERM)).await;
    assert!(serves(&kept).await, "containers live on");
    let error = provider.start(service_spec("web-3", TestService::Normal)).await.expect_err("no engine");
    assert!(chain(&error).contains("cannot be reached"), "{}", chain(&error));
    // One ends while nobody can tell.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(lost.pid).expect("a pid")).expect("a pid"),
        Signal::KILL,
    )
    .expect("killed");

    let daemon = Arc::clone(&fixture.daemon);
    off(move || daemon.run()).await.expect("runs again");
    let event = timeout(PATIENCE, events.recv()).await.expect("is reported").expect("sent");
    let ProviderEvent::Exited { name, .. } = event;
    assert_eq!(name, lost.name);
    assert_eq!(provider.list(), std::slice::from_ref(&kept));
    assert!(serves(&kept).await);
    // Events are heard again.
    until("the engine answers", async || *provider.health().borrow() == EngineHealth::Answers).await;
    let begin = Instant::now();
    let _ = probe::ask(&Probe::Http { path: "/exit?5".to_owned() }, kept.addr, Duration::from_secs(1)).await;
    let event = timeout(PATIENCE, events.recv()).await.expect("is reported").expect("sent");
    assert_eq!(event, ProviderEvent::Exited { name: kept.name, reason: ExitReason::Code(5) });
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [""; 0]);
}

/// An engine that hangs until this is dropped, so that it does not outlast a failed test.
struct Woken(Arc<Daemon>);

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_an_engine_that_was_given_up_is_left_alone_and_taken_over_when_it_is_adopted() {
    let Some(fixture) = own_engine(&[], true).await else { return };
    let config = DockerConfig {
        ping_deadline: Duration::from_millis(500),
        check_interval: Duration::from_millis(300),
        ..fixture.config()
    };
    drop(fixture.open().await);
    let provider = Arc::new(DockerProvider::connect(config.clone()).await.expect("connects"));
    provider.adopt().await.expect("adopts");
    let serving = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    let parked = provider.start(service_spec("web-2", TestService::Normal)).await.expect("starts");
    provider.park(&parked.name).await.expect("parks");
    let mut events = provider.events();
    assert!(provider.is_heard(false, Duration::from_secs(5)).await);

    let starting = Arc::clone(&provider);
    let starting =
        tokio::spawn(async move { starting.start(service_spec("web-3", TestService::NeverReady)).await });
    // What is frozen by its file runs as the engine sees it.
    let running = async || fixture.containers().iter().filter(|(_, state)| state == "running").count() == 3;
    until("the third runs", running).await;
    let woken = Woken(Arc::clone(&fixture.daemon));
    fixture.daemon.signal(Signal::STOP);
    let mut health = provider.health();
    let lost = |health: &EngineHealth| matches!(health, EngineHealth::Lost { since, .. } if since.elapsed() < PATIENCE);
    let noticed = timeout(Duration::from_secs(5), health.wait_for(lost)).await;
    noticed.expect("a silent engine is noticed sooner than its calls fail").expect("watched");

    let begin = Instant::now();
    assert_eq!(provider.give_up(), [serving.name.clone(), parked.name.clone()]);
    let error = starting.await.expect("no panic").expect_err("nothing starts there");
    assert!(begin.elapsed() < Duration::from_secs(5), "nobody waits for the engine: {:?}", begin.elapsed());
    assert!(chain(&error).contains("web-3"), "{}", chain(&error));
    assert!(provider.list().is_empty() && !provider.is_heard(true, Duration::from_millis(100)).await);
    let mut reported = Vec::new();
    while reported.len() < 2 {
        let event = timeout(PATIENCE, events.recv()).await.expect("is reported").expect("sent");
        let ProviderEvent::Exited { name, reason } = event;
        assert_eq!(reason, ExitReason::Lost);
        reported.push(name);
    }
    assert_eq!(reported, [serving.name.clone(), parked.name.clone()]);

    drop(woken);
    timeout(PATIENCE, health.wait_for(|health| *health == EngineHealth::Answers))
        .await
        .expect("noticed")
        .expect("watched");
    // Until somebody asks for them, they are not taken for nobody's.
    sleep(Duration::from_secs(1)).await;
    assert!(serves(&serving).await);
    let found = provider.adopt().await.expect("adopts");
    assert_eq!(
        found.iter().map(|info| (&info.name, info.parked)).collect::<Vec<_>>(),
        [(&serving.name, false), (&parked.name, true)]
    );
    provider.promote(&parked.name).await.expect("promotes");
    assert!(serves(&parked).await && fixture.containers().len() == 2, "the unfinished start is cleared away");
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [""; 0]);

    // One that is not there yet is waited for without holding anything up.
    drop(provider);
    let daemon = Arc::clone(&fixture.daemon);
    off(move || daemon.end(Signal::TERM)).await;
    let provider = DockerProvider::expect(config).expect("opens");
    assert!(matches!(&*provider.health().borrow(), EngineHealth::Lost { .. }));
    let daemon = Arc::clone(&fixture.daemon);
    off(move || daemon.run()).await.expect("runs again");
    let mut health = provider.health();
    timeout(PATIENCE, health.wait_for(|health| *health == EngineHealth::Answers))
        .await
        .expect("noticed")
        .expect("watched");
    provider.adopt().await.expect("adopts");
    let info = provider.start(service_spec("web-4", TestService::Normal)).await.expect("starts");
    assert!(serves(&info).await);
    provider.shutdown(GRACE).await.expect("stops");
}
