//! A nats-server that runs with a configuration of `homeostat nats render`, and the users that it knows.

use super::wait_for;
use async_nats::{Client, ConnectError, ConnectOptions, Event, ServerError};
use homeostat_nats::{Bus, BusConfig, Log, StreamConfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

pub const LONG: Duration = Duration::from_secs(60);

/// Small streams, so that many of them fit on a test machine.
const SMALL: [&str; 4] = [
    "nats.stream.max_bytes=67108864",
    "nats.stream.archive_max_bytes=16777216",
    "nats.stream.state_max_bytes=16777216",
    "nats.stream.checkpoints_max_bytes=67108864",
];

/// The settings that go with them.
pub fn small() -> Vec<&'static str> {
    SMALL.to_vec()
}

fn server_binary() -> PathBuf {
    let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/nats-server"));
    if tools.exists() { tools } else { PathBuf::from("nats-server") }
}

/// Runs `homeostat nats render` with these arguments; its output.
pub fn render(dir: &Path, port: u16, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homeostat"));
    command.arg("--data-dir").arg(dir.join("nobody"));
    for setting in SMALL {
        command.args(["--set", setting]);
    }
    command.args(["nats", "render", "--json", "--spare", "64", "--memory", "8", "--out"]).arg(dir.join("rendered"));
    if !arguments.contains(&"--listen") {
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
    }
    command.args(arguments).output().unwrap()
}

/// A running server.
pub struct Rendered {
    child: Child,
    pub port: u16,
    pub dir: TempDir,
    pub summary: Value,
}

impl Drop for Rendered {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rendered {
    /// Renders, lets the server check what was rendered, and starts it.
    pub async fn start(arguments: &[&str]) -> Rendered {
        Rendered::start_with(arguments, |conf| conf).await
    }

    /// The same with a configuration that somebody has changed.
    pub async fn start_with(arguments: &[&str], change: impl FnOnce(String) -> String) -> Rendered {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let output = render(dir.path(), port, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        Rendered::run(dir, port, summary, change).await
    }

    /// Another server with the same configuration, somewhat changed.
    pub async fn another(&self, change: impl FnOnce(String) -> String) -> Rendered {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let conf = std::fs::read_to_string(self.summary["conf"].as_str().unwrap()).unwrap();
        let conf = conf.replace(self.dir.path().to_str().unwrap(), dir.path().to_str().unwrap());
        let own = dir.path().join("nats-server.conf");
        std::fs::write(&own, conf.replace(&format!("127.0.0.1:{}", self.port), &format!("127.0.0.1:{port}"))).unwrap();
        let mut summary = self.summary.clone();
        summary["conf"] = own.to_str().unwrap().into();
        Rendered::run(dir, port, summary, change).await
    }

    async fn run(dir: TempDir, port: u16, summary: Value, change: impl FnOnce(String) -> String) -> Rendered {
        let conf = summary["conf"].as_str().unwrap();
        std::fs::write(conf, change(std::fs::read_to_string(conf).unwrap())).unwrap();
        let checked = Command::new(server_binary()).args(["-t", "-c", conf]).output().unwrap();
        assert!(checked.status.success(), "{}\n{}", String::from_utf8_lossy(&checked.stderr), std::fs::read_to_string(conf).unwrap());
        let log = std::fs::File::create(dir.path().join("server.log")).unwrap();
        let mut child =
            Command::new(server_binary()).args(["-c", conf]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        wait_for("the server", LONG, || {
            assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(dir.path().join("server.log")).unwrap());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        Rendered { child, port, dir, summary }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn signal(&self, signal: &str) {
        super::process::signal(self.child.id(), signal);
    }

    /// Names of all users with this role.
    pub fn names(&self, role: &str) -> Vec<String> {
        let users = self.summary["users"].as_array().unwrap();
        users.iter().filter(|user| user["role"] == role).map(|user| user["name"].as_str().unwrap().to_owned()).collect()
    }

    pub fn user(&self, name: &str) -> &Value {
        self.summary["users"].as_array().unwrap().iter().find(|user| user["name"] == name).unwrap_or_else(|| panic!("no user {name}"))
    }

    pub fn credentials(&self, name: &str) -> PathBuf {
        PathBuf::from(self.user(name)["credentials"].as_str().unwrap())
    }

    /// The log of this Homeostat user.
    pub async fn log(&self, name: &str) -> Log {
        let config = BusConfig {
            url: self.url(),
            nkey_file: Some(self.credentials(name)),
            stream: StreamConfig {
                max_bytes: 64 << 20,
                archive_max_bytes: 16 << 20,
                state_max_bytes: 16 << 20,
                checkpoints_max_bytes: 64 << 20,
                ..StreamConfig::default()
            },
            ..BusConfig::default()
        };
        let began = std::time::Instant::now();
        loop {
            let error = match Bus::connect(&config).await {
                Ok(bus) => match bus.ensure_log().await {
                    Ok(log) => return log,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            assert!(began.elapsed() < LONG, "{error}: {}", std::fs::read_to_string(self.dir.path().join("server.log")).unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A plain connection of a user, and what the server refuses it.
    pub async fn connect(&self, name: &str) -> Guest {
        let seed = std::fs::read_to_string(self.credentials(name)).unwrap();
        self.connect_as(name, ConnectOptions::with_nkey(seed.trim().to_owned())).await.unwrap()
    }

    /// The same with other credentials.
    pub async fn connect_as(&self, name: &str, options: ConnectOptions) -> Result<Guest, ConnectError> {
        let inbox = self.user(name)["inbox_prefix"].as_str().unwrap();
        let (said, refused) = watch::channel(Vec::new());
        let (left, ends) = watch::channel(0);
        let options = options.custom_inbox_prefix(inbox).event_callback(move |event| {
            match &event {
                Event::ServerError(ServerError::Other(text)) => said.send_modify(|all: &mut Vec<String>| all.push(text.to_lowercase())),
                Event::Disconnected => left.send_modify(|ends| *ends += 1),
                _ => {}
            }
            std::future::ready(())
        });
        let client = options.connect(self.url()).await?;
        Ok(Guest { name: name.to_owned(), client, refused, ends })
    }
}

/// A connected user.
pub struct Guest {
    pub name: String,
    pub client: Client,
    refused: watch::Receiver<Vec<String>>,
    /// How often the connection has ended.
    pub ends: watch::Receiver<u64>,
}

impl Guest {
    /// Everything sent so far has been seen by the server, and what it refused of it has been heard: it answers in order, and this
    /// is refused to everybody who has permissions.
    pub async fn settled(&self) {
        const NEVER: &str = "$sys.never";
        let mut refused = self.refused.clone();
        let before = refused.borrow().len();
        self.client.publish(NEVER, "".into()).await.unwrap();
        let said = refused.wait_for(|all| all.iter().skip(before).any(|text| text.contains(NEVER)));
        tokio::time::timeout(LONG, said).await.expect("the server answers").unwrap();
    }

    /// Did the server refuse this subject?
    pub fn was_refused(&self, subject: &str) -> bool {
        let quoted = format!("\"{}\"", subject.to_lowercase());
        self.refused.borrow().iter().any(|text| text.contains(&quoted))
    }
}
