//! Where keys are: the database itself, or a gateway that is asked.

use super::files::{KEY_VARIABLE, from_environment, secret};
use super::{PAGE, refused};
use crate::cli::out::plain;
use crate::cli::{CliError, Context, healthcheck};
use crate::keys::ask::{ChangeRecipient, CreateKey, KeyAnswer, RevokeKey, RotateKey};
use crate::keys::format::KeyText;
use crate::keys::{Actor, Keys};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the gateway may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Where keys are.
pub(super) enum Door {
    /// The database itself.
    Local(Box<Keys>, Actor),
    /// A gateway.
    Http { client: reqwest::Client, base: String, key: Option<KeyText> },
}

impl Door {
    pub(super) fn http(context: &Context, url: Option<&str>, key_file: Option<&Path>) -> Result<Door, CliError> {
        let base = url.map_or_else(|| healthcheck::gateway(context.config()), |url| url.trim_end_matches('/').to_owned());
        let key = match key_file {
            Some(file) => Some(secret(file)?),
            None => from_environment(),
        };
        crate::telemetry::tls();
        let mut client = reqwest::Client::builder().timeout(WITHIN).redirect(reqwest::redirect::Policy::none());
        if url.is_none() && base.starts_with("https://") {
            // The gateway of these settings, and no other.
            let pinned =
                context.config().gateway.tls.pinned().map_err(|error| CliError::new("TLS cannot be spoken here").because(error))?;
            client = client.tls_backend_preconfigured(Arc::unwrap_or_clone(pinned));
        }
        let client = client.build().map_err(|error| CliError::new("no HTTP client can be made here").because(error))?;
        Ok(Door::Http { client, base, key })
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, body: Option<&(impl Serialize + Sync)>) -> Result<T, CliError> {
        let Door::Http { client, base, key } = self else { return Err(CliError::new("there is no gateway to ask")) };
        let url = format!("{base}/api/v1/keys{path}");
        let mut request = match body {
            Some(body) => {
                let body = serde_json::to_vec(body).map_err(|error| CliError::new("it cannot be asked").because(error))?;
                client.post(&url).header("content-type", "application/json").body(body)
            }
            None => client.get(&url),
        };
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        let away = |error: reqwest::Error| {
            CliError::new(format!("{base} does not answer"))
                .because(error.without_url())
                .advise("see whether `homeostat up` runs there, or work on the database with --local")
        };
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(away)?;
        if !status.is_success() {
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let detail = value.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
            let error = CliError::new(format!("{base} answered {}: {}", status.as_u16(), plain(detail)));
            return Err(if status.as_u16() == 401 {
                error.advise(format!("show a key with the scope keys:admin, by --key-file or the variable {KEY_VARIABLE}"))
            } else {
                error
            });
        }
        serde_json::from_slice(&bytes).map_err(|error| CliError::new(format!("what {base} answered cannot be understood")).because(error))
    }

    pub(super) async fn create(&self, asked: &CreateKey) -> Result<KeyAnswer, CliError> {
        match self {
            Door::Local(keys, actor) => keys.create(asked.clone(), actor).await.map_err(refused),
            Door::Http { .. } => self.ask("", Some(asked)).await,
        }
    }

    pub(super) async fn show(&self, id: &str) -> Result<KeyAnswer, CliError> {
        match self {
            Door::Local(keys, _) => keys.show(id).await.map_err(refused),
            Door::Http { .. } => self.ask(&format!("/{}", in_path(id)?), None::<&()>).await,
        }
    }

    pub(super) async fn rotate(&self, id: &str, asked: &RotateKey) -> Result<KeyAnswer, CliError> {
        match self {
            Door::Local(keys, actor) => keys.rotate(id, asked, actor).await.map_err(refused),
            Door::Http { .. } => self.ask(&format!("/{}/rotate", in_path(id)?), Some(asked)).await,
        }
    }

    pub(super) async fn revoke(&self, id: &str, asked: &RevokeKey) -> Result<KeyAnswer, CliError> {
        match self {
            Door::Local(keys, actor) => keys.revoke(id, asked, actor).await.map_err(refused),
            Door::Http { .. } => self.ask(&format!("/{}/revoke", in_path(id)?), Some(asked)).await,
        }
    }

    pub(super) async fn recipient(&self, id: &str, asked: ChangeRecipient) -> Result<KeyAnswer, CliError> {
        match self {
            Door::Local(keys, actor) => keys.change_recipient(id, asked, actor).await.map_err(refused),
            Door::Http { .. } => self.ask(&format!("/{}/recipient", in_path(id)?), Some(&asked)).await,
        }
    }

    pub(super) async fn page(&self, owner: Option<&str>, after: &str) -> Result<Vec<KeyAnswer>, CliError> {
        match self {
            Door::Local(keys, _) => {
                let records = keys.records.list(owner, after, PAGE).await.map_err(refused)?;
                Ok(records.into_iter().map(KeyAnswer::of).collect())
            }
            Door::Http { .. } => {
                let owner = owner.map(|owner| format!("&owner={}", healthcheck::percent(owner))).unwrap_or_default();
                self.ask(&format!("?limit={PAGE}&after={after}{owner}"), None::<&()>).await
            }
        }
    }
}

/// An id stands in an address as it is; anything else is none.
fn in_path(id: &str) -> Result<&str, CliError> {
    if homeostat_schemas::key::is_key_id(id) {
        Ok(id)
    } else {
        Err(CliError::new(format!("`{}` is no id of a key: 12 letters and digits", plain(id))))
    }
}
