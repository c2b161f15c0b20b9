//! Request bodies: read piece by piece, inflated as they come, never beyond their limit and never for longer than their deadline.

use super::Gate;
use super::problem::Problem;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, web};
use flate2::write::MultiGzDecoder;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body, inflated. The memory it was given goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    _memory: Option<OwnedSemaphorePermit>,
}

/// Takes in bytes up to a limit, out of a budget shared with all other bodies.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    refused: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    TooLarge,
    NoMemory,
}

const KIB: usize = 1024;

impl Bounded {
    fn refuse(&mut self, refusal: Refusal) -> io::Error {
        self.refused = Some(refusal);
        io::Error::other("refused")
    }
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + piece.len();
        if length > self.limit {
            return Err(self.refuse(Refusal::TooLarge));
        }
        // A vector grows by doubling: what it could take is what is counted.
        if length > self.bytes.capacity() {
            let capacity = length.next_power_of_two().clamp(4 * KIB, self.limit.max(4 * KIB));
            let more = (capacity / KIB).saturating_sub(self.bytes.capacity() / KIB);
            let Some(permit) = u32::try_from(more).ok().and_then(|more| self.budget.clone().try_acquire_many_owned(more).ok()) else {
                return Err(self.refuse(Refusal::NoMemory));
            };
            match &mut self.held {
                Some(held) => held.merge(permit),
                held @ None => *held = Some(permit),
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a body is poured into.
enum Sink {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

impl Sink {
    fn pour(&mut self, piece: &[u8]) -> Result<(), Problem> {
        let result = match self {
            Sink::Plain(sink) => sink.write_all(piece),
            Sink::Gzip(sink) => sink.write_all(piece),
        };
        result.map_err(|_| self.problem())
    }

    fn problem(&self) -> Problem {
        let bounded = match self {
            Sink::Plain(sink) => sink,
            Sink::Gzip(sink) => sink.get_ref(),
        };
        match bounded.refused {
            Some(Refusal::TooLarge) => too_large(bounded.limit),
            Some(Refusal::NoMemory) => Problem::unavailable("too much telemetry at once; send it again"),
            None => Problem::bad_request("the body is not gzip although its Content-Encoding says so"),
        }
    }

    fn end(mut self) -> Result<Body, Problem> {
        if let Sink::Gzip(sink) = &mut self
            && sink.try_finish().is_err()
        {
            return Err(match self.problem() {
                problem if problem.status() == StatusCode::BAD_REQUEST => Problem::bad_request("the gzip of the body is cut or damaged"),
                problem => problem,
            });
        }
        let bounded = match self {
            Sink::Plain(bounded) => bounded,
            Sink::Gzip(mut sink) => {
                // The decoder cannot be taken apart without running it again; what it wrote can be taken out of it.
                let inner = sink.get_mut();
                Bounded {
                    bytes: std::mem::take(&mut inner.bytes),
                    limit: inner.limit,
                    budget: inner.budget.clone(),
                    held: inner.held.take(),
                    refused: None,
                }
            }
        };
        Ok(Body { bytes: bounded.bytes, _memory: bounded.held })
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes after decompression; send less at once"))
}

/// Largest body of a request to the API.
pub(super) const API_MAX: usize = 64 * KIB;

/// Reads the JSON body of a request to the API. `what` it should be is said to whom it is not (`an order`).
///
/// # Errors
/// As [`read`]; 415 for another media type, 400 for what is no JSON, 422 for JSON of another shape, saying where, and never what stood
/// there.
pub(super) async fn json<T: DeserializeOwned>(gate: &Gate, request: &HttpRequest, payload: web::Payload, what: &str) -> Result<T, Problem> {
    // A page in somebody's browser can send other types without asking; this one it cannot.
    let json = |value: &str| value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
    if !request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(json) {
        return Err(Problem::unsupported("Content-Type: send application/json"));
    }
    let body = read(gate, request, payload, API_MAX).await?;
    serde_json::from_slice(&body.bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Problem::unprocessable(format!(
                "the body is not {what}{}, see line {line} column {column}; /api/v1/openapi.json says how one looks",
                wrong(&error.to_string())
            )),
            _ => Problem::bad_request(format!("the body is not JSON, see line {line} column {column}")),
        }
    })
}

/// Which of our own words is missing, or which there are where another one stood; nothing of what was sent.
fn wrong(said: &str) -> String {
    if let Some((field, _)) = said.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        return format!(" (`{field}` is missing)");
    }
    // What was sent comes first, whatever it says.
    match said.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected ")) {
        Some((_, known)) => format!(" (a field that is not known, expected {})", known.split(" at line ").next().unwrap_or_default()),
        None => String::new(),
    }
}

/// Reads a body of at most `limit` bytes after decompression.
///
/// # Errors
/// 408 when it does not come in time, 413, 415 for an encoding other than gzip, 400 for broken gzip, 503 when memory is short.
pub(super) async fn read(gate: &Gate, request: &HttpRequest, payload: web::Payload, limit: usize) -> Result<Body, Problem> {
    let bounded = Bounded { bytes: Vec::new(), limit, budget: gate.memory.clone(), held: None, refused: None };
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    let encoding = encodings.next().map(|value| value.as_bytes().to_ascii_lowercase());
    let sink = match (encoding.as_deref(), encodings.next()) {
        (None | Some(b"" | b"identity"), None) => Sink::Plain(bounded),
        (Some(b"gzip" | b"x-gzip"), None) => Sink::Gzip(Box::new(MultiGzDecoder::new(bounded))),
        _ => return Err(Problem::unsupported("Content-Encoding: send gzip or nothing")),
    };
    let claimed = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Compressed or not, it can only become larger (but for a few bytes of framing).
    if claimed.is_some_and(|claimed| claimed > limit.saturating_add(KIB)) {
        return Err(too_large(limit));
    }
    tokio::time::timeout(gate.config.body_deadline(), pour(payload, sink))
        .await
        .unwrap_or_else(|_| Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")))
}

async fn pour(mut payload: web::Payload, mut sink: Sink) -> Result<Body, Problem> {
    while let Some(piece) = payload.next().await {
        sink.pour(&piece.map_err(|_| Problem::bad_request("the body broke off"))?)?;
    }
    sink.end()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    #[test]
    fn what_is_wrong_is_told_in_our_own_words() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its form is asked for")]
        struct Body {
            by: String,
            reason: Option<String>,
        }
        let said = |body: &str| wrong(&serde_json::from_str::<Body>(body).unwrap_err().to_string());
        assert_eq!(said("{}"), " (`by` is missing)");
        assert_eq!(said(r#"{"by":"ann","s3cret":1}"#), " (a field that is not known, expected `by` or `reason`)");
        assert_eq!(said(r#"{"x`, expected s3cret":1}"#), " (a field that is not known, expected `by` or `reason`)");
        assert_eq!(said(r#"{"by":"s3cret","reason":17}"#), "");
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(pieces: &[&[u8]], limit: usize, kib: usize) -> Result<Vec<u8>, u16> {
        let budget = Arc::new(Semaphore::new(kib));
        let bounded = Bounded { bytes: Vec::new(), limit, budget: budget.clone(), held: None, refused: None };
        let mut sink = Sink::Gzip(Box::new(MultiGzDecoder::new(bounded)));
        let poured = pieces.iter().try_for_each(|piece| sink.pour(piece)).and_then(|()| sink.end());
        let result = poured.map(|body| body.bytes.clone()).map_err(|problem| problem.status().as_u16());
        assert_eq!(budget.available_permits(), kib, "memory comes back");
        result
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_gives_its_memory_back() {
        let bomb = gzip(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflate(&[&bomb], 1024 * 1024, 1 << 20), Err(413));
        assert_eq!(inflate(&[&bomb], 1 << 30, 1024), Err(503));
    }

    #[test]
    fn gzip_comes_in_pieces_and_in_members() {
        let (a, b) = (gzip(b"one "), gzip(b"two"));
        let both = [a, b].concat();
        let pieces: Vec<&[u8]> = both.chunks(3).collect();
        assert_eq!(inflate(&pieces, 100, 100), Ok(b"one two".to_vec()));
        assert_eq!(inflate(&pieces[..pieces.len() - 1], 100, 100), Err(400));
        assert_eq!(inflate(&[b"not gzip at all"], 100, 100), Err(400));
    }

    #[test]
    fn exactly_the_limit_is_allowed() {
        let body = vec![7; 10_000];
        assert_eq!(inflate(&[&gzip(&body)], 10_000, 100), Ok(body.clone()));
        assert_eq!(inflate(&[&gzip(&body)], 9_999, 100), Err(413));
    }
}
