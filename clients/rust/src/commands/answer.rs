//! What a handler says, and the message that an outcome becomes.

use crate::pack::Packed;
use crate::trace::Context;
use homeostat_schemas::batch::JSON;
use homeostat_schemas::envelope::cloudevents_headers;
use homeostat_schemas::{Command, Outcome, Root, Subject};
use std::fmt::Display;

/// How a handler's work ended. Made of a `Result`: `Ok(())`, `Ok(text)` with a word of explanation, or any error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(pub(super) Result<Option<String>, String>);

impl<E: Display> From<Result<(), E>> for Answer {
    fn from(result: Result<(), E>) -> Answer {
        Answer(result.map(|()| None).map_err(|error| error.to_string()))
    }
}

impl<E: Display> From<Result<String, E>> for Answer {
    fn from(result: Result<String, E>) -> Answer {
        Answer(result.map(Some).map_err(|error| error.to_string()))
    }
}

/// The message of an outcome: CloudEvents in binary mode with a JSON body, in the trace of its command.
pub(super) fn message(root: &Root, command: &Command, outcome: &Outcome, instance: &str, context: Context) -> Packed {
    let (topic, verb) = command.topic_and_verb();
    let status = serde_json::to_value(outcome.status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    let id = format!("{}/{instance}/{status}", command.id);
    let source = format!("/{}/{instance}", command.service);
    let headers = cloudevents_headers(
        &header_safe(&id),
        &format!("outcome.{}", header_safe(&command.action)),
        &header_safe(&source),
        &header_safe(&command.service),
        outcome.at_ms,
    );
    Packed {
        kind: None,
        subject: root.subject(&Subject::Outcome(topic.to_owned(), verb.to_owned(), command.service.clone())),
        payload: serde_json::to_vec(outcome).unwrap_or_default().into(),
        events: 0,
        content_type: JSON,
        traceparent: context.traceparent(),
        headers: headers.into_iter().filter(|(name, _)| *name != "content-type").collect(),
    }
}

/// A text that fits into a header: no control characters, 512 characters at most.
fn header_safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect()
}
