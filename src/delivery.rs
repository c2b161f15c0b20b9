//! Alerts on their way to people: Alertmanager, and webhooks of any kind. Only the owner of the log delivers.
//!
//! Promises
//! - DL-1 Nothing on the bus waits for a receiver: each has its own task and reads the log at its own pace.
//! - DL-2 A webhook is told every alert at least once, in the order of the log, whatever dies in between: its place in the log is
//!   kept in the bucket `homeostat_state`, and the alert's id is the key by which a repetition is known.
//! - DL-3 Alertmanager knows what is open within a resend, however often either side was restarted, and forgets what ended while
//!   Homeostat was away: what is open is sent again and again with an end that lies a little ahead.
//! - DL-4 Nobody is told of what is silenced while it is, and everybody of what is still open when that is over. Who was told that an
//!   incident began is told that it ended.

mod alertmanager;
mod config;
mod reading;
mod silenced;
mod silences;
mod webhook;
mod withheld;

pub use config::{AlertmanagerConfig, DeliveryConfig, WebhookConfig};

use crate::metrics::Metrics;
use crate::roster::Slots;
use homeostat_nats::Log;
use homeostat_schemas::{Alert, Content, Delivery, Root};
use ring::hmac;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a receiver may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// The pause after a failure, doubling up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why nothing can be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The HTTP client cannot be made.
    #[error("the HTTP client for deliveries cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// A secret cannot be read.
    #[error("delivery.webhooks.{name}.secret_file: {why}")]
    Secret {
        /// The webhook.
        name: String,
        /// What is wrong with the file.
        why: String,
    },
}

/// Everyone who is told, ready to be told.
#[derive(Clone)]
pub struct Receivers {
    client: reqwest::Client,
    alertmanager: AlertmanagerConfig,
    webhooks: Vec<Webhook>,
}

/// A webhook with its secret.
#[derive(Clone)]
struct Webhook {
    name: String,
    config: WebhookConfig,
    key: Option<hmac::Key>,
}

/// What every receiver's task is given.
#[derive(Clone)]
struct Post {
    log: Log,
    root: Root,
    slots: Slots,
    metrics: Arc<Metrics>,
    client: reqwest::Client,
}

impl Receivers {
    /// Those of the settings.
    ///
    /// # Errors
    /// A secret cannot be read, or no HTTP client can be made here.
    pub fn new(config: &DeliveryConfig) -> Result<Receivers, DeliveryError> {
        crate::telemetry::tls();
        let client = reqwest::Client::builder()
            .timeout(ANSWER_DEADLINE)
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("homeostat/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let webhook = |(name, config): (&String, &WebhookConfig)| {
            let key = config.secret(name)?.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, &secret));
            Ok::<_, DeliveryError>(Webhook { name: name.clone(), config: config.clone(), key })
        };
        let webhooks = config.webhooks.iter().map(webhook).collect::<Result<_, _>>()?;
        Ok(Receivers { client, alertmanager: config.alertmanager.clone(), webhooks })
    }

    /// Starts a task for each.
    pub fn start(
        &self,
        log: &Log,
        root: &Root,
        slots: &Slots,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) {
        let post =
            Post { log: log.clone(), root: root.clone(), slots: slots.clone(), metrics: metrics.clone(), client: self.client.clone() };
        if !self.alertmanager.urls.is_empty() {
            tasks.spawn(alertmanager::run(post.clone(), self.alertmanager.clone(), stop.clone()));
        }
        for hook in &self.webhooks {
            tasks.spawn(webhook::run(post.clone(), hook.clone(), stop.clone()));
        }
    }
}

impl Post {
    /// The subjects of alerts.
    fn filters(&self) -> Vec<String> {
        vec![self.log.subject("alert.>")]
    }
}

/// The host and port of an address, for people: the whole of it may hold a password.
fn place(url: &str) -> String {
    let url = reqwest::Url::parse(url).ok();
    let place = url.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    place.unwrap_or_else(|| "an address that is none".to_owned())
}

/// The alert in a message of the log, if it is one.
fn alert(delivery: Delivery) -> Option<Alert> {
    match delivery.content {
        Content::Alert(alert) => Some(*alert),
        Content::Events(_)
        | Content::Command(_)
        | Content::Outcome(_)
        | Content::Answer(_)
        | Content::Ask(_)
        | Content::Settings(_)
        | Content::Key(_)
        | Content::Housekeeping
        | Content::Broken(_)
        | Content::Tick => None,
    }
}
