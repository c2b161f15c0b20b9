//! The local breaker: calls to a peer that does not answer are not made, and the fleet's breaker is followed.
//!
//! The machine is [`homeostat_reflexes::breaker`]; this file gives it time and chance, tells the bus what it counted and how it
//! changed (`told.rs`), and lets it hear the fleet's word (`fleet.rs`). Nothing on the way of a call waits for the bus: with the
//! bus away every breaker goes on alone.

mod call;
mod fleet;
mod told;

#[cfg(feature = "tower")]
pub(crate) use call::Held;
pub use call::{CallError, Options};
pub use homeostat_reflexes::breaker::{Attempt, Config, Dialect, Operation, Outcome, Refusal, Share, Sheds, Snapshot, State, WindowType};

use crate::client::{Client, Inner, now_ms};
use crate::meters::METERS_MAX;
use crate::stats::lock;
use homeostat_reflexes::breaker::{Clock, Gate, REPORT_EVERY_MS};
use homeostat_schemas::Admission;
use homeostat_schemas::event::{Breaker as Word, Calls, Check, CheckStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tokio::sync::Notify;
use told::Told;

/// Time and chance for every breaker of this process.
pub(crate) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        // A breaker that was just made must not be at time zero minus a window.
        let since = ORIGIN.get_or_init(Instant::now).elapsed();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn chance(&self) -> f64 {
        crate::trace::chance()
    }
}

/// The clock of the last report: sums are due however little time has passed.
struct Ending;

impl Clock for Ending {
    fn now(&self) -> u64 {
        Monotonic.now().saturating_add(REPORT_EVERY_MS)
    }

    fn chance(&self) -> f64 {
        Monotonic.chance()
    }
}

/// One breaker and where it belongs.
pub(crate) struct Guard {
    pub(crate) gate: Gate,
    pub(crate) peer: String,
    operation: Option<String>,
    told: Mutex<Told>,
    bell: Arc<Notify>,
}

type Known = BTreeMap<(String, Option<String>), Arc<Guard>>;

/// The breakers of one client.
#[derive(Default)]
pub(crate) struct Breakers {
    all: Mutex<Known>,
    following: OnceLock<()>,
}

/// Decides whether calls to a peer are made. Cheap to clone; clones and every breaker of the same peer (and operation) from
/// the same client are one.
///
/// While all is well a call costs a few nanoseconds. The sums of calls go out every 200 ms, and at once when one fails: do not
/// count the same calls with a [`Peer`](crate::Peer) as well. Every change of state is a `breaker` event; one that is not closed says so
/// again every 10 s.
#[derive(Clone)]
pub struct Breaker {
    pub(crate) guard: Arc<Guard>,
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker").field("peer", &self.guard.peer).field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Client {
    /// The breaker for calls to a peer, with the default thresholds: half of at least 20 completed calls within 60 s failed, or
    /// failures pile up as fast as 20 in a row would, or 8 in a row where up to 5 % fail usually.
    #[must_use]
    pub fn breaker(&self, peer: &str) -> Breaker {
        self.breaker_with(peer, None, Config::default())
    }

    /// The breaker for calls to a peer, or to one operation of it, with these thresholds; those of a breaker that is known
    /// already are kept. More than [`METERS_MAX`] work, too, but nobody else hears of them.
    #[must_use]
    pub fn breaker_with(&self, peer: &str, operation: Option<&str>, config: Config) -> Breaker {
        let name = if peer.is_empty() { "__other__" } else { peer.get(..peer.floor_char_boundary(64)).unwrap_or(peer) };
        let key = (name.to_owned(), operation.map(|operation| operation.chars().take(128).collect::<String>()));
        let breakers = &self.inner.breakers;
        let mut all = lock(&breakers.all);
        if let Some(guard) = all.get(&key) {
            return Breaker { guard: Arc::clone(guard) };
        }
        let guard = Arc::new(Guard {
            gate: Gate::new(config.bounded(), key.1.clone(), self.inner.zone.clone(), &Monotonic),
            peer: key.0.clone(),
            operation: key.1.clone(),
            told: Mutex::default(),
            bell: self.inner.meters.bell(),
        });
        if all.len() < METERS_MAX {
            all.insert(key, Arc::clone(&guard));
        } else {
            tracing::warn!(peer = name, limit = METERS_MAX, "too many breakers, this one is alone");
        }
        drop(all);
        if breakers.following.set(()).is_ok() {
            tokio::spawn(fleet::follow(Arc::downgrade(&self.inner), self.inner.link.clone()));
        }
        Breaker { guard }
    }
}

impl Breaker {
    /// Whom it guards calls to.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.guard.peer
    }

    /// What can be seen of it now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.guard.gate.snapshot(&Monotonic)
    }

    /// Opens, closes, holds open, disables it, or lets it only look on.
    pub fn operate(&self, operation: Operation) {
        self.guard.gate.operate(operation, &Monotonic);
        self.guard.bell.notify_one();
    }
}

impl Guard {
    /// Somebody should hear of a failure now, and not at the next regular time.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }
}

impl Breakers {
    /// What every breaker says for the heartbeat.
    pub(crate) fn checks(&self) -> impl Iterator<Item = Check> {
        let all: Vec<_> = lock(&self.all).values().map(Arc::clone).collect();
        all.into_iter().map(|guard| {
            let seen = guard.gate.snapshot(&Monotonic);
            let held_back = seen.share.is_some_and(|share| share.first < 1.0);
            let name = match &guard.operation {
                Some(operation) => format!("breaker {} {operation}", guard.peer),
                None => format!("breaker {}", guard.peer),
            };
            Check {
                name,
                status: if seen.state.passes() && !held_back { CheckStatus::Up } else { CheckStatus::Warn },
                required: Some(false),
                detail: Some(if held_back { format!("{}, held back by the fleet", seen.state) } else { seen.state.to_string() }),
                took_us: None,
            }
        })
    }

    /// The fleet said something about calls to a peer.
    fn hear(&self, said: &Admission) {
        let all: Vec<_> = lock(&self.all).values().filter(|guard| guard.peer == said.peer).map(Arc::clone).collect();
        all.iter().for_each(|guard| guard.gate.hear(said, &Monotonic));
    }
}

impl Inner {
    /// What the breakers counted, and how they changed; `last` says that nothing will be told after this.
    pub(crate) fn breakers_out(&self, last: bool) {
        let all: Vec<_> = lock(&self.breakers.all).values().map(Arc::clone).collect();
        for guard in all {
            let report = if last { guard.gate.report(&Ending) } else { guard.gate.report(&Monotonic) };
            let (peer, operation) = (guard.peer.clone(), guard.operation.clone());
            for change in &report.changes {
                tracing::warn!(peer, operation, from = %change.from, to = %change.to, why = change.why.name(), "breaker changed");
            }
            let due = lock(&guard.told).due(&report.changes, Monotonic.now(), now_ms());
            for word in due {
                // One that finds no room is counted as dropped, and said again.
                let _ = self.event(Word { peer: peer.clone(), operation: operation.clone(), ..word }.into(), None);
            }
            if let Some(sum) = report.delta {
                let calls = Calls {
                    peer,
                    operation,
                    ok: sum.ok,
                    failed: sum.failed,
                    shed: sum.shed,
                    slow: Some(sum.slow.min(sum.ok)),
                    over_ms: sum.over_ms.max(1),
                    ..Calls::default()
                };
                let _ = self.event(calls.into(), None);
            }
        }
    }
}
