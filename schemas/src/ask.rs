//! Asks and answers: how a mind, which touches nothing, learns of the outside world. The ask is an output on the log; a hand
//! does the work and answers on the log; the first answer wins; a tick is the time-out.

use crate::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question to a hand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ask {
    /// This message's id: the identity of the output.
    pub id: String,
    /// The actor that asks.
    pub actor: String,
    /// Which hand is to answer: `probe`.
    pub hand: String,
    /// What is asked: `database`, `bus`, …
    pub what: String,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
    /// When it was asked, log time.
    pub asked_ms: UnixMs,
    /// After which nobody waits for the answer any more, log time.
    pub until_ms: UnixMs,
}

/// What a hand found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The ask's id.
    pub ask: String,
    /// The actor that asked.
    pub actor: String,
    /// The hand that answers.
    pub hand: String,
    /// What was asked.
    pub what: String,
    /// Whether it worked.
    pub ok: bool,
    /// `false` when there is no such hand here (a replay of a plain file): nothing is known, and nothing is wrong.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub configured: bool,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What was found. Verifiers, digests and sealed boxes; never a secret in clear.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub found: Value,
    /// What went wrong, in a form that may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_yes(value: &bool) -> bool {
    *value
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            ask: String::new(),
            actor: String::new(),
            hand: String::new(),
            what: String::new(),
            ok: false,
            configured: true,
            took_us: 0,
            found: Value::Null,
            error: None,
        }
    }
}
