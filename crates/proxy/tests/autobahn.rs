//! WebSockets through the proxy, by the Autobahn test suite: its fuzzing client on one side, a server by its library on the other.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proxy::control::BackendSpec;
use serde::Deserialize;
use support::{Proxy, eventually};

/// Where `cargo xtask test` has put the suite.
const SUITE_VARIABLE: &str = "FORESHADOW_AUTOBAHN";

/// What the suite says of one case.
#[derive(Debug, Deserialize)]
struct Verdict {
    behavior: String,
    #[serde(rename = "behaviorClose")]
    close: String,
}

impl Verdict {
    fn is_good(&self) -> bool {
        let good = ["OK", "NON-STRICT", "INFORMATIONAL"];
        good.contains(&self.behavior.as_str()) && good.contains(&self.close.as_str())
    }
}

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_is_passed_through_the_proxy() {
    let Some(suite) = std::env::var_os(SUITE_VARIABLE) else { return missing() };
    let suite = Path::new(&suite);
    let folder = tempfile::tempdir().expect("a folder");
    let echo = loopback::free_address();
    let proxy = Proxy::start().await;
    let script = std::fs::read_to_string(suite.join("bin/wstest")).expect("the suite's script");
    let python = script.lines().next().and_then(|line| line.strip_prefix("#!")).expect("its interpreter");
    let python = |arguments: &[&str]| {
        let mut command = Command::new(python);
        command.args(arguments).env("PYTHONUSERBASE", suite).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let ports = [echo.port().to_string(), proxy.listen.port().to_string()];
    let _server =
        Server(python(&["-c", SERVER, &ports[0], &ports[1]]).spawn().expect("the suite's server starts"));
    eventually(|| tokio::net::TcpStream::connect(echo)).await;
    proxy.set(1, proxy.route(&[BackendSpec { id: 1, addr: echo, weight: 1000 }])).await;
    let specification = format!(
        r#"{{"outdir": "reports", "servers": [{{"agent": "proxy", "url": "ws://{}"}}], "cases": {CASES},
            "exclude-cases": {LEFT_OUT}, "exclude-agent-cases": {{}}}}"#,
        proxy.listen
    );
    std::fs::write(folder.path().join("cases.json"), specification).expect("written");
    let wstest = suite.join("bin/wstest");
    let wstest = wstest.to_str().expect("a path in UTF-8");
    let client = python(&[wstest, "-m", "fuzzingclient", "-s", "cases.json"]).spawn();
    let mut client = client.expect("the client starts");
    let ended = tokio::task::spawn_blocking(move || client.wait());
    let ended = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("within two minutes");
    assert!(ended.expect("no panic").expect("waited for").success());
    let index = std::fs::read(folder.path().join("reports/index.json")).expect("a report");
    let verdicts: BTreeMap<String, BTreeMap<String, Verdict>> = serde_json::from_slice(&index).expect("JSON");
    let verdicts = &verdicts["proxy"];
    assert!(verdicts.len() > 200, "only {} cases ran", verdicts.len());
    let bad: Vec<_> = verdicts.iter().filter(|(_, verdict)| !verdict.is_good()).collect();
    assert!(bad.is_empty(), "{} of {} cases: {bad:?}", bad.len(), verdicts.len());
}

fn missing() {
    skips::skip(
        "WebSockets by the Autobahn suite",
        "it needs Python 2.7; `cargo xtask test` installs the suite",
    );
}

/// Echoes. The suite's own echo server refuses requests whose Host names another port than its own, which is the proxy's here.
const SERVER: &str = "
import sys
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)
factory = WebSocketServerFactory('ws://127.0.0.1:' + sys.argv[1], externalPort=int(sys.argv[2]))
factory.protocol = Echo
reactor.listenTCP(int(sys.argv[1]), factory)
reactor.run()
";
/// All but limits and compression, which are between the two ends.
const CASES: &str = r#"["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]"#;
/// They measure how soon a server notices, by waiting.
const LEFT_OUT: &str = r#"["6.4.*"]"#;
