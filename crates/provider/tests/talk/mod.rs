//! How tests start machines and ask their services.

use std::net::SocketAddr;
use std::time::Duration;

use provider::{InstanceInfo, InstanceSpec, Provider, VmProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A grace that a well-behaved machine does not need.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// The longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One GET; the body of the answer.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(addr).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    };
    timeout(PATIENCE, asked).await.ok().flatten()
}

/// Starts a machine, or says why not.
pub(crate) async fn started(provider: &VmProvider, spec: InstanceSpec) -> InstanceInfo {
    provider.start(spec).await.unwrap_or_else(|error| {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        panic!("{}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    })
}
