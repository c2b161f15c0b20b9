//! What is recorded, and the bytes that are hashed.

use super::chain::Hash;
use crate::clock::now_ms;
use homeostat_schemas::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Longest name, target or text within the details, in characters; the rest is cut off.
const TEXT_MAX: usize = 512;
/// Most members of an object or array within the details, and deepest nesting.
const MEMBERS_MAX: usize = 64;
const DEPTH_MAX: usize = 8;

/// The first record: a new ledger was begun.
pub const BEGIN: &str = "audit.begin";
/// A signature over everything before it.
pub const CHECKPOINT: &str = "audit.checkpoint";

/// Something that is about to be done.
#[derive(Debug, Clone, Default)]
pub struct Act<'a> {
    /// What: `order.recovery.pause`, `keys.create`, `settings.set`.
    pub action: &'a str,
    /// Of what: an incident, a key's id, a setting.
    pub target: &'a str,
    /// Who: `key:<id>`, `local`, or the user of the command line.
    pub by: &'a str,
    /// From where.
    pub source: Option<IpAddr>,
    /// More about it. No secrets.
    pub detail: Value,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 128 random bits: which append it was.
    pub id: String,
    /// When, by the clock of the process that wrote it.
    pub at_ms: UnixMs,
    /// What.
    pub action: String,
    /// Of what.
    pub target: String,
    /// Who.
    pub by: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl Record {
    pub(super) fn new(id: String, act: Act<'_>) -> Record {
        Record {
            id,
            at_ms: now_ms(),
            action: bounded(act.action),
            target: bounded(act.target),
            by: bounded(act.by),
            source: act.source,
            detail: plain(act.detail, DEPTH_MAX),
        }
    }

    /// Its bytes, as they are stored and hashed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_value(self).map(|value| canonical(&value)).unwrap_or_default()
    }
}

/// A signature, as it stands in the details of a [`CHECKPOINT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The last record that it is about.
    pub through: u64,
    /// The hash there.
    pub hash: Hash,
    /// The public key, as NATS writes one.
    pub key: String,
    /// The signature, base64.
    pub signature: String,
}

/// JSON without blanks, members in the order of their names: the same value always has the same bytes.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    // serde_json keeps members in order of their names unless told otherwise; the order is made here all the same.
    fn ordered(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut members: Vec<(&String, &Value)> = map.iter().collect();
                members.sort_by(|a, b| a.0.cmp(b.0));
                Value::Object(members.into_iter().map(|(name, value)| (name.clone(), ordered(value))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(ordered).collect()),
            other => other.clone(),
        }
    }
    serde_json::to_vec(&ordered(value)).unwrap_or_default()
}

fn bounded(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// A value that is bounded and has one way to be written: a number with a fraction becomes text.
fn plain(value: Value, depth: usize) -> Value {
    match value {
        Value::String(text) => Value::String(bounded(&text)),
        Value::Number(number) if number.is_f64() => Value::String(number.to_string()),
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::String("…".to_owned()),
        Value::Array(items) => Value::Array(items.into_iter().take(MEMBERS_MAX).map(|item| plain(item, depth - 1)).collect()),
        Value::Object(map) => {
            let members = map.into_iter().take(MEMBERS_MAX).map(|(name, value)| (bounded(&name), plain(value, depth - 1)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_record_has_the_same_bytes_however_it_was_written_down() {
        let record = Record::new(
            "i".into(),
            Act { action: "a", target: "t\r\n\u{1b}[2J", by: "b", detail: json!({"z": 1.5, "a": [1, {}]}), ..Act::default() },
        );
        let bytes = record.bytes();
        assert!(!bytes.iter().any(u8::is_ascii_control), "control characters are escaped: {}", String::from_utf8_lossy(&bytes));
        let pretty = serde_json::to_string_pretty(&record).unwrap();
        assert_eq!(canonical(&serde_json::from_str(&pretty).unwrap()), bytes);
        assert_eq!(serde_json::from_slice::<Record>(&bytes).unwrap(), record);
        assert_eq!(record.detail["z"], "1.5");
    }

    #[test]
    fn what_stands_in_it_is_bounded() {
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let wide = json!((0..10_000).map(|n| n.to_string()).collect::<Vec<_>>());
        let long = "x".repeat(1 << 20);
        let act =
            Act { action: &long, target: &long, by: &long, detail: json!({"deep": deep, "wide": wide, "long": long}), ..Act::default() };
        assert!(Record::new("i".into(), act).bytes().len() < 4_000);
    }
}
