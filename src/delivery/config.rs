//! The table `[delivery]`.

use super::DeliveryError;
use homeostat_schemas::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Where alerts are sent beside the bus.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Prometheus' Alertmanager, by its API v2.
    pub alertmanager: AlertmanagerConfig,
    /// Webhooks, by a name of yours: one POST an alert, signed when there is a secret (Standard Webhooks).
    pub webhooks: BTreeMap<String, WebhookConfig>,
}

/// Prometheus' Alertmanager.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Addresses of all members of the cluster (`http://alertmanager:9093`): each is told, as Prometheus does it.
    pub urls: Vec<String>,
    /// What is open is sent again so often, seconds; Alertmanager forgets it after four times that.
    pub resend_s: NonZeroU64,
    /// Where people reach this gateway: alerts link to `<base>/api/v1/alerts/<incident>`.
    pub link_base: Option<String>,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        AlertmanagerConfig { urls: Vec::new(), resend_s: NonZeroU64::MIN.saturating_add(59), link_base: None }
    }
}

/// A webhook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where alerts are posted.
    pub url: String,
    /// A file whose first line is the secret that signs (`whsec_` and base64, or any text).
    pub secret_file: Option<PathBuf>,
    /// Nothing less urgent than this: `info`, `warning` or `critical`.
    pub severity: Severity,
    /// An alert that could not be delivered for so long is given up, minutes.
    pub give_up_min: NonZeroU64,
    /// What is still open, and neither silenced nor acknowledged, is said again so often, seconds; 0: never.
    pub remind_s: u64,
    /// The second line: tell only what has been open for so many seconds and nobody has acknowledged; 0: tell everything at once.
    pub after_s: u64,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        WebhookConfig {
            url: String::new(),
            secret_file: None,
            severity: Severity::Info,
            give_up_min: NonZeroU64::MIN.saturating_add(24 * 60 - 1),
            remind_s: 0,
            after_s: 0,
        }
    }
}

impl WebhookConfig {
    /// The key that signs, if there is one.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, DeliveryError> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let failed = |why: String| DeliveryError::Secret { name: name.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|why| failed(format!("{}: {why}", path.display())))?;
        let line = text.lines().next().unwrap_or_default().trim();
        if line.is_empty() {
            return Err(failed(format!("{} is empty", path.display())));
        }
        match line.strip_prefix("whsec_") {
            Some(encoded) => {
                super::webhook::decode_secret(encoded).map(Some).ok_or_else(|| failed("what follows whsec_ is not base64".to_owned()))
            }
            None => Ok(Some(line.as_bytes().to_vec())),
        }
    }
}
