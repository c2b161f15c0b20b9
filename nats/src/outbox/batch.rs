//! An atomic batch on the wire (ADR-50 of NATS): all messages carry one random batch id and
//! their number, the last one the commit; only that one is answered.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
};
use bytes::Bytes;

use super::{Head, Output};
use crate::api::{Ack, random_hex};
use crate::error::BusError;
use crate::fault;
use crate::log::Log;

/// The server takes at most this many messages in one batch, the head included.
pub(super) const MESSAGES_MAX: usize = 1_000;
/// A batch is held in the server's memory until its commit: about this much at most.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many of the outputs go into one batch behind a head; at least one if there are any.
pub(super) fn fitting(outputs: &[Output]) -> usize {
    let mut bytes = 0_usize;
    let within = outputs
        .iter()
        .take(MESSAGES_MAX - 1)
        .take_while(|output| {
            bytes = bytes.saturating_add(output.message.size());
            bytes <= BYTES_MAX
        })
        .count();
    within.max(1).min(outputs.len())
}

/// Stores a head and its outputs as a unit; the head's sequence. With `expected`, only if that is
/// still the last sequence on the chain subject.
pub(super) async fn store(log: &Log, chain: &str, head: &Head, outputs: &[Output], expected: Option<u64>) -> Result<u64, BusError> {
    let payload = serde_json::to_vec(head).map_err(|error| BusError::Protocol { what: chain.to_owned(), detail: error.to_string() })?;
    let mut first = HeaderMap::new();
    first.insert("content-type", "application/json");
    log.stamp(&mut first);
    if let Some(expected) = expected {
        first.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    }
    // Everything is built before anything is sent: a bad output must not leave half a batch.
    let mut messages: Vec<(&str, HeaderMap, Bytes)> = Vec::with_capacity(outputs.len() + 1);
    messages.push((chain, first, payload.into()));
    for Output { message, .. } in outputs {
        log.own(&message.subject)?;
        messages.push((&message.subject, message.header_map()?, message.payload.clone()));
    }
    let count = messages.len();
    if count > 1 {
        let id = random_hex(16)?;
        for (index, (_, headers, _)) in messages.iter_mut().enumerate() {
            headers.insert(NATS_BATCH_ID, id.as_str());
            headers.insert(NATS_BATCH_SEQUENCE, (index + 1).to_string());
        }
    }
    let Some((subject, mut headers, payload)) = messages.pop() else {
        return Err(protocol(chain, "an empty batch"));
    };
    for (subject, headers, payload) in messages {
        log.bus().send(subject, headers, payload).await?;
        fault::point("outbox.mid_batch");
    }
    fault::point("outbox.before_commit");
    if count > 1 {
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
    }
    let ack = log.bus().store_with(subject, headers, payload).await?;
    head_sequence(chain, log.stream(), &ack, count)
}

/// The acknowledgement names the last message's sequence; the batch lies there without a gap.
fn head_sequence(chain: &str, stream: &str, ack: &Ack, count: usize) -> Result<u64, BusError> {
    let count = count as u64;
    if ack.stream != stream {
        return Err(protocol(chain, "another stream stored it"));
    }
    if count > 1 && ack.count != Some(count) {
        return Err(protocol(chain, "the server does not know atomic batches"));
    }
    ack.seq.checked_sub(count - 1).filter(|seq| *seq > 0).ok_or_else(|| protocol(chain, "impossible sequence"))
}

fn protocol(what: &str, detail: &str) -> BusError {
    BusError::Protocol { what: what.to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::Identity;
    use super::*;
    use crate::message::Message;

    fn outputs(count: u32, bytes: usize) -> Vec<Output> {
        let output = |index| Output { identity: Identity { position: 1, index }, message: Message::new("a", vec![0; bytes]) };
        (0..count).map(output).collect()
    }

    #[test]
    fn a_batch_is_bounded_by_count_and_by_bytes_but_never_empty() {
        assert_eq!(fitting(&outputs(2_500, 10)), 999);
        assert_eq!(fitting(&outputs(3, 10)), 3);
        assert_eq!(fitting(&outputs(20, 1024 * 1024)), 7);
        assert_eq!(fitting(&outputs(2, 9 * 1024 * 1024)), 1);
        assert_eq!(fitting(&[]), 0);
    }
}
