//! What is measured and what it stands on: a fresh nats-server, the release binary, processes of this bench, and what each of
//! them used of the machine.

use crate::Outcome;
use crate::http::Connection;
use homeostat_nats::async_nats::Client;
use homeostat_nats::{Bus, BusConfig, Embedded, EmbeddedConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// How long anything may take that should take seconds.
const DEADLINE: Duration = Duration::from_secs(120);
/// Jiffies a second in `/proc`: 100 for user space on every Linux platform, whatever the kernel ticks with.
const JIFFIES: f64 = 100.0;

/// The release binary, built by Cargo for this bench.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_homeostat");

/// What a process has used of the machine so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds on a processor, user and system together, all threads.
    pub cpu_s: f64,
}

impl Usage {
    /// Of a process that runs.
    pub(crate) fn of(pid: u32) -> Outcome<Usage> {
        Ok(Usage { cpu_s: cpu_seconds(Path::new(&format!("/proc/{pid}/stat")))? })
    }

    /// What was used since.
    pub(crate) fn since(self, before: &Usage) -> Usage {
        Usage { cpu_s: self.cpu_s - before.cpu_s }
    }
}

fn cpu_seconds(stat: &Path) -> Outcome<f64> {
    let text = std::fs::read_to_string(stat)?;
    // The name may hold blanks and brackets; the fields begin behind its last bracket with the state, field 3 of proc(5).
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = field(14).zip(field(15)).ok_or("no times in /proc")?;
    Ok((user + system) / JIFFIES)
}

/// Processor seconds of a process by the names of its threads.
pub(crate) fn threads(pid: u32) -> Outcome<BTreeMap<String, f64>> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // A thread may end meanwhile.
        let (Ok(name), Ok(seconds)) = (std::fs::read_to_string(path.join("comm")), cpu_seconds(&path.join("stat"))) else { continue };
        *all.entry(name.trim().to_owned()).or_default() += seconds;
    }
    Ok(all)
}

/// Seconds that all processors together have been busy since the machine started.
pub(crate) fn machine_busy() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no processors in /proc/stat")?;
    let times: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    // Fields 4 and 5 are idle and waiting for a disk; guests (9, 10) are counted in the first ones.
    Ok(times.iter().take(8).enumerate().filter(|(field, _)| !matches!(field, 3 | 4)).map(|(_, time)| time).sum::<f64>() / JIFFIES)
}

/// Resident memory of a process, bytes.
pub(crate) fn resident(pid: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// The stock client library, connected with the user and password of the address.
pub(crate) async fn connect(url: &str) -> Outcome<Client> {
    let bus = Bus::connect(&BusConfig { url: url.to_owned(), name: "bench".to_owned(), ..BusConfig::default() }).await?;
    Ok(bus.client().clone())
}

/// A nats-server of our own in a directory of its own, with the settings of `homeostat up`.
pub(crate) struct Stand {
    server: Embedded,
    dir: TempDir,
    stream: String,
}

impl Stand {
    /// Starts one and makes the log, so that both variants find the same streams.
    pub(crate) async fn start() -> Outcome<Stand> {
        let dir = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = EmbeddedConfig { data_dir: dir.path().join("nats"), port: Some(port), ..EmbeddedConfig::default() };
        let server = Embedded::start(config).await?;
        let bus = Bus::connect(&server.bus_config(&BusConfig::default())).await?;
        let stream = bus.ensure_log().await?.stream().to_owned();
        bus.close().await?;
        Ok(Stand { server, dir, stream })
    }

    /// The sequence of the newest message of the log.
    pub(crate) async fn last_sequence(&self) -> Outcome<u64> {
        let bus = Bus::connect(&self.server.bus_config(&BusConfig::default())).await?;
        let last = bus.open_log().await?.bounds().await?.last;
        bus.close().await?;
        Ok(last)
    }

    /// The address with user and password.
    pub(crate) fn url(&self) -> String {
        let (user, password) = self.server.credentials();
        self.server.url().replace("nats://", &format!("nats://{user}:{password}@"))
    }

    /// The log's stream.
    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    /// What the server has used so far.
    pub(crate) fn usage(&self) -> Outcome<Usage> {
        Usage::of(self.server.state().borrow().pid.ok_or("nats-server has ended")?)
    }

    /// `homeostat up` on this server, ready.
    pub(crate) async fn worker(&self) -> Outcome<Worker> {
        let mut worker = Worker::spawn(&self.dir.path().join("worker"), Some(&self.url()))?;
        worker.ready().await?;
        Ok(worker)
    }

    /// Stops the server; its directory goes with it.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// The release binary, running `up`.
pub(crate) struct Worker {
    child: Child,
    data_dir: PathBuf,
    /// Its process.
    pub pid: u32,
    /// Where its gateway listens; known when it is ready.
    pub gateway: String,
}

impl Worker {
    /// Starts it; with a server of its own unless an address is given.
    pub(crate) fn spawn(data_dir: &Path, nats: Option<&str>) -> Outcome<Worker> {
        std::fs::create_dir_all(data_dir)?;
        let _ = std::fs::remove_file(data_dir.join("up.json"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(data_dir.join("worker.log"))?;
        let mut command = Command::new(BINARY);
        command.arg("up").arg("--data-dir").arg(data_dir).args(["--listen", "127.0.0.1:0"]);
        if let Some(nats) = nats {
            command.args(["--nats", nats]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("the worker ended at once")?;
        Ok(Worker { child, data_dir: data_dir.to_owned(), pid, gateway: String::new() })
    }

    /// Waits until `/readyz` says 200.
    pub(crate) async fn ready(&mut self) -> Outcome<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the worker ended with {status}: {}", self.log()).into());
            }
            if self.gateway.is_empty() {
                let text = std::fs::read_to_string(self.data_dir.join("up.json")).unwrap_or_default();
                let here: Value = serde_json::from_str(&text).unwrap_or_default();
                self.gateway = here["gateway"].as_str().unwrap_or_default().to_owned();
            } else if let Ok((200, _)) = self.probe().await {
                return Ok(());
            }
            if began.elapsed() > DEADLINE {
                return Err(format!("the worker was never ready: {}", self.log()).into());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn probe(&self) -> Outcome<(u16, Vec<u8>)> {
        Connection::open(&self.gateway).await?.get("/readyz").await
    }

    /// Waits until every actor has taken everything up to a position of the log.
    pub(crate) async fn taken(&self, position: u64) -> Outcome<()> {
        let began = Instant::now();
        let mut gateway = Connection::open(&self.gateway).await?;
        loop {
            if self.positions(&mut gateway).await?.values().all(|at| *at >= position) {
                return Ok(());
            }
            if began.elapsed() > DEADLINE {
                return Err(format!("the actors never came to {position}: {}", self.log()).into());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn positions(&self, gateway: &mut Connection) -> Outcome<BTreeMap<String, u64>> {
        let (status, body) = gateway.get("/api/v1/status").await?;
        let answer: Value = serde_json::from_slice(&body)?;
        let actors = answer["actors"].as_object().filter(|actors| status == 200 && !actors.is_empty()).ok_or("no actors in the status")?;
        actors.iter().map(|(name, condition)| Ok((name.clone(), condition["position"].as_u64().ok_or("no position")?))).collect()
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Outcome<Usage> {
        Usage::of(self.pid)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("worker.log")).unwrap_or_default()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        let told = Command::new("kill").arg("-TERM").arg(self.pid.to_string()).status().await?;
        let status = timeout(DEADLINE, self.child.wait()).await.map_err(|_| "the worker does not stop")??;
        if told.success() && status.success() { Ok(()) } else { Err(format!("the worker ended with {status}: {}", self.log()).into()) }
    }
}

/// Another process of this bench, which speaks in lines.
pub(crate) struct Role {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Role {
    /// Starts it.
    pub(crate) fn spawn(arguments: &[&str]) -> Outcome<Role> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        Ok(Role { child, lines })
    }

    /// What it says next.
    pub(crate) async fn line(&mut self) -> Outcome<String> {
        let line = timeout(DEADLINE, self.lines.next_line()).await.map_err(|_| "a process of the bench says nothing")??;
        line.ok_or_else(|| "a process of the bench has ended".into())
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Outcome<()> {
        let status = timeout(DEADLINE, self.child.wait()).await.map_err(|_| "a process of the bench does not end")??;
        if status.success() { Ok(()) } else { Err(format!("a process of the bench ended with {status}").into()) }
    }
}
