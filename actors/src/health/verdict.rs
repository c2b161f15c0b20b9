//! From parts to a verdict: how single checks add up to "alive", "ready", a status and an HTTP code.
//!
//! Statuses add up as in Spring Boot (`SimpleStatusAggregator`: the first of DOWN, `OUT_OF_SERVICE`, UP, UNKNOWN that occurs;
//! words of other kinds do not count; nothing at all is UNKNOWN) and map to HTTP as in `SimpleHttpCodeStatusMapper` (503 for the
//! first two, else 200), because that is what load balancers and dashboards already know. Levels are those of
//! draft-inadarei-api-health-check: pass, warn, fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A status in the order of aggregation: the greatest of several is theirs together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It works.
    Up,
    /// It lives but must not be given work.
    OutOfService,
    /// It does not work.
    Down,
}

impl Status {
    /// The status of a word: letters and digits count, whatever their case (`out-of-service`); `None` for a foreign word.
    #[must_use]
    pub fn of(word: &str) -> Option<Status> {
        match uniform(word).as_str() {
            "down" => Some(Status::Down),
            "outofservice" => Some(Status::OutOfService),
            "up" => Some(Status::Up),
            "unknown" => Some(Status::Unknown),
            _ => None,
        }
    }

    /// The status of all together; of nothing, [`Status::Unknown`].
    #[must_use]
    pub fn aggregate(parts: impl IntoIterator<Item = Status>) -> Status {
        parts.into_iter().max().unwrap_or_default()
    }

    /// The HTTP code that says so.
    #[must_use]
    pub const fn http(self) -> u16 {
        match self {
            Status::Down | Status::OutOfService => 503,
            Status::Up | Status::Unknown => 200,
        }
    }

    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Status::Unknown => "UNKNOWN",
            Status::Up => "UP",
            Status::OutOfService => "OUT_OF_SERVICE",
            Status::Down => "DOWN",
        }
    }
}

/// Letters and digits in lower case, the form in which words are compared.
pub(super) fn uniform(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How bad something is, for whoever routes requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Well.
    #[default]
    Pass,
    /// It works, but someone should look.
    Warn,
    /// It must not be used.
    Fail,
}

/// What is seen of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It works.
    Pass,
    /// It works, but someone should look.
    Warn,
    /// It does not work.
    Fail,
    /// Nobody knows, or knew it too long ago.
    Unknown,
    /// It is not meant to work yet.
    Starting,
}

/// What follows when a part does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criticality {
    /// The process itself is no longer alive.
    Live,
    /// The service cannot work without it.
    Required,
    /// The service works without it, if worse. A dependency must never take a whole fleet out of service.
    Optional,
}

impl Observed {
    /// What it means for readiness.
    #[must_use]
    pub const fn level(self, criticality: Criticality) -> Level {
        match (self, criticality) {
            (Observed::Pass, _) => Level::Pass,
            (Observed::Warn, _) | (_, Criticality::Optional) => Level::Warn,
            (Observed::Fail | Observed::Unknown | Observed::Starting, Criticality::Live | Criticality::Required) => Level::Fail,
        }
    }

    /// What it adds to the status of the whole.
    #[must_use]
    pub const fn status(self, criticality: Criticality) -> Status {
        match (self, criticality) {
            (Observed::Pass | Observed::Warn, _) | (Observed::Fail | Observed::Starting, Criticality::Optional) => Status::Up,
            (Observed::Unknown, Criticality::Optional) => Status::Unknown,
            (Observed::Fail, Criticality::Live | Criticality::Required) => Status::Down,
            (Observed::Unknown | Observed::Starting, Criticality::Live | Criticality::Required) => Status::OutOfService,
        }
    }
}

/// One part of a service, as the verdict sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is called among the reasons.
    pub name: String,
    /// What is seen of it.
    pub observed: Observed,
    /// What follows.
    pub criticality: Criticality,
    /// Said among the reasons although the part passes (`too_few`).
    pub note: Option<&'static str>,
}

impl Part {
    /// A part.
    #[must_use]
    pub fn new(name: impl Into<String>, observed: Observed, criticality: Criticality) -> Part {
        Part { name: name.into(), observed, criticality, note: None }
    }

    /// What it means for readiness.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.observed.level(self.criticality)
    }
}

/// What the parts add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verdict {
    /// The status.
    pub status: Status,
    /// Is the process alive? `fail` asks for a restart, so only the process itself can cause it, never a dependency.
    pub live: Level,
    /// May it be given work?
    pub ready: Level,
    /// The code a readiness probe answers with.
    pub http: u16,
    /// The parts that are not well.
    pub why: Vec<String>,
}

impl Verdict {
    /// What these parts add up to at this moment.
    #[must_use]
    pub fn of(parts: &[Part]) -> Verdict {
        let mut verdict =
            Verdict { status: Status::aggregate(parts.iter().map(|p| p.observed.status(p.criticality))), ..Verdict::default() };
        for part in parts {
            let level = part.level();
            verdict.ready = verdict.ready.max(level);
            if part.criticality == Criticality::Live && part.observed == Observed::Fail {
                verdict.live = Level::Fail;
            }
            match part.note {
                Some(note) => verdict.why.push(format!("{}:{note}", part.name)),
                None if level > Level::Pass => verdict.why.push(part.name.clone()),
                None => {}
            }
        }
        verdict.http = if verdict.ready == Level::Fail { 503 } else { 200 };
        verdict
    }
}
