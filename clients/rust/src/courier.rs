//! From the queue to the log: packed, published, acknowledged, and tried again as the same message until then.
//!
//! Promises
//! - `C-3` a message is sent again with the same `Nats-Msg-Id`, and only for as long as the stream remembers that id: nothing
//!   is stored twice. What nobody can tell about any more is given up and counted.
//! - `C-4` what waits is bounded; the oldest goes first, and is counted.
//! - `C-5` every wait has a deadline.

use crate::error::FlushError;
use crate::link::LinkState;
use crate::pack::{Packed, Packer};
use crate::publish::{Message, Sent, send};
use crate::queue::{Gauge, Item};
use crate::stats::{Counters, add};
use crate::trace::{jitter, message_id};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use homeostat_schemas::EventKind;
use homeostat_schemas::subject::Token;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// How many events are packed in one go before anything else gets its turn.
const STRIDE: usize = 1_024;
/// For how long nothing is sent to a subject that the server refused, unless the connection is made anew.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// How long the last messages may take when every handle is gone and nobody said for how long to wait.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a handle asks of the courier.
pub(crate) enum Control {
    /// Say when everything that was taken until now is settled; what was given up before is `(refused, lost)`.
    Flush { before: (u64, u64), answer: oneshot::Sender<Result<(), FlushError>> },
    /// Publish this message and say what became of it; not dropped for newer ones.
    Publish { message: Packed, answer: oneshot::Sender<Result<(), String>> },
    /// End, now.
    Stop,
}

/// Kinds of this service's events that the server refuses, for the application's side.
pub(crate) struct Refusals {
    /// The last token of this service's subjects, with its dot.
    suffix: String,
    kinds: AtomicU32,
    details: Mutex<BTreeMap<String, String>>,
}

impl Refusals {
    pub(crate) fn new(service: &str) -> Refusals {
        Refusals { suffix: format!(".{}", Token(service)), kinds: AtomicU32::new(0), details: Mutex::default() }
    }

    /// The subject and the server's words, if events of this kind are refused now.
    pub(crate) fn of(&self, kind: EventKind) -> Option<(String, String)> {
        if self.kinds.load(Relaxed) & 1 << kind as u32 == 0 {
            return None;
        }
        let token = format!(".event.{kind}.");
        let details = crate::stats::lock(&self.details);
        details.iter().find(|(subject, _)| subject.contains(&token)).map(|(subject, detail)| (subject.clone(), detail.clone()))
    }

    fn set(&self, kind: Option<EventKind>, subject: &str, detail: Option<&str>) {
        let Some(kind) = kind.filter(|_| subject.ends_with(&self.suffix)) else { return };
        let mut details = crate::stats::lock(&self.details);
        match detail {
            Some(detail) => {
                details.insert(subject.to_owned(), detail.to_owned());
                self.kinds.fetch_or(1 << kind as u32, Relaxed);
            }
            None => {
                details.remove(subject);
                self.kinds.fetch_and(!(1 << kind as u32), Relaxed);
            }
        }
    }
}

struct Flush {
    /// Everything with a smaller number must be settled.
    until: u64,
    before: (u64, u64),
    answer: oneshot::Sender<Result<(), FlushError>>,
}

/// How the courier works, from the settings.
#[derive(Clone)]
pub(crate) struct Pace {
    pub(crate) batch_wait: Duration,
    pub(crate) waiting_bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) ack_timeout: Duration,
    pub(crate) retry_within: Duration,
}

pub(crate) struct Courier {
    items: mpsc::Receiver<Item>,
    control: mpsc::Receiver<Control>,
    gauge: Arc<Gauge>,
    packer: Packer,
    pace: Pace,
    link: watch::Receiver<LinkState>,
    counters: Arc<Counters>,
    refusals: Arc<Refusals>,
    outbox: VecDeque<Message>,
    outbox_bytes: usize,
    under_way: FuturesUnordered<BoxFuture<'static, (Message, Sent)>>,
    /// Numbers of the messages under way.
    numbers: BTreeMap<u64, ()>,
    flushes: Vec<Flush>,
    /// Refused subjects: until when, and in which life of the connection.
    blocked: BTreeMap<String, (Option<EventKind>, Instant, u64)>,
    next_number: u64,
    pack_at: Option<Instant>,
    pause: Option<Instant>,
    failures: u32,
    over: bool,
}

#[allow(clippy::too_many_arguments)] // each of them is one thing, and there is one caller
impl Courier {
    pub(crate) fn new(
        items: mpsc::Receiver<Item>,
        control: mpsc::Receiver<Control>,
        gauge: Arc<Gauge>,
        packer: Packer,
        pace: Pace,
        link: watch::Receiver<LinkState>,
        counters: Arc<Counters>,
        refusals: Arc<Refusals>,
    ) -> Courier {
        Courier {
            items,
            control,
            gauge,
            packer,
            pace,
            link,
            counters,
            refusals,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            under_way: FuturesUnordered::new(),
            numbers: BTreeMap::new(),
            flushes: Vec::new(),
            blocked: BTreeMap::new(),
            next_number: 0,
            pack_at: None,
            pause: None,
            failures: 0,
            over: false,
        }
    }

    /// Works until it is stopped, or until every handle is gone and what they left is delivered.
    pub(crate) async fn run(mut self) {
        while !self.over {
            self.dispatch();
            self.answer_flushes();
            self.turn().await;
        }
        if self.control.is_closed() {
            // Nobody is left who could wait for it.
            let _ = timeout(LAST_WORDS, self.deliver_rest()).await;
        }
    }

    async fn deliver_rest(&mut self) {
        self.take(usize::MAX);
        // Without a keeper of the connection there is nobody to deliver to.
        while self.link.has_changed().is_ok() && (!self.outbox.is_empty() || !self.under_way.is_empty()) {
            self.dispatch();
            self.turn().await;
        }
    }

    async fn turn(&mut self) {
        let at = |instant: Option<Instant>| sleep_until(instant.unwrap_or_else(Instant::now));
        let idle = self.pack_at.is_none();
        tokio::select! {
            control = self.control.recv(), if !self.over => match control {
                Some(control) => self.obey(control),
                None => self.over = true,
            },
            Some((message, sent)) = self.under_way.next(), if !self.under_way.is_empty() => self.judge(message, sent),
            item = self.items.recv(), if idle && !self.over => if let Some(item) = item {
                self.gauge.taken(&item);
                self.packer.add(item);
                self.pack_at = Some(Instant::now() + self.pace.batch_wait);
            } else {
                self.over = true;
            },
            () = at(self.pack_at), if !idle => self.take(STRIDE),
            () = self.gauge.bell.notified(), if !idle => self.take(STRIDE),
            () = at(self.pause), if self.pause.is_some() => self.pause = None,
            changed = self.link.changed(), if !self.outbox.is_empty() => if changed.is_err() {
                // The connection's keeper is gone: the runtime is ending.
                self.over = true;
            },
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Stop => self.over = true,
            Control::Flush { before, answer } => {
                self.take(usize::MAX);
                self.flushes.push(Flush { until: self.next_number, before, answer });
            }
            Control::Publish { message, answer } => self.put(message, Some(answer)),
        }
    }

    /// Packs what is queued, up to so many events.
    fn take(&mut self, most: usize) {
        let mut taken = 0;
        while taken < most
            && let Ok(item) = self.items.try_recv()
        {
            self.gauge.taken(&item);
            self.packer.add(item);
            taken += 1;
        }
        // More may be there: it is taken after everybody else had their turn.
        self.pack_at = (taken == most).then(Instant::now);
        if self.pack_at.is_none() {
            self.packer.finish();
        }
        let oversized = std::mem::take(&mut self.packer.oversized);
        if oversized > 0 {
            tracing::warn!(events = oversized, "events larger than a message may be, left out");
            add(&self.counters.invalid, oversized);
            self.gauge.settled(oversized);
        }
        for packed in std::mem::take(&mut self.packer.ready) {
            self.put(packed, None);
        }
    }

    /// One more message that waits, unless its subject is refused.
    fn put(&mut self, packed: Packed, answer: Option<oneshot::Sender<Result<(), String>>>) {
        let id = match message_id() {
            Ok(id) => id,
            Err(error) => {
                // Without an id nobody could tell a retry from another message.
                self.counters.error(error.to_string());
                add(&self.counters.dropped, packed.events);
                self.gauge.settled(packed.events);
                return;
            }
        };
        let message = Message { number: self.next_number, id, packed, first_tried: None, answer };
        self.next_number += 1;
        if let Some(detail) = self.refused_now(&message) {
            self.refuse(message, &detail);
            return;
        }
        self.outbox_bytes += message.size();
        self.outbox.push_back(message);
        while self.outbox_bytes > self.pace.waiting_bytes
            && let Some(at) = self.outbox.iter().position(|message| message.answer.is_none())
            && let Some(oldest) = self.outbox.remove(at)
        {
            self.outbox_bytes -= oldest.size();
            add(&self.counters.displaced, oldest.packed.events);
            self.gauge.settled(oldest.packed.events);
        }
    }

    fn refused_now(&mut self, message: &Message) -> Option<String> {
        let subject = &message.packed.subject;
        let (kind, until, connections) = *self.blocked.get(subject)?;
        let state = self.link.borrow();
        if Instant::now() < until && state.connections == connections {
            return Some(state.refused.get(subject).map(|(_, detail)| detail.clone()).unwrap_or_default());
        }
        drop(state);
        self.blocked.remove(subject);
        self.refusals.set(kind, subject, None);
        None
    }

    fn refuse(&mut self, mut message: Message, detail: &str) {
        add(&self.counters.refused, message.packed.events);
        self.gauge.settled(message.packed.events);
        message.answer(Err(detail.to_owned()));
    }

    /// Hands over as much as may be under way.
    fn dispatch(&mut self) {
        while self.under_way.len() < self.pace.in_flight && self.pause.is_none() && !self.outbox.is_empty() {
            let (client, connections) = {
                let state = self.link.borrow_and_update();
                let Some(client) = state.usable().cloned() else { return };
                (client, state.connections)
            };
            let Some(mut message) = self.outbox.pop_front() else { return };
            self.outbox_bytes -= message.size();
            if let Some(detail) = self.refused_now(&message) {
                self.refuse(message, &detail);
                continue;
            }
            let now = Instant::now();
            if message.first_tried.is_some_and(|first| now.duration_since(first) > self.pace.retry_within) {
                add(&self.counters.uncertain, message.packed.events);
                self.gauge.settled(message.packed.events);
                message.answer(Err("nobody can tell whether it was stored".to_owned()));
                continue;
            }
            message.first_tried.get_or_insert(now);
            let refusals = self.link.borrow().refusals(&message.packed.subject);
            self.numbers.insert(message.number, ());
            self.under_way.push(Box::pin(send(client, message, self.link.clone(), connections, refusals, self.pace.ack_timeout)));
        }
    }

    fn judge(&mut self, mut message: Message, sent: Sent) {
        self.numbers.remove(&message.number);
        let events = message.packed.events;
        match sent {
            Sent::Stored { duplicate } => {
                self.failures = 0;
                add(&self.counters.published, events);
                add(&self.counters.messages, 1);
                add(&self.counters.duplicates, u64::from(duplicate));
                self.gauge.settled(events);
                message.answer(Ok(()));
            }
            Sent::Forbidden(detail) => {
                let (kind, subject) = (message.packed.kind, message.packed.subject.clone());
                let connections = self.link.borrow().connections;
                self.refusals.set(kind, &subject, Some(&detail));
                self.blocked.insert(subject, (kind, Instant::now() + REFUSED_FOR, connections));
                self.refuse(message, &detail);
            }
            Sent::Rejected(detail) => {
                tracing::warn!(subject = message.packed.subject, detail, "bus rejected a message");
                self.counters.error(detail.as_str());
                self.refuse(message, &detail);
            }
            Sent::NotStored(detail) => {
                self.counters.error(detail);
                message.first_tried = None;
                self.again(message, true);
            }
            Sent::Unknown(detail) => {
                if let Some(detail) = detail {
                    self.counters.error(detail);
                    self.again(message, true);
                } else {
                    // The connection broke; it is sent again as soon as there is one.
                    self.again(message, false);
                }
            }
        }
    }

    /// Back to its place in the order, and a pause before the next try if the bus answers but does not store.
    fn again(&mut self, message: Message, pause: bool) {
        add(&self.counters.retries, 1);
        if pause && self.pause.is_none() {
            self.failures = (self.failures + 1).min(6);
            self.pause = Some(Instant::now() + jitter(Duration::from_millis((50_u64 << self.failures).min(2_000))));
        }
        self.outbox_bytes += message.size();
        let place = self.outbox.partition_point(|waiting| waiting.number < message.number);
        self.outbox.insert(place, message);
    }

    fn answer_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        // The outbox is in the order of the numbers.
        let waiting = self.outbox.front().map(|message| message.number);
        let oldest = waiting.into_iter().chain(self.numbers.keys().next().copied()).min().unwrap_or(u64::MAX);
        let (refused, lost) = self.counters.given_up();
        let (done, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flushes).into_iter().partition(|flush| oldest >= flush.until || flush.answer.is_closed());
        self.flushes = open;
        for flush in done {
            let (refused, lost) = (refused.saturating_sub(flush.before.0), lost.saturating_sub(flush.before.1));
            let result =
                if refused + lost == 0 { Ok(()) } else { Err(FlushError::Lost { refused, lost, last_error: self.counters.last_error() }) };
            let _ = flush.answer.send(result);
        }
    }
}
