//! What the holder of a key may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Something that the holder of a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// Ask whether the system and its services are alive and ready, with details.
    #[serde(rename = "probe")]
    Probe,
    /// Read the metrics.
    #[serde(rename = "metrics")]
    Metrics,
    /// Send telemetry: OTLP and events.
    #[serde(rename = "telemetry:write")]
    TelemetryWrite,
    /// Read alerts, open and past.
    #[serde(rename = "alerts:read")]
    AlertsRead,
    /// Read what the minds know: queries, drift, forecasts, commands.
    #[serde(rename = "status:read")]
    StatusRead,
    /// Order, approve, deny or pause commands.
    #[serde(rename = "commands:write")]
    CommandsWrite,
    /// Create, rotate and revoke keys.
    #[serde(rename = "keys:admin")]
    KeysAdmin,
}

impl Scope {
    /// Every scope.
    pub const ALL: &[Scope] = &[
        Scope::Probe,
        Scope::Metrics,
        Scope::TelemetryWrite,
        Scope::AlertsRead,
        Scope::StatusRead,
        Scope::CommandsWrite,
        Scope::KeysAdmin,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Probe => "probe",
            Scope::Metrics => "metrics",
            Scope::TelemetryWrite => "telemetry:write",
            Scope::AlertsRead => "alerts:read",
            Scope::StatusRead => "status:read",
            Scope::CommandsWrite => "commands:write",
            Scope::KeysAdmin => "keys:admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Scope, UnknownScope> {
        Scope::ALL.iter().copied().find(|scope| scope.name() == text).ok_or_else(|| UnknownScope(text.chars().take(64).collect()))
    }
}

/// A word that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope: probe, metrics, telemetry:write, alerts:read, status:read, commands:write, keys:admin")]
pub struct UnknownScope(pub String);
