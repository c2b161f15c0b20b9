//! Whether this process may be relied on: the bus, the database, the actors.
//!
//! A sampler looks once a second and the probes answer from what it saw, so that a probe costs nothing and answers at once even
//! when everything behind it hangs. Liveness looks at none of this.
//!
//! Promises
//! - RD-1 A database that fails three times in a row makes the process unready, two good answers make it ready again; a bus that
//!   is away does so at once, because nothing can be acknowledged without it.
//! - RD-2 A process that stands by is ready: it takes telemetry and answers, although another one carries the actors.

use crate::roster::Condition;
use crate::store::Store;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often the sampler looks.
const EVERY: Duration = Duration::from_secs(1);
/// A database that takes longer has failed.
const DATABASE_DEADLINE: Duration = Duration::from_millis(5_000);
/// A database that takes longer deserves a look.
const DATABASE_WARN: Duration = Duration::from_millis(500);
/// So many failures in a row make the database unready, so many good answers ready again.
const FAILURES: u32 = 3;
const RECOVERIES: u32 = 2;

/// How one part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReadinessLevel")]
pub enum Level {
    /// Well.
    Pass,
    /// It works, but someone should look.
    Warn,
    /// It does not work.
    Fail,
}

/// One part of readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ReadinessCheck")]
pub struct Check {
    /// `bus`, `database`, or `actor:<name>`.
    pub name: String,
    /// How it is.
    pub level: Level,
    /// A word of explanation; nothing that must not be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Everything, as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ready {
    /// The worst of all checks.
    pub level: Level,
    /// Does this process stand by: another one carries the actors, and this one takes over when that falls silent? It is ready all the
    /// same.
    pub standby: bool,
    /// Each of them.
    pub checks: Vec<Check>,
}

impl Ready {
    /// May requests be sent here?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.level < Level::Fail
    }
}

#[derive(Debug, Default)]
struct Seen {
    bus: bool,
    still: bool,
    standby: bool,
    actors: Vec<(&'static str, Condition)>,
    database: Option<Duration>,
    database_ready: bool,
    failures: u32,
    recoveries: u32,
}

/// What is known of the parts. The running system says how the bus and the actors are, the sampler asks the database.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Seen>);

impl Readiness {
    /// Is the bus connected?
    pub fn bus(&self, connected: bool) {
        self.change(|seen| seen.bus = connected);
    }

    /// Does log time stand still though it should not: nothing is stored, or nobody is at work?
    pub fn still(&self, still: bool) {
        self.change(|seen| seen.still = still);
    }

    /// Does another process carry the actors?
    pub fn standby(&self, standby: bool) {
        self.change(|seen| seen.standby = standby);
    }

    /// How the actors are.
    pub fn actors(&self, actors: Vec<(&'static str, Condition)>) {
        self.change(|seen| seen.actors = actors);
    }

    /// What the database answered: how long it took, or nothing when it failed.
    pub fn database(&self, took: Option<Duration>) {
        self.change(|seen| {
            seen.database = took.filter(|took| *took < DATABASE_DEADLINE);
            if seen.database.is_some() {
                seen.failures = 0;
                seen.recoveries = seen.recoveries.saturating_add(1);
                seen.database_ready |= seen.recoveries >= RECOVERIES;
            } else {
                seen.recoveries = 0;
                seen.failures = seen.failures.saturating_add(1);
                seen.database_ready &= seen.failures < FAILURES;
            }
        });
    }

    /// Does another process carry the actors, as far as is known?
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).standby
    }

    /// How everything is.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let check =
            |name: &str, level: Level, detail: Option<&str>| Check { name: name.to_owned(), level, detail: detail.map(str::to_owned) };
        let mut checks = vec![
            match (seen.bus, seen.still) {
                (false, _) => check("bus", Level::Fail, Some("not connected")),
                (true, true) => check("bus", Level::Fail, Some("the log takes no messages; is its disk full?")),
                (true, false) => check("bus", Level::Pass, None),
            },
            match (seen.database_ready, seen.database) {
                (false, _) => check("database", Level::Fail, Some("no good answer yet")),
                (true, None) => check("database", Level::Warn, Some("the last answer was an error or came too late")),
                (true, Some(took)) if took >= DATABASE_WARN => check("database", Level::Warn, Some("slow")),
                (true, Some(_)) => check("database", Level::Pass, None),
            },
        ];
        if seen.standby {
            checks.push(check("actors", Level::Pass, Some("standing by: another process carries them")));
        } else if seen.actors.is_empty() {
            checks.push(check("actors", Level::Fail, Some("not started yet")));
        } else {
            checks.extend(seen.actors.iter().map(|(name, condition)| {
                let (level, detail) = match condition {
                    Condition { running: false, .. } => (Level::Fail, Some("not running")),
                    Condition { caught_up: false, .. } => (Level::Fail, Some("catching up with the log")),
                    Condition { trouble: Some(_), .. } => (Level::Warn, Some("it had trouble, see /api/v1/status")),
                    _ => (Level::Pass, None),
                };
                check(&format!("actor:{name}"), level, detail)
            }));
        }
        let level = checks.iter().map(|check| check.level).max().unwrap_or(Level::Fail);
        Ready { level, standby: seen.standby, checks }
    }

    /// Looks once a second until told to stop.
    pub(super) async fn sample(&self, store: &Store, mut stop: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = every.tick() => {}
            }
            let answered = tokio::time::timeout(DATABASE_DEADLINE, store.ping()).await;
            self.database(answered.ok().and_then(Result::ok));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(readiness: &Readiness, name: &str) -> Level {
        readiness.ready().checks.into_iter().find(|check| check.name == name).map_or(Level::Fail, |check| check.level)
    }

    #[test]
    fn a_database_has_three_strikes_and_comes_back_after_two_good_answers() {
        let readiness = Readiness::default();
        let good = Some(Duration::from_millis(1));
        assert_eq!(level(&readiness, "database"), Level::Fail);
        let story: Vec<Level> =
            [good, good, None, None, good, None, None, None, good, good, Some(Duration::from_millis(600)), Some(Duration::from_secs(5))]
                .into_iter()
                .map(|answer| {
                    readiness.database(answer);
                    level(&readiness, "database")
                })
                .collect();
        use Level::{Fail, Pass, Warn};
        assert_eq!(story, [Fail, Pass, Warn, Warn, Pass, Warn, Warn, Fail, Fail, Pass, Warn, Warn]);
    }

    #[test]
    fn ready_needs_the_bus_and_the_actors_or_somebody_else_who_has_them() {
        let readiness = Readiness::default();
        readiness.database(Some(Duration::ZERO));
        readiness.database(Some(Duration::ZERO));
        readiness.bus(true);
        assert!(!readiness.ready().is_ready());
        readiness.standby(true);
        assert!(readiness.ready().is_ready() && readiness.ready().standby);
        readiness.standby(false);
        assert!(!readiness.ready().standby);
        let well = Condition { running: true, caught_up: true, ..Condition::default() };
        readiness.actors(vec![("query", well.clone()), ("health", Condition { caught_up: false, ..well.clone() })]);
        assert!(!readiness.ready().is_ready());
        readiness.actors(vec![("query", well.clone()), ("health", well)]);
        assert!(readiness.ready().is_ready());
        readiness.bus(false);
        assert!(!readiness.ready().is_ready());
    }
}
