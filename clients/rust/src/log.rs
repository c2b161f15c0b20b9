//! A consumer of the log for what is meant for this process: its own, in the server's memory, gone when nobody reads from it any more.

use crate::client::Inner;
use crate::link::LinkState;
use crate::trace::message_id;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::{Client, jetstream};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long the log may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often an idle server says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a consumer that nobody reads from is kept by the server.
const ABANDONED: Duration = Duration::from_secs(60);
/// How long a pull lasts before it is renewed.
const PULL: Duration = Duration::from_secs(30);

/// Why there is no consumer.
pub(crate) enum Closed {
    /// The connection broke.
    Broken,
    /// There is no log, or it does not answer.
    NoLog,
    /// This user may not read the log.
    Forbidden,
}

/// What is to be read.
pub(crate) struct Wanted {
    config: pull::Config,
    stream: String,
}

impl Wanted {
    /// Messages on `subject`, from where `deliver_policy` says; `name` and `what` are for whoever looks at the server's consumers.
    pub(crate) fn new(inner: &Inner, name: &str, what: &str, subject: String, deliver_policy: DeliverPolicy) -> Wanted {
        let config = pull::Config {
            // With a name the server is asked on a subject that ends in the filter, so that a user may be allowed this and nothing else.
            name: message_id().ok().map(|id| format!("{name}-{id}")),
            description: Some(format!("{what} for {}/{}", inner.service, inner.instance)),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: subject,
            inactive_threshold: ABANDONED,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        Wanted { config, stream: stream(inner.root.as_str()) }
    }

    /// Makes the consumer.
    pub(crate) async fn consumer(self, bus: &Client, link: &watch::Receiver<LinkState>) -> Result<Consumer<pull::Config>, Closed> {
        let mut log = jetstream::new(bus.clone());
        log.set_timeout(ANSWER);
        let creation = timeout(ANSWER, log.create_consumer_on_stream(self.config, self.stream));
        // A refusal is only an event of the connection; the question itself is never answered.
        let mut news = link.clone();
        tokio::select! {
            consumer = creation => match consumer {
                Ok(Ok(consumer)) => Ok(consumer),
                Ok(Err(_)) | Err(_) => Err(Closed::NoLog),
            },
            state = news.wait_for(|state| !state.connected || state.refuses("$JS.API.CONSUMER.CREATE.")) => {
                Err(if state.is_ok_and(|state| state.connected) { Closed::Forbidden } else { Closed::Broken })
            }
        }
    }
}

/// What the consumer brings.
pub(crate) async fn messages(consumer: &Consumer<pull::Config>) -> Result<pull::Stream, Closed> {
    let stream = consumer.stream().heartbeat(HEARTBEAT).expires(PULL).max_messages_per_batch(64).messages().await;
    stream.map_err(|_| Closed::Broken)
}

/// The stream of a root, as Homeostat names it: `homeostat.v1` → `homeostat`.
fn stream(root: &str) -> String {
    root.strip_suffix(".v1").unwrap_or(root).replace('.', "_")
}
