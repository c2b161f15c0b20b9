//! The handle: what an application calls. Clones share one connection and one queue.

use crate::breaker::Breakers;
use crate::commands::{Commands, Trust};
use crate::courier::{Control, Courier, Pace, Refusals};
use crate::error::{FlushError, InitError, PublishError};
use crate::heartbeat::{self, Checks};
use crate::link::{self, LinkState};
use crate::meters::{self, Meters};
use crate::pack::{Packed, Packer, STATEMENT_MAX};
use crate::queue::{Queue, queue};
use crate::resource;
use crate::settings::Settings;
use crate::stats::{Counters, Stats, add};
use crate::trace::Context;
use homeostat_schemas::event::{Call, CallOutcome, Metric, Order, Query, Request, Sample, SampleValue};
use homeostat_schemas::{Event, EventKind, Root, UnixMs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// What all clones share.
pub(crate) struct Inner {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) zone: Option<String>,
    pub(crate) root: Root,
    pub(crate) started_ms: UnixMs,
    params_key: u64,
    retire: bool,
    queue: Queue,
    control: mpsc::Sender<Control>,
    pub(crate) link: watch::Receiver<LinkState>,
    pub(crate) counters: Arc<Counters>,
    refusals: Arc<Refusals>,
    closed: AtomicBool,
    stop: watch::Sender<bool>,
    pub(crate) meters: Meters,
    pub(crate) checks: Checks,
    pub(crate) commands: Commands,
    pub(crate) trust: Trust,
    pub(crate) breakers: Breakers,
}

/// A service's line to Homeostat. Cheap to clone; when the last clone is dropped, what is queued is still delivered for up to
/// 5 s, if the runtime lives so long. [`Client::shutdown`] is better: it says goodbye, and says what was lost.
///
/// Nothing here waits for the bus, except [`flush`](Client::flush) and [`shutdown`](Client::shutdown).
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("service", &self.inner.service).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Starts a client for a service with the settings of the environment (see [`Settings`]): heartbeats, memory and CPU are
/// reported from now on, everything else when the application says it.
///
/// The bus need not be there: it is looked for in the background, and what is said meanwhile is kept.
///
/// # Errors
/// A mistake in the settings; no tokio runtime.
pub async fn init(service: impl Into<String>) -> Result<Client, InitError> {
    Settings::new(service).start().await
}

impl Settings {
    /// Starts a client with these settings; see [`init`].
    ///
    /// # Errors
    /// A mistake in the settings; no tokio runtime.
    pub async fn start(self) -> Result<Client, InitError> {
        let checked = self.check()?;
        tokio::runtime::Handle::try_current().map_err(|_| InitError::NoRuntime)?;
        link::check_files(&self).await?;
        let counters = Arc::new(Counters::default());
        let refusals = Arc::new(Refusals::new(&self.service));
        let (queue, items, gauge) = queue(self.queue_events, self.queue_bytes, Arc::clone(&counters));
        let (control, orders) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let (root, service, instance) = (checked.root, self.service.clone(), self.instance.clone());
        let packer = Packer::new(root.clone(), service.clone(), instance.clone(), self.zone.clone(), self.batch_bytes, checked.params_key);
        let pace = Pace {
            batch_wait: self.batch_wait,
            waiting_bytes: self.waiting_bytes,
            in_flight: self.in_flight,
            ack_timeout: self.ack_timeout,
            retry_within: self.retry_within,
        };
        let trust = Trust::new(&self, checked.signers, root.clone());
        let (heartbeat, sampling, retire, zone) = (self.heartbeat, self.sampling, self.retire, self.zone.clone());
        let link = link::start(Arc::new(self), Arc::clone(&counters), stopped);
        let courier = Courier::new(items, orders, gauge, packer, pace, link.clone(), Arc::clone(&counters), Arc::clone(&refusals));
        tokio::spawn(courier.run());
        let inner = Arc::new(Inner {
            service,
            instance,
            zone,
            root,
            started_ms: resource::started_ms().unwrap_or_else(now_ms),
            params_key: checked.params_key,
            retire,
            queue,
            control,
            link,
            counters,
            refusals,
            closed: AtomicBool::new(false),
            stop,
            meters: Meters::default(),
            checks: Checks::default(),
            commands: Commands::default(),
            trust,
            breakers: Breakers::default(),
        });
        if let Some(every) = heartbeat {
            tokio::spawn(heartbeat::beat(Arc::downgrade(&inner), every));
        }
        tokio::spawn(meters::report(Arc::downgrade(&inner), sampling));
        Ok(Client { inner })
    }
}

impl Client {
    /// Takes an event of any kind, with every field its kind has. Service, instance, zone and time are filled in where they
    /// are missing; statements are brought into their normal form before they leave the application.
    ///
    /// # Errors
    /// Why it was not taken. It is counted, too, so that this may be ignored.
    pub fn event(&self, event: impl Into<Event>) -> Result<(), PublishError> {
        self.inner.event(event.into(), Context::current())
    }

    /// One database query and how long it took, in the trace of this task. For more (system, rows, error), give
    /// [`Client::event`] a [`Query`].
    pub fn query(&self, statement: &str, took: Duration) {
        let mut query = Query { statement: head(statement, STATEMENT_MAX + 1).to_owned(), took_us: us(took), ..Query::default() };
        if let Some(context) = Context::current() {
            query.trace = Some(context.trace_id());
            query.parent = Some(context.span_id());
        }
        let _ = self.event(query);
    }

    /// One inbound request served: method and route template (`GET /orders/{id}`, never a path with values in it).
    /// The layer for inbound requests does this by itself.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        self.inner.meters.served();
        let context = Context::current();
        let _ = self.event(Request {
            route: route.to_owned(),
            status,
            took_us: us(took),
            trace: context.map(|c| c.trace_id()),
            span: context.map(|c| c.span_id()),
            parent: context.and_then(|c| c.parent_id()),
            ..Request::default()
        });
    }

    /// One outbound call. Where there are many, [`Client::peer`] sums them; one call goes into one of the two.
    pub fn call(&self, peer: &str, outcome: CallOutcome, took: Duration) {
        let context = Context::current();
        let _ = self.event(Call {
            peer: peer.to_owned(),
            outcome,
            took_us: us(took),
            trace: context.map(|c| c.trace_id()),
            parent: context.map(|c| c.span_id()),
            ..Call::default()
        });
    }

    /// One point of a series worth forecasting.
    pub fn metric(&self, name: &str, value: f64) {
        let _ = self.event(Metric { name: name.to_owned(), value, ..Metric::default() });
    }

    /// One value that a model or a business rule saw or said.
    pub fn sample(&self, model: &str, feature: &str, value: impl Into<SampleValue>) {
        let _ = self.event(Sample { model: model.to_owned(), feature: feature.to_owned(), value: Some(value.into()), ..Sample::default() });
    }

    /// Many values of one feature.
    pub fn samples<V: Into<SampleValue>>(&self, model: &str, feature: &str, values: impl IntoIterator<Item = V>) {
        let _ = self.event(Sample {
            model: model.to_owned(),
            feature: feature.to_owned(),
            values: Some(values.into_iter().map(Into::into).collect()),
            ..Sample::default()
        });
    }

    /// The keyed hash of parameters that were bound to a statement's placeholders, for [`Query::params`]: each as bytes of
    /// whatever form the application always uses. `None` when there are none.
    pub fn params<I>(&self, parameters: I) -> Option<String>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        homeostat_reflexes::sql::hash_parameters(self.inner.params_key, parameters).map(|hash| format!("{hash:016x}"))
    }

    /// What became of everything until now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Which replica this is.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// Which service it speaks for.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// Waits until there is a connection; says whether there is one before the deadline. Nothing needs it: it is for programs
    /// that would rather not start without a bus, and for tests.
    pub async fn connected(&self, within: Duration) -> bool {
        let mut link = self.inner.link.clone();
        tokio::time::timeout(within, link.wait_for(|state| state.usable().is_some())).await.is_ok_and(|state| state.is_ok())
    }

    /// Waits until everything said so far is acknowledged.
    ///
    /// # Errors
    /// What is not, and why. What is only late stays queued.
    pub async fn flush(&self, within: Duration) -> Result<(), FlushError> {
        self.inner.flush(Instant::now() + within, within, self.inner.counters.given_up()).await
    }

    /// Says goodbye and ends: nothing is taken any more, what was taken is delivered, the connection is closed. A second call
    /// does nothing.
    ///
    /// # Errors
    /// What was lost, and why: within the deadline, or over the whole life of this client.
    pub async fn shutdown(&self, within: Duration) -> Result<(), FlushError> {
        let deadline = Instant::now() + within;
        self.inner.meters_out();
        if self.inner.retire {
            let _ = self.event(Order {
                action: "health.retire".to_owned(),
                target: format!("{}/{}", self.inner.service, self.inner.instance),
                args: serde_json::Value::Null,
                by: self.inner.service.clone(),
                reason: Some("shutdown".to_owned()),
                ..Order::default()
            });
        }
        if self.inner.closed.swap(true, Relaxed) {
            return Ok(());
        }
        let delivered = match self.inner.flush(deadline, within, (0, 0)).await {
            // Most users may not give orders, and the goodbye is one: such a replica is missed after a while instead.
            Err(FlushError::Lost { refused, lost, last_error })
                if self.inner.retire && self.inner.refusals.of(EventKind::Order).is_some() =>
            {
                match refused.saturating_sub(1) {
                    0 if lost == 0 => Ok(()),
                    refused => Err(FlushError::Lost { refused, lost, last_error }),
                }
            }
            delivered => delivered,
        };
        let _ = timeout_at(deadline.max(Instant::now() + Duration::from_millis(100)), self.inner.control.send(Control::Stop)).await;
        self.inner.stop.send_replace(true);
        // What the application registered may hold this client.
        self.inner.checks.clear();
        self.inner.meters.clear();
        self.inner.commands.clear();
        delivered
    }
}

impl Inner {
    /// Takes an event in a given trace.
    pub(crate) fn event(&self, mut event: Event, context: Option<Context>) -> Result<(), PublishError> {
        if self.closed.load(Relaxed) {
            return Err(PublishError::Closed);
        }
        let stamp = event.stamp_mut();
        if stamp.service.is_empty() {
            stamp.service.clone_from(&self.service);
        }
        if *stamp.at_ms == 0 {
            *stamp.at_ms = now_ms();
        }
        if let Err(unfit) = event.check() {
            add(&self.counters.invalid, 1);
            return Err(unfit.into());
        }
        // It goes on all the same: the courier counts it, and tries now and then whether it is still refused.
        let refused = self.refusals.of(event.kind()).filter(|_| event.service() == self.service);
        self.queue.offer(event, context)?;
        match refused {
            Some((subject, detail)) => Err(PublishError::Refused { subject, detail }),
            None => Ok(()),
        }
    }

    /// Publishes a message that is no telemetry, and says what became of it.
    pub(crate) async fn publish(&self, message: Packed, deadline: Instant) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let late = |_| "not acknowledged in time".to_owned();
        let gone = "the client has been shut down";
        timeout_at(deadline, self.control.send(Control::Publish { message, answer })).await.map_err(late)?.map_err(|_| gone)?;
        timeout_at(deadline, answered).await.map_err(late)?.unwrap_or_else(|_| Err(gone.to_owned()))
    }

    async fn flush(&self, deadline: Instant, within: Duration, before: (u64, u64)) -> Result<(), FlushError> {
        let (answer, answered) = oneshot::channel();
        let late = || {
            let left = self.queue.gauge().waiting.load(Relaxed);
            FlushError::Late { left, within, last_error: self.counters.last_error() }
        };
        match timeout_at(deadline, self.control.send(Control::Flush { before, answer })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(FlushError::Closed),
            Err(_) => return Err(late()),
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(FlushError::Closed),
            Err(_) => Err(late()),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    fn stats(&self) -> Stats {
        let (connected, connections, refused_subjects) = {
            let link = self.link.borrow();
            (link.usable().is_some(), link.connections, link.refused.keys().cloned().collect())
        };
        let stats = self.counters.stats(connected, connections, self.queue.gauge().waiting.load(Relaxed), self.queue.queued());
        Stats { refused_subjects, ..stats }
    }
}

/// The wall clock, Unix milliseconds.
pub(crate) fn now_ms() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds of a duration, for the fields that end in `_us`.
#[must_use]
pub fn us(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// At most so many bytes of a text.
fn head(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}
