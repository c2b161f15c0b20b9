//! The streams and buckets: created, migrated, never silently shrunk.
//!
//! | name (for the root `homeostat.v1`) | what | bounded by |
//! |---|---|---|
//! | `homeostat` | the log: everything, in one total order | size and age |
//! | `homeostat_archive` | alerts, commands and outcomes again, so that telemetry cannot push them out | size and age |
//! | `homeostat_state` (bucket) | the current state, a projection for late subscribers | size |
//! | `homeostat_checkpoints` (bucket) | chunks of saved minds | size |
//! | `homeostat_ledger` | what must never be changed: the audit log; full, it takes no more | size |
//! | `homeostat_leases` (bucket) | who works; efficiency only | size |
//!
//! Promises: ST-1 a stream that exists is updated to our settings, and what we do not know of its
//! configuration stays as it is. ST-2 a stream that cannot become ours is an error that says what
//! to do. ST-3 a lowered limit that would drop messages is an error unless the settings allow it.
//! ST-4 the disk is bounded: the defaults add up to 6.75 GiB.

mod limits;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

pub use limits::{Names, StreamConfig};

use crate::api::{StreamInfo, random_hex, unix_ms};
use crate::connect::Bus;
use crate::error::{BusError, STREAM_NAME_IN_USE, STREAM_NOT_FOUND, STREAM_SUBJECT_OVERLAP};

/// Metadata: the random id of this stream's life.
pub(crate) const INCARNATION: &str = "homeostat.incarnation";
/// Metadata: the root this stream serves.
const ROOT: &str = "homeostat.root";

/// What the log holds, by the first token below the root.
pub const KINDS: &[&str] =
    &["event.>", "alert.>", "command.>", "outcome.>", "ask.>", "answer.>", "control.>", "key.sealed.>", "chain.>", "dead.>", "tick"];

/// Whether a subject, below the root, is one of the log's.
pub(crate) fn is_kind(below: &str) -> bool {
    KINDS.iter().any(|kind| match kind.strip_suffix('>') {
        Some(prefix) => below.len() > prefix.len() && below.starts_with(prefix),
        None => below == *kind,
    })
}

/// What the archive keeps of it.
pub const ARCHIVED: &[&str] = &["alert.>", "command.>", "outcome.>"];

/// What a stream should be.
struct Wanted {
    name: String,
    config: Map<String, Value>,
}

/// Brings all streams and buckets into being; says the log's incarnation.
pub(crate) async fn ensure(bus: &Bus) -> Result<String, BusError> {
    let limits = &bus.config().stream;
    limits.check()?;
    let names = bus.names();
    let root = bus.root();
    let log = ensure_one(bus, &log_stream(root, names, limits)).await?;
    for wanted in [
        archive_stream(root, names, limits),
        ledger_stream(root, names, limits),
        bucket(&names.state, limits.state_max_bytes, limits.replicas),
        bucket(&names.checkpoints, limits.checkpoints_max_bytes, limits.replicas),
        bucket(&names.leases, limits::MIB, limits.replicas),
    ] {
        ensure_one(bus, &wanted).await?;
    }
    for (field, since) in [("allow_atomic", "2.12"), ("allow_msg_ttl", "2.11")] {
        if log.config.get(field) != Some(&Value::Bool(true)) {
            return Err(BusError::Incompatible {
                stream: names.log.clone(),
                reason: format!("the server does not know `{field}`: nats-server {since} or newer is needed"),
            });
        }
    }
    log.metadata(INCARNATION)
        .map(str::to_owned)
        .ok_or_else(|| BusError::Protocol { what: names.log.clone(), detail: "the stream has lost its incarnation".to_owned() })
}

fn nanos(seconds: u64) -> Value {
    json!(seconds.saturating_mul(1_000_000_000))
}

fn log_stream(root: &str, names: &Names, limits: &StreamConfig) -> Wanted {
    let subjects: Vec<String> = KINDS.iter().map(|kind| format!("{root}.{kind}")).collect();
    stream(
        &names.log,
        json!({
            "description": "Homeostat: the log, everything in one order",
            "subjects": subjects,
            "storage": "file",
            "max_bytes": limits.max_bytes,
            "max_age": nanos(limits.max_age_s),
            "max_msg_size": limits.max_message_bytes,
            "duplicate_window": nanos(limits.duplicate_window_s),
            "num_replicas": limits.replicas,
            "allow_atomic": true,
            "allow_msg_ttl": true,
            "metadata": { ROOT: root },
        }),
    )
}

fn archive_stream(root: &str, names: &Names, limits: &StreamConfig) -> Wanted {
    // One source with several filters keeps the log's order; three sources would be merged in any.
    let filters: Vec<Value> =
        ARCHIVED.iter().map(|kind| format!("{root}.{kind}")).map(|subject| json!({ "src": subject, "dest": subject })).collect();
    stream(
        &names.archive,
        json!({
            "description": "Homeostat: alerts, commands and outcomes, kept longer than the log",
            "sources": [{ "name": names.log, "subject_transforms": filters }],
            "storage": "file",
            "max_bytes": limits.archive_max_bytes,
            "max_age": nanos(limits.archive_max_age_s),
            "num_replicas": limits.replicas,
            "allow_direct": true,
            "metadata": { ROOT: root },
        }),
    )
}

/// Nobody can take anything out of it, not even by letting it run over.
fn ledger_stream(root: &str, names: &Names, limits: &StreamConfig) -> Wanted {
    stream(
        &names.ledger,
        json!({
            "description": "Homeostat: the audit log",
            "subjects": [format!("{root}.audit.>")],
            "storage": "file",
            "max_bytes": limits.ledger_max_bytes,
            "discard": "new",
            "deny_delete": true,
            "deny_purge": true,
            "num_replicas": limits.replicas,
            "metadata": { ROOT: root },
        }),
    )
}

/// A key-value bucket is a stream with these settings, a convention of NATS (ADR-8).
fn bucket(name: &str, max_bytes: u64, replicas: u8) -> Wanted {
    stream(
        &bucket_stream(name),
        json!({
            "subjects": [format!("$KV.{name}.>")],
            "storage": "file",
            "max_bytes": max_bytes,
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": true,
            "allow_direct": true,
            "deny_delete": true,
            "num_replicas": replicas,
        }),
    )
}

/// The stream behind a bucket.
#[must_use]
pub fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

fn stream(name: &str, config: Value) -> Wanted {
    let mut config = match config {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    config.insert("name".to_owned(), json!(name));
    config.entry("retention").or_insert(json!("limits"));
    config.entry("discard").or_insert(json!("old"));
    Wanted { name: name.to_owned(), config }
}

async fn ensure_one(bus: &Bus, wanted: &Wanted) -> Result<StreamInfo, BusError> {
    let name = &wanted.name;
    // Two processes may start at once: whoever loses the race to create looks again.
    for _ in 0..3 {
        match bus.stream_info(name).await {
            Ok(found) => {
                let Some(merged) = migrate(wanted, &found, &bus.config().stream, now_ms())? else {
                    return Ok(found);
                };
                tracing::info!(stream = %name, "stream brought up to date");
                return bus.call(&format!("STREAM.UPDATE.{name}"), &with_incarnation(merged)?).await.map_err(|error| explain(name, error));
            }
            Err(error) if error.code() == Some(STREAM_NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
        let create = with_incarnation(wanted.config.clone())?;
        match bus.call(&format!("STREAM.CREATE.{name}"), &create).await {
            Ok(info) => {
                tracing::info!(stream = %name, "stream created");
                return Ok(info);
            }
            Err(error) if error.code() == Some(STREAM_NAME_IN_USE) => {}
            Err(error) => return Err(explain(name, error)),
        }
    }
    Err(BusError::Incompatible { stream: name.clone(), reason: "it appears and disappears; is somebody deleting it?".to_owned() })
}

/// Gives a configuration an incarnation unless it has one.
fn with_incarnation(mut config: Map<String, Value>) -> Result<Map<String, Value>, BusError> {
    let id = random_hex(8)?;
    let metadata = config.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        metadata.entry(INCARNATION).or_insert(json!(id));
    }
    Ok(config)
}

fn explain(stream: &str, error: BusError) -> BusError {
    let BusError::Refused { code, description, .. } = &error else {
        return error;
    };
    let advice = match *code {
        STREAM_SUBJECT_OVERLAP => "another stream holds these subjects: delete it or choose another `nats.root`",
        10047 | 10023 | 10028 => "the server has not enough storage: raise its JetStream limits or lower `nats.stream.*_bytes`",
        10052 => "the server does not accept these settings",
        _ => return error,
    };
    BusError::Incompatible { stream: stream.to_owned(), reason: format!("{advice} ({code}: {description})") }
}

/// What an existing stream's configuration must become, or nothing if it is right. Pure.
fn migrate(wanted: &Wanted, found: &StreamInfo, limits: &StreamConfig, now_ms: u64) -> Result<Option<Map<String, Value>>, BusError> {
    let incompatible = |reason: String| BusError::Incompatible { stream: wanted.name.clone(), reason };
    let remedy = "rename or delete that stream, or choose another `nats.root`";
    for fixed in ["storage", "retention"] {
        if found.config.get(fixed) != wanted.config.get(fixed) {
            return Err(incompatible(format!(
                "its `{fixed}` is {} and cannot be changed to {}; {remedy}",
                shown(found.config.get(fixed)),
                shown(wanted.config.get(fixed)),
            )));
        }
    }
    if found.config.contains_key("mirror") || found.config.get("sealed") == Some(&json!(true)) {
        return Err(incompatible(format!("it is a mirror or sealed; {remedy}")));
    }
    let root = wanted.config.get("metadata").and_then(|m| m.get(ROOT)).and_then(Value::as_str);
    match (root, found.metadata(ROOT)) {
        (Some(root), Some(other)) if root != other => {
            return Err(incompatible(format!("it belongs to the root `{other}`; {remedy}")));
        }
        (Some(_), None) if !holds_only(&found.config, &wanted.config) => {
            return Err(incompatible(format!("it holds somebody else's subjects; {remedy}")));
        }
        _ => {}
    }
    if !limits.allow_data_loss {
        refuse_loss(wanted, found, now_ms)?;
    }
    let mut merged = found.config.clone();
    for (key, value) in &wanted.config {
        match (key.as_str(), merged.get_mut(key), value) {
            ("metadata", Some(Value::Object(there)), Value::Object(ours)) => {
                there.extend(ours.clone());
            }
            ("sources", Some(there), ours) if same_sources(there, ours) => {}
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    let complete = merged.get("metadata").is_some_and(|m| m.get(INCARNATION).is_some());
    Ok((merged != found.config || !complete).then_some(merged))
}

/// Whether a stream without our mark holds nothing but our subjects (an operator made it for us).
fn holds_only(found: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    let list =
        |config: &Map<String, Value>, key: &str| -> Vec<Value> { config.get(key).and_then(Value::as_array).cloned().unwrap_or_default() };
    let ours = list(wanted, "subjects");
    list(found, "subjects").iter().all(|subject| ours.contains(subject))
        && list(found, "sources").is_empty() == list(wanted, "sources").is_empty()
}

/// The server may add fields of its own to a source; what counts is what is taken from where.
fn same_sources(there: &Value, ours: &Value) -> bool {
    let key = |value: &Value| -> Vec<String> {
        let one = |source: &Value| {
            let taken = ["name", "filter_subject", "subject_transforms"];
            taken.map(|field| shown(source.get(field))).join(" ")
        };
        value.as_array().into_iter().flatten().map(one).collect()
    };
    key(there) == key(ours)
}

fn refuse_loss(wanted: &Wanted, found: &StreamInfo, now_ms: u64) -> Result<(), BusError> {
    let number = |config: &Map<String, Value>, key: &str| config.get(key).and_then(Value::as_i64);
    let loss = |limit: &'static str, detail: String| Err(BusError::WouldDropData { stream: wanted.name.clone(), limit, detail });
    if let Some(limit) = number(&wanted.config, "max_bytes").and_then(|n| u64::try_from(n).ok())
        && number(&wanted.config, "max_bytes") != number(&found.config, "max_bytes")
        && found.state.bytes > limit
    {
        return loss("max_bytes", format!("{} bytes are there, {limit} would be allowed", found.state.bytes));
    }
    if let Some(limit) = number(&wanted.config, "max_age").filter(|n| *n > 0)
        && number(&wanted.config, "max_age") != number(&found.config, "max_age")
        && found.state.messages > 0
        && let Ok(first) = async_nats::datetime::parse_rfc3339(&found.state.first_ts)
    {
        let age = Duration::from_millis(now_ms.saturating_sub(unix_ms(first.unix_timestamp_nanos())));
        let limit = Duration::from_nanos(limit.unsigned_abs());
        if age > limit {
            return loss("max_age_s", format!("the oldest is {} s old, {} s would be allowed", age.as_secs(), limit.as_secs()));
        }
    }
    Ok(())
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => other.to_string(),
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
