//! How long a waiting request takes once its backend is there: from the call that sets the table to the answer at the client,
//! and, for comparison, an ordinary request to the same backend. `wake [ROUNDS]`.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use proxy::control::{BackendSpec, Client, Histogram, Route, RouteTable};
use proxy::{ProxyOptions, run};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let rounds: u64 = std::env::args().nth(1).unwrap_or_default().parse().unwrap_or(300);
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("control");
    let options = ProxyOptions { workers: 1, ..ProxyOptions::new(&socket) };
    let proxy = std::thread::spawn(|| run(options));
    let client = loop {
        match Client::connect(&socket).await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let backend = TcpListener::bind("127.0.0.1:0").await?;
    let addr = backend.local_addr()?;
    tokio::spawn(serve(backend));
    let listen = loopback::free_address();
    let table = |generation, weight| {
        let mut route = Route::new("web", listen);
        route.backends = vec![BackendSpec { id: 1, addr, weight }];
        RouteTable { generation, routes: vec![route] }
    };
    let (mut woken, mut plain) = (Histogram::new(), Histogram::new());
    client.set_table(table(1, 0)).await?;
    for round in 1..=rounds {
        let waiting = tokio::spawn(get(listen));
        while client.stats().await?.workloads[0].waiting == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let began = Instant::now();
        client.set_table(table(2 * round, 1000)).await?;
        waiting.await??;
        woken.record(began.elapsed());
        let began = Instant::now();
        get(listen).await?;
        plain.record(began.elapsed());
        client.set_table(table(2 * round + 1, 0)).await?;
    }
    println!("table set to answer: p50 {:?} p99 {:?}", woken.p50(), woken.p99());
    println!("ordinary request:    p50 {:?} p99 {:?}", plain.p50(), plain.p99());
    client.shutdown(Duration::ZERO).await?;
    proxy.join().map_err(|_| "the proxy panicked")??;
    Ok(())
}

async fn get(address: SocketAddr) -> Result<(), hyper::Error> {
    let Ok(stream) = TcpStream::connect(address).await else { return Ok(()) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "wake").body(Full::<Bytes>::default());
    if let Ok(request) = request {
        let response = sender.send_request(request).await?;
        assert!(response.status().is_success());
        response.into_body().collect().await?;
    }
    Ok(())
}

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = |_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))) };
        let service = hyper::service::service_fn(answer);
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}
