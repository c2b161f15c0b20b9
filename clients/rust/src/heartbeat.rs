//! Signs of life, with the application's own checks.
//!
//! The heart beats on the application's runtime on purpose: when that is stuck, so is the service.

use crate::client::{Client, Inner, now_ms, us};
use crate::stats::lock;
use futures::future::{BoxFuture, join_all};
use homeostat_schemas::event::{Check, CheckStatus, Heartbeat};
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Most checks of one process; Homeostat keeps no more, either.
pub const CHECKS_MAX: usize = 32;
/// How long a check may take at most; half an interval, if that is shorter.
const CHECK: Duration = Duration::from_secs(5);
/// Longest detail, in bytes.
const DETAIL_MAX: usize = 256;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    status: CheckStatus,
    detail: Option<String>,
}

impl Verdict {
    /// All is well.
    #[must_use]
    pub fn up() -> Verdict {
        Verdict { status: CheckStatus::Up, detail: None }
    }

    /// It works, but someone should look.
    pub fn warn(detail: impl Into<String>) -> Verdict {
        Verdict { status: CheckStatus::Warn, detail: Some(detail.into()) }
    }

    /// It does not work.
    pub fn down(detail: impl Into<String>) -> Verdict {
        Verdict { status: CheckStatus::Down, detail: Some(detail.into()) }
    }
}

/// An error is `down`, with its words as the detail: they go onto the bus.
impl<E: Display> From<Result<(), E>> for Verdict {
    fn from(result: Result<(), E>) -> Verdict {
        result.map_or_else(|error| Verdict::down(error.to_string()), |()| Verdict::up())
    }
}

type Run = Arc<dyn Fn() -> BoxFuture<'static, Verdict> + Send + Sync>;

#[derive(Clone)]
struct Registered {
    name: String,
    required: bool,
    run: Run,
}

/// The checks that were registered.
#[derive(Default)]
pub(crate) struct Checks {
    all: Mutex<Vec<Registered>>,
}

impl Client {
    /// Registers a check the service cannot work without: it runs with every heartbeat, for 5 s at most. A check of a name
    /// that is known takes its place. More than [`CHECKS_MAX`] are left out, with a line in the log.
    ///
    /// A check should ask what a request would need (`SELECT 1` through the pool), and nothing that another service is
    /// responsible for: a dependency's failure would take all replicas out of service at once.
    ///
    /// ```no_run
    /// # async fn f(client: homeostat_client::Client) {
    /// client.check("disk", || async { std::fs::metadata("/var/lib/shop").map(|_| ()) });
    /// # }
    /// ```
    pub fn check<F, Fut, V>(&self, name: &str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = V> + Send + 'static,
        V: Into<Verdict>,
    {
        self.register(name, true, check);
    }

    /// Registers a check the service can work without: it makes nobody unready.
    pub fn check_optional<F, Fut, V>(&self, name: &str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = V> + Send + 'static,
        V: Into<Verdict>,
    {
        self.register(name, false, check);
    }

    fn register<F, Fut, V>(&self, name: &str, required: bool, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = V> + Send + 'static,
        V: Into<Verdict>,
    {
        let run: Run = Arc::new(move || {
            let verdict = check();
            Box::pin(async move { verdict.await.into() })
        });
        let registered = Registered { name: name.chars().take(64).collect(), required, run };
        let mut all = lock(&self.inner.checks.all);
        match all.iter().position(|known| known.name == registered.name) {
            Some(at) => all[at] = registered,
            None if all.len() < CHECKS_MAX => all.push(registered),
            None => tracing::warn!(check = name, limit = CHECKS_MAX, "too many checks, this one is left out"),
        }
    }
}

impl Checks {
    pub(crate) fn clear(&self) {
        lock(&self.all).clear();
    }

    async fn run(&self, within: Duration) -> Vec<Check> {
        let all: Vec<Registered> = lock(&self.all).clone();
        join_all(all.into_iter().map(|check| one(check, within))).await
    }
}

async fn one(Registered { name, required, run }: Registered, within: Duration) -> Check {
    let start = Instant::now();
    // A task of its own: a check that panics is down, and nothing else happens.
    let mut task = tokio::spawn(async move { run().await });
    let verdict = match timeout(within, &mut task).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(_)) => Verdict::down("the check panicked"),
        Err(_) => {
            task.abort();
            Verdict::down(format!("no answer within {} ms", within.as_millis()))
        }
    };
    let detail = verdict.detail.map(|mut detail| {
        crate::pack::cut(&mut detail, DETAIL_MAX);
        detail
    });
    Check { name, status: verdict.status, took_us: Some(us(start.elapsed())), required: Some(required), detail }
}

/// Sends a heartbeat at once and then every so often, until the client is gone.
pub(crate) async fn beat(client: Weak<Inner>, every: Duration) {
    let mut clock = interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let Some(inner) = client.upgrade() else { return };
        if inner.is_closed() {
            return;
        }
        let mut checks = inner.checks.run(CHECK.min(every / 2)).await;
        // An open breaker is a warning and never more: a peer in trouble must not take its callers out of service.
        checks.extend(inner.breakers.checks().take(CHECKS_MAX - checks.len()));
        #[allow(clippy::cast_precision_loss)] // milliseconds of a process's life are far below 2^53
        let up_s = now_ms().saturating_sub(inner.started_ms) as f64 / 1_000.0;
        let _ = inner.event(Heartbeat { up_s, interval_s: every.as_secs_f64(), checks, ..Heartbeat::default() }.into(), None);
    }
}
