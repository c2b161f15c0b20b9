//! The server's process, and the thread that starts it, waits for it and starts it again.
//!
//! A plain thread, not a task: the parent death signal follows the thread that forked, and a
//! thread of the runtime's pool may end at any time.

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;
use tokio::time::timeout;

use super::EmbeddedError;
use super::conf::Files;
use super::dir::{Lock, RunInfo, write_run};

/// One that lived so long is not counted as failing again.
const STEADY: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The embedded server's process, as its supervisor sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerState {
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often it was started.
    pub starts: u64,
    /// How the last one ended.
    pub last_exit: Option<String>,
    /// How it ended for good: it was stopped, or never got up.
    pub ended: Option<String>,
}

#[derive(Debug)]
struct Shared {
    /// Locked while a signal is sent or the process is reaped, so that no signal hits a stranger
    /// who got the number next.
    pid: Mutex<Option<Pid>>,
    stopping: AtomicBool,
    /// Set once it has answered: from then on it is started again when it dies.
    accepted: AtomicBool,
    wake: Condvar,
}

#[derive(Debug)]
pub(super) struct Child {
    shared: Arc<Shared>,
    state: watch::Receiver<ServerState>,
    run: RunInfo,
    run_file: PathBuf,
}

impl Child {
    pub(super) fn spawn(
        binary: &Path,
        files: &Files,
        run: &RunInfo,
        memory_limit_mib: u64,
        lock: &Arc<Lock>,
    ) -> Result<Self, EmbeddedError> {
        let shared = Arc::new(Shared {
            pid: Mutex::new(None),
            stopping: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            wake: Condvar::new(),
        });
        let (sender, state) = watch::channel(ServerState::default());
        let keeper = Keeper {
            binary: binary.to_owned(),
            files: files.clone(),
            run: run.clone(),
            memory_limit_mib,
            shared: shared.clone(),
            state: sender,
        };
        let lock = Arc::clone(lock);
        std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || {
                let ended = keeper.keep();
                if keeper.shared.accepted.load(Ordering::SeqCst) {
                    let _ = std::fs::remove_file(&keeper.files.run);
                }
                // Unlocked before anybody hears of the end: a new start may follow at once.
                drop(lock);
                keeper.state.send_modify(|state| state.ended = Some(ended));
            })
            .map_err(EmbeddedError::io("starting a thread"))?;
        Ok(Self { shared, state, run: run.clone(), run_file: files.run.clone() })
    }

    pub(super) fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// It has answered: tell the others where it is, and start it again when it dies.
    pub(super) fn accept(&self) -> Result<(), EmbeddedError> {
        let server_pid = self.state.borrow().pid.unwrap_or_default();
        self.shared.accepted.store(true, Ordering::SeqCst);
        write_run(&self.run_file, &RunInfo { server_pid, ..self.run.clone() })
    }

    /// Ends the process and lets its supervisor start it again.
    pub(super) fn bounce(&self) {
        if let Some(pid) = *self.shared.pid() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// SIGTERM, after `within` SIGKILL; returns when it is gone.
    pub(super) async fn stop(&self, within: Duration) {
        let mut state = self.state.clone();
        self.shared.end(Signal::TERM);
        if timeout(within, state.wait_for(|state| state.ended.is_some())).await.is_ok() {
            return;
        }
        tracing::warn!("nats-server does not stop, killing it");
        self.shared.end(Signal::KILL);
        let gone = state.wait_for(|state| state.ended.is_some());
        let _ = timeout(Duration::from_secs(5), gone).await;
    }
}

impl Drop for Child {
    /// Without an orderly stop it is told to end; the thread waits for it and cleans up.
    fn drop(&mut self) {
        self.shared.end(Signal::TERM);
    }
}

impl Shared {
    fn pid(&self) -> MutexGuard<'_, Option<Pid>> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: Signal) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(pid) = *self.pid() {
            let _ = kill_process(pid, signal);
        }
        self.wake.notify_all();
    }
}

struct Keeper {
    binary: PathBuf,
    files: Files,
    run: RunInfo,
    memory_limit_mib: u64,
    shared: Arc<Shared>,
    state: watch::Sender<ServerState>,
}

impl Keeper {
    /// Starts it, waits, starts it again; how it ended for good.
    fn keep(&self) -> String {
        let mut failures = 0_u32;
        loop {
            let born = Instant::now();
            let status = match self.once() {
                Ok(status) => describe(status),
                Err(error) => error.to_string(),
            };
            let stopping = self.shared.stopping.load(Ordering::SeqCst);
            self.state.send_modify(|state| {
                state.pid = None;
                state.last_exit = Some(status.clone());
            });
            if stopping || !self.shared.accepted.load(Ordering::SeqCst) {
                return status;
            }
            failures = if born.elapsed() >= STEADY { 0 } else { failures + 1 };
            let pause = match failures {
                0 | 1 => Duration::ZERO,
                n => (Duration::from_millis(50) * 2_u32.pow(n.min(10))).min(PAUSE_MAX),
            };
            tracing::error!(%status, failures, pause_ms = pause.as_millis() as u64, "nats-server died, starting it again");
            if self.pause(pause) {
                return status;
            }
        }
    }

    /// Waits; true when it is time to stop.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut guard = self.shared.pid();
        loop {
            if self.shared.stopping.load(Ordering::SeqCst) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = match self.shared.wake.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// One life of the server.
    fn once(&self) -> std::io::Result<ExitStatus> {
        let mut child;
        {
            let mut pid = self.shared.pid();
            if self.shared.stopping.load(Ordering::SeqCst) {
                return Err(std::io::Error::other("stopped before it was started"));
            }
            child = self.command()?.spawn()?;
            *pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        }
        self.state.send_modify(|state| {
            state.pid = Some(child.id());
            state.starts += 1;
        });
        if self.shared.accepted.load(Ordering::SeqCst) {
            let run = RunInfo { server_pid: child.id(), ..self.run.clone() };
            if let Err(error) = write_run(&self.files.run, &run) {
                tracing::warn!(%error, "run.json still names the former server process");
            }
        }
        // Wait without reaping, then reap under the lock: until then the number is not reused.
        let pid = *self.shared.pid();
        if let Some(pid) = pid {
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
        }
        let mut pid = self.shared.pid();
        let status = child.wait();
        *pid = None;
        status
    }

    fn command(&self) -> std::io::Result<Command> {
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(&self.files.conf)
            .current_dir(&self.files.data_dir)
            .env("GOMEMLIMIT", format!("{}MiB", self.memory_limit_mib.max(64)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&self.files.stderr)?)
            // A group of its own: Ctrl-C is for us; it is stopped when its clients have ended.
            .process_group(0);
        #[cfg(target_os = "linux")]
        die_with_parent(&mut command);
        Ok(command)
    }
}

/// EM-4: the kernel kills the child when the thread that forked it ends, however it ends.
/// SIGKILL, not SIGTERM: it must be gone before anybody else opens its directory, and what it
/// has acknowledged is in the kernel's hands already.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made; neither allocates, locks or
    // touches memory of the parent, so both are safe in a forked child of a threaded process.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above took effect.
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}
