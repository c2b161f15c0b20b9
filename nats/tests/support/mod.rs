//! A real server for every test, started through `Embedded`, on a directory of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use homeostat_nats::{
    Bus, BusConfig, Embedded, EmbeddedConfig, Entry, Identity, Log, Message, Output, Reader, ReaderOptions, StreamConfig,
};

/// No step of a test takes longer, on however busy a machine.
pub const LONG: Duration = Duration::from_secs(60);

pub struct World {
    pub server: Embedded,
    pub bus: Bus,
    pub log: Log,
    pub dir: tempfile::TempDir,
}

pub fn tools_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools"))
}

/// A free port, so that parallel tests do not all want the preferred one.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    socket.local_addr().unwrap().port()
}

pub fn server_config(dir: &std::path::Path) -> EmbeddedConfig {
    EmbeddedConfig {
        data_dir: dir.to_owned(),
        tools_dir: Some(tools_dir()),
        port: Some(free_port()),
        disk_bytes_max: 64 << 30,
        ..EmbeddedConfig::default()
    }
}

pub async fn world() -> World {
    world_with(StreamConfig::default()).await
}

pub async fn world_with(stream: StreamConfig) -> World {
    let dir = tempfile::tempdir().unwrap();
    let server = soon(Embedded::start(server_config(dir.path()))).await.unwrap();
    let config = server.bus_config(&BusConfig { stream, ..BusConfig::default() });
    let bus = soon(Bus::connect(&config)).await.unwrap();
    let log = soon(bus.ensure_log()).await.unwrap();
    World { server, bus, log, dir }
}

impl World {
    /// A second process, as far as the bus can tell.
    pub async fn second(&self) -> Log {
        let bus = soon(Bus::connect(self.bus.config())).await.unwrap();
        soon(bus.ensure_log()).await.unwrap()
    }

    /// kill -9, and wait until the next life of the server answers.
    pub async fn kill_server(&self) {
        let mut state = self.server.state();
        let before = state.borrow_and_update().clone();
        let pid = i32::try_from(before.pid.unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        soon(state.wait_for(|s| s.starts > before.starts && s.pid.is_some())).await.unwrap();
    }

    /// Everything on the log, in order.
    pub async fn everything(&self) -> Vec<Entry> {
        let last = self.log.bounds().await.unwrap().last;
        let mut reader = Reader::open(&self.log, 1, ReaderOptions::default()).await.unwrap();
        let mut all = Vec::new();
        while all.last().is_none_or(|entry: &Entry| entry.seq < last) && last > 0 {
            all.extend(soon(reader.next()).await.unwrap());
        }
        all
    }

    /// The payloads of all alerts on the log, in order.
    pub async fn alerts(&self) -> Vec<String> {
        let all = self.everything().await;
        all.iter()
            .filter(|entry| entry.subject.contains(".alert."))
            .map(|entry| String::from_utf8_lossy(&entry.payload).into_owned())
            .collect()
    }
}

pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("took too long")
}

pub fn event(n: usize) -> Message {
    Message::new("homeostat.v1.event.query.shop", format!("event {n}"))
}

pub fn alert(position: u64, index: u32) -> Output {
    let subject = "homeostat.v1.alert.query.slow.shop";
    Output {
        identity: Identity { position, index },
        message: Message::new(subject, format!("{position}.{index}")).with("ce-id", format!("{position}.{index}")),
    }
}

/// Runs one test of this binary as a process of its own, with these variables set. The test must
/// look for them and do nothing without.
pub fn process(test: &str, variables: &[(&str, &str)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env_remove("HOMEOSTAT_FAULT").envs(variables.iter().copied());
    command
}
