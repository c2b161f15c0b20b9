//! Real export requests become events, and every count that was derived without this project comes out again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use homeostat::otlp::{Encoding, Mapped, Mapper, SPANS_MAX, decode};
use homeostat_reflexes::sql::{Dialect, Normaliser};
use homeostat_schemas::event::{Call, EventKind, Query, Request, Span};
use homeostat_schemas::{Event, UnixMs};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Within a day of every capture.
const NOW: UnixMs = 1_795_350_000_000;

/// One capture: its bodies in the order they were sent, and the truth about them.
struct Run {
    name: String,
    bodies: Vec<(Encoding, Vec<u8>)>,
    truth: Value,
}

fn runs() -> Vec<Run> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.into_iter().map(|folder| run(&folder)).collect()
}

fn run(folder: &Path) -> Run {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let encoding = |path: &Path| match path.extension()?.to_str()? {
        "pb" => Some(Encoding::Protobuf),
        "json" if !path.ends_with("truth.json") => Some(Encoding::Json),
        _ => None,
    };
    Run {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        bodies: files.iter().filter_map(|path| Some((encoding(path)?, std::fs::read(path).unwrap()))).collect(),
        truth: serde_json::from_slice(&std::fs::read(folder.join("truth.json")).unwrap()).unwrap(),
    }
}

/// All events of a run, apart by kind.
#[derive(Default)]
struct Events {
    queries: Vec<Query>,
    requests: Vec<Request>,
    calls: Vec<Call>,
    spans: Vec<Span>,
}

impl Events {
    fn take(&mut self, mapped: &Mapped) {
        for group in &mapped.groups {
            for event in &group.events {
                assert_eq!((event.kind(), event.service()), (group.kind, group.service.as_str()));
                match event {
                    Event::Query(event) => self.queries.push(event.clone()),
                    Event::Request(event) => self.requests.push(event.clone()),
                    Event::Call(event) => self.calls.push(event.clone()),
                    Event::Span(event) => self.spans.push(event.clone()),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// The request above a span, found from events alone, as a mind has to.
    fn request_above<'e>(&'e self, trace: &Option<String>, parent: &Option<String>) -> Option<&'e Request> {
        let mut at = parent.clone();
        for _ in 0..64 {
            let id = at?;
            if let Some(request) = self.requests.iter().find(|request| request.trace == *trace && request.span.as_ref() == Some(&id)) {
                return Some(request);
            }
            at = self.spans.iter().find(|span| Some(&span.trace) == trace.as_ref() && span.span == id)?.parent.clone();
        }
        None
    }
}

/// The same statement as the truth has it, in the form that leaves the intake.
fn normal(statement: &str, system: &str) -> String {
    Normaliser::new().normalise(statement, Dialect::from_system(system)).normal.to_owned()
}

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
