//! The embedded server: private, locked, restarted, gone with its parent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use homeostat_nats::{Bus, BusConfig, Embedded, EmbeddedConfig, EmbeddedError, find_running};
use support::{process, server_config, soon};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn alive(pid: u32) -> bool {
    // A zombie is not alive: field 3 of /proc/<pid>/stat, behind the name in parentheses.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

async fn gone(pid: u32) {
    soon(async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_json_leads_every_other_command_to_it_and_only_this_user_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert!(find_running(&data).is_none());
    let server = soon(Embedded::start(server_config(&data))).await.unwrap();
    let run = find_running(&data).unwrap();
    assert_eq!((run.url.as_str(), run.pid), (server.url(), std::process::id()));
    assert_eq!((run.user.as_str(), run.password.as_str()), server.credentials());
    assert_eq!(Some(run.server_pid), server.state().borrow().pid);
    assert_eq!(mode(&data), 0o700);
    for file in ["run.json", "nats-server.conf", "lock"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    let bus = soon(Bus::connect(&run.bus_config(&BusConfig::default()))).await.unwrap();
    soon(bus.ensure_log()).await.unwrap();
    let stranger = BusConfig { url: run.url.clone(), ..BusConfig::default() };
    assert!(soon(Bus::connect(&stranger)).await.is_err());
    soon(server.stop()).await;
    assert!(!alive(run.server_pid));
    assert!(find_running(&data).is_none());
    assert!(!data.join("run.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_says_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let server = soon(Embedded::start(server_config(dir.path()))).await.unwrap();
    match soon(Embedded::start(server_config(dir.path()))).await.unwrap_err() {
        EmbeddedError::Locked { holder, .. } => assert_eq!(holder, format!("process {}", std::process::id())),
        other => panic!("{other}"),
    }
    assert!(find_running(dir.path()).is_some());
    soon(server.stop()).await;
    let again = soon(Embedded::start(server_config(dir.path()))).await.unwrap();
    soon(again.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_there_after_a_stop_and_a_new_start() {
    let w = support::world().await;
    let incarnation = w.log.incarnation().to_owned();
    w.log.append(support::event(1)).await.unwrap();
    soon(w.server.stop()).await;
    let server = soon(Embedded::start(server_config(w.dir.path()))).await.unwrap();
    let bus = soon(Bus::connect(&server.bus_config(&BusConfig::default()))).await.unwrap();
    let log = soon(bus.ensure_log()).await.unwrap();
    assert_eq!(log.incarnation(), incarnation);
    assert_eq!(log.bounds().await.unwrap().last, 1);
    soon(server.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_comes_back_on_the_same_port() {
    let w = support::world().await;
    let url = w.server.url().to_owned();
    for starts in 2..=4 {
        let before = w.server.state().borrow().pid;
        w.kill_server().await;
        let mut state = w.server.state();
        let state = soon(state.wait_for(|s| s.starts == starts && s.pid.is_some())).await.unwrap().clone();
        assert_ne!(state.pid, before);
        assert_eq!(state.last_exit.as_deref(), Some("signal 9"));
        soon(async { while w.bus.ping(Duration::from_secs(1)).await.is_err() {} }).await;
        soon(async { while find_running(w.dir.path()).map(|run| Some(run.server_pid)) != Some(state.pid) {} }).await;
    }
    assert_eq!(w.server.url(), url);
    soon(w.server.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_avoided_or_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let wanted = EmbeddedConfig { port: Some(port), ..server_config(dir.path()) };
    assert!(matches!(soon(Embedded::start(wanted)).await, Err(EmbeddedError::PortTaken(p)) if p == port));
    // Two without a wish get one each.
    let other = tempfile::tempdir().unwrap();
    let free = |dir: &Path| EmbeddedConfig { port: None, ..server_config(dir) };
    let one = soon(Embedded::start(free(dir.path()))).await.unwrap();
    let two = soon(Embedded::start(free(other.path()))).await.unwrap();
    assert_ne!(one.url(), two.url());
    soon(one.stop()).await;
    soon(two.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("nats-server");
    std::fs::write(&binary, "#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = EmbeddedConfig { binary: Some(binary), ..server_config(&dir.path().join("data")) };
    let error = soon(Embedded::start(config)).await.unwrap_err().to_string();
    assert!(error.contains("exit code 3") && error.contains("the disk is on fire"), "{error}");
    // The directory is free again.
    let server = soon(Embedded::start(server_config(&dir.path().join("data")))).await.unwrap();
    soon(server.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_stop_is_killed() {
    let w = support::world().await;
    let pid = w.server.state().borrow().pid.unwrap();
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::STOP).unwrap();
    drop(w.server);
    // Dropped, it is only asked to end; a stopped process hears that when it goes on.
    assert!(alive(pid));
    rustix::process::kill_process(raw, rustix::process::Signal::CONT).unwrap();
    gone(pid).await;
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { stop_timeout_ms: 100, ..server_config(dir.path()) };
    let server = soon(Embedded::start(config)).await.unwrap();
    let pid = server.state().borrow().pid.unwrap();
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::STOP).unwrap();
    soon(server.stop()).await;
    assert!(!alive(pid));
}

/// Not a test: the parent that dies, started by the one below.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent() {
    let Ok(dir) = std::env::var("HOMEOSTAT_TEST_DIR") else { return };
    let server = Embedded::start(server_config(Path::new(&dir))).await.unwrap();
    println!("server {}", server.state().borrow().pid.unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_dies_with_its_parent_and_the_directory_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut parent = process("a_parent", &[("HOMEOSTAT_TEST_DIR", path)]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid: u32 = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("server ")?.1.trim().parse().unwrap())).unwrap();
    assert!(alive(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    gone(pid).await;
    // What it left does not count as running, and does not keep anybody from starting.
    assert!(dir.path().join("run.json").exists());
    assert!(find_running(dir.path()).is_none());
    let server = soon(Embedded::start(server_config(dir.path()))).await.unwrap();
    assert_ne!(find_running(dir.path()).unwrap().server_pid, pid);
    soon(server.stop()).await;
}
