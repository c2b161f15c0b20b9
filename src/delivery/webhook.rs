//! Webhooks: one POST an alert, by the Standard Webhooks specification (<https://www.standardwebhooks.com>): `webhook-id` is the
//! alert's id and the key by which a receiver knows a repetition, `webhook-timestamp` Unix seconds, `webhook-signature`
//! `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
//!
//! What is silenced is withheld, and told when the silence ends and the incident is still open. That an incident ended is told to whom
//! its beginning was told. A webhook may be reminded of what stays open, and one of the second line hears only of what nobody looked
//! after for a while.

mod due;

use super::reading::Reading;
use super::withheld::Withheld;
use super::{PAUSE, PAUSE_MAX, Post, Webhook, alert, silenced};
use crate::clock::now_ms;
use crate::feed::decode;
use crate::system::told;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use due::Due;
use homeostat_actors::driver::Driver;
use homeostat_actors::status::Mark;
use homeostat_nats::{Entry, ReaderError};
use homeostat_schemas::{Alert, Position, State, UnixMs};
use reqwest::StatusCode;
use ring::hmac;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// So often an alert is sent that its receiver does not want in this form.
const REFUSALS_MAX: u32 = 3;
/// How often it is looked whether what was withheld may be told, and who is to be reminded.
const LOOK: Duration = Duration::from_millis(500);

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

struct Hook {
    post: Post,
    hook: Webhook,
}

/// How far a webhook was told.
struct Told {
    position: Position,
    /// Log time there: what was decided until then, it has heard of.
    at_ms: UnixMs,
    withheld: Withheld,
}

/// What became of one POST.
enum Attempt {
    Taken,
    /// What it says is about this body: saying it again will hardly help.
    Refused(String),
    /// It may have been heard all the same when there was no answer.
    Failed {
        why: String,
        unsure: bool,
    },
}

/// What became of an alert.
enum Outcome {
    /// Told, or given up.
    Done,
    /// Silenced before it was taken; whether it may have been heard.
    Silenced { unsure: bool },
}

impl Hook {
    async fn follow(&self, pause: &mut Duration) -> Result<(), Failure> {
        let position = self.place().await?;
        let last = if position > 0 { self.post.log.get(position).await? } else { None };
        let at_ms = last.map_or_else(now_ms, |entry| entry.at_ms);
        let mut told = Told { position, at_ms, withheld: Withheld::load(&self.post.log, &self.hook.name).await? };
        let mut due = Due::default();
        let mut reading = Reading::start(&self.post, position + 1, self.post.filters()).await?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // What the log says comes first, between any two of what is told again.
            tokio::select! {
                biased;
                batch = reading.next() => match batch {
                    Some(Ok(entries)) => self.tell(&entries, &mut told, pause).await?,
                    Some(Err(error @ ReaderError::Overtaken { .. })) => {
                        tracing::error!(webhook = self.hook.name, %error, "alerts were not delivered");
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err("the log is read no more".into()),
                },
                () = std::future::ready(()), if !due.is_empty() => {
                    if let Some(later) = self.tell_due(&mut due, &mut told).await? {
                        look.reset_after(later);
                    }
                    *pause = PAUSE;
                },
                _ = look.tick(), if !told.withheld.is_empty() || self.hook.config.remind_s > 0 => {
                    if let Some(view) = silenced::ask_at(&self.post, told.position, Driver::view).await {
                        self.look(&view, &mut due, &mut told).await?;
                        *pause = PAUSE;
                    }
                }
            }
        }
    }

    /// Tells what came on the log.
    async fn tell(&self, entries: &[Entry], told: &mut Told, pause: &mut Duration) -> Result<(), Failure> {
        let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(()) };
        let alerts: Vec<_> = entries.iter().map(|entry| (entry.seq, entry.at_ms, alert(decode(&self.post.root, entry)))).collect();
        let incidents: Vec<_> = alerts.iter().filter_map(|(_, _, alert)| Some(alert.as_ref()?.incident.clone())).collect();
        let marks = silenced::ask_at(&self.post, last, move |status| status.core().marks(&incidents, status.now())).await;
        let marks = marks.unwrap_or_default();
        for (position, at_ms, alert) in alerts {
            told.position = position;
            let Some(alert) = alert else { continue };
            told.at_ms = told.at_ms.max(at_ms).max(alert.at_ms);
            let ended = if alert.severity >= self.hook.config.severity {
                self.judge(&alert, marks.get(&alert.incident), told).await?
            } else {
                false
            };
            self.note(position).await?;
            if ended {
                // Only now: if the place were lost, a forgotten incident would look like one that was told.
                told.withheld.forget(&alert.incident).await?;
            }
            *pause = PAUSE;
        }
        Ok(())
    }

    /// Tells one alert, or withholds it. Whether the incident was withheld to its end.
    async fn judge(&self, alert: &Alert, mark: Option<&Mark>, told: &mut Told) -> Result<bool, Failure> {
        let withheld = &mut told.withheld;
        if alert.state == State::Resolved {
            // Who was told that it began is told that it ended, silenced or not.
            if withheld.told(&alert.incident).unwrap_or(true) {
                self.deliver(alert, None).await?;
            }
            return Ok(withheld.told(&alert.incident).is_some());
        }
        // The first message of an incident was told, unless it is one that was withheld.
        let first = mark.and_then(|mark| mark.first.as_deref()).unwrap_or(&alert.id);
        let before = withheld.told(&alert.incident).unwrap_or(first != alert.id);
        let room = withheld.has_room(&alert.incident);
        let silenced = mark.is_some_and(is_silenced);
        let mut heard = before;
        if !(room && (silenced || self.hook.config.after_s > 0)) {
            match self.deliver(alert, room.then_some(told.position)).await? {
                Outcome::Done => {
                    withheld.forget(&alert.incident).await?;
                    return Ok(false);
                }
                Outcome::Silenced { unsure } => heard |= unsure,
            }
        }
        withheld.keep(&alert.incident, heard).await?;
        self.post.metrics.withheld();
        Ok(false)
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

    /// Posts one alert until it is taken, refused for good, or too old; or, if what the log says up to a position may keep it from being
    /// told, until it is silenced.
    async fn deliver(&self, alert: &Alert, up_to: Option<Position>) -> Result<Outcome, Failure> {
        let body = serde_json::to_vec(alert)?;
        let began = Instant::now();
        let (mut pause, mut refusals, mut unsure) = (PAUSE, 0, false);
        loop {
            let why = match self.attempt(&alert.id, &body).await {
                Attempt::Taken => return Ok(Outcome::Done),
                Attempt::Refused(why) => {
                    refusals += 1;
                    why
                }
                Attempt::Failed { why, unsure: heard } => {
                    unsure |= heard;
                    why
                }
            };
            if refusals >= REFUSALS_MAX || began.elapsed() > self.give_up() {
                tracing::error!(webhook = self.hook.name, alert = alert.id, why, "an alert was not delivered and is given up");
                return Ok(Outcome::Done);
            }
            tracing::warn!(webhook = self.hook.name, alert = alert.id, why, pause_ms = pause.as_millis(), "the webhook is told later");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            if let Some(position) = up_to
                && let Some((_, mark, _)) = self.as_it_is(&alert.incident, position).await
                && is_silenced(&mark)
            {
                return Ok(Outcome::Silenced { unsure });
            }
        }
    }

    fn give_up(&self) -> Duration {
        Duration::from_secs(self.hook.config.give_up_min.get().saturating_mul(60))
    }

    /// An incident as it is now, what people say about it, and log time; nothing when it is not open.
    async fn as_it_is(&self, incident: &str, position: Position) -> Option<(Alert, Mark, UnixMs)> {
        let incident = incident.to_owned();
        let asked = silenced::ask_at(&self.post, position, move |status| {
            let now = status.now();
            status.core().open(&incident, now).map(|(alert, mark)| (alert, mark, now))
        });
        asked.await.flatten()
    }

    /// Posts once.
    async fn attempt(&self, id: &str, body: &[u8]) -> Attempt {
        let attempt = match self.send(id, body).await {
            Ok(status) if status.is_success() => Attempt::Taken,
            // About this body, not about the receiver.
            Ok(status @ (StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY)) => {
                Attempt::Refused(format!("it answered {status}"))
            }
            Ok(status) => Attempt::Failed { why: format!("it answered {status}"), unsure: false },
            // Without the address: it may hold a token.
            Err(error) => Attempt::Failed { unsure: !error.is_connect(), why: error.without_url().to_string() },
        };
        match attempt {
            Attempt::Taken => self.post.metrics.delivered("webhook", 1),
            Attempt::Refused(_) | Attempt::Failed { .. } => self.post.metrics.undelivered("webhook"),
        }
        attempt
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

/// Is it covered by a silence in force?
fn is_silenced(mark: &Mark) -> bool {
    !mark.silenced_by.is_empty()
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
