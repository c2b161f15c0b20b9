//! A real nats-server for every test, with a log on it, and what an application's events look like there.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use homeostat_client::Settings;
use homeostat_nats::{Bus, BusConfig, Entry, Log, Message, Reader, ReaderOptions, StreamConfig};
use homeostat_schemas::envelope::Headers;
use homeostat_schemas::signature::{HEADER, Signed, Signer};
use homeostat_schemas::{Content, Delivery, Event, Root};
use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// No step of a test takes longer, on however busy a machine.
pub const LONG: Duration = Duration::from_secs(60);

pub const ADMIN: &str = "user = admin, password = admin";

pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("took too long")
}

/// Waits until something is true, looking often.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn binary() -> PathBuf {
    let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/nats-server"));
    if tools.exists() { tools } else { PathBuf::from("nats-server") }
}

/// Who signs commands in tests, in place of a Homeostat.
pub fn signer() -> Signer {
    Signer::from_random([9; 32]).unwrap()
}

/// A message with a signature, as Homeostat makes it.
pub fn signed(signer: &Signer, message: Message) -> Message {
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let value = signer.sign(&Signed::of(&message.subject, headers, &message.payload)).unwrap();
    message.with(HEADER, value)
}

/// A server of our own: it can be killed and started again on the same port with the same store.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    pub users: String,
    dir: tempfile::TempDir,
}

impl Server {
    /// A server that does not run yet. `users` are the lines of its `users` block beside the administrator.
    pub fn idle(users: &str) -> Server {
        Server { child: None, port: free_port(), users: users.to_owned(), dir: tempfile::tempdir().unwrap() }
    }

    /// A running server with a log.
    pub async fn with_log(users: &str) -> Server {
        let mut server = Server::idle(users);
        server.start();
        server.make_log().await;
        server
    }

    pub fn start(&mut self) {
        let dir = self.dir.path();
        let conf = dir.join("server.conf");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\nauthorization {{ users = [ {{ {ADMIN} }} {}{} ] }}\n",
            self.port,
            dir.join("js").display(),
            if self.users.is_empty() { "" } else { ", " },
            self.users
        );
        std::fs::write(&conf, text).unwrap();
        let log = std::fs::File::create(dir.join("server.log")).unwrap();
        let child = Command::new(binary())
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server runs: scripts/install-nats-server");
        self.child = Some(child);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("nats://admin:admin@127.0.0.1:{}", self.port)
    }

    pub async fn bus(&self) -> Bus {
        let config = BusConfig {
            url: format!("nats://127.0.0.1:{}", self.port),
            user: Some("admin".to_owned()),
            password: Some("admin".to_owned()),
            stream: StreamConfig {
                max_bytes: 64 << 20,
                archive_max_bytes: 16 << 20,
                state_max_bytes: 16 << 20,
                checkpoints_max_bytes: 16 << 20,
                ledger_max_bytes: 16 << 20,
                ..StreamConfig::default()
            },
            ..BusConfig::default()
        };
        soon(async {
            loop {
                match Bus::connect(&config).await {
                    Ok(bus) => return bus,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await
    }

    pub async fn make_log(&self) -> Log {
        let bus = self.bus().await;
        soon(async {
            loop {
                match bus.ensure_log().await {
                    Ok(log) => return log,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
        .await
    }

    /// Settings of a client of this server: quick, and silent of its own accord.
    pub fn settings(&self, service: &str) -> Settings {
        Settings::new(service)
            .url(self.url())
            .trusted_signers([signer().public()])
            .heartbeat(None)
            .sampling(None)
            .batch(64 << 10, Duration::from_millis(5))
    }

    /// Everything on the log, in order.
    pub async fn entries(&self) -> Vec<Entry> {
        let log = self.make_log().await;
        let last = soon(log.bounds()).await.unwrap().last;
        let mut reader = soon(Reader::open(&log, 1, ReaderOptions::default())).await.unwrap();
        let mut all: Vec<Entry> = Vec::new();
        while last > 0 && all.last().is_none_or(|entry| entry.seq < last) {
            all.extend(soon(reader.next()).await.unwrap());
        }
        all
    }

    /// Every event on the log, in order. None may be broken.
    pub async fn events(&self) -> Vec<Event> {
        self.entries().await.iter().flat_map(events_of).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The events of one message.
pub fn events_of(entry: &Entry) -> Vec<Event> {
    let headers = Headers { content_type: entry.header("content-type"), traceparent: entry.header("traceparent"), ..Headers::default() };
    let delivery = Delivery::decode(&Root::default(), entry.seq, entry.at_ms, entry.subject.to_string(), headers, &entry.payload);
    match delivery.content {
        Content::Events(events) => events.into_iter().map(|event| event.expect("a good event")).collect(),
        _ => Vec::new(),
    }
}

/// The numbers that [`numbered`] gave, as they stand on the log.
pub fn numbers(events: &[Event]) -> Vec<u64> {
    let mut all = Vec::new();
    for event in events {
        if let Event::Metric(metric) = event {
            all.push(metric.value as u64);
        }
    }
    all
}
