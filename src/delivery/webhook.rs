//! Webhooks: one POST an alert, by the Standard Webhooks specification (<https://www.standardwebhooks.com>): `webhook-id` is the
//! alert's id and the key by which a receiver knows a repetition, `webhook-timestamp` Unix seconds, `webhook-signature`
//! `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.

use super::{PAUSE, PAUSE_MAX, Post, Webhook, alert};
use crate::feed::decode;
use crate::system::told;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homeostat_nats::{Reader, ReaderError, ReaderOptions};
use homeostat_schemas::{Alert, Position};
use reqwest::StatusCode;
use ring::hmac;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// So often an alert is sent that its receiver does not want in this form.
const REFUSALS_MAX: u32 = 3;

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

impl Hook {
    async fn follow(&self, pause: &mut Duration) -> Result<(), Failure> {
        let mut told = self.place().await?;
        let mut reader =
            Reader::open(&self.post.log, told + 1, ReaderOptions { filters: self.post.filters(), ..ReaderOptions::default() }).await?;
        loop {
            let entries = match reader.next().await {
                Ok(entries) => entries,
                Err(error @ ReaderError::Overtaken { .. }) => {
                    tracing::error!(webhook = self.hook.name, %error, "alerts were not delivered");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for entry in &entries {
                let delivery = decode(&self.post.root, entry);
                told = delivery.position;
                let Some(alert) = alert(delivery) else { continue };
                if alert.severity >= self.hook.config.severity {
                    self.deliver(&alert).await?;
                }
                self.note(told).await?;
                *pause = PAUSE;
            }
        }
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

    /// Posts one alert until it is taken, refused for good, or too old.
    async fn deliver(&self, alert: &Alert) -> Result<(), Failure> {
        let body = serde_json::to_vec(alert)?;
        let began = Instant::now();
        let give_up = Duration::from_secs(self.hook.config.give_up_min.get().saturating_mul(60));
        let (mut pause, mut refusals) = (PAUSE, 0);
        loop {
            let why = match self.send(alert, &body).await {
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

    async fn send(&self, alert: &Alert, body: &[u8]) -> Result<StatusCode, reqwest::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut request = self
            .post
            .client
            .post(&self.hook.config.url)
            .header("content-type", "application/json")
            .header("webhook-id", &alert.id)
            .header("webhook-timestamp", now);
        if let Some(key) = &self.hook.key {
            request = request.header("webhook-signature", signature(key, &alert.id, now, body));
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
