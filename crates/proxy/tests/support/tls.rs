//! Certificates made for the test, and clients that believe in them.

#![expect(unreachable_pub, reason = "each test file uses its own part of this")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use proxy::control::TlsSpec;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate for `site`, in two files of a folder.
pub struct Certificate {
    pub spec: TlsSpec,
    pub der: CertificateDer<'static>,
}

impl Certificate {
    pub fn write(folder: &Path) -> Self {
        let spec = TlsSpec { certificate: folder.join("site.pem"), key: folder.join("site.key") };
        let made = rcgen::generate_simple_self_signed(vec!["site".to_owned()]).expect("a certificate");
        // In this order: a reload between the two finds a pair that does not fit, and must wait for the other half.
        std::fs::write(&spec.key, made.signing_key.serialize_pem()).expect("written");
        std::fs::write(&spec.certificate, made.cert.pem()).expect("written");
        Self { spec, der: made.cert.der().clone() }
    }

    /// Shakes hands as a client that trusts this certificate only.
    pub async fn connect(&self, address: SocketAddr, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("sound");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("site").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
