//! What whole-system tests stand on: a real nats-server, the real binary, and temporary directories that end with the test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bus;
pub mod postgres;
pub mod process;
pub mod story;

use homeostat_nats::{Bus, BusConfig, Embedded, EmbeddedConfig, EmbeddedError, Log, StreamConfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A real nats-server of the test's own.
pub struct Server {
    pub embedded: Embedded,
    dir: TempDir,
}

impl Server {
    pub async fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        // A port that was free a moment ago may be another's by now.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = EmbeddedConfig { data_dir: dir.path().join("nats"), port: Some(port), ..EmbeddedConfig::default() };
            match Embedded::start(config).await {
                Err(EmbeddedError::PortTaken(_)) => {}
                embedded => return Server { embedded: embedded.expect("nats-server starts; `make tools` installs it"), dir },
            }
        }
        panic!("five ports that were free were taken before the server had them");
    }

    /// With user and password, for a worker.
    pub fn url(&self) -> String {
        let (user, password) = self.embedded.credentials();
        self.embedded.url().replace("nats://", &format!("nats://{user}:{password}@"))
    }

    pub async fn log(&self) -> Log {
        let bus = Bus::connect(&self.embedded.bus_config(&BusConfig::default())).await.unwrap();
        bus.ensure_log().await.unwrap()
    }

    /// A log whose streams reserve little, for tests that need no more; workers then need [`SMALL`].
    pub async fn small_log(&self) -> Log {
        let stream = StreamConfig {
            max_bytes: 1 << 29,
            archive_max_bytes: 1 << 27,
            state_max_bytes: 1 << 25,
            checkpoints_max_bytes: 1 << 27,
            ledger_max_bytes: 1 << 27,
            ..StreamConfig::default()
        };
        let config = BusConfig { stream, ..BusConfig::default() };
        Bus::connect(&self.embedded.bus_config(&config)).await.unwrap().ensure_log().await.unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn stop(self) {
        self.embedded.stop().await;
    }
}

/// The settings of [`Server::small_log`] for a worker.
pub const SMALL: &[&str] = &[
    "nats.stream.max_bytes=536870912",
    "nats.stream.archive_max_bytes=134217728",
    "nats.stream.state_max_bytes=33554432",
    "nats.stream.checkpoints_max_bytes=134217728",
    "nats.stream.ledger_max_bytes=134217728",
];

/// The real binary, running `up`.
pub struct Worker {
    pub child: Child,
    pub data_dir: PathBuf,
}

impl Worker {
    pub fn spawn(data_dir: &Path, nats: Option<&str>, settings: &[&str], environment: &[(&str, &str)]) -> Worker {
        std::fs::create_dir_all(data_dir).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(data_dir.join("worker.log")).unwrap();
        let _ = std::fs::remove_file(data_dir.join("up.json"));
        // Measurements want the one that is shipped.
        let binary = std::env::var_os("HOMEOSTAT_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_homeostat").into());
        let mut command = Command::new(binary);
        command.arg("up").arg("--data-dir").arg(data_dir).args(["--listen", "127.0.0.1:0"]);
        if let Some(nats) = nats {
            command.args(["--nats", nats]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.envs(environment.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Worker { child, data_dir: data_dir.to_owned() }
    }

    /// Where its gateway listens, once it does.
    pub async fn gateway(&mut self) -> String {
        let up = self.data_dir.join("up.json");
        wait_for("the gateway's address", Duration::from_secs(60), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the worker ended with {status}: {}", self.log());
            }
            let text = std::fs::read_to_string(&up).ok()?;
            serde_json::from_str::<Value>(&text).ok()?["gateway"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> String {
        let gateway = self.gateway().await;
        let began = Instant::now();
        loop {
            if http_get(&gateway, "/readyz").await.is_some_and(|(status, _)| status == 200) {
                return gateway;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "never ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("worker.log")).unwrap_or_default()
    }

    pub fn signal(&self, signal: &str) {
        process::signal(self.child.id(), signal);
    }

    /// SIGTERM, and what it ends with.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(Duration::from_secs(60)).await.unwrap_or_else(|| panic!("did not stop: {}", self.log()))
    }

    pub async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if began.elapsed() > within {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for something that will be there.
pub async fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < within, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A plain HTTP GET: status and body.
pub async fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    http(address, "GET", path, &[], b"").await
}

/// A plain HTTP/1.1 request on a connection of its own: status and body.
pub async fn http(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = address.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split_whitespace().nth(1)?.parse().ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if chunked { unchunk(body) } else { body.to_owned() }))
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}
