//! A PostgreSQL of one's own for the length of a test: a temporary cluster on a free port, run by an ordinary user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

const USER: &str = "homeostat";
pub(crate) const PASSWORD: &str = "p@ss:w/rd";

/// A running cluster; it goes when the last holder goes.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
    databases: AtomicU32,
    owner: Option<(u32, u32)>,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// The cluster that all tests of this process share.
    pub(crate) fn shared() -> Arc<Cluster> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// A cluster of one's own, for a test that stops it.
    pub(crate) fn start() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let owner = ordinary_user();
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Cluster { dir, bin: binaries(), port, databases: AtomicU32::new(0), owner };
        let secret = cluster.dir.path().join("password");
        std::fs::write(&secret, PASSWORD).unwrap();
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&secret, Some(uid), Some(gid)).unwrap();
        }
        let pwfile = format!("--pwfile={}", secret.display());
        let data = cluster.data();
        cluster.run("initdb", &["-D", &data, "-U", USER, "-A", "scram-sha-256", &pwfile, "-E", "UTF8", "--locale=C", "--no-sync"]);
        cluster.up();
        cluster
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/").env("PGPASSWORD", PASSWORD).stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.dir.path().join("output");
        // Not a pipe: the server inherits it and would keep it open.
        let file = std::fs::File::create(&output).unwrap();
        let status = self.command(program).args(arguments).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        assert!(status.success(), "{program}: {}", std::fs::read_to_string(&output).unwrap_or_default());
    }

    /// Starts it again; it answers when this returns.
    pub(crate) fn up(&self) {
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off", self.port);
        let log = self.dir.path().join("log").display().to_string();
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-t", "60", "-l", &log, "-o", &options, "start"]);
    }

    /// Stops it in the middle of everything.
    pub(crate) fn down(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
    }

    /// A new, empty database: its address without the password.
    pub(crate) fn database(&self) -> String {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        self.run("createdb", &["-h", "127.0.0.1", "-p", &port, "-U", USER, &name]);
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    /// A program of the same version as the server.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A file with the password.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.dir.path().join("password")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = self
            .command("pg_ctl")
            .args(["-D", &self.data(), "-w", "-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        drop(stopped);
    }
}

/// PostgreSQL refuses to run as root: then, the user that the package made for it.
fn ordinary_user() -> Option<(u32, u32)> {
    let me = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    if me != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line =
        users.lines().find(|line| line.starts_with("postgres:")).expect("there is no user `postgres`: install the package postgresql-15");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    Some((fields.next().unwrap(), fields.next().unwrap()))
}

/// The newest version there is.
fn binaries() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = installed.filter(|bin| bin.join("initdb").exists()).collect();
    found.sort();
    found.pop().expect("no PostgreSQL found: install the package postgresql-15")
}
