//! A nats-server of our own: found, configured, started, supervised, stopped.
//!
//! Promises
//! - EM-1 it listens on loopback only, with random credentials that stand in two files of mode
//!   0600 and nowhere else.
//! - EM-2 one data directory has one server: a second start says who holds it.
//! - EM-3 a server that dies is started again on the same port, with growing pauses.
//! - EM-4 it dies with this process, however that dies (Linux: parent death signal).
//! - EM-5 `run.json` tells every other command of this user where it is, as long as it is there.
//!
//! One thread per server starts it and waits for it. The parent death signal follows the *thread*
//! that forked, so that thread must live as long as the server may.

mod child;
mod conf;
mod dir;
mod find;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::random_hex;
use crate::connect::BusConfig;
use child::Child;
pub use child::ServerState;
pub use dir::{RunInfo, find_running};

/// The port tried first.
pub const PREFERRED_PORT: u16 = 4222;
/// The command that installs the server.
pub const INSTALL_COMMAND: &str = "scripts/install-nats-server";
const USER: &str = "homeostat";

/// How the embedded server is run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// Where streams, log and `run.json` live. Default `homeostat-data`.
    pub data_dir: PathBuf,
    /// The nats-server binary. Default: `PATH`, `.tools/`, next to this executable.
    pub binary: Option<PathBuf>,
    /// The folder with tools. Default `.tools` in the working directory, then above this
    /// executable.
    pub tools_dir: Option<PathBuf>,
    /// The port. Default: 4222 if it is free, else any.
    pub port: Option<u16>,
    /// Go's soft memory limit for the server (`GOMEMLIMIT`), in MiB. Lower costs throughput under
    /// bursts. Default 1024.
    pub memory_limit_mib: u64,
    /// The most all streams together may take on disk, in bytes. Default 8 GiB.
    pub disk_bytes_max: u64,
    /// The most streams in memory may take, in bytes. Default 64 MiB.
    pub memory_store_bytes: u64,
    /// How often files are fsynced, in milliseconds; 0 is after every message. A power cut loses
    /// at most this much of what was acknowledged. Default 120,000, which is the server's own;
    /// 1000 cost 18 % of throughput when measured.
    pub sync_interval_ms: u64,
    /// The largest message, in bytes. Default 1 MiB.
    pub max_payload_bytes: u32,
    /// Size at which the server's log file is rotated, in bytes. Default 16 MiB.
    pub log_bytes: u64,
    /// How many old log files are kept. Default 3.
    pub log_files: u32,
    /// How long the start may take, in milliseconds. Default 30,000 (recovery of a large store).
    pub start_timeout_ms: u64,
    /// How long an orderly stop may take before it is killed, in milliseconds. Default 10,000.
    pub stop_timeout_ms: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("homeostat-data"),
            binary: None,
            tools_dir: None,
            port: None,
            memory_limit_mib: 1024,
            disk_bytes_max: 8 * 1024 * 1024 * 1024,
            memory_store_bytes: 64 * 1024 * 1024,
            sync_interval_ms: 120_000,
            max_payload_bytes: 1_048_576,
            log_bytes: 16 * 1024 * 1024,
            log_files: 3,
            start_timeout_ms: 30_000,
            stop_timeout_ms: 10_000,
        }
    }
}

/// Why there is no embedded server.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No binary anywhere.
    #[error("no nats-server found ({}); install it with `{INSTALL_COMMAND}`, or connect to a running one with `--nats URL`", looked.join(", "))]
    NoBinary {
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// The data directory is in use.
    #[error("{} is in use by {holder}; stop that one or choose another data directory", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
    },
    /// The port asked for is taken.
    #[error("port {0} is taken; choose another one or none")]
    PortTaken(u16),
    /// It stopped right after its start.
    #[error("nats-server stopped at once ({status}): {detail}")]
    Stopped {
        /// Exit status.
        status: String,
        /// The end of what it wrote.
        detail: String,
    },
    /// It does not answer.
    #[error("nats-server did not answer within {} s; see {}", after.as_secs(), log.display())]
    NotReady {
        /// How long was waited.
        after: Duration,
        /// Its log.
        log: PathBuf,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A path cannot stand in the server's configuration.
    #[error("`{0}` contains a control character or is not UTF-8; choose another path")]
    BadPath(String),
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

impl EmbeddedError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A running nats-server of our own.
#[derive(Debug)]
pub struct Embedded {
    child: Child,
    run: RunInfo,
    stop_within: Duration,
}

impl Embedded {
    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// [`EmbeddedError`] says what to do about it.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let binary = find::binary(&config)?;
        let lock = Arc::new(dir::Lock::take(&config.data_dir).await?);
        let password = random_hex(24).map_err(|_| EmbeddedError::Random)?;
        let name = format!("homeostat-{}", random_hex(6).map_err(|_| EmbeddedError::Random)?);
        // Between looking for a free port and the server taking it, somebody else may have.
        for attempt in 0..5 {
            let port = choose_port(config.port, attempt)?;
            let files = conf::write(&config, &name, port, USER, &password)?;
            let run = RunInfo {
                url: format!("nats://127.0.0.1:{port}"),
                user: USER.to_owned(),
                password: password.clone(),
                pid: std::process::id(),
                server_pid: 0,
                server_name: name.clone(),
                data_dir: files.data_dir.clone(),
            };
            let child = Child::spawn(&binary, &files, &run, config.memory_limit_mib, &lock)?;
            let within = Duration::from_millis(config.start_timeout_ms.max(1));
            match ready(&child, port, &name, within).await {
                Ok(()) => {
                    child.accept()?;
                    tracing::info!(url = %run.url, binary = %binary.display(), "nats-server is up");
                    return Ok(Self { child, run, stop_within: Duration::from_millis(config.stop_timeout_ms.max(1)) });
                }
                Err(NotReady::Exited(status)) => {
                    let detail = dir::tail(&files.stderr, &files.log);
                    let taken = detail.contains("address already in use");
                    match (taken, config.port) {
                        (true, None) => {}
                        (true, Some(port)) => return Err(EmbeddedError::PortTaken(port)),
                        (false, _) => {
                            return Err(EmbeddedError::Stopped { status, detail });
                        }
                    }
                }
                Err(NotReady::Silent) => {
                    child.stop(Duration::from_secs(1)).await;
                    return Err(EmbeddedError::NotReady { after: within, log: files.log });
                }
            }
        }
        Err(EmbeddedError::PortTaken(PREFERRED_PORT))
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.run.url
    }

    /// User name and password.
    #[must_use]
    pub fn credentials(&self) -> (&str, &str) {
        (&self.run.user, &self.run.password)
    }

    /// What `run.json` says, apart from the server's present process id.
    #[must_use]
    pub fn run_info(&self) -> &RunInfo {
        &self.run
    }

    /// Settings with which to connect to it, everything else as in `base`.
    #[must_use]
    pub fn bus_config(&self, base: &BusConfig) -> BusConfig {
        self.run.bus_config(base)
    }

    /// Whether it runs, since when, and how often it was started again.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.child.state()
    }

    /// Ends the server and starts it again at once, on the same port. For a server that lives and does not work: after a write
    /// error (a full disk) JetStream refuses a stream until it is started anew, even when there is room again. What was
    /// acknowledged is in the kernel's hands and survives the end of the process.
    pub fn restart(&self) {
        self.child.bounce();
    }

    /// Stops it: SIGTERM, and SIGKILL when that takes too long. Returns when it is gone, its
    /// directory is unlocked and `run.json` removed.
    pub async fn stop(self) {
        self.child.stop(self.stop_within).await;
    }
}

fn choose_port(wanted: Option<u16>, attempt: u32) -> Result<u16, EmbeddedError> {
    let free = |port: u16| {
        let socket = std::net::TcpListener::bind(("127.0.0.1", port))?;
        socket.local_addr().map(|address| address.port())
    };
    match wanted {
        Some(port) => free(port).map_err(|_| EmbeddedError::PortTaken(port)),
        None if attempt == 0 && free(PREFERRED_PORT).is_ok() => Ok(PREFERRED_PORT),
        None => free(0).map_err(EmbeddedError::io("looking for a free port")),
    }
}

enum NotReady {
    Exited(String),
    Silent,
}

/// Waits until the server greets on its port, by its name: somebody else may sit there.
async fn ready(child: &Child, port: u16, name: &str, within: Duration) -> Result<(), NotReady> {
    let deadline = Instant::now() + within;
    let needle = format!("\"server_name\":\"{name}\"");
    let mut pause = Duration::from_millis(1);
    let mut state = child.state();
    loop {
        let greeting = timeout(Duration::from_secs(1), greeting(port));
        if let Ok(Ok(text)) = greeting.await
            && text.contains(&needle)
        {
            return Ok(());
        }
        let waited = timeout_at(deadline, async {
            tokio::select! {
                ended = state.wait_for(|state| state.ended.is_some()) => {
                    Some(ended.ok().and_then(|state| state.ended.clone()).unwrap_or_default())
                }
                () = sleep(pause) => None,
            }
        });
        match waited.await {
            Ok(Some(status)) => return Err(NotReady::Exited(status)),
            Ok(None) => pause = (pause * 2).min(Duration::from_millis(50)),
            Err(_) => return Err(NotReady::Silent),
        }
    }
}

/// The line with which a nats-server greets.
async fn greeting(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut text = Vec::with_capacity(1024);
    let mut buffer = [0_u8; 1024];
    while !text.contains(&b'\n') && text.len() < 8192 {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..n]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A path as text.
fn text(path: &Path) -> Result<&str, EmbeddedError> {
    path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(|| EmbeddedError::BadPath(path.display().to_string()))
}
