//! The ways to log in at a server that somebody else runs: TLS with an authority of their own, a client certificate, an nkey, a
//! credentials file. Each against a real server, and each refused when it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homeostat_nats::{Bus, BusConfig, BusError, Message, TlsConfig};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair as TlsKey};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{LONG, free_port, soon, tools_dir};
use tempfile::TempDir;

/// A server with a configuration of its own.
struct Server {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `settings` are lines of its configuration beside the address and where it stores.
    async fn start(settings: impl FnOnce(&Path) -> String) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let more = settings(dir.path());
        let config = format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?} }}\n{more}\n", dir.path().join("store"));
        let file = dir.path().join("server.conf");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.path().join("server.log")).unwrap();
        let tool = tools_dir().join("nats-server");
        let program = if tool.exists() { tool } else { PathBuf::from("nats-server") };
        let mut child = Command::new(program).arg("-c").arg(file).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let listening = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                let said = || std::fs::read_to_string(dir.path().join("server.log")).unwrap_or_default();
                assert!(child.try_wait().unwrap().is_none(), "the server ended: {}", said());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, listening).await.expect("the server does not listen");
        Server { child, port, dir }
    }

    fn config(&self) -> BusConfig {
        BusConfig { url: format!("nats://localhost:{}", self.port), connect_timeout_ms: 20_000, ..BusConfig::default() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Logs in, makes the log, and stores a message in it: whatever a user needs the rights for.
async fn works(config: BusConfig) {
    let bus = soon(Bus::connect(&config)).await.unwrap();
    let log = soon(bus.ensure_log()).await.unwrap();
    assert_eq!(soon(log.append(Message::new("homeostat.v1.tick", "{}"))).await.unwrap(), 1);
    soon(bus.close()).await.unwrap();
}

async fn refused(config: BusConfig) -> BusError {
    soon(Bus::connect(&config)).await.expect_err("it should have been refused")
}

/// An authority, and what it signed for the server and for a client, in files.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, TlsKey::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    for (name, usage) in [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)] {
        let key = TlsKey::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

/// The server's TLS block.
fn tls(dir: &Path, verify: bool) -> String {
    certificates(dir);
    let file = |name: &str| dir.join(name);
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: {verify} }}",
        file("server.pem"),
        file("server-key.pem"),
        file("ca.pem")
    )
}

#[tokio::test]
async fn a_server_with_an_authority_of_its_own_is_believed_when_the_authority_is_named() {
    let server = Server::start(|dir| tls(dir, false)).await;
    refused(server.config()).await;
    let tls = TlsConfig { ca: Some(server.file("ca.pem")), required: true, ..TlsConfig::default() };
    works(BusConfig { tls, ..server.config() }).await;
}

#[tokio::test]
async fn a_server_without_transport_security_is_refused_when_it_is_required() {
    let server = Server::start(|_| String::new()).await;
    refused(BusConfig { tls: TlsConfig { required: true, ..TlsConfig::default() }, ..server.config() }).await;
    works(server.config()).await;
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it() {
    let server = Server::start(|dir| tls(dir, true)).await;
    let ca = TlsConfig { ca: Some(server.file("ca.pem")), required: true, ..TlsConfig::default() };
    refused(BusConfig { tls: ca.clone(), ..server.config() }).await;
    let tls = TlsConfig { cert: Some(server.file("client.pem")), key: Some(server.file("client-key.pem")), ..ca };
    works(BusConfig { tls, ..server.config() }).await;
}

#[tokio::test]
async fn an_nkey_opens_and_another_one_does_not() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let server = Server::start(|dir| {
        std::fs::write(dir.join("user.nk"), format!("{}\n", user.seed().unwrap())).unwrap();
        std::fs::write(dir.join("stranger.nk"), stranger.seed().unwrap()).unwrap();
        format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key())
    })
    .await;
    refused(server.config()).await;
    refused(BusConfig { nkey_file: Some(server.file("stranger.nk")), ..server.config() }).await;
    works(BusConfig { nkey_file: Some(server.file("user.nk")), ..server.config() }).await;
}

/// A JWT as NATS wants it (version 2 claims, `ed25519-nkey`).
fn jwt(name: &str, subject: &KeyPair, issuer: &KeyPair, nats: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = encode(&json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": nats,
    }));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(format!("{head}.{claims}").as_bytes()).unwrap());
    format!("{head}.{claims}.{signature}")
}

/// A credentials file as `nsc` writes it.
fn credentials(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test]
async fn a_credentials_file_of_the_servers_operator_opens_and_one_of_another_does_not() {
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let server = Server::start(|dir| {
        let mut limits =
            json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 });
        let plain = json!({ "type": "account", "version": 2, "limits": limits });
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            limits[limit] = json!(-1);
        }
        let storing = json!({ "type": "account", "version": 2, "limits": limits });
        let user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
        for (name, issuer) in [("user", &account), ("stranger", &KeyPair::new_account())] {
            let key = KeyPair::new_user();
            let file = credentials(&jwt(name, &key, issuer, &user), &key.seed().unwrap());
            std::fs::write(dir.join(format!("{name}.creds")), file).unwrap();
        }
        format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{ {}: {}, {}: {} }}",
            jwt("operator", &operator, &operator, &json!({ "type": "operator", "version": 2 })),
            system.public_key(),
            system.public_key(),
            jwt("system", &system, &operator, &plain),
            account.public_key(),
            jwt("account", &account, &operator, &storing)
        )
    })
    .await;
    refused(server.config()).await;
    refused(BusConfig { credentials_file: Some(server.file("stranger.creds")), ..server.config() }).await;
    works(BusConfig { credentials_file: Some(server.file("user.creds")), ..server.config() }).await;
}
