//! The fields of each kind, in the order of the documentation.

use super::limits::{duration_ms, duration_us, finite, instant, interval, not_negative, peer, service, share, up};
use super::{BreakerState, EventKind, Flag, Kind, SampleValue, Tag, Unfit};
use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Declares the struct of one kind: the five fields all kinds share, then its own.
macro_rules! kind {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $ty:ty),* $(,)? } check($self:ident) $check:block) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The kind, always the same word for this struct.
            pub kind: Tag<{ EventKind::$name as u8 }>,
            /// The service it speaks of: any name of 1–64 bytes.
            pub service: String,
            /// When it ended, Unix milliseconds by the sender's clock; before the year 10000.
            pub at_ms: UnixMs,
            /// Which replica said it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub instance: Option<String>,
            /// In which failure domain that replica runs.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub zone: Option<String>,
            $($(#[$field_doc])* pub $field: $ty),*
        }
        impl Kind for $name {
            fn check(&$self) -> Result<(), Unfit> {
                service($self.service.len())?;
                instant("at_ms", Some($self.at_ms))?;
                $check
                Ok(())
            }
        }
    };
}

kind! {
    /// One database query, as seen by the application that sent it.
    Query {
        /// The statement; clients normalise it before they send it, so that no literal leaves the application.
        statement: String,
        /// How long it took, microseconds; at most 30 days.
        took_us: u64,
        /// The database system: `postgresql`, `mysql`, `sqlite`, … (OpenTelemetry's `db.system.name`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system: Option<String>,
        /// Rows returned or changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
        /// Whether it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Flag>,
        /// Trace id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
        /// Span id: the same span reported twice is one query.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<String>,
        /// Span id of the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
        /// Where in the code it was sent, `file:line`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// Keyed hash of the parameters: tells the same question asked again from another question of the same shape.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<String>,
        /// The answer came from a cache.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cached: Option<bool>,
        /// The application asks for no finding on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suppressed: Option<bool>,
        /// The statement was cut by the sender.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truncated: Option<bool>,
        /// It is one page of a walk through a result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paging: Option<bool>,
    }
    check(self) { duration_us("took_us", Some(self.took_us))?; }
}

kind! {
    /// One inbound request served.
    Request {
        /// Method and route template, `GET /orders/{id}`: never a path with values in it.
        route: String,
        /// HTTP status, or the code of another protocol mapped to it.
        status: u16,
        /// How long it took, microseconds; at most 30 days.
        took_us: u64,
        /// Trace id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
        /// Span id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<String>,
        /// Span id of the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    }
    check(self) { duration_us("took_us", Some(self.took_us))?; }
}

/// How an outbound call ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It succeeded.
    #[default]
    Ok,
    /// It failed.
    Error,
    /// It took too long.
    Timeout,
    /// It ended in a way that says nothing of the peer's health.
    Ignored,
    /// It was not sent: a breaker or bulkhead refused it.
    Shed,
}

kind! {
    /// One outbound call.
    Call {
        /// Whom it went to.
        peer: String,
        /// How it ended.
        outcome: CallOutcome,
        /// How long it took, microseconds; at most 30 days.
        took_us: u64,
        /// What was asked of the peer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
        /// Trace id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
        /// Span id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span: Option<String>,
        /// Span id of the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    }
    check(self) {
        peer(self.peer.len())?;
        duration_us("took_us", Some(self.took_us))?;
    }
}

kind! {
    /// Many outbound calls to one peer, summed by the client.
    Calls {
        /// Whom they went to.
        peer: String,
        /// How many succeeded.
        ok: u64,
        /// How many failed or timed out.
        failed: u64,
        /// How many were not sent.
        shed: u64,
        /// Over how long they were summed, milliseconds; at most 30 days.
        over_ms: u64,
        /// What was asked of the peer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
        /// How many of the successful ones were slow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slow: Option<u64>,
    }
    check(self) {
        peer(self.peer.len())?;
        duration_ms("over_ms", self.over_ms)?;
    }
}

kind! {
    /// A local breaker changed its state, or says again where it stands: every 10 s while it is not closed.
    Breaker {
        /// Calls to whom it guards.
        peer: String,
        /// Where it stands now.
        state: BreakerState,
        /// Grows with every change of this breaker, also when the process was made anew: of two, the larger is the newer.
        epoch: u64,
        /// Which calls, when it guards but one operation of the peer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
        /// Where it stood before; absent when it only says again where it stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<BreakerState>,
        /// Why it changed: `failure_rate`, `slow_rate`, `sequential`, `wait_over`, `probes_good`, `probes_bad`, `probes_lost`,
        /// `operator` or `fleet`; other libraries may have words of their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Since when it has stood there, Unix milliseconds; absent: since this event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<UnixMs>,
    }
    check(self) {
        peer(self.peer.len())?;
        instant("since_ms", self.since_ms)?;
    }
}

kind! {
    /// A span that only gives context: who called whom.
    Span {
        /// The span's name.
        name: String,
        /// Its operation or kind.
        op: String,
        /// How long it took, microseconds; at most 30 days.
        took_us: u64,
        /// Trace id.
        trace: String,
        /// Span id.
        span: String,
        /// Span id of the caller, absent on a root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    }
    check(self) { duration_us("took_us", Some(self.took_us))?; }
}

/// What a check of an application's own says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// All is well.
    #[default]
    Up,
    /// It works, but someone should look.
    Warn,
    /// It does not work.
    Down,
    /// Nobody knows.
    Unknown,
}

/// One check of an application's own, sent with its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was checked: `db`, `disk`, …
    pub name: String,
    /// What it says.
    pub status: CheckStatus,
    /// How long the check took, microseconds. It is only shown: no sign of life is lost for an odd one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// Whether the service can work without it (default: it cannot).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// A word of explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

kind! {
    /// A sign of life.
    Heartbeat {
        /// For how long the process has been up, seconds; at most a hundred years.
        up_s: f64,
        /// When the next one may be expected, seconds from this one: 0.05 to 604800 (seven days).
        interval_s: f64,
        /// The application's own checks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Check>,
    }
    check(self) {
        up(self.up_s)?;
        interval(self.interval_s)?;
    }
}

kind! {
    /// What a process uses.
    Resource {
        /// Anonymous memory (resident set without file pages), bytes.
        memory_bytes: u64,
        /// The smallest limit that applies (cgroup or machine), bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_limit_bytes: Option<u64>,
        /// Heap in use as the language runtime sees it, bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heap_bytes: Option<u64>,
        /// CPU used over CPU allowed, 0–1 (more while throttling lags).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cpu_ratio: Option<f64>,
        /// Requests a second at the time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        load_rps: Option<f64>,
        /// Out-of-memory kills in the cgroup since it was made (a counter).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oom_kills: Option<u64>,
        /// Share of the last ten seconds in which tasks of its cgroup (of the machine, where nobody counts it by cgroup) waited for
        /// memory, 0–1 (PSI, `some avg10` / 100).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_pressure: Option<f64>,
        /// The same for CPU.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cpu_pressure: Option<f64>,
        /// The same for disks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        io_pressure: Option<f64>,
        /// Share of the scheduler's periods since the last report in which its CPU quota throttled it, 0–1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cpu_throttled: Option<f64>,
        /// When the process started, Unix milliseconds (before the year 10000): another value is another life.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_ms: Option<UnixMs>,
    }
    check(self) {
        not_negative("cpu_ratio", self.cpu_ratio)?;
        not_negative("load_rps", self.load_rps)?;
        share("memory_pressure", self.memory_pressure)?;
        share("cpu_pressure", self.cpu_pressure)?;
        share("io_pressure", self.io_pressure)?;
        share("cpu_throttled", self.cpu_throttled)?;
        instant("started_ms", self.started_ms)?;
    }
}

kind! {
    /// A connection pool at one moment.
    Pool {
        /// Its name.
        name: String,
        /// Connections in use.
        used: u64,
        /// Connections it may have.
        max: u64,
        /// Callers waiting for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waiting: Option<u64>,
        /// How long they waited of late, microseconds, mean; at most 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_us: Option<u64>,
    }
    check(self) { duration_us("wait_us", self.wait_us)?; }
}

kind! {
    /// A cache over a while.
    Cache {
        /// Its name.
        name: String,
        /// Look-ups it answered.
        hits: u64,
        /// Look-ups it could not answer.
        misses: u64,
        /// Over how long they were counted, milliseconds; at most 30 days.
        over_ms: u64,
    }
    check(self) { duration_ms("over_ms", self.over_ms)?; }
}

kind! {
    /// What a model or a business rule saw or said: one value, or many at once.
    Sample {
        /// The model or rule.
        model: String,
        /// The feature, or the name of what it said.
        feature: String,
        /// One value. Not-a-number and infinities are data here: drift counts them.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        value: Option<SampleValue>,
        /// Many values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        values: Option<Vec<SampleValue>>,
    }
    check(self) {
        match (&self.value, &self.values) {
            (None, None) => return Err(Unfit { field: "value", why: "one of `value` and `values` must be there" }),
            (Some(_), Some(_)) => return Err(Unfit { field: "values", why: "only one of `value` and `values` may be there" }),
            _ => {}
        }
    }
}

impl Sample {
    /// The values it carries, one or many.
    #[must_use]
    pub fn all(&self) -> &[SampleValue] {
        match (&self.value, &self.values) {
            (Some(value), _) => std::slice::from_ref(value),
            (None, Some(values)) => values,
            (None, None) => &[],
        }
    }
}

/// A field that is there, even when it says `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SampleValue>, D::Error> {
    SampleValue::deserialize(deserializer).map(Some)
}

kind! {
    /// One point of a series.
    Metric {
        /// The series' name.
        name: String,
        /// The value.
        value: f64,
        /// Its unit (UCUM, as in OpenTelemetry): `ms`, `By`, `1`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    }
    check(self) { finite("value", self.value)?; }
}

kind! {
    /// A person or another system asks for, approves, denies or pauses a command, or retires a service.
    Order {
        /// What is asked for, `<topic>.<verb>`.
        action: String,
        /// What it is to be done to.
        target: String,
        /// Arguments of the action.
        args: serde_json::Value,
        /// Who asks.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    check(self) {}
}
