//! The proxies that are compared, each with one worker, over one upstream that costs less than any of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxy::control::{BackendSpec, Client, Route, RouteTable, Stats, TlsSpec};

use crate::Setting;
use crate::running::{Running, wait_until_listening};

/// Bytes of the longer response.
pub(crate) const LARGE: usize = 100_000;

/// What all contenders share: a folder for their files, a certificate, and the server behind them.
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    certificate: TlsSpec,
    pub(crate) upstream: Running,
    /// The upstream's port, which it has on every loopback address.
    port: u16,
}

/// A proxy under load.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) process: Running,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
}

impl Ground {
    /// Starts nginx as the upstream: it answers from memory, or sends a file.
    pub(crate) fn prepare(folder: &Path) -> Result<Ground> {
        let certificate = certificate(folder)?;
        fs::write(folder.join("large"), vec![b'x'; LARGE])?;
        let port = loopback::free_address().port();
        let server = format!(
            "server {{ listen 0.0.0.0:{port} backlog=4096; root {0}; default_type text/plain;\n\
             location = / {{ return 200 'Hello, World!'; }}\n\
             location /kept {{ add_header Cache-Control max-age=3600; return 200 'Hello, World!'; }}\n\
             location = /kept-large {{ add_header Cache-Control max-age=3600; alias {0}/large; }} }}",
            folder.display()
        );
        let upstream = nginx(folder, "upstream", &server)?;
        wait_until_listening(SocketAddr::from(([127, 0, 0, 1], port)))?;
        Ok(Ground { folder: folder.to_owned(), certificate, upstream, port })
    }

    /// The first `count` addresses of the upstream.
    pub(crate) fn backends(&self, count: usize) -> Vec<SocketAddr> {
        let host = |place: usize| [127, 0, 1 + (place / 250) as u8, 1 + (place % 250) as u8];
        (0..count).map(|place| SocketAddr::from((host(place), self.port))).collect()
    }

    /// Ours beside both peers.
    pub(crate) fn contenders(&self, setting: &Setting, connections: usize) -> Result<[Contender; 3]> {
        let backends = self.backends(BACKENDS);
        Ok([
            ours(self, &setting.foreshadow, &backends)?.0,
            haproxy(self, &backends, connections)?,
            nginx_proxy(self, &backends, "", "")?,
        ])
    }
}

/// Ours, and the connection that steers it.
pub(crate) fn ours(
    ground: &Ground,
    foreshadow: &Path,
    backends: &[SocketAddr],
) -> Result<(Contender, Control)> {
    ours_with(ground, foreshadow, backends, |_| {})
}

/// The same with a change to what is asked of the listener without TLS.
pub(crate) fn ours_with(
    ground: &Ground,
    foreshadow: &Path,
    backends: &[SocketAddr],
    change: impl FnOnce(&mut Route),
) -> Result<(Contender, Control)> {
    let (plain, tls) = (loopback::free_address(), loopback::free_address());
    let socket = ground.folder.join(format!("control-{}", plain.port()));
    let process = start_ours(foreshadow, &socket, &[])?;
    let mut control = Control::connect(foreshadow, socket)?;
    let mut routes = vec![route("plain", plain, backends), route("encrypted", tls, backends)];
    routes[1].protocols.tls = Some(ground.certificate.clone());
    change(&mut routes[0]);
    control.set(routes)?;
    wait_until_listening(plain)?;
    Ok((Contender { name: "ours", process, plain, tls }, control))
}

fn start_ours(foreshadow: &Path, socket: &Path, further: &[&str]) -> Result<Running> {
    let mut command = Command::new(foreshadow);
    command.args(["proxy", "--workers", "1", "--control-socket"]).arg(socket).args(further);
    Running::start(&mut command)
}

/// A route over `backends`, all of one weight.
pub(crate) fn route(name: &str, listen: SocketAddr, backends: &[SocketAddr]) -> Route {
    let mut route = Route::new(name, listen);
    route.backends =
        (1_u64..).zip(backends).map(|(id, addr)| BackendSpec { id, addr: *addr, weight: 1000 }).collect();
    route
}

/// Steers ours from code that does not await.
pub(crate) struct Control {
    foreshadow: PathBuf,
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    client: Client,
    generation: u64,
}

impl Control {
    fn connect(foreshadow: &Path, socket: PathBuf) -> Result<Control> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            for _ in 0..200 {
                if let Ok(client) = Client::connect(&socket).await {
                    return Ok(client);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bail!("the proxy does not answer on its control socket")
        })?;
        Ok(Control { foreshadow: foreshadow.to_owned(), socket, runtime, client, generation: 0 })
    }

    /// Puts a table in force.
    pub(crate) fn set(&mut self, routes: Vec<Route>) -> Result<()> {
        self.generation += 1;
        let table = RouteTable { generation: self.generation, routes };
        self.runtime.block_on(self.client.set_table(table)).context("the proxy refused the table")?;
        Ok(())
    }

    /// All counters.
    pub(crate) fn stats(&self) -> Result<Stats> {
        Ok(self.runtime.block_on(self.client.stats())?)
    }

    /// Starts a successor and waits until it serves.
    pub(crate) fn succeed(&self) -> Result<Running> {
        let successor = start_ours(&self.foreshadow, &self.socket, &["--take-over"])?;
        let began = Instant::now();
        while self.stats()?.pid != successor.pid() {
            ensure!(began.elapsed() < SUCCESSION_MAX, "a successor does not serve");
            sleep(Duration::from_millis(5));
        }
        Ok(successor)
    }
}

/// HAProxy, told to name the client as ours does, so that all do the same work.
pub(crate) fn haproxy(ground: &Ground, backends: &[SocketAddr], connections: usize) -> Result<Contender> {
    haproxy_with(ground, backends, connections, "")
}

/// The same with further lines of the backend, and sections after it.
pub(crate) fn haproxy_with(
    ground: &Ground,
    backends: &[SocketAddr],
    connections: usize,
    further: &str,
) -> Result<Contender> {
    let (plain, tls) = (loopback::free_address(), loopback::free_address());
    let servers: String =
        backends.iter().enumerate().map(|(i, address)| format!("    server s{i} {address}\n")).collect();
    let configuration = format!(
        "global\n    nbthread 1\n    maxconn {}\n    ssl-default-bind-options ssl-min-ver TLSv1.2\n\
         defaults\n    mode http\n    option forwardfor\n    timeout client 120s\n    timeout server 30s\n\
         \x20   timeout connect 5s\n    timeout http-keep-alive 120s\n\
         frontend in\n    bind {plain}\n    bind {tls} ssl crt {} alpn h2,http/1.1\n    default_backend out\n\
         backend out\n    balance random(2)\n    http-reuse always\n{servers}{further}",
        connections + 500,
        ground.folder.join("both.pem").display()
    );
    let file = ground.folder.join(format!("haproxy-{}.cfg", plain.port()));
    fs::write(&file, configuration)?;
    let process = Running::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file))
        .context("HAProxy is missing; install it (Debian: haproxy)")?;
    wait_until_listening(plain)?;
    Ok(Contender { name: "HAProxy", process, plain, tls })
}

/// nginx as a proxy, with buffers that hold the longer response, connections that are kept, and further directives: of everything, and
/// of its server.
pub(crate) fn nginx_proxy(
    ground: &Ground,
    backends: &[SocketAddr],
    http: &str,
    own: &str,
) -> Result<Contender> {
    let (plain, tls) = (loopback::free_address(), loopback::free_address());
    let servers: String = backends.iter().map(|address| format!("server {address};\n")).collect();
    let server = format!(
        "{http}\nupstream out {{ random two least_conn; {servers} keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen {plain} backlog=4096; listen {tls} ssl http2 backlog=4096;\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {};\n\
         {own}\n\
         location / {{ proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Connection '';\n\
         proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_buffers 32 8k; proxy_max_temp_file_size 0; }} }}",
        ground.certificate.certificate.display(),
        ground.certificate.key.display()
    );
    let process = nginx(&ground.folder, &format!("peer-{}", plain.port()), &server)?;
    wait_until_listening(plain)?;
    Ok(Contender { name: "nginx", process, plain, tls })
}

/// nginx with one worker and files of its own.
fn nginx(folder: &Path, name: &str, servers: &str) -> Result<Running> {
    let own = folder.join(name);
    fs::create_dir_all(&own)?;
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", own.display()))
        .collect();
    // Without a user of its own, a worker of root's nginx could not read the folder.
    let user = if crate::running::is_root() { "user root;\n" } else { "" };
    let configuration = format!(
        "{user}daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {}/pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 16000; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_timeout 300s; keepalive_requests 100000000;\n\
         {scratch}{servers}\n}}\n",
        own.display()
    );
    let file = own.join("nginx.conf");
    fs::write(&file, configuration)?;
    // Debian keeps it in a folder that not every user searches.
    let program = if Path::new("/usr/sbin/nginx").is_file() { "/usr/sbin/nginx" } else { "nginx" };
    Running::start(Command::new(program).args(["-e", "stderr", "-p"]).arg(&own).arg("-c").arg(&file))
        .context("nginx is missing; install it (Debian: nginx)")
}

/// A certificate by openssl, in the forms that the three want it in.
fn certificate(folder: &Path) -> Result<TlsSpec> {
    let spec = TlsSpec { certificate: folder.join("site.pem"), key: folder.join("site.key") };
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=localhost", "-days", "7", "-keyout"])
        .arg(&spec.key)
        .arg("-out")
        .arg(&spec.certificate)
        .output()
        .context("openssl is missing; install it (Debian: openssl)")?;
    if !made.status.success() {
        bail!("openssl made no certificate: {}", String::from_utf8_lossy(&made.stderr));
    }
    fs::write(folder.join("both.pem"), [fs::read(&spec.certificate)?, fs::read(&spec.key)?].concat())?;
    Ok(spec)
}

/// Upstream addresses behind each proxy.
pub(crate) const BACKENDS: usize = 2;
const SUCCESSION_MAX: Duration = Duration::from_secs(20);
