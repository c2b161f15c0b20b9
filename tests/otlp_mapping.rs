//! Real export requests become events, and every count that was derived without this project comes out again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "otlp_mapping/captures.rs"]
mod captures;
#[path = "otlp_mapping/robust.rs"]
mod robust;

use captures::{Events, NOW, Run, normal, reference, runs};
use homeostat::otlp::answer::{self, Code};
use homeostat::otlp::attributes::{Attribute, Key};
use homeostat::otlp::model::{Resource, SpanKind};
use homeostat::otlp::{Encoding, Mapper, SPANS_MAX, decode};
use homeostat_actors::core::{Effect, Settings};
use homeostat_actors::driver::Driver;
use homeostat_actors::query::QueryCore;
use homeostat_schemas::event::{CallOutcome, Query};
use homeostat_schemas::{Content, Delivery, Event, TraceContext};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The counts of the truth, from the events.
fn counts(run: &Run) -> Value {
    let mapper = Mapper::default();
    let (mut events, mut spans, mut database, mut services) = (Events::default(), 0, 0, BTreeSet::new());
    let mut requests_of_trace: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for (index, (encoding, body)) in run.bodies.iter().enumerate() {
        let batch = decode(*encoding, body).unwrap();
        let mapped = mapper.map(&batch, NOW);
        assert_eq!((mapped.rejected, mapped.reason.as_str()), (0, ""));
        assert_eq!(mapped.accepted, batch.spans.len() as u64);
        spans += batch.spans.len();
        for span in &batch.spans {
            requests_of_trace.entry(span.trace).or_default().insert(index);
        }
        database += mapped.services.values().map(|service| service.database).sum::<u64>();
        services.extend(mapped.services.keys().cloned());
        events.take(&mapped);
    }
    let system = events.queries[0].system.clone().unwrap();

    let mut routes: BTreeMap<(String, u16), u64> = BTreeMap::new();
    for request in &events.requests {
        *routes.entry((request.route.clone(), request.status)).or_default() += 1;
    }
    let route = |route: &str| match route.split_once(' ').unwrap() {
        (method, "(unmatched)") => (method.to_owned(), Value::Null),
        (method, path) => (method.to_owned(), json!(path)),
    };
    let mut by_route: Vec<Value> = routes
        .into_iter()
        .map(|((name, status), count)| {
            let (method, path) = route(&name);
            json!([method, path, status, count])
        })
        .collect();
    // The truth has the unmatched path last of its method.
    by_route.sort_by_key(|row| (row[0].to_string(), row[1].is_null(), row[1].to_string(), row[2].as_u64()));

    let mut groups: BTreeMap<(&Option<String>, &Option<String>, &str), u64> = BTreeMap::new();
    let housekeeping = |query: &Query| query.statement.contains("pg_advisory_unlock_all");
    for query in events.queries.iter().filter(|query| !housekeeping(query)) {
        *groups.entry((&query.trace, &query.parent, &query.statement)).or_default() += 1;
    }
    let mut found: BTreeMap<(String, &str, u64), u64> = BTreeMap::new();
    for ((trace, parent, statement), repeats) in groups.into_iter().filter(|(_, repeats)| *repeats >= 5) {
        let Some(request) = events.request_above(trace, parent) else { continue };
        *found.entry((request.route.clone(), statement, repeats)).or_default() += 1;
    }
    let n_plus_one: Vec<Value> = found
        .into_iter()
        .map(|((name, statement, repeats), requests)| json!({"route": route(&name).1, "statement": statement, "repeats": repeats, "requests": requests}))
        .collect();

    json!({
        "run": run.name,
        "service": services.into_iter().collect::<Vec<_>>().join(" "),
        "requests": run.bodies.len(),
        "spans": spans,
        "db_query_spans": events.queries.len(),
        "db_non_query_client_spans": database - events.queries.len() as u64,
        "db_query_spans_failed": events.queries.iter().filter(|query| query.error.as_ref().is_some_and(|error| error.is_set())).count(),
        "db_failed_with_status_error": events.queries.iter().filter(|query| query.error.is_some()).count(),
        "db_query_spans_over_100ms": events.queries.iter().filter(|query| query.took_us > 100_000).count(),
        "db_without_server_ancestor": events.queries.iter().filter(|query| events.request_above(&query.trace, &query.parent).is_none()).count(),
        "http_server_spans": events.requests.len(),
        "http_by_route": by_route,
        "http_client_spans_to_ignore": events.calls.len(),
        "n_plus_one": n_plus_one,
        "pool_housekeeping_statements_not_n_plus_one": events.queries.iter().filter(|query| housekeeping(query)).count(),
        "traces": requests_of_trace.len(),
        "traces_split_over_several_requests": requests_of_trace.values().filter(|requests| requests.len() > 1).count(),
        "slowest_db_statement": events.queries.iter().max_by_key(|query| query.took_us).map(|query| &query.statement),
        "system": system,
    })
}

#[test]
fn every_count_of_every_capture_comes_out_again() {
    let runs = runs();
    assert!(runs.len() >= 7);
    for run in runs {
        let mut counts = counts(&run);
        let system = counts.as_object_mut().unwrap().remove("system").unwrap();
        let mut truth = run.truth.clone();
        let text = |value: &mut Value| *value = json!(normal(value.as_str().unwrap(), system.as_str().unwrap()));
        text(&mut truth["slowest_db_statement"]);
        truth["n_plus_one"].as_array_mut().unwrap().iter_mut().for_each(|finding| text(&mut finding["statement"]));
        for (name, expected) in truth.as_object().unwrap() {
            assert_eq!(counts[name], *expected, "{} {name}", run.name);
        }
    }
}

#[test]
fn the_query_mind_finds_the_repeated_queries_of_the_truth_and_no_others() {
    for run in runs() {
        // Some captures ran on a database in the same process, where twelve queries take no 50 ms.
        let settings = Settings::read(&json!({"n_plus_one": {"min_total_ms": 0}})).unwrap();
        let mut mind = Driver::<QueryCore>::new("test", settings);
        let (mapper, mut position, mut outputs, mut system) = (Mapper::default(), 0, Vec::new(), String::new());
        for (encoding, body) in &run.bodies {
            for group in mapper.map(&decode(*encoding, body).unwrap(), NOW).groups {
                position += 1;
                if let Some(Event::Query(query)) = group.events.first() {
                    system = query.system.clone().unwrap();
                }
                let content = Content::Events(group.events.into_iter().map(Ok).collect());
                let delivery = Delivery { position, at: NOW + position, subject: String::new(), content, context: TraceContext::default() };
                outputs.extend(mind.step(&delivery));
            }
        }
        outputs.extend(mind.end());
        let found: BTreeSet<(String, String, u64)> = outputs
            .iter()
            .filter_map(|output| if let Effect::Alert(alert) = &output.effect { Some(alert) } else { None })
            .filter(|alert| matches!(alert.rule.as_str(), "query.n_plus_one" | "query.duplicate" | "query.n_plus_one_write"))
            .map(|alert| {
                let evidence = |name: &str| alert.evidence[name].clone();
                (alert.labels["route"].clone(), evidence("statement").as_str().unwrap().to_owned(), evidence("repeats").as_u64().unwrap())
            })
            .collect();
        let expected: BTreeSet<(String, String, u64)> = run.truth["n_plus_one"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| {
                let route = format!("GET {}", finding["route"].as_str().unwrap());
                (route, normal(finding["statement"].as_str().unwrap(), &system), finding["repeats"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(found, expected, "{}", run.name);
    }
}

#[test]
fn both_encodings_of_a_request_are_the_same_to_us() {
    for run in runs() {
        for (_, body) in run.bodies.iter().filter(|(encoding, _)| *encoding == Encoding::Protobuf) {
            let json = serde_json::to_vec(&reference(body)).unwrap();
            let (mut a, mut b) = (decode(Encoding::Protobuf, body).unwrap(), decode(Encoding::Json, &json).unwrap());
            // Digests of lists are made from what stood in the body; they are never compared across encodings.
            for span in a.spans.iter_mut().chain(&mut b.spans) {
                span.parameters = None;
                span.attributes.retain(|(_, value)| !matches!(value, Attribute::Other(_)));
            }
            assert_eq!(a, b, "{}", run.name);
        }
    }
}

/// A span in the JSON encoding: kind, ids, attributes.
fn span(kind: Value, id: u64, parent: u64, attributes: &[(&str, Value)]) -> Value {
    let attributes: Vec<Value> = attributes.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({
        "traceId": format!("{:032X}", 7),
        "spanId": format!("{id:016x}"),
        "parentSpanId": if parent == 0 { String::new() } else { format!("{parent:016x}") },
        "name": "GET /orders/17",
        "kind": kind,
        "startTimeUnixNano": "1795343879458000000",
        "endTimeUnixNano": "1795343879466500000",
        "attributes": attributes,
        "status": {},
    })
}

fn text(text: &str) -> Value {
    json!({"stringValue": text})
}

fn export(spans: &[Value]) -> Vec<u8> {
    let resource =
        json!({"attributes": [{"key": "service.name", "value": text("shop")}, {"key": "service.instance.id", "value": text("a-1")}]});
    serde_json::to_vec(&json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": spans}]}]}))
        .unwrap()
}

fn mapped(spans: &[Value]) -> Events {
    let mut events = Events::default();
    let body = export(spans);
    events.take(&Mapper::default().map(&decode(Encoding::Json, &body).unwrap(), NOW));
    events
}

#[test]
fn json_is_read_as_leniently_as_the_specification_asks() {
    let plain =
        export(&[span(json!(2), 1, 0, &[("http.request.method", text("GET")), ("http.response.status_code", json!({"intValue": 200}))])]);
    let plain = decode(Encoding::Json, &plain).unwrap();
    let mut odd = span(
        json!("SPAN_KIND_SERVER"),
        1,
        0,
        &[
            ("http.request.method", json!({"unknown": [{}], "stringValue": "GET"})),
            ("http.response.status_code", json!({"intValue": "200"})),
            ("empty", json!({})),
            ("none", Value::Null),
            ("list", json!({"arrayValue": {"values": [{"intValue": "1"}, {"kvlistValue": {"values": null}}]}})),
            ("not a number", json!({"doubleValue": "NaN"})),
        ],
    );
    odd["startTimeUnixNano"] = json!(1_795_343_879_458_000_000_u64);
    odd["status"] = json!({"code": "STATUS_CODE_UNSET", "message": null});
    odd["futureField"] = json!({"deep": [[[{"a": null}]]]});
    odd["links"] = Value::Null;
    let odd = String::from_utf8(export(&[odd])).unwrap().replace("\"GET\"", "\"G\\u0045T\"");
    assert_eq!(decode(Encoding::Json, odd.as_bytes()).unwrap(), plain);
    for empty in ["{}", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[{"resource":null,"scopeSpans":[{}]}]}"#] {
        assert_eq!(decode(Encoding::Json, empty.as_bytes()).unwrap().spans, [], "{empty}");
    }
    for wrong in
        ["", "null", "[]", "{", "7", r#"{"resourceSpans":{}}"#, "{} x", r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":7}]}]}]}"#]
    {
        assert!(decode(Encoding::Json, wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_call_described_twice_counts_once() {
    let both = mapped(&[
        span(
            json!(2),
            1,
            0,
            &[
                ("http.method", text("GET")),
                ("http.request.method", text("GET")),
                ("http.status_code", json!({"intValue": 500})),
                ("http.response.status_code", json!({"intValue": 200})),
                ("http.route", text("/orders/:id")),
            ],
        ),
        span(
            json!(3),
            2,
            1,
            &[
                ("db.statement", text("SELECT 1")),
                ("db.query.text", text("SELECT * FROM t WHERE id = 5")),
                ("db.system", text("other")),
                ("db.system.name", text("postgresql")),
            ],
        ),
    ]);
    assert_eq!((both.requests.len(), both.queries.len()), (1, 1));
    assert_eq!((both.requests[0].route.as_str(), both.requests[0].status), ("GET /orders/:id", 200));
    assert_eq!(
        (both.queries[0].statement.as_str(), both.queries[0].system.as_deref()),
        ("select * from t where id = ?", Some("postgresql"))
    );
}

#[test]
fn layers_of_one_call_are_one_call() {
    let statement = ("db.query.text", text("SELECT * FROM t WHERE id = 5"));
    let http = ("http.request.method", text("POST"));
    let peer = ("server.address", text("api.example"));
    let events = mapped(&[
        // A driver below an object mapper, exported before it, as children are.
        span(json!(3), 4, 3, &[("db.statement", text("select * from t where id = 6"))]),
        span(json!(3), 3, 2, std::slice::from_ref(&statement)),
        // A framework's server below the server.
        span(json!(2), 2, 1, &[http.clone(), ("http.route", text("/pay"))]),
        span(json!(2), 1, 99, std::slice::from_ref(&http)),
        // A transport below a client library.
        span(json!(3), 5, 2, &[("rpc.system", text("aws-api")), ("rpc.service", text("S3")), ("rpc.method", text("Put")), peer.clone()]),
        span(json!(3), 6, 5, &[http.clone(), peer.clone()]),
        // A connection, and a query that was sent while it was made.
        span(json!(3), 7, 2, &[("db.system", text("postgresql"))]),
        span(json!(3), 8, 7, &[("db.system", text("postgresql")), ("db.statement", text("SELECT oid FROM pg_type"))]),
        span(json!(3), 9, 2, &[("db.system", text("postgresql"))]),
    ]);
    assert_eq!(events.requests.iter().map(|request| request.route.as_str()).collect::<Vec<_>>(), ["POST /pay"]);
    assert_eq!(
        events.calls.iter().map(|call| (call.peer.as_str(), call.operation.as_deref())).collect::<Vec<_>>(),
        [("api.example", Some("S3/Put"))]
    );
    assert_eq!(events.queries.len(), 2);
    assert!(
        events
            .queries
            .iter()
            .all(|query| events.request_above(&query.trace, &query.parent).is_some_and(|request| request.route == "POST /pay"))
    );
    assert_eq!(events.spans.len(), 2, "the framework's server and the connection above a query");
}

#[test]
fn routes_are_templates_or_say_that_nothing_matched() {
    let http = |attributes: &[(&str, Value)]| {
        let mut all =
            vec![("http.request.method", text("get")), ("url.path", text("/orders/17")), ("http.target", text("/orders/17?u=ana"))];
        all.extend_from_slice(attributes);
        mapped(&[span(json!(2), 1, 0, &all)]).requests.remove(0).route
    };
    assert_eq!(http(&[]), "GET (unmatched)");
    assert_eq!(http(&[("http.route", text("/orders/{oid}"))]), "GET /orders/{oid}");
    assert_eq!(http(&[("http.request.method", text("STEAL"))]), "GET (unmatched)", "the first of a name wins");
    let handler = |kind: &str| {
        mapped(&[
            span(json!(1), 3, 2, &[("http.route", text("/orders/:id")), ("express.type", text(kind))]),
            span(json!(1), 2, 1, &[]),
            span(json!(2), 1, 0, &[("http.request.method", text("GET"))]),
        ])
        .requests
        .remove(0)
        .route
    };
    assert_eq!(handler("request_handler"), "GET /orders/:id");
    assert_eq!(handler("middleware"), "GET (unmatched)", "where a middleware is mounted says nothing of the request");
    let rpc = [
        ("rpc.system", text("grpc")),
        ("rpc.service", text("shop.Orders")),
        ("rpc.method", text("Get")),
        ("rpc.grpc.status_code", json!({"intValue": 5})),
    ];
    let request = mapped(&[span(json!(2), 1, 0, &rpc)]).requests.remove(0);
    assert_eq!((request.route.as_str(), request.status), ("shop.Orders/Get", 404));
    assert_eq!(mapped(&[span(json!(2), 1, 0, &[])]).requests[0].route, "GET /orders/?", "a name without its values");
}

#[test]
fn no_value_of_a_statement_or_a_path_leaves() {
    let events = mapped(&[
        span(json!(2), 1, 0, &[("http.request.method", text("GET")), ("url.full", text("http://u:canary@h/canary?canary"))]),
        span(
            json!(3),
            2,
            1,
            &[("db.system", text("mysql")), ("db.statement", text("SELECT 'canary' FROM t WHERE a = \"canary\" -- canary"))],
        ),
        span(json!(3), 3, 1, &[("db.system", text("redis")), ("db.statement", text("SET canary:1 canary"))]),
        span(
            json!(3),
            4,
            1,
            &[("db.system", text("postgresql")), ("db.statement", text("SELECT $1")), ("db.query.parameter.0", text("canary"))],
        ),
        span(json!(3), 5, 1, &[("http.request.method", text("GET")), ("http.url", text("https://u:canary@h:8443/canary?x=canary#canary"))]),
        span(json!(1), 6, 1, &[]),
    ]);
    let all = format!("{:?} {:?} {:?} {:?}", events.queries, events.requests, events.calls, events.spans);
    assert!(!all.contains("canary"), "{all}");
    assert_eq!(events.calls[0].peer, "h:8443");
    assert_eq!(events.calls[0].outcome, CallOutcome::Ok);
    assert_eq!(events.queries[1].statement, "set ?");
    assert!(events.queries[2].params.is_some(), "parameters sent beside the statement tell its repeats apart");
}

#[test]
fn the_same_parameters_can_be_told_from_others_and_only_within_a_process() {
    let ask = |value: &str| {
        span(json!(3), 2, 1, &[("db.query.text", text("SELECT * FROM t WHERE id = $1")), ("db.query.parameter.id", text(value))])
    };
    let params = |mapper: &Mapper, value: &str| {
        let (mut events, body) = (Events::default(), export(&[ask(value)]));
        events.take(&mapper.map(&decode(Encoding::Json, &body).unwrap(), NOW));
        events.queries.remove(0).params.unwrap()
    };
    let (one, other) = (Mapper::default(), Mapper::default());
    assert_eq!(params(&one, "17"), params(&one, "17"));
    assert_ne!(params(&one, "17"), params(&one, "18"));
    assert_ne!(params(&one, "17"), params(&other, "17"));
}

#[test]
fn a_span_that_cannot_be_used_is_counted_and_costs_no_other() {
    let good = span(json!(2), 1, 0, &[]);
    let with = |field: &str, value: Value| {
        let mut span = good.clone();
        span[field] = value;
        span
    };
    let body = export(&[
        good.clone(),
        with("traceId", json!("")),
        with("spanId", json!("0000000000000000")),
        with("spanId", json!("xyz")),
        with("endTimeUnixNano", json!(0)),
        with("endTimeUnixNano", json!("9999999999999999999")),
    ]);
    let mapped = Mapper::default().map(&decode(Encoding::Json, &body).unwrap(), NOW);
    assert_eq!((mapped.accepted, mapped.rejected), (1, 5));
    assert_eq!(
        mapped.reason,
        "3 spans without a valid trace and span id, 1 spans without an end time, 1 spans that end more than a day from now"
    );
}

#[test]
fn a_service_is_known_by_any_name_and_by_none() {
    let body = |resource: Value| {
        serde_json::to_vec(&json!({"resourceSpans": [{"scopeSpans": [{"spans": [span(json!(2), 1, 0, &[])]}], "resource": resource}]}))
            .unwrap()
    };
    let service = |resource: Value| {
        let body = body(resource);
        let mapped = Mapper::default().map(&decode(Encoding::Json, &body).unwrap(), NOW);
        mapped.groups[0].service.clone()
    };
    let named = |name: &str| service(json!({"attributes": [{"key": "service.name", "value": text(name)}]}));
    assert_eq!(service(Value::Null), "unknown_service");
    assert_eq!(named(""), "unknown_service");
    assert_eq!(named("a\r\n\0b"), "a\r\n\0b");
    assert_eq!(named(&"x".repeat(1_000)).len(), 64);
}

#[test]
fn a_body_of_empty_spans_stays_within_the_limit() {
    // Two bytes a span: 20 MiB of them would be ten million.
    let count = 2_000_000_usize;
    let field = |number: u8, inner: Vec<u8>| {
        let mut out = vec![number << 3 | 2];
        let mut length = inner.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend(inner);
        out
    };
    let body = field(1, field(2, [0x12, 0].repeat(count)));
    assert_eq!(reference(&body).resource_spans[0].scope_spans[0].spans.len(), count);
    let batch = decode(Encoding::Protobuf, &body).unwrap();
    assert_eq!((batch.spans.len(), batch.excess), (SPANS_MAX, (count - SPANS_MAX) as u64));
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(count - 1));
    let batch = decode(Encoding::Json, json.as_bytes()).unwrap();
    assert_eq!((batch.spans.len(), batch.excess), (SPANS_MAX, (count - SPANS_MAX) as u64));
    assert_eq!(Mapper::default().map(&batch, NOW).rejected, count as u64);
}

#[test]
fn circles_of_parents_end() {
    let statement = [("db.statement", text("SELECT 1 FROM t"))];
    let circle = [span(json!(3), 1, 2, &[]), span(json!(3), 2, 1, &[]), span(json!(3), 3, 1, &statement), span(json!(3), 4, 4, &statement)];
    assert_eq!(mapped(&circle).queries.len(), 2);
}

#[test]
fn every_attribute_has_one_current_name() {
    let batch = export(&[span(
        json!(3),
        1,
        0,
        &[("rpc.response.status_code", text("UNAVAILABLE")), ("rpc.grpc.status_code", json!({"intValue": 0}))],
    )]);
    let batch = decode(Encoding::Json, &batch).unwrap();
    assert_eq!(batch.spans[0].text(Key::RpcStatus), Some("UNAVAILABLE"));
    assert_eq!(batch.spans[0].kind, SpanKind::Client);
    assert_eq!(batch.resources, [Resource { service: Some("shop".into()), instance: Some("a-1".into()), zone: None }]);
}

#[test]
fn answers_are_what_exporters_read() {
    for (rejected, reason) in [(0, ""), (3, "3 spans without an end time"), (u64::from(u32::MAX), "ä")] {
        let partial = ExportTracePartialSuccess { rejected_spans: i64::try_from(rejected).unwrap(), error_message: reason.to_owned() };
        let expected = ExportTraceServiceResponse { partial_success: (rejected > 0).then_some(partial) };
        let protobuf = answer::response(Encoding::Protobuf, rejected, reason);
        assert_eq!(ExportTraceServiceResponse::decode(&*protobuf).unwrap(), expected);
        let json: Value = serde_json::from_slice(&answer::response(Encoding::Json, rejected, reason)).unwrap();
        if rejected == 0 {
            assert_eq!(json, json!({}));
        } else {
            assert_eq!(json["partialSuccess"], json!({"rejectedSpans": rejected.to_string(), "errorMessage": reason}));
        }
    }
    assert_eq!(answer::status(Encoding::Protobuf, Code::Unavailable, "later"), b"\x08\x0e\x12\x05later");
    let json: Value = serde_json::from_slice(&answer::status(Encoding::Json, Code::InvalidArgument, "no")).unwrap();
    assert_eq!(json, json!({"code": 3, "message": "no"}));
}
