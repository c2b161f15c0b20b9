//! Signals to processes.

use std::process::Command;
use std::time::{Duration, Instant};

/// Sends a signal. After `STOP` the process stands still when this returns: the kernel stops one thread after the other.
pub fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success());
    let began = Instant::now();
    while signal == "STOP" && !stands_still(pid) {
        assert!(began.elapsed() < Duration::from_secs(60), "{pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Is each of its threads stopped?
fn stands_still(pid: u32) -> bool {
    let states = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(|task| {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    });
    states.into_iter().all(|state| state == 'T')
}
