//! From nothing to ready, and what the process weighs: spawn of the binary with its own nats-server until `/readyz` says 200, on
//! an empty directory and after a kill -9; resident memory when idle; the size of the stripped binary.

use crate::report::Distribution;
use crate::stand::{BINARY, Worker, resident};
use crate::{Outcome, Plan, progress};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::sleep;

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Start {
    /// Milliseconds to ready on an empty directory.
    pub ready_ms: Distribution,
    /// The same after a kill -9, on the directory that was left.
    pub after_kill_ms: Distribution,
    /// Resident bytes of the worker when nothing happens, without nats-server.
    pub idle_bytes: u64,
    /// After so many seconds.
    pub idle_after_s: u64,
    /// Size of the binary, stripped.
    pub binary_bytes: u64,
}

/// Measures it.
pub(crate) async fn measure(plan: &Plan) -> Outcome<Start> {
    let (starts, idle_after_s) = if plan.quick { (2, 3) } else { (5, 10) };
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    let mut idle_bytes = 0;
    for number in 0..starts {
        let dir = tempfile::tempdir()?;
        let (mut worker, ms) = start(&dir).await?;
        fresh.push(ms);
        if number == 0 {
            sleep(Duration::from_secs(idle_after_s)).await;
            idle_bytes = resident(worker.pid)?;
        }
        worker.kill().await?;
        let (worker, ms) = start(&dir).await?;
        again.push(ms);
        worker.stop().await?;
    }
    let (ready_ms, after_kill_ms) = (Distribution::of(&fresh), Distribution::of(&again));
    progress(&format!("start to ready: {:.0} ms, after kill -9 {:.0} ms", ready_ms.median, after_kill_ms.median));
    Ok(Start { ready_ms, after_kill_ms, idle_bytes, idle_after_s, binary_bytes: stripped().await? })
}

async fn start(dir: &tempfile::TempDir) -> Outcome<(Worker, f64)> {
    let began = Instant::now();
    let mut worker = Worker::spawn(dir.path(), None)?;
    worker.ready().await?;
    Ok((worker, began.elapsed().as_secs_f64() * 1e3))
}

/// Cargo builds the binary of a bench with symbols; what is shipped has none.
async fn stripped() -> Outcome<u64> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("homeostat");
    let status = Command::new("strip").arg("-o").arg(&path).arg(BINARY).status().await.map_err(|error| format!("strip: {error}"))?;
    if !status.success() {
        return Err("strip failed".into());
    }
    Ok(std::fs::metadata(path)?.len())
}
