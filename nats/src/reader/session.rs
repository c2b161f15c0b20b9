//! One ephemeral consumer and the pull requests to it. Any trouble ends it; the reader above
//! opens the next one.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::ReaderOptions;
use crate::api::{random_hex, unix_ms};
use crate::connect::{Bus, ConnectionState, Phase};
use crate::error::BusError;
use crate::log::Log;
use crate::message::Entry;

/// A pull request ends after this long and is renewed.
const EXPIRES: Duration = Duration::from_secs(30);

/// An entry, and how many the server had still to deliver behind it.
pub(super) struct Arrival {
    pub(super) entry: Entry,
    pub(super) pending: u64,
}

pub(super) struct Session {
    bus: Bus,
    stream: String,
    consumer: String,
    inbox: String,
    subscriber: Subscriber,
    state: watch::Receiver<ConnectionState>,
    /// The connection it was opened on.
    connection: u64,
    /// The consumer's own count of the last delivery: the next must be one more.
    delivered: u64,
    /// Messages and bytes asked for and not yet come.
    wanted: usize,
    wanted_bytes: usize,
    batch: usize,
    bytes: usize,
    heartbeat: Duration,
    silent_until: Instant,
}

impl Session {
    pub(super) async fn open(log: &Log, from: u64, options: &ReaderOptions) -> Result<Self, BusError> {
        let bus = log.bus().clone();
        let mut state = bus.state();
        let connection = state.borrow_and_update().connections;
        let consumer = format!("reader_{}", random_hex(8)?);
        let stream = log.stream().to_owned();
        let inbox = bus.client().new_inbox();
        let after = bus.request_timeout();
        let subscriber = timeout(after, bus.client().subscribe(inbox.clone()))
            .await
            .map_err(|_| BusError::Timeout { what: inbox.clone(), after })?
            .map_err(|error| BusError::Closed { what: inbox.clone(), detail: error.to_string() })?;
        let mut config = json!({
            "name": consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": from.max(1),
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
            "max_waiting": 8,
            "inactive_threshold": nanos(options.heartbeat * 20),
        });
        if let (false, Some(config)) = (options.filters.is_empty(), config.as_object_mut()) {
            config.insert("filter_subjects".to_owned(), json!(options.filters));
        }
        let request = json!({ "stream_name": stream, "config": config, "action": "create" });
        let _: serde_json::Value = bus.call(&format!("CONSUMER.CREATE.{stream}.{consumer}"), &request).await?;
        let mut session = Self {
            bus,
            stream,
            consumer,
            inbox,
            subscriber,
            state,
            connection,
            delivered: 0,
            wanted: 0,
            wanted_bytes: 0,
            batch: options.batch_max,
            bytes: options.bytes_max,
            heartbeat: options.heartbeat,
            silent_until: Instant::now(),
        };
        session.alive();
        session.pull().await?;
        Ok(session)
    }

    /// The next entry, however long it takes. `Err` is the reason why this session is over.
    /// May be dropped while waiting: nothing is taken before it is returned.
    pub(super) async fn arrival(&mut self) -> Result<Arrival, String> {
        loop {
            self.refill().await?;
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message.ok_or("the subscription ended")?,
                changed = self.state.changed() => {
                    changed.map_err(|_| "the client stopped")?;
                    self.same_connection()?;
                    continue;
                }
                () = sleep_until(self.silent_until) => return Err("no heartbeat".to_owned()),
            };
            if let Some(arrival) = self.take(message)? {
                return Ok(arrival);
            }
        }
    }

    /// The next entry if one has already arrived.
    pub(super) fn arrived(&mut self) -> Result<Option<Arrival>, String> {
        while let Some(message) = self.subscriber.next().now_or_never() {
            if let Some(arrival) = self.take(message.ok_or("the subscription ended")?)? {
                return Ok(Some(arrival));
            }
        }
        Ok(None)
    }

    fn same_connection(&mut self) -> Result<(), String> {
        let state = self.state.borrow_and_update();
        if state.connections == self.connection && state.phase == Phase::Connected {
            return Ok(());
        }
        Err("the connection changed".to_owned())
    }

    fn alive(&mut self) {
        self.silent_until = Instant::now() + self.heartbeat * 2 + Duration::from_millis(100);
    }

    /// Sorts out one message: an entry, a heartbeat, or the end of a pull request.
    fn take(&mut self, message: Message) -> Result<Option<Arrival>, String> {
        self.alive();
        match message.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::IDLE_HEARTBEAT) => return Ok(None),
            Some(status) => return self.request_ended(status, &message).map(|()| None),
        }
        let subject = message.reply.as_deref().unwrap_or_default();
        let place = Place::parse(subject).ok_or_else(|| format!("no position in `{subject}`"))?;
        self.wanted = self.wanted.saturating_sub(1);
        self.wanted_bytes = self.wanted_bytes.saturating_sub(message.length);
        if place.delivered != self.delivered + 1 {
            return Err(format!("delivery {} came after {}", place.delivered, self.delivered));
        }
        self.delivered = place.delivered;
        Ok(Some(Arrival {
            entry: Entry {
                seq: place.seq,
                at_ms: unix_ms(i128::from(place.nanos)),
                subject: message.subject,
                headers: message.headers.filter(|headers| !headers.is_empty()),
                payload: message.payload,
            },
            pending: place.pending,
        }))
    }

    /// A pull request expired, was filled up to its bytes, or cannot be served any more.
    fn request_ended(&mut self, status: StatusCode, message: &Message) -> Result<(), String> {
        let description = message.description.as_deref().unwrap_or_default();
        let left = |name: &str| -> Option<usize> {
            let headers = message.headers.as_ref()?;
            crate::message::header(headers, name)?.parse().ok()
        };
        match (status, left("Nats-Pending-Messages")) {
            (StatusCode::TIMEOUT | StatusCode::NOT_FOUND | StatusCode::REQUEST_TERMINATED, Some(messages)) => {
                self.wanted = self.wanted.saturating_sub(messages);
                self.wanted_bytes = self.wanted_bytes.saturating_sub(left("Nats-Pending-Bytes").unwrap_or(self.bytes));
                Ok(())
            }
            _ => Err(format!("the consumer is gone ({} {description})", status.as_u16())),
        }
    }

    /// Asks for more when half of what was asked for has come.
    pub(super) async fn refill(&mut self) -> Result<(), String> {
        if self.wanted > self.batch / 2 && self.wanted_bytes > self.bytes / 2 {
            return Ok(());
        }
        self.pull().await.map_err(|error| error.to_string())
    }

    async fn pull(&mut self) -> Result<(), BusError> {
        let endpoint = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let request = json!({
            "batch": self.batch,
            "max_bytes": self.bytes,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(self.heartbeat),
        });
        let after = self.bus.request_timeout();
        let sent = self.bus.client().publish_with_reply(endpoint.clone(), self.inbox.clone(), request.to_string().into());
        timeout(after, sent)
            .await
            .map_err(|_| BusError::Timeout { what: endpoint.clone(), after })?
            .map_err(|error| BusError::Closed { what: endpoint, detail: error.to_string() })?;
        self.wanted += self.batch;
        self.wanted_bytes += self.bytes;
        Ok(())
    }
}

impl Drop for Session {
    /// Tells the server, if there is a runtime to do it on; otherwise the consumer ends by itself.
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = self.bus.client().clone();
            let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.consumer);
            runtime.spawn(async move {
                let _ = timeout(Duration::from_secs(1), client.publish(subject, "".into())).await;
            });
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the reply subject of a delivery says about it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    seq: u64,
    delivered: u64,
    nanos: u64,
    pending: u64,
}

impl Place {
    /// `$JS.ACK.<stream>.<consumer>.<tries>.<seq>.<delivered>.<nanos>.<pending>`, or with domain
    /// and account hash before the stream and possibly a random token at the end.
    fn parse(reply: &str) -> Option<Self> {
        let mut tokens: [&str; 12] = [""; 12];
        let mut count = 0;
        for token in reply.split('.') {
            *tokens.get_mut(count)? = token;
            count += 1;
        }
        if tokens[0] != "$JS" || tokens[1] != "ACK" {
            return None;
        }
        let start = match count {
            9 => 5,
            11 | 12 => 7,
            _ => return None,
        };
        let number = |offset: usize| -> Option<u64> { tokens.get(start + offset)?.parse().ok() };
        Some(Self { seq: number(0)?, delivered: number(1)?, nanos: number(2)?, pending: number(3)? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_delivery_knows_its_place_in_both_spellings() {
        let place = Place { seq: 42, delivered: 7, nanos: 1_700_000_000_000_000_000, pending: 3 };
        for reply in [
            "$JS.ACK.homeostat.reader_1.1.42.7.1700000000000000000.3",
            "$JS.ACK.hub.ABCDEF.homeostat.reader_1.1.42.7.1700000000000000000.3",
            "$JS.ACK.hub.ABCDEF.homeostat.reader_1.1.42.7.1700000000000000000.3.rnd",
        ] {
            assert_eq!(Place::parse(reply).as_ref(), Some(&place), "{reply}");
        }
    }

    proptest! {
        #[test]
        fn no_reply_subject_panics(reply in "(\\$JS\\.ACK\\.)?[a-z0-9.]{0,80}") {
            let _ = Place::parse(&reply);
        }
    }
}
