//! The captures: real export requests and the truth about them, and the events that become of them.

use homeostat::otlp::{Encoding, Mapped};
use homeostat_reflexes::sql::{Dialect, Normaliser};
use homeostat_schemas::event::{Call, Query, Request, Span};
use homeostat_schemas::{Event, UnixMs};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Within a day of every capture.
pub const NOW: UnixMs = 1_795_350_000_000;

/// One capture: its bodies in the order they were sent, and the truth about them.
pub struct Run {
    pub name: String,
    pub bodies: Vec<(Encoding, Vec<u8>)>,
    pub truth: Value,
}

pub fn runs() -> Vec<Run> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.into_iter().map(|folder| run(&folder)).collect()
}

pub fn run(folder: &Path) -> Run {
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
pub struct Events {
    pub queries: Vec<Query>,
    pub requests: Vec<Request>,
    pub calls: Vec<Call>,
    pub spans: Vec<Span>,
}

impl Events {
    pub fn take(&mut self, mapped: &Mapped) {
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
    pub fn request_above<'e>(&'e self, trace: &Option<String>, parent: &Option<String>) -> Option<&'e Request> {
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
pub fn normal(statement: &str, system: &str) -> String {
    Normaliser::new().normalise(statement, Dialect::from_system(system)).normal.to_owned()
}

/// What another reader of the same schema makes of a body.
pub fn reference(body: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(body).unwrap()
}
