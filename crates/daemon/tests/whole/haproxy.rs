//! The daemon with a HAProxy of the user's as its router.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Load, Running, Stage, by, eventually, pids, pin, request, serves};

/// Programs of Debian's administrator are not on every PATH.
fn search_path() -> String {
    format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

fn is_here(test: &str) -> bool {
    let here = std::env::split_paths(&search_path()).any(|folder| folder.join("haproxy").is_file());
    if !here {
        skips::skip(&format!("the daemon with HAProxy, {test}"), "no haproxy on this machine");
    }
    here
}

/// A HAProxy with the lines that `docs/haproxy.md` tells users to write.
struct Haproxy {
    process: Child,
    config: PathBuf,
}

impl Haproxy {
    fn start(stage: &Stage) -> Haproxy {
        let config = stage.config("haproxy.cfg", |_| {
            format!(
                "global\n  stats socket {} level admin\n\
                 defaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n\
                 frontend clients\n  bind {}\n  default_backend web\n\
                 backend web\n  balance random(2)\n  option httpchk GET /healthz\n  option redispatch\n",
                stage.socket().display(),
                stage.web
            )
        });
        Haproxy { process: Haproxy::spawn(&config), config }
    }

    fn spawn(config: &PathBuf) -> Child {
        let mut command = Command::new("haproxy");
        command.env("PATH", search_path()).arg("-db").arg("-f").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("HAProxy starts")
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("waited for");
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A daemon behind a HAProxy that answers.
async fn start(stage: &Stage) -> (Haproxy, Running) {
    let haproxy = Haproxy::start(stage);
    eventually("HAProxy listens", async || std::os::unix::net::UnixStream::connect(stage.socket()).ok())
        .await;
    let router = format!("[server]\nrouter = {{ haproxy = {{ socket = {:?} }} }}\n", stage.socket());
    let config = stage.config("web.toml", |text| text.replacen("[server]\n", &router, 1));
    (haproxy, Running::start(&config).expect("the daemon starts"))
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_and_go_behind_haproxy_without_a_failed_request() {
    if !is_here("scaling") {
        return;
    }
    let stage = Stage::new("");
    let (_haproxy, daemon) = start(&stage).await;
    let client = stage.client();
    pin(&client, 1, 0).await;
    let load = Load::start(stage.web, 100);
    eventually("requests are answered", async || (load.good() > 50).then_some(())).await;
    pin(&client, 3, 0).await;
    let three: Vec<u32> = pids(&client).await.into_iter().map(|(_, pid)| pid).collect();
    assert_eq!(three.len(), 3);
    for pid in &three {
        eventually("each instance answers", async || {
            let (status, body, _) = request(stage.web, "GET", "/", &[], "").await.ok()?;
            (status == 200 && body == pid.to_string()).then_some(())
        })
        .await;
    }
    pin(&client, 1, 1).await;
    pin(&client, 2, 0).await;
    let (good, failed, complaints) = load.finish().await;
    assert_eq!(failed, 0, "{complaints}");
    let counted = eventually("all are counted", async || {
        let counters = client.workload("web").await.ok()?.counters;
        (counters.arrivals >= good).then_some(counters)
    })
    .await;
    assert_eq!(counted.failed, 0);
    let demand =
        eventually("demand is observed", async || client.workload("web").await.ok()?.summary.demand_now);
    assert!(demand.await >= 0.0);
    daemon.terminate();
    assert!(!three.into_iter().any(crate::support::runs), "an orderly end stops the instances");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_is_down_is_a_problem_and_is_filled_again() {
    if !is_here("a restart") {
        return;
    }
    let stage = Stage::new("");
    let (mut haproxy, _daemon) = start(&stage).await;
    let client = stage.client();
    serves(&client).await;
    pin(&client, 2, 0).await;
    let refused = client.restart_proxy(&by("test")).await.expect_err("it is not ours").to_string();
    assert!(refused.contains("HAProxy, which foreshadow does not restart"), "{refused}");
    haproxy.kill();
    let problem = eventually("it is said to be down", async || {
        let problems = client.status().await.ok()?.problems;
        problems.into_iter().find(|problem| problem.kind == "proxy_unreachable")
    })
    .await;
    assert!(problem.message.contains("admin.sock"), "{}", problem.message);
    haproxy.process = Haproxy::spawn(&haproxy.config);
    eventually("requests are answered again", async || {
        let (status, ..) = request(stage.web, "GET", "/", &[], "").await.ok()?;
        (status == 200).then_some(())
    })
    .await;
    eventually("the problems are over", async || {
        client.status().await.ok()?.problems.is_empty().then_some(())
    })
    .await;
    pin(&client, 3, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_leaves_haproxy_serving_and_the_next_one_takes_over() {
    if !is_here("a killed daemon") {
        return;
    }
    let stage = Stage::new("");
    let (_haproxy, daemon) = start(&stage).await;
    let client = stage.client();
    pin(&client, 2, 0).await;
    let before = pids(&client).await;
    let load = Load::start(stage.web, 50);
    daemon.kill();
    eventually("requests go on", async || (load.good() > 50).then_some(())).await;
    let router = format!("[server]\nrouter = {{ haproxy = {{ socket = {:?} }} }}\n", stage.socket());
    let config = stage.config("web.toml", |text| text.replacen("[server]\n", &router, 1));
    let _next = Running::start(&config).expect("the next daemon starts");
    serves(&client).await;
    assert_eq!(pids(&client).await, before);
    let (_, failed, complaints) = load.finish().await;
    assert_eq!(failed, 0, "{complaints}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_or_backend_that_is_not_there_is_named_at_the_start() {
    if !is_here("a wrong configuration") {
        return;
    }
    let stage = Stage::new("");
    let _haproxy = Haproxy::start(&stage);
    eventually("HAProxy listens", async || std::os::unix::net::UnixStream::connect(stage.socket()).ok())
        .await;
    let refused = |name: &'static str, socket: PathBuf| {
        let router = format!("[server]\nrouter = {{ haproxy = {{ socket = {socket:?} }} }}\n");
        let config = stage.config("web.toml", |text| {
            text.replacen("[server]\n", &router, 1).replace("name = \"web\"", &format!("name = {name:?}"))
        });
        Running::start(&config).err().expect("refused")
    };
    let wrong = refused("other", stage.socket());
    assert!(wrong.contains("`show stat other 6 -1`") && wrong.contains("No such proxy"), "{wrong}");
    let nowhere = refused("web", stage.socket().with_extension("missing"));
    assert!(nowhere.contains("no HAProxy answers on") && nowhere.contains("admin.missing"), "{nowhere}");
}
