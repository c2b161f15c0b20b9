//! TLS, by rustls. Certificates are read again when their files change and on SIGHUP; connections that are open keep what they have, and
//! files that cannot be used change nothing but the log.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How the gateway speaks TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayTls {
    /// The certificate and those that vouch for it, PEM. With it and `key` the gateway speaks TLS and nothing else.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Certificates, PEM, one of which must vouch for the client's; then nobody connects without one, and keys are asked for all the same.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One without the other.
    #[error("gateway.tls.cert and gateway.tls.key belong together; set both or none")]
    Half,
    /// A file cannot be used.
    #[error("{setting}: {path}: {why}")]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// They do not fit together.
    #[error("gateway.tls: certificate and key cannot be used: {0}")]
    Unfit(String),
}

impl GatewayTls {
    /// The two files, if there is to be TLS.
    ///
    /// # Errors
    /// One is named without the other.
    pub fn files(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) if self.client_ca.is_none() => Ok(None),
            _ => Err(TlsError::Half),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        let Some((cert, key)) = self.files()? else { return Ok(None) };
        let chain = certificates("gateway.tls.cert", cert)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|why| unusable("gateway.tls.key", key, &why))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|why| TlsError::Unfit(why.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("gateway.tls.client_ca", path)? {
                    roots.add(certificate).map_err(|why| unusable("gateway.tls.client_ca", path, &why))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|why| unusable("gateway.tls.client_ca", path, &why))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|why| TlsError::Unfit(why.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(config)))
    }

    /// When the files were last changed.
    fn stamps(&self) -> [Option<(SystemTime, u64)>; 3] {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [&self.cert, &self.key, &self.client_ca].map(|path| path.as_ref().and_then(stamp))
    }

    /// Reads the files again whenever they change, and on SIGHUP.
    pub(super) async fn follow(self, current: watch::Sender<Option<Arc<ServerConfig>>>, mut stop: watch::Receiver<bool>) {
        let mut seen = self.stamps();
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let told = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let forced = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = told => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let now = self.stamps();
            if now == seen && !forced {
                continue;
            }
            match self.load() {
                Ok(config) => {
                    tracing::info!("the gateway has new certificates");
                    current.send_replace(config);
                    seen = now;
                }
                // Files that are being written are tried again at the next look.
                Err(error) => tracing::error!(%error, "the gateway keeps its old certificates"),
            }
        }
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| unusable(setting, path, &why))?;
    if all.is_empty() {
        return Err(TlsError::File { setting, path: path.to_owned(), why: "there is no certificate in it".to_owned() });
    }
    Ok(all)
}

fn unusable(setting: &'static str, path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { setting, path: path.to_owned(), why: why.to_string() }
}

/// Believes one certificate and no other: this process's own gateway, whatever name it was made out to.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl GatewayTls {
    /// For asking the own gateway over TLS, on this machine and from these settings.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn pinned(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let Some((cert, _)) = self.files()? else {
            return Err(TlsError::Unfit("gateway.tls.cert is not set here, so that nobody knows whom to believe".to_owned()));
        };
        let Some(certificate) = certificates("gateway.tls.cert", cert)?.into_iter().next() else { return Err(TlsError::Half) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|why| TlsError::Unfit(why.to_string()))?;
        let verifier = Arc::new(Pinned { certificate, provider });
        Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
