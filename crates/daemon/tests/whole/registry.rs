//! A registry of images that has one, with a single file in it: as much of the protocol of distribution as an engine needs to fetch it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// It serves until it is dropped.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
    serving: Option<std::thread::JoinHandle<()>>,
}

struct Content {
    manifest: Vec<u8>,
    /// Each with its digest.
    blobs: Vec<(String, Vec<u8>)>,
}

impl Registry {
    /// Starts at any port of this address.
    pub(crate) fn start(address: Ipv4Addr) -> Registry {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (content, stopped) = (Content::make(), Arc::new(AtomicBool::new(false)));
        let is_stopped = Arc::clone(&stopped);
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = content.answer(stream);
            }
        });
        Registry { address, stopped, serving: Some(serving) }
    }

    /// The reference of its image.
    pub(crate) fn image(&self) -> String {
        format!("{}/tiny:1", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

impl Content {
    fn make() -> Content {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("file"), "something").expect("written");
        let tar = Command::new("tar").arg("-C").arg(dir.path()).args(["-cf", "-", "file"]).output();
        let layer = tar.expect("tar runs").stdout;
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let part = |kind: &str, blob: &[u8]| {
            let media = format!("application/vnd.docker.{kind}");
            serde_json::json!({ "mediaType": media, "size": blob.len(), "digest": digest(blob) })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": part("container.image.v1+json", &config),
            "layers": [part("image.rootfs.diff.tar.gzip", &layer)],
        });
        let blobs = [config, layer].map(|blob| (digest(&blob), blob)).to_vec();
        Content { manifest: manifest.to_string().into_bytes(), blobs }
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut head = String::new();
        while reader.read_line(&mut head).ok()? > 2 {}
        let (method, target) = (line.split(' ').next()?, line.split(' ').nth(1)?);
        let blob = self.blobs.iter().find(|(digest, _)| target == format!("/v2/tiny/blobs/{digest}"));
        let (status, kind, body): (_, _, &[u8]) = match blob {
            Some((_, blob)) => ("200 OK", "application/octet-stream", blob),
            None if target.starts_with("/v2/tiny/manifests/") => ("200 OK", MANIFEST, &self.manifest),
            None if target == "/v2/" => ("200 OK", "application/json", b"{}"),
            None => ("404 Not Found", "application/json", b"{}"),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\n\
             Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n",
            body.len(),
            digest(body)
        );
        stream.write_all(head.as_bytes()).ok()?;
        if method == "HEAD" { Some(()) } else { stream.write_all(body).ok() }
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    child.stdin.take().expect("piped").write_all(bytes).expect("taken");
    let said = child.wait_with_output().expect("ends").stdout;
    format!("sha256:{}", String::from_utf8_lossy(&said).split(' ').next().unwrap_or_default())
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
