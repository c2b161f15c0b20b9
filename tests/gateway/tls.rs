//! The gateway over TLS: certificates of its own, new ones without a restart, clients that must show one.

use super::house::House;
use homeostat::config::Config;
use homeostat::gateway::tls::GatewayTls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A directory with certificates in it.
struct Papers {
    dir: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    fn new() -> Papers {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let papers =
            Papers { dir: tempfile::tempdir().unwrap(), ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() };
        std::fs::write(papers.path("ca.pem"), papers.ca.pem()).unwrap();
        papers.write("server");
        papers
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A new certificate and key.
    fn write(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
    }

    fn tls(&self) -> GatewayTls {
        GatewayTls { cert: Some(self.path("server.pem")), key: Some(self.path("server.key")), client_ca: None }
    }

    fn client(&self, with: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("ca.pem"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        Arc::new(match with {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![certificate(&self.path(&format!("{name}.pem")))], key).unwrap()
            }
        })
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

/// What `GET /livez` is answered, and by which certificate.
fn ask(address: &str, config: &Arc<ClientConfig>) -> Result<(String, CertificateDer<'static>), std::io::Error> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp);
    tls.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    match tls.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let shown = tls.conn.peer_certificates().unwrap()[0].clone().into_owned();
    Ok((String::from_utf8(answer).unwrap(), shown))
}

#[test]
fn it_speaks_tls_and_nothing_else_and_takes_new_certificates_without_a_restart() {
    let papers = Papers::new();
    let house = House::alone(|config| {
        config.tls = papers.tls();
        config.head_deadline_ms = 3_000;
    });
    let (address, client) = (house.gateway.address(), papers.client(None));
    let (answer, shown) = ask(&address, &client).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=63072000"), "{answer}");
    assert_eq!(shown, certificate(&papers.path("server.pem")));

    // In clear, or saying nothing at all.
    for bytes in [&b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"[..], b""] {
        let mut tcp = TcpStream::connect(&address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        tcp.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let ended = tcp.read_to_end(&mut answer);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }

    let mut config = Config::default();
    config.gateway.tls = papers.tls();
    let fetch = |config: &Config| {
        house.runtime.block_on(homeostat::cli::healthcheck::fetch(&format!("https://{address}/livez"), config, None, 4_096))
    };
    assert_eq!(fetch(&config).unwrap(), (200, b"ok\n".to_vec()), "whoever has the settings can ask");
    let (others, mut foreign) = (Papers::new(), Config::default());
    foreign.gateway.tls = others.tls();
    assert!(fetch(&foreign).is_err(), "nobody else is believed to be this gateway");

    papers.write("server");
    let new = certificate(&papers.path("server.pem"));
    let begun = Instant::now();
    while ask(&address, &client).unwrap().1 != new {
        assert!(begun.elapsed() < Duration::from_secs(60), "the new certificate is not used");
    }
    // What cannot be used changes nothing.
    std::fs::write(papers.path("server.pem"), "junk").unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    for _ in 0..50 {
        assert_eq!(ask(&address, &client).unwrap().1, new);
    }
}

#[test]
fn clients_show_a_certificate_where_the_settings_ask_for_one() {
    let papers = Papers::new();
    papers.write("client");
    let house = House::alone(|config| config.tls = GatewayTls { client_ca: Some(papers.path("ca.pem")), ..papers.tls() });
    let address = house.gateway.address();
    assert!(ask(&address, &papers.client(Some("client"))).unwrap().0.starts_with("HTTP/1.1 200"));
    assert!(ask(&address, &papers.client(None)).is_err());
    let others = Papers::new();
    others.write("client");
    for name in ["client.pem", "client.key"] {
        std::fs::copy(others.path(name), papers.path(name)).unwrap();
    }
    assert!(ask(&address, &papers.client(Some("client"))).is_err(), "of another authority");
}

#[test]
fn files_that_cannot_be_used_are_told_before_it_starts() {
    let papers = Papers::new();
    let refused = |tls: GatewayTls| tls.load().unwrap_err().to_string();
    assert!(refused(GatewayTls { key: None, ..papers.tls() }).contains("belong together"));
    assert!(refused(GatewayTls { cert: Some(papers.path("nowhere.pem")), ..papers.tls() }).contains("gateway.tls.cert"));
    assert!(refused(GatewayTls { cert: Some(papers.path("server.key")), ..papers.tls() }).contains("no certificate"));
    assert!(refused(GatewayTls { key: Some(papers.path("server.pem")), ..papers.tls() }).contains("gateway.tls.key"));
    papers.write("other");
    assert!(refused(GatewayTls { key: Some(papers.path("other.key")), ..papers.tls() }).contains("cannot be used"));
    assert!(GatewayTls::default().load().unwrap().is_none());
}
