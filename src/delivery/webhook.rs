//! Webhooks: one POST an alert, by the Standard Webhooks specification (<https://www.standardwebhooks.com>): `webhook-id` is the
//! alert's id and the key by which a receiver knows a repetition, `webhook-timestamp` Unix seconds, `webhook-signature`
//! `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
//!
//! What is silenced is withheld, and told when the silence ends and the incident is still open. That an incident ended is told to whom
//! its beginning was told. A webhook may be reminded of what stays open, and one of the second line hears only of what nobody looked
//! after for a while.

use super::withheld::Withheld;
use super::{PAUSE, PAUSE_MAX, Post, Webhook, alert, silenced};
use crate::feed::decode;
use crate::system::told;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homeostat_actors::driver::Driver;
use homeostat_actors::status::{Mark, StatusView};
use homeostat_nats::{Reader, ReaderError, ReaderOptions};
use homeostat_schemas::{Alert, Position, State};
use reqwest::StatusCode;
use ring::hmac;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// So often an alert is sent that its receiver does not want in this form.
const REFUSALS_MAX: u32 = 3;
/// How often it is looked whether what was withheld may be told.
const LOOK: Duration = Duration::from_millis(500);
/// After so many looks at which nothing more came from the log, an incident that is not open is one whose end was told before.
const LOOKS_MAX: u32 = 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a secret in base64.
pub(super) fn decode_secret(encoded: &str) -> Option<Vec<u8>> {
    STANDARD.decode(encoded.trim()).ok().filter(|key| !key.is_empty())
}

/// Posts until told to stop.
pub(super) async fn run(post: Post, hook: Webhook, mut stop: watch::Receiver<bool>) {
    let hook = Hook { post, hook };
    let mut pause = PAUSE;
    loop {
        let result = tokio::select! {
            () = told(&mut stop) => return,
            result = hook.follow(&mut pause) => result,
        };
        if let Err(error) = result {
            tracing::warn!(webhook = hook.hook.name, %error, pause_ms = pause.as_millis(), "the webhook is told later");
        }
        tokio::select! {
            () = told(&mut stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// What was seen when it was looked last.
#[derive(Default)]
struct Seen {
    /// How many reminders of each open incident were due.
    turns: BTreeMap<String, u64>,
    /// How often each withheld incident was not open any more.
    missing: BTreeMap<String, u32>,
}

struct Hook {
    post: Post,
    hook: Webhook,
}

impl Hook {
    async fn follow(&self, pause: &mut Duration) -> Result<(), Failure> {
        let mut told = self.place().await?;
        let mut withheld = Withheld::load(&self.post.log, &self.hook.name).await?;
        let mut seen = Seen::default();
        let mut reader =
            Reader::open(&self.post.log, told + 1, ReaderOptions { filters: self.post.filters(), ..ReaderOptions::default() }).await?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let entries = tokio::select! {
                biased;
                entries = reader.next() => entries,
                _ = look.tick(), if !withheld.is_empty() || self.hook.config.remind_s > 0 => {
                    // Everything that was read is judged; what has ended meanwhile is told by the log.
                    if let Some(view) = silenced::ask_at(&self.post, told, Driver::view).await {
                        self.release(&view, &mut withheld, &mut seen).await?;
                        self.remind(&view, &withheld, &mut seen).await?;
                        *pause = PAUSE;
                    }
                    continue;
                }
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(error @ ReaderError::Overtaken { .. }) => {
                    tracing::error!(webhook = self.hook.name, %error, "alerts were not delivered");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let deliveries: Vec<_> = entries.iter().map(|entry| decode(&self.post.root, entry)).collect();
            let Some(last) = deliveries.last().map(|delivery| delivery.position) else { continue };
            let alerts: Vec<_> = deliveries.into_iter().map(|delivery| (delivery.position, alert(delivery))).collect();
            let incidents: Vec<_> = alerts.iter().filter_map(|(_, alert)| Some(alert.as_ref()?.incident.clone())).collect();
            let marks = silenced::ask_at(&self.post, last, move |status| status.core().marks(&incidents, status.now())).await;
            let marks = marks.unwrap_or_default();
            for (position, alert) in alerts {
                told = position;
                let Some(alert) = alert else { continue };
                let ended = if alert.severity >= self.hook.config.severity {
                    self.judge(&alert, marks.get(&alert.incident), &mut withheld).await?
                } else {
                    false
                };
                self.note(told).await?;
                if ended {
                    // Only now: if the place were lost, a forgotten incident would look like one that was told.
                    withheld.forget(&alert.incident).await?;
                }
                *pause = PAUSE;
            }
        }
    }

    /// Tells one alert, or withholds it. Whether the incident was withheld to its end.
    async fn judge(&self, alert: &Alert, mark: Option<&Mark>, withheld: &mut Withheld) -> Result<bool, Failure> {
        if alert.state == State::Resolved {
            // Who was told that it began is told that it ended, silenced or not.
            let told = withheld.told(&alert.incident).unwrap_or(true);
            if told {
                self.deliver(alert).await?;
            }
            return Ok(withheld.told(&alert.incident).is_some());
        }
        let silenced = mark.is_some_and(|mark| !mark.silenced_by.is_empty());
        if (silenced || self.hook.config.after_s > 0) && withheld.has_room(&alert.incident) {
            // The first message of an incident was told, unless it is one that was withheld.
            let first = mark.and_then(|mark| mark.first.as_deref()).unwrap_or(&alert.id);
            let before = withheld.told(&alert.incident).unwrap_or(first != alert.id);
            withheld.keep(&alert.incident, before).await?;
            self.post.metrics.withheld();
            return Ok(false);
        }
        self.deliver(alert).await?;
        withheld.forget(&alert.incident).await?;
        Ok(false)
    }

    /// Tells what was withheld and no longer is, if it is still open.
    async fn release(&self, view: &StatusView, withheld: &mut Withheld, seen: &mut Seen) -> Result<(), Failure> {
        let after_ms = self.hook.config.after_s.saturating_mul(1_000);
        let open: BTreeMap<&str, &Alert> = view.open.iter().map(|alert| (alert.incident.as_str(), alert)).collect();
        for incident in withheld.incidents() {
            let Some(alert) = open.get(incident.as_str()) else {
                // Its end is on its way here by the log; if it does not come, a process before this one had it.
                let looks = seen.missing.entry(incident.clone()).or_default();
                *looks += 1;
                if *looks > LOOKS_MAX {
                    seen.missing.remove(&incident);
                    withheld.forget(&incident).await?;
                }
                continue;
            };
            seen.missing.remove(&incident);
            let mark = view.marks.get(&incident);
            let silenced = mark.is_some_and(|mark| !mark.silenced_by.is_empty());
            let looked_after = after_ms > 0 && mark.is_some_and(|mark| mark.acknowledged.is_some());
            if !silenced && !looked_after && view.at_ms >= alert.since_ms.saturating_add(after_ms) {
                self.deliver(alert).await?;
                withheld.forget(&incident).await?;
            }
        }
        Ok(())
    }

    /// Says again what is still open, nobody looks after and nobody silenced.
    async fn remind(&self, view: &StatusView, withheld: &Withheld, seen: &mut Seen) -> Result<(), Failure> {
        let every_ms = self.hook.config.remind_s.saturating_mul(1_000);
        if every_ms == 0 {
            return Ok(());
        }
        let wanted = |alert: &&Alert| {
            let quiet = view.marks.get(&alert.incident).is_some_and(|mark| !mark.silenced_by.is_empty() || mark.acknowledged.is_some());
            alert.severity >= self.hook.config.severity && !quiet && withheld.told(&alert.incident).is_none()
        };
        let mut now = BTreeMap::new();
        for alert in view.open.iter().filter(wanted) {
            let turn = view.at_ms.saturating_sub(alert.at_ms) / every_ms;
            // One that was not seen before may have been reminded of by a process before this one: its next turn will come.
            let before = seen.turns.get(&alert.incident).copied().unwrap_or(turn);
            if turn > before {
                self.send_until_taken(alert, &format!("{}.reminder.{turn}", alert.id)).await?;
            }
            now.insert(alert.incident.clone(), turn);
        }
        seen.turns = now;
        Ok(())
    }

    /// Where in the log it is. A new one begins with what comes from now on.
    async fn place(&self) -> Result<Position, Failure> {
        let state = self.post.log.state_store().await?;
        let noted = state.get(self.note_key()).await?;
        let noted = noted.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        // A position of another log says nothing about this one.
        let place = noted.as_deref().and_then(|text| text.split_once(' ')).filter(|(log, _)| *log == self.post.log.incarnation());
        match place.and_then(|(_, position)| position.parse().ok()) {
            Some(position) => Ok(position),
            None => {
                let last = self.post.log.bounds().await?.last;
                self.note(last).await?;
                Ok(last)
            }
        }
    }

    async fn note(&self, position: Position) -> Result<(), Failure> {
        let state = self.post.log.state_store().await?;
        state.put(self.note_key(), format!("{} {position}", self.post.log.incarnation()).into()).await?;
        Ok(())
    }

    fn note_key(&self) -> String {
        format!("delivery.{}", homeostat_schemas::subject::Token(&self.hook.name))
    }

    async fn deliver(&self, alert: &Alert) -> Result<(), Failure> {
        self.send_until_taken(alert, &alert.id).await
    }

    /// Posts one alert until it is taken, refused for good, or too old.
    async fn send_until_taken(&self, alert: &Alert, id: &str) -> Result<(), Failure> {
        let body = serde_json::to_vec(alert)?;
        let began = Instant::now();
        let give_up = Duration::from_secs(self.hook.config.give_up_min.get().saturating_mul(60));
        let (mut pause, mut refusals) = (PAUSE, 0);
        loop {
            let why = match self.send(id, &body).await {
                Ok(status) if status.is_success() => {
                    self.post.metrics.delivered("webhook", 1);
                    return Ok(());
                }
                Ok(status) => {
                    // About this body, not about the receiver: saying it again will not help.
                    refusals += u32::from(matches!(
                        status,
                        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
                    ));
                    format!("it answered {status}")
                }
                // Without the address: it may hold a token.
                Err(error) => error.without_url().to_string(),
            };
            self.post.metrics.undelivered("webhook");
            if refusals >= REFUSALS_MAX || began.elapsed() > give_up {
                tracing::error!(webhook = self.hook.name, alert = alert.id, why, "an alert was not delivered and is given up");
                return Ok(());
            }
            tracing::warn!(webhook = self.hook.name, alert = alert.id, why, pause_ms = pause.as_millis(), "the webhook is told later");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn send(&self, id: &str, body: &[u8]) -> Result<StatusCode, reqwest::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut request = self
            .post
            .client
            .post(&self.hook.config.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now);
        if let Some(key) = &self.hook.key {
            request = request.header("webhook-signature", signature(key, id, now, body));
        }
        Ok(request.body(body.to_vec()).send().await?.status())
    }
}

fn signature(key: &hmac::Key, id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let secret = decode_secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
