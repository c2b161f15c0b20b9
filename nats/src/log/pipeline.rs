//! Many appends under way at once, in order, with an answer for each.
//!
//! All acknowledgements come to one inbox, the message's number as its last token. Sending and
//! waiting are two steps: a future that does both may be late with the sending, and the order is
//! lost.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Log;
use crate::api::{Ack, decode};
use crate::connect::{Bus, ConnectionState};
use crate::error::BusError;
use crate::message::Message;

/// How many appends may be under way at once.
const WINDOW: usize = 256;
/// And how many bytes.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;

struct Flight {
    subject: String,
    size: usize,
    deadline: Instant,
}

pub(super) struct Pipeline<'a> {
    log: &'a Log,
    inbox: String,
    acks: Subscriber,
    state: watch::Receiver<ConnectionState>,
    /// By number, which is also by age.
    flights: BTreeMap<usize, Flight>,
    bytes: usize,
    results: Vec<Option<Result<u64, BusError>>>,
}

impl<'a> Pipeline<'a> {
    pub(super) async fn open(log: &'a Log, total: usize) -> Result<Self, BusError> {
        let bus = log.bus();
        let inbox = bus.client().new_inbox();
        let after = bus.request_timeout();
        let what = || "subscribing for acknowledgements".to_owned();
        let acks = timeout(after, bus.client().subscribe(format!("{inbox}.*")))
            .await
            .map_err(|_| BusError::Timeout { what: what(), after })?
            .map_err(|error| BusError::Closed { what: what(), detail: error.to_string() })?;
        let mut state = bus.state();
        state.mark_unchanged();
        Ok(Self { log, inbox, acks, state, flights: BTreeMap::new(), bytes: 0, results: vec![None; total] })
    }

    /// Sends them all; a result for each. After a failure that means "the bus is away" nothing
    /// more is sent: the rest gets the same reason.
    pub(super) async fn run(mut self, messages: &[Message]) -> Vec<Result<u64, BusError>> {
        let mut away: Option<BusError> = None;
        for (number, message) in messages.iter().enumerate() {
            let size = message.size();
            while away.is_none()
                && (self.flights.len() >= WINDOW || self.bytes.saturating_add(size) > WINDOW_BYTES)
                && !self.flights.is_empty()
            {
                away = self.land().await;
            }
            let sent = match &away {
                Some(reason) => Err(reason.clone()),
                None => self.launch(number, message, size).await,
            };
            if let Err(error) = sent {
                if error.is_transient() {
                    away = Some(error.clone());
                }
                self.settle(number, Err(error));
            }
        }
        while !self.flights.is_empty() {
            self.land().await;
        }
        let unknown = || Err(BusError::Protocol { what: self.log.stream().to_owned(), detail: "an append without a result".to_owned() });
        self.results.into_iter().map(|result| result.unwrap_or_else(unknown)).collect()
    }

    async fn launch(&mut self, number: usize, message: &Message, size: usize) -> Result<(), BusError> {
        self.log.own(&message.subject)?;
        let bus: &Bus = self.log.bus();
        let after: Duration = bus.request_timeout();
        let headers = message.header_map()?;
        if size > bus.client().max_payload() {
            return Err(BusError::TooLarge {
                what: message.subject.clone(),
                detail: format!("{size} bytes, the server takes {}", bus.client().max_payload()),
            });
        }
        let sending = bus.client().publish_with_reply_and_headers(
            message.subject.clone(),
            format!("{}.{number}", self.inbox),
            headers,
            message.payload.clone(),
        );
        timeout(after, sending)
            .await
            .map_err(|_| BusError::Timeout { what: message.subject.clone(), after })?
            .map_err(|error| BusError::Closed { what: message.subject.clone(), detail: error.to_string() })?;
        self.bytes += size;
        let flight = Flight { subject: message.subject.clone(), size, deadline: Instant::now() + after };
        self.flights.insert(number, flight);
        Ok(())
    }

    /// Waits for one answer, or for the oldest to be overdue. Returns a reason to stop sending.
    async fn land(&mut self) -> Option<BusError> {
        let (&oldest, flight) = self.flights.first_key_value()?;
        let deadline = flight.deadline;
        let answer = timeout_at(deadline, async {
            tokio::select! {
                biased;
                message = self.acks.next() => Some(message),
                Ok(()) = self.state.changed() => None,
            }
        });
        match answer.await {
            Ok(Some(Some(message))) => {
                let number = message.subject.rsplit('.').next()?.parse().ok()?;
                let flight = self.flights.get(&number)?;
                let what = flight.subject.clone();
                let result = if message.status == Some(StatusCode::NO_RESPONDERS) {
                    Err(BusError::NoResponders { what })
                } else {
                    decode::<Ack>(&what, &message.payload).and_then(|ack| self.log.stored_by(&ack, &what))
                };
                let away = result.as_ref().err().filter(|error| error.is_transient()).cloned();
                self.settle(number, result);
                away
            }
            Ok(Some(None)) => {
                let error = BusError::Closed { what: self.log.stream().to_owned(), detail: "the subscription ended".to_owned() };
                self.settle(oldest, Err(error.clone()));
                Some(error)
            }
            Ok(None) => {
                self.refused();
                None
            }
            Err(_) => {
                let error = BusError::Timeout { what: self.flights.get(&oldest)?.subject.clone(), after: self.log.bus().request_timeout() };
                self.settle(oldest, Err(error.clone()));
                Some(error)
            }
        }
    }

    /// The server refused something; if it names one of our subjects, nobody else will answer.
    fn refused(&mut self) {
        let Some(detail) = self.state.borrow_and_update().last_violation.clone() else {
            return;
        };
        let hit = self
            .flights
            .iter()
            .find(|(_, flight)| detail.contains(&format!("\"{}\"", flight.subject)))
            .map(|(number, flight)| (*number, flight.subject.clone()));
        if let Some((number, what)) = hit {
            self.settle(number, Err(BusError::Denied { what, detail }));
        }
    }

    fn settle(&mut self, number: usize, result: Result<u64, BusError>) {
        if let Some(flight) = self.flights.remove(&number) {
            self.bytes -= flight.size;
        }
        if let Some(slot) = self.results.get_mut(number) {
            *slot = Some(result);
        }
    }
}
