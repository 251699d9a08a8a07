//! A proxy on its own: `proxy CONTROL_SOCKET WORKERS [LISTEN BACKEND...]`. With a listen address it sets a route table
//! itself; without one it waits for a control plane. With PROXY_CERTIFICATE and PROXY_KEY it speaks TLS. Ctrl-C drains it, unless
//! PROXY_DETACHED is set. With PROXY_TAKE_OVER it goes on in place of the one that runs on the control socket.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use proxy::control::{BackendSpec, Client, Route, RouteTable, TlsSpec};
use proxy::{ProxyOptions, run};

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("usage: proxy CONTROL_SOCKET WORKERS [LISTEN BACKEND...]")?;
    let workers = arguments.next().unwrap_or_default().parse().unwrap_or(0);
    let addresses = arguments.map(|text| text.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    if let Some((&listen, backends)) = addresses.split_first() {
        let mut route = Route::new("example", listen);
        let spec = |(id, &addr)| BackendSpec { id: id as u64, addr, weight: 1000 };
        route.backends = backends.iter().enumerate().map(spec).collect();
        if let (Some(certificate), Some(key)) =
            (std::env::var_os("PROXY_CERTIFICATE"), std::env::var_os("PROXY_KEY"))
        {
            route.protocols.tls = Some(TlsSpec { certificate: certificate.into(), key: key.into() });
        }
        let table = RouteTable { generation: 1, routes: vec![route] };
        let socket = socket.clone();
        std::thread::spawn(move || set_table(&socket, table));
    }
    let detached = std::env::var_os("PROXY_DETACHED").is_some();
    let take_over = std::env::var_os("PROXY_TAKE_OVER").is_some();
    let options = ProxyOptions { workers, detached, take_over, ..ProxyOptions::new(socket) };
    Ok(run(options)?)
}

fn set_table(socket: &str, table: RouteTable) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..100 {
            if let Ok(client) = Client::connect(socket).await {
                match client.set_table(table).await {
                    Ok(generation) => eprintln!("table {generation} applied"),
                    Err(error) => eprintln!("{error}"),
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
