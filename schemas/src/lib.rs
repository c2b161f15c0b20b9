//! Homeostat's words: everything that crosses the bus, and nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`event`] | what applications report (telemetry and orders) |
//! | [`alert`] | what the minds find |
//! | [`admission`] | what share of calls the fleet's breaker admits |
//! | [`command`], [`outcome`] | what should be done, and what became of it |
//! | [`ask`] | what a mind wants to know of the outside world, and the answer |
//! | [`key`] | API keys without their secrets, and what happens to them |
//! | [`sealed`] | new secrets on their way to their owners |
//! | [`rule`] | the catalogue of every finding: name, severity, meaning, what to do |
//! | [`silence`] | what people do not want to hear of, and what they look after |
//! | [`subject`] | where on the bus each of them lives |
//! | [`envelope`] | headers, identities, trace context; from bytes to words |
//! | [`batch`] | one message of telemetry into events, each judged on its own |
//! | [`signature`] | who said an alert or a command |
//! | [`time`] | log time |
//!
//! JSON Schema and AsyncAPI documents in `json/` and `asyncapi.yaml` are generated from these types.

pub mod admission;
pub mod alert;
pub mod ask;
pub mod batch;
pub mod command;
pub mod envelope;
pub mod event;
pub mod key;
pub mod outcome;
pub mod rule;
pub mod sealed;
pub mod signature;
pub mod silence;
pub mod subject;
pub mod time;

pub use admission::{Admission, AdmissionState};
pub use alert::{Alert, Severity, State};
pub use ask::{Answer, Ask};
pub use batch::{DecodeError, Rejected, decode_events};
pub use command::{Command, Mode, Verify};
pub use envelope::{Content, Delivery, Identity, Position, TraceContext};
pub use event::{Event, EventKind};
pub use key::{KeyChange, KeyFact, KeyRecord, KeyState, KeyUsage, KeyVersion, Scope};
pub use outcome::{Outcome, OutcomeStatus};
pub use rule::Rule;
pub use sealed::SealedKey;
pub use subject::{Root, Subject};
pub use time::{Ms, UnixMs};
