//! `/v1/events`: Homeostat's own events for those without NATS. One event, an array of them, or one a line; JSON or MessagePack;
//! kinds and services mixed at will. Each event is judged for itself.

use super::Gate;
use super::auth::Caller;
use super::body;
use super::problem::{PROBLEM_JSON, Problem};
use super::publish::{Packed, context, group, pack, store};
use super::recovery;
use crate::clock::now_ms;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_schemas::batch::{Format, Frame};
use homeostat_schemas::event::EventKind;
use homeostat_schemas::{Event, Scope, UnixMs, decode_events};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::Cursor;

/// Most rejections that are told one by one.
const REJECTIONS_MAX: usize = 100;
/// Longest reason, in characters.
const REASON_MAX: usize = 200;
/// Deepest nesting of a MessagePack value, as in JSON's parser and on the bus.
const DEPTH_MAX: usize = 64;

/// What became of a request's events.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Receipt {
    /// Events that stand on the log now.
    pub accepted: u64,
    /// Events that could not be used, the first 100 found.
    pub rejected: Vec<Rejection>,
    /// How many could not be used in all.
    pub rejected_total: u64,
}

/// One event that could not be used.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rejection {
    /// Which, from 0: element of the array, or line that is not empty.
    pub index: u64,
    /// Why.
    pub reason: String,
}

impl Receipt {
    fn reject(&mut self, index: u64, reason: &str) {
        self.rejected_total += 1;
        if self.rejected.len() < REJECTIONS_MAX {
            self.rejected.push(Rejection { index, reason: reason.chars().take(REASON_MAX).collect() });
        }
    }
}

/// Takes events.
pub(super) async fn publish(
    gate: web::Data<Gate>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    gate.intake_open(&caller)?;
    let form = Form::of(&request)?;
    if gate.log().is_none() {
        gate.count("events", "unavailable", 1);
        return Err(Problem::unavailable("the bus is away; send it again"));
    }
    let body = body::read(&gate, &request, payload, gate.config.events_body_max_bytes).await?;
    gate.intake_took(&caller, body.bytes.len());
    // Only now: bodies that are slow to come take nobody's place.
    let _turn = gate.intake.clone().try_acquire_owned().map_err(|_| Problem::unavailable("too many requests at once; send it again"))?;
    // Two equal requests may be two equal happenings, unless their sender says that the second is a retry.
    let id = gate.ids.of_request("events", &caller, &request, &body.bytes)?;
    let mut receipt = Receipt::default();
    let mut events = read(form, &body.bytes, now_ms(), &mut receipt)?;
    if !caller.may(Scope::CommandsWrite) {
        // An order is an event like any other, but whoever may send telemetry may not therefore give orders.
        let (orders, others): (Vec<_>, Vec<_>) = events.into_iter().partition(|(_, event)| matches!(event, Event::Order(_)));
        orders.iter().for_each(|(index, _)| receipt.reject(*index, "an order needs a key with the scope commands:write"));
        events = others;
    }
    for (_, event) in &events {
        if let Event::Order(order) = event {
            recovery::record(&gate, &caller, order).await?;
        }
    }
    gate.mapper.redact(events.iter_mut().map(|(_, event)| event));
    receipt.accepted = events.len() as u64;
    let mut groups = Vec::new();
    // The index of each event in the request, beside it in its group.
    let mut indices: Vec<Vec<u64>> = Vec::new();
    for (index, event) in events {
        let which = group(&mut groups, event);
        indices.resize_with(groups.len(), Vec::new);
        if let Some(indices) = indices.get_mut(which) {
            indices.push(index);
        }
    }
    let packed = pack(&gate.state.root, &groups, &id, &context(&request));
    let Packed { messages, oversized } = packed.map_err(|_| Problem::bad_request("it cannot be written as MessagePack"))?;
    receipt.accepted = receipt.accepted.saturating_sub(oversized.len() as u64);
    for (which, place) in oversized {
        receipt.reject(indices.get(which).and_then(|indices| indices.get(place)).copied().unwrap_or_default(), &Packed::reason());
    }
    let result = store(&gate, messages).await;
    gate.count("events", if result.is_ok() { "accepted" } else { "unavailable" }, receipt.accepted);
    gate.count("events", "rejected", receipt.rejected_total);
    result?;
    if receipt.accepted == 0 && receipt.rejected_total > 0 {
        return Ok(useless(receipt));
    }
    Ok(HttpResponse::Ok().json(receipt))
}

/// 422 when not one event could be used: a sender that looks at the status alone must notice. A problem with the receipt in it.
fn useless(receipt: Receipt) -> HttpResponse {
    let problem = Problem::unprocessable("none of the events could be used; `rejected` says why");
    let mut answer = serde_json::to_value(problem.body()).unwrap_or_default();
    if let (Some(answer), Ok(serde_json::Value::Object(receipt))) = (answer.as_object_mut(), serde_json::to_value(receipt)) {
        answer.extend(receipt);
    }
    HttpResponse::build(problem.status()).content_type(PROBLEM_JSON).body(answer.to_string())
}

/// How the events of a body are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One JSON value: an event or an array.
    Json,
    /// One JSON value a line.
    Lines,
    /// One MessagePack value: an event or an array.
    MsgPack,
}

impl Form {
    fn of(request: &HttpRequest) -> Result<Form, Problem> {
        let unsupported = || Problem::unsupported("Content-Type: send application/json, application/x-ndjson or application/msgpack");
        let content_type = match request.headers().get(header::CONTENT_TYPE) {
            Some(value) => value.to_str().map_err(|_| unsupported())?,
            None => return Ok(Form::Json),
        };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]
            .iter()
            .any(|lines| essence.eq_ignore_ascii_case(lines))
        {
            return Ok(Form::Lines);
        }
        match Format::of(Some(content_type)) {
            Ok(Format::Json) => Ok(Form::Json),
            Ok(Format::MsgPack) => Ok(Form::MsgPack),
            Err(_) => Err(unsupported()),
        }
    }
}

/// What has to be known of an event before it can be read.
#[derive(Deserialize)]
struct Head {
    kind: EventKind,
    service: String,
}

fn read(form: Form, body: &[u8], now: UnixMs, receipt: &mut Receipt) -> Result<Vec<(u64, Event)>, Problem> {
    let mut events = Vec::new();
    let mut reader = Reader { now, index: 0, receipt, events: &mut events };
    match form {
        Form::Json => {
            let array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
            let elements: Vec<&RawValue> = if array { json(body)? } else { vec![json(body)?] };
            elements.into_iter().for_each(|element| reader.take(Format::Json, element.get().as_bytes()));
        }
        Form::Lines => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            lines.for_each(|line| reader.take(Format::Json, line));
        }
        Form::MsgPack => msgpack(body, &mut reader)?,
    }
    Ok(events)
}

fn json<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is not JSON, see line {} column {}", error.line(), error.column())))
}

/// Walks the elements of an array, or takes the one value that there is.
fn msgpack(body: &[u8], reader: &mut Reader<'_>) -> Result<(), Problem> {
    let (mut at, count) = match body {
        [head @ 0x90..=0x9f, ..] => (1, u32::from(head & 0x0f)),
        [0xdc, a, b, ..] => (3, u32::from(u16::from_be_bytes([*a, *b]))),
        [0xdd, a, b, c, d, ..] => (5, u32::from_be_bytes([*a, *b, *c, *d])),
        _ => (0, 1),
    };
    let broken = |at: usize| Problem::bad_request(format!("the body is not MessagePack, see byte {at}"));
    for _ in 0..count {
        let rest = body.get(at..).unwrap_or_default();
        let mut walk = rmp_serde::Deserializer::new(Cursor::new(rest));
        walk.set_max_depth(DEPTH_MAX);
        IgnoredAny::deserialize(&mut walk).map_err(|_| broken(at))?;
        let length = usize::try_from(walk.position()).unwrap_or(usize::MAX);
        reader.take(Format::MsgPack, rest.get(..length).ok_or_else(|| broken(at))?);
        at += length;
    }
    if at == body.len() { Ok(()) } else { Err(broken(at)) }
}

/// Takes one element after the other; each event keeps its index.
struct Reader<'r> {
    now: UnixMs,
    index: u64,
    receipt: &'r mut Receipt,
    events: &'r mut Vec<(u64, Event)>,
}

impl Reader<'_> {
    fn take(&mut self, format: Format, element: &[u8]) {
        let index = self.index;
        self.index += 1;
        let head: Head = match format.read(element) {
            Ok(head) => head,
            Err(_) => return self.receipt.reject(index, no_head(format, element)),
        };
        let frame = Frame { kind: head.kind, service: &head.service, format, log_ms: Some(self.now) };
        let decoded = decode_events(frame, element);
        if decoded.len() != 1 {
            return self.receipt.reject(index, "it is not one event");
        }
        for event in decoded {
            match event {
                Ok(event) => self.events.push((index, event)),
                Err(rejected) => self.receipt.reject(index, &unplaced(&rejected.reason.to_string())),
            }
        }
    }
}

/// Why an element is nothing that could be an event.
fn no_head(format: Format, element: &[u8]) -> &'static str {
    let read = |element: &[u8]| -> Option<serde_json::Map<String, Value>> { format.read(element).ok() };
    let Some(fields) = read(element) else {
        return match (format, serde_json::from_slice::<IgnoredAny>(element)) {
            (Format::Json, Err(_)) => "it is not JSON",
            _ => "it is not an object",
        };
    };
    match (fields.get("kind"), fields.get("service")) {
        (None, _) => "it has no `kind`",
        (Some(kind), _) if EventKind::deserialize(kind).is_err() => "its `kind` is none that is known; /api/v1/openapi.json lists them",
        (_, None) => "it has no `service`",
        (_, Some(service)) if !service.is_string() => "its `service` is not text",
        // Read as a map, the last one wins; read as an event, two are one too many.
        (_, Some(_)) => "its `kind` or `service` stands there twice",
    }
}

/// A parser's word without the place in the line where it stopped: beside the number of an event or a line that is one number too
/// many.
pub(crate) fn unplaced(reason: &str) -> String {
    let Some((word, place)) = reason.rsplit_once(" at line ") else { return reason.to_owned() };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match place.split_once(" column ") {
        Some((line, column)) if number(line) && number(column) => word.to_owned(),
        _ => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use homeostat_schemas::event::{Heartbeat, Query};
    use proptest::prelude::*;

    fn two() -> Vec<Event> {
        vec![
            Query { service: "shop".into(), statement: "SELECT 1".into(), took_us: 5, at_ms: 9, ..Query::default() }.into(),
            Heartbeat { service: "till\r\n\0".into(), at_ms: 9, up_s: 1.0, interval_s: 1.0, ..Heartbeat::default() }.into(),
        ]
    }

    fn taken(form: Form, body: &[u8]) -> (Vec<Event>, Vec<(u64, String)>) {
        let mut receipt = Receipt::default();
        let events = read(form, body, 1_000, &mut receipt).unwrap().into_iter().map(|(_, event)| event).collect();
        (events, receipt.rejected.into_iter().map(|rejection| (rejection.index, rejection.reason)).collect())
    }

    #[test]
    fn every_form_gives_the_same_events() {
        let events = two();
        let lines = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect::<Vec<_>>().join("\n\n") + "\n";
        for (form, body) in [
            (Form::Json, serde_json::to_vec(&events).unwrap()),
            (Form::Lines, lines.into_bytes()),
            (Form::MsgPack, rmp_serde::to_vec_named(&events).unwrap()),
        ] {
            assert_eq!(taken(form, &body), (events.clone(), vec![]), "{form:?}");
        }
        assert_eq!(taken(Form::Json, &serde_json::to_vec(&events[0]).unwrap()).0, events[..1]);
        assert_eq!(taken(Form::MsgPack, &rmp_serde::to_vec_named(&events[1]).unwrap()).0, events[1..]);
    }

    #[test]
    fn one_bad_event_costs_no_other() {
        let good = serde_json::to_value(&two()[0]).unwrap();
        let body = serde_json::json!([1, good, {"kind": "nothing", "service": "a"}, {"kind": "query", "service": "a"}, {"kind": "tick"}, [], good]);
        let (events, rejected) = taken(Form::Json, body.to_string().as_bytes());
        assert_eq!(events.len(), 2);
        assert_eq!(rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3, 4, 5]);
        let (events, rejected) = taken(Form::MsgPack, &rmp_serde::to_vec_named(&body).unwrap());
        assert_eq!((events.len(), rejected.len()), (2, 5));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_apart_and_without_the_place_in_the_line() {
        let body = r#"{"kind":"query","service":"shop","statement":"SELECT 1","took_us":5,"at_ms":9}
not json
{"kind":"query","service":"shop"
[1]
{"service":"shop"}
{"kind":"qury","service":"shop"}
{"kind":"query"}
{"kind":"query","service":7}
{"kind":"query","kind":"query","service":"shop"}
{"kind":"query","service":"shop","statement":"SELECT 1","took_us":"fast","at_ms":9}"#;
        let (events, rejected) = taken(Form::Lines, body.as_bytes());
        assert_eq!(events.len(), 1);
        let told = rejected.iter().map(|(index, reason)| format!("{index} {reason}\n")).collect::<String>();
        expect_test::expect![[r#"
            1 it is not JSON
            2 it is not JSON
            3 it is not an object
            4 it has no `kind`
            5 its `kind` is none that is known; /api/v1/openapi.json lists them
            6 it has no `service`
            7 its `service` is not text
            8 its `kind` or `service` stands there twice
            9 not an event of kind `query`: invalid type: string "fast", expected u64
        "#]]
        .assert_eq(&told);
    }

    #[test]
    fn lengths_that_lie_and_nesting_without_end_are_refused() {
        for body in [vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![0x91; 100_000], vec![0xdf, 0xff, 0xff, 0xff, 0xff, 1], vec![]] {
            assert!(read(Form::MsgPack, &body, 0, &mut Receipt::default()).is_err());
        }
        for body in ["[".repeat(100_000), "{\"a\":".repeat(100_000), String::new(), "[1,".to_owned()] {
            assert!(read(Form::Json, body.as_bytes(), 0, &mut Receipt::default()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for form in [Form::Json, Form::Lines, Form::MsgPack] {
                let _ = read(form, &body, 0, &mut Receipt::default());
            }
        }
    }
}
