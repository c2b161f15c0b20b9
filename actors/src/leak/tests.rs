//! Stories of leak.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use crate::rig::START;
use serde_json::{Value, json};

mod labelled;
mod properties;
mod stories;

/// A report of `memory` MB.
fn resource(instance: &str, memory: f64) -> Value {
    json!({
        "kind": "resource",
        "instance": instance,
        "memory_bytes": (memory * 1e6) as u64,
        "memory_limit_bytes": 2_000_000_000_u64,
        "started_ms": START,
    })
}

/// Noise that is the same at every run: −1 to 1.
fn noise(n: u64) -> f64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
