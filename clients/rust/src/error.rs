//! What can go wrong, and what to do then.

use homeostat_schemas::event::Unfit;
use std::time::Duration;

/// Why there is no client. Only mistakes in the settings end here: a bus that is away is waited for in the background.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A setting that cannot work.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which one, as the method of [`Settings`](crate::Settings) or the variable is called.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The client needs a runtime to work on.
    #[error("there is no tokio runtime here: call `init` from inside one")]
    NoRuntime,
    /// The operating system gave no random bits.
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Why an event was not taken. Whatever is not taken is counted in [`Stats`](crate::Stats), too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Events come faster than they can be packed, or are too large together.
    #[error("the queue is full: the event was dropped")]
    Full,
    /// A value nobody could compute with.
    #[error("the event cannot be meant: {0}")]
    Unfit(#[from] Unfit),
    /// The server does not let this application publish there.
    #[error("the server refuses `{subject}`: {detail}; see the permissions of this user")]
    Refused {
        /// The subject.
        subject: String,
        /// The server's words.
        detail: String,
    },
    /// [`Client::shutdown`](crate::Client::shutdown) was called.
    #[error("the client has been shut down")]
    Closed,
}

/// Why not everything that was taken is on the bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The deadline passed.
    #[error("{left} events were not acknowledged within {} ms{}", within.as_millis(), why(last_error.as_deref()))]
    Late {
        /// How many events still wait. They stay queued after `flush`, and are lost after `shutdown`.
        left: u64,
        /// The deadline.
        within: Duration,
        /// The last error of the bus, if there was one.
        last_error: Option<String>,
    },
    /// Some were given up meanwhile.
    #[error("{refused} events were refused and {lost} lost{}", why(last_error.as_deref()))]
    Lost {
        /// Refused by the server.
        refused: u64,
        /// Dropped because too many waited, or because nobody could tell any more whether they had been stored.
        lost: u64,
        /// The last error of the bus, if there was one.
        last_error: Option<String>,
    },
    /// The client has been shut down before.
    #[error("the client has been shut down")]
    Closed,
}

fn why(error: Option<&str>) -> String {
    error.map(|error| format!(" ({error})")).unwrap_or_default()
}
