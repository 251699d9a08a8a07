//! Certificates of listeners: read by the control thread, used by all shards, replaced when their files change.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::control::{Protocol, TlsSpec};
use crate::gather::Gathering;

/// The certificate of one route, and how TLS is spoken with it.
#[derive(Debug)]
pub(crate) struct Tls {
    spec: TlsSpec,
    protocol: Protocol,
    config: Arc<ServerConfig>,
    key: Arc<CurrentKey>,
    /// The files as they were read last.
    stamps: Mutex<[Stamp; 2]>,
}

/// A file that cannot be used, and why.
#[derive(Debug)]
pub(crate) struct BadFile {
    pub(crate) file: PathBuf,
    pub(crate) reason: String,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub(crate) fn load(spec: &TlsSpec, protocol: Protocol) -> Result<Self, BadFile> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Before reading: a change in between is then seen as one.
        let stamps = Stamp::of_both(spec);
        let key = Arc::new(CurrentKey(RwLock::new(Arc::new(read(spec, &provider)?))));
        let unusable = |error: rustls::Error| BadFile { file: spec.key.clone(), reason: error.to_string() };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&key) as Arc<dyn ResolvesServerCert>);
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(unusable)?;
        if protocol == Protocol::Http {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Self { spec: spec.clone(), protocol, config: Arc::new(config), key, stamps: Mutex::new(stamps) })
    }

    /// Whether it is what a route asks for.
    pub(crate) fn is_of(&self, spec: &TlsSpec, protocol: Protocol) -> bool {
        self.spec == *spec && self.protocol == protocol
    }

    /// Looks whether the files have changed; new handshakes then use what is in them. What cannot be used is warned of
    /// once, and the old certificate kept.
    pub(crate) fn refresh(&self, workload: &str) {
        let now = Stamp::of_both(&self.spec);
        let before = std::mem::replace(&mut *self.stamps.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before == now {
            return;
        }
        match read(&self.spec, self.config.crypto_provider()) {
            Ok(key) => {
                self.key.replace(key);
                tracing::info!(workload, certificate = %self.spec.certificate.display(), "certificate reloaded");
            }
            Err(BadFile { file, reason }) => {
                let file = file.display();
                tracing::warn!(workload, %file, reason, "the changed certificate cannot be used, the old one is kept");
            }
        }
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// When it does not speak TLS, not fast enough, or nothing that both know.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<Gathering<TcpStream>>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        timeout(HANDSHAKE_LIMIT, acceptor.accept(Gathering(stream))).await?
    }
}

/// The certificate that handshakes use.
#[derive(Debug)]
struct CurrentKey(RwLock<Arc<CertifiedKey>>);

impl CurrentKey {
    fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for CurrentKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What changes when a file is written anew or replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of_both(spec: &TlsSpec) -> [Self; 2] {
        [Self::of(&spec.certificate), Self::of(&spec.key)]
    }

    /// That of a file that is not there is empty.
    fn of(file: &Path) -> Self {
        let Ok(data) = fs::metadata(file) else { return Self::default() };
        Self { inode: data.ino(), bytes: data.len(), modified: (data.mtime(), data.mtime_nsec()) }
    }
}

fn read(spec: &TlsSpec, provider: &CryptoProvider) -> Result<CertifiedKey, BadFile> {
    let bad = |file: &Path, reason: String| BadFile { file: file.to_path_buf(), reason };
    let pem = read_file(&spec.certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| bad(&spec.certificate, format!("not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(bad(&spec.certificate, "has no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read_file(&spec.key)?)
        .map_err(|error| bad(&spec.key, format!("has no private key: {error}")))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| bad(&spec.key, format!("cannot be used with the certificate: {error}")))
}

fn read_file(file: &Path) -> Result<Vec<u8>, BadFile> {
    let bad = |reason: String| BadFile { file: file.to_path_buf(), reason };
    let open = File::open(file).map_err(|error| bad(error.to_string()))?;
    // A device or pipe would be read for ever.
    if !open.metadata().is_ok_and(|data| data.is_file()) {
        return Err(bad("is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(bad(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// From the connection to the end of the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const FILE_BYTES_MAX: u64 = 1 << 20;
