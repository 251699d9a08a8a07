//! Engines of other machines: by TLS with certificates of both sides, and by ssh. Here they are this machine's, and nothing
//! of that is used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use provider::contract::{ContractFixture, TestService};
use provider::{DockerConfig, DockerProvider, Endpoint, Provider, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::daemon::{Daemon, Options, program, skipped};
use crate::fixture::{Fixture, service_spec};
use crate::{GRACE, chain, off, serves};

/// A certificate authority, and what it has signed, in a folder.
fn certificates(dir: &Path) {
    let key = || KeyPair::generate().expect("a key");
    let authority = key();
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join("ca.pem"), params.self_signed(&authority).expect("signed").pem()).expect("written");
    let issuer = Issuer::new(params, authority);
    for (name, usage) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let own = key();
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("parameters");
        params.extended_key_usages = vec![usage];
        let signed = params.signed_by(&own, &issuer).expect("signed");
        fs::write(dir.join(format!("{name}.pem")), signed.pem()).expect("written");
        fs::write(dir.join(format!("{name}-key.pem")), own.serialize_pem()).expect("written");
    }
}

/// A whole life by this endpoint, seen from an engine that is not this machine's: what is used comes from the engine.
async fn whole_life(fixture: &Fixture, config: DockerConfig) {
    let provider = DockerProvider::connect(config).await.expect("connects");
    provider.adopt().await.expect("adopts");
    let info = provider.start(service_spec("web-1", TestService::Normal)).await.expect("starts");
    assert!(serves(&info).await);
    provider.park(&info.name).await.expect("parks");
    assert!(!serves(&info).await);
    provider.promote(&info.name).await.expect("promotes");
    let usage = provider.usage(&info.name).await.expect("readable");
    assert!(usage.memory_bytes > 0 && usage.processes >= 1 && !usage.cpu_time.is_zero(), "{usage:?}");
    let mut events = provider.events();
    let path = provider::Probe::Http { path: "/exit?4".to_owned() };
    let _ = provider::probe::ask(&path, info.addr, Duration::from_secs(1)).await;
    let event =
        tokio::time::timeout(Duration::from_secs(5), events.recv()).await.expect("told").expect("sent");
    assert!(matches!(event, provider::ProviderEvent::Exited { name, .. } if name == info.name));
    provider.shutdown(GRACE).await.expect("stops");
    assert_eq!(fixture.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_reached_by_tls_and_only_with_the_right_certificate() {
    let dir = tempfile::tempdir().expect("a folder");
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    let port = loopback::free_address().port();
    let arguments = vec![
        format!("--host=tcp://127.0.0.1:{port}"),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", file("ca.pem").display()),
        format!("--tlscert={}", file("server.pem").display()),
        format!("--tlskey={}", file("server-key.pem").display()),
    ];
    let Some(daemon) = off(move || Daemon::start(Options { arguments, ..Options::default() })).await else {
        return;
    };
    let fixture = Fixture::on(Arc::new(daemon), false);
    drop(fixture.open().await);
    let tls = TlsFiles { ca: file("ca.pem"), cert: file("client.pem"), key: file("client-key.pem") };
    let endpoint = |tls| Endpoint::Tcp { host: "127.0.0.1".to_owned(), port, tls };
    let config = |tls| DockerConfig { endpoint: endpoint(tls), ..fixture.config() };
    whole_life(&fixture, config(Some(tls.clone()))).await;

    let stranger = tempfile::tempdir().expect("a folder");
    certificates(stranger.path());
    let wrong = TlsFiles {
        cert: stranger.path().join("client.pem"),
        key: stranger.path().join("client-key.pem"),
        ..tls.clone()
    };
    for (tls, words) in [
        (Some(wrong), "certificate"),
        (Some(TlsFiles { ca: stranger.path().join("ca.pem"), ..tls.clone() }), "certificate"),
        (Some(TlsFiles { ca: PathBuf::from("/no/such/file"), ..tls }), "/no/such/file"),
        (None, "engine"),
    ] {
        let error = chain(&DockerProvider::connect(config(tls)).await.expect_err(words));
        assert!(error.contains(words), "{error}");
    }
}

/// `sshd` for one test.
struct Sshd {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Sshd {
    fn start() -> Option<Sshd> {
        if ["sshd", "ssh", "ssh-keygen", "docker"].into_iter().any(|name| program(name).is_none()) {
            skipped("an engine by ssh: needs sshd, ssh and the docker command");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str| dir.path().join(name).display().to_string();
        for name in ["host", "user"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f", &file(name)]);
            assert!(command.status().expect("runs").success());
        }
        let port = loopback::free_address().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\n",
            file("host"),
            file("user.pub")
        );
        fs::write(file("config"), config).expect("written");
        // It insists on this folder.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Command::new(program("sshd").expect("looked for"))
            .args(["-D", "-e", "-f", &file("config")])
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Sshd { child, port, dir })
    }

    fn arguments(&self, key: &str) -> Vec<String> {
        let key = self.dir.path().join(key).display().to_string();
        let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option.to_owned()]);
        options.chain(["-F".to_owned(), "none".to_owned(), "-i".to_owned(), key]).collect()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_reached_by_ssh_and_what_ssh_says_is_told() {
    let Some(fixture) = Fixture::new(false).await else { return };
    let Some(sshd) = off(Sshd::start).await else { return };
    drop(fixture.open().await);
    let endpoint = |key: &str| Endpoint::Ssh {
        destination: "root@127.0.0.1".to_owned(),
        port: Some(sshd.port),
        socket: Some(fixture.daemon.socket()),
        arguments: sshd.arguments(key),
    };
    let config = |key: &str| DockerConfig { endpoint: endpoint(key), ..fixture.config() };
    whole_life(&fixture, config("user")).await;
    let error = chain(&DockerProvider::connect(config("no-such-key")).await.expect_err("no key"));
    assert!(error.contains("Permission denied") || error.contains("no-such-key"), "{error}");
}
