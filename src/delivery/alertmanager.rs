//! Alertmanager's API v2.
//!
//! Labels are identity, never values: rule, severity, service and the finding's own labels. What is open is sent again every
//! `resend_s` with an end four times as far ahead, because Alertmanager resolves by itself what it has not heard of until then; what
//! ended is sent once more with its end. That is how Prometheus does it, and it needs no memory on either side.

use super::reading::Reading;
use super::silences::Silences;
use super::{AlertmanagerConfig, PAUSE, PAUSE_MAX, Post, alert, place, silenced};
use crate::clock::now_ms;
use crate::feed::decode;
use crate::system::told;
use homeostat_actors::status::Said;
use homeostat_nats::{Entry, ReaderError};
use homeostat_schemas::time::rfc3339;
use homeostat_schemas::{Alert, Severity, State, UnixMs};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// So many alerts a POST.
const ALERTS_MAX: usize = 500;
/// Incidents whose severity is remembered, so that a grown one ends under its old label.
const KNOWN_MAX: usize = 20_000;

/// POSTs that wait for a member; what finds no room is told with what is open.
const WAITING: usize = 16;

/// Tells every member until told to stop.
pub(super) async fn run(post: Post, config: AlertmanagerConfig, mut stop: watch::Receiver<bool>) {
    let again = Arc::new(Notify::new());
    // They end with this.
    let mut tasks = JoinSet::new();
    let members = config.urls.iter().map(|url| {
        let (sender, bodies) = mpsc::channel(WAITING);
        tasks.spawn(Member { post: post.clone(), url: url.trim_end_matches('/').to_owned(), again: again.clone() }.run(bodies));
        sender
    });
    let members = members.collect();
    let mut sender = Sender { post, config, members, again, severities: BTreeMap::new(), silences: Silences::default() };
    let mut pause = PAUSE;
    loop {
        let result = tokio::select! {
            () = told(&mut stop) => return,
            result = sender.follow(&mut pause) => result,
        };
        if let Err(error) = result {
            tracing::warn!(%error, pause_ms = pause.as_millis(), "Alertmanager is told later");
        }
        tokio::select! {
            () = told(&mut stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One member of the cluster, told at its own pace: one that is down or slow holds up no other.
struct Member {
    post: Post,
    url: String,
    /// To say that it has to be told everything again.
    again: Arc<Notify>,
}

impl Member {
    async fn run(self, mut bodies: mpsc::Receiver<Arc<[Value]>>) {
        let mut pause = PAUSE;
        while let Some(alerts) = bodies.recv().await {
            let Err(error) = self.tell(&alerts).await else {
                pause = PAUSE;
                continue;
            };
            tracing::warn!(member = place(&self.url), %error, pause_ms = pause.as_millis(), "this Alertmanager is told later");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            // What came meanwhile is open, and told again; or it is over, and runs out.
            while bodies.try_recv().is_ok() {}
            self.again.notify_one();
        }
    }

    async fn tell(&self, alerts: &[Value]) -> Result<(), Failure> {
        for part in alerts.chunks(ALERTS_MAX) {
            let answer = self.post.client.post(format!("{}/api/v2/alerts", self.url)).header("content-type", "application/json");
            let answer = answer.body(serde_json::to_vec(part)?).send().await.and_then(reqwest::Response::error_for_status);
            if let Err(error) = answer {
                self.post.metrics.undelivered("alertmanager");
                return Err(error.without_url().into());
            }
            self.post.metrics.delivered("alertmanager", part.len());
        }
        Ok(())
    }
}

/// Makes what every member is told.
struct Sender {
    post: Post,
    config: AlertmanagerConfig,
    members: Vec<mpsc::Sender<Arc<[Value]>>>,
    /// A member is to be told everything again.
    again: Arc<Notify>,
    severities: BTreeMap<String, Severity>,
    silences: Silences,
}

impl Sender {
    async fn follow(&mut self, pause: &mut Duration) -> Result<(), Failure> {
        let from = self.post.log.bounds().await?.last + 1;
        let filters = self.post.filters().into_iter().chain([self.post.log.subject("event.order.*")]).collect();
        let mut reading = Reading::start(&self.post, from, filters).await?;
        let again = self.again.clone();
        // The first turn comes at once: whatever is open, and whatever this process has not heard.
        let mut resend = tokio::time::interval(Duration::from_secs(self.config.resend_s.get()));
        resend.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let alerts = tokio::select! {
                _ = resend.tick() => self.open().await,
                () = again.notified() => self.open().await,
                batch = reading.next() => match batch {
                    Some(Ok(entries)) => self.heard(&entries).await,
                    // What was missed is open, and then it is sent again; or it is over, and then it runs out.
                    Some(Err(ReaderError::Overtaken { .. })) => continue,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err("the log is read no more".into()),
                },
            };
            self.tell(&alerts);
            *pause = PAUSE;
        }
    }

    /// Everything that is open; what people said is told before.
    async fn open(&mut self) -> Vec<Alert> {
        let asked = self.post.slots.status.ask(|status| (status.core().said(status.now()), status.view().open)).await;
        let Some((said, open)) = asked else { return Vec::new() };
        self.silence(&said).await;
        open
    }

    /// The alerts among messages; what people said about alerts up to there is told before them.
    async fn heard(&mut self, entries: &[Entry]) -> Vec<Alert> {
        let deliveries: Vec<_> = entries.iter().map(|entry| decode(&self.post.root, entry)).collect();
        if let Some(last) = deliveries.last()
            && let Some(said) = silenced::ask_at(&self.post, last.position, |status| status.core().said(status.now())).await
            && self.silences.changed(&self.post, &said)
        {
            self.silence(&said).await;
        }
        deliveries.into_iter().filter_map(alert).collect()
    }

    /// Alerts are told though silences cannot be: one message too many is better than one that nobody heard.
    async fn silence(&mut self, said: &Said) {
        if let Err(error) = self.silences.reconcile(&self.post, &self.config.urls, said).await {
            tracing::warn!(%error, "Alertmanager could not be told what is silenced; it is told again with the next resend");
        }
    }

    /// Hands alerts to every member.
    fn tell(&mut self, alerts: &[Alert]) {
        let now = now_ms();
        let mut bodies: Vec<Value> = Vec::with_capacity(alerts.len());
        for alert in alerts {
            if let Some(before) = self.severities.get(&alert.incident).copied().filter(|before| *before != alert.severity) {
                bodies.push(self.written(alert, before, now));
            }
            match alert.state {
                State::Firing if self.severities.len() < KNOWN_MAX => drop(self.severities.insert(alert.incident.clone(), alert.severity)),
                State::Firing => {}
                State::Resolved => drop(self.severities.remove(&alert.incident)),
            }
            let end = match alert.state {
                State::Firing => now.saturating_add(self.config.resend_s.get().saturating_mul(4_000)),
                State::Resolved => now,
            };
            bodies.push(self.written(alert, alert.severity, end));
        }
        if bodies.is_empty() {
            return;
        }
        let bodies: Arc<[Value]> = bodies.into();
        for (member, url) in self.members.iter().zip(&self.config.urls) {
            if member.try_send(bodies.clone()).is_err() {
                self.post.metrics.undelivered("alertmanager");
                tracing::warn!(member = place(url), "this Alertmanager does not keep up; it is told of what is open with the next resend");
            }
        }
    }

    fn written(&self, alert: &Alert, severity: Severity, end: UnixMs) -> Value {
        let mut labels = Map::from_iter([
            ("alertname".to_owned(), json!(alert.rule)),
            ("severity".to_owned(), json!(severity.to_string())),
            ("service".to_owned(), json!(alert.service)),
        ]);
        for (name, value) in &alert.labels {
            // An empty label is none to Alertmanager.
            labels.entry(name.clone()).or_insert_with(|| json!(value));
        }
        let link = self.config.link_base.as_deref().map(|base| format!("{}/api/v1/alerts/{}", base.trim_end_matches('/'), alert.incident));
        let mut written = json!({
            "labels": labels,
            "annotations": {
                "summary": alert.summary,
                "description": alert.advice.join("\n"),
                "incident": alert.incident,
                "trace": alert.trace.clone().unwrap_or_default(),
            },
            "startsAt": rfc3339(alert.since_ms.min(end)),
            "endsAt": rfc3339(end),
        });
        if let Some(link) = link {
            written["generatorURL"] = json!(link);
        }
        written
    }
}
