//! Stories of health.

use super::*;
use crate::core::Settings;
use crate::rig::{Rig, START, Story, at, survives_restart_anywhere};
use expect_test::expect;
use serde_json::{Value, json};

mod cases;
mod presence;
mod properties;
mod told;
mod vitals;

/// A heartbeat every second.
fn beat(instance: &str, up_s: f64) -> Value {
    json!({"kind": "heartbeat", "instance": instance, "up_s": up_s, "interval_s": 1})
}

/// A heartbeat of a service every `interval` seconds.
fn beat_of(service: &str, up_s: f64, interval: u32) -> Value {
    json!({"kind": "heartbeat", "service": service, "up_s": up_s, "interval_s": interval})
}

fn request(status: u16) -> Value {
    json!({"kind": "request", "route": "GET /", "status": status, "took_us": 1000})
}

fn rig() -> Rig<HealthCore> {
    Rig::with(HealthConfig { probes: Vec::new(), ..HealthConfig::default() })
}

fn settings() -> Settings<HealthConfig> {
    Settings { config: HealthConfig { probes: Vec::new(), ..HealthConfig::default() }, ..Settings::default() }
}
