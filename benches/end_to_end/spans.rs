//! Durable spans a second through the gateway: captured export requests of real instrumentations, posted over keep-alive
//! connections, each answered after the stream's acknowledgement.
//!
//! Every request gets other trace ids, or the stream would take it for a retry. The figure a core divides by the worker's whole
//! time on the processor: decoding, mapping and publishing, and everything that the minds do with the events afterwards.

use crate::http::Connection;
use crate::load::now_us;
use crate::report::Distribution;
use crate::stand::{Stand, threads};
use crate::throughput::spent;
use crate::{Outcome, Plan, progress};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keep-alive connections.
const CONNECTIONS: u64 = 4;

const BODIES: [&[u8]; 5] = [
    include_bytes!("../../tests/data/otlp/node_pg_pb_dup/0001_v1_traces.pb"),
    include_bytes!("../../tests/data/otlp/py_fastapi_asyncpg_new/0001_v1_traces.pb"),
    include_bytes!("../../tests/data/otlp/py_psycopg2_dup/0002_v1_traces.pb"),
    include_bytes!("../../tests/data/otlp/py_sqlalchemy_new/0003_v1_traces.pb"),
    include_bytes!("../../tests/data/otlp/py_sqlite3_new/0001_v1_traces.pb"),
];

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spans {
    /// Spans a second, from the first request to the last answer.
    pub spans_per_s: Distribution,
    /// Spans a second of the worker's time on the processor, the minds included.
    pub spans_per_core_s: Distribution,
    /// Spans a request, the mean.
    pub spans_per_request: f64,
    /// Bytes a request, the mean.
    pub request_bytes: f64,
    /// Worker microseconds a span by thread, of the last round.
    pub threads_us: BTreeMap<String, f64>,
}

/// One request that only lacks its trace ids.
struct Body {
    bytes: Vec<u8>,
    /// For every trace: where its id stands.
    traces: Vec<Vec<usize>>,
    spans: u64,
}

impl Body {
    fn of(bytes: &[u8]) -> Outcome<Body> {
        let request = ExportTraceServiceRequest::decode(bytes)?;
        let spans: Vec<_> = request.resource_spans.iter().flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans).collect();
        let ids: BTreeSet<&[u8]> = spans.iter().map(|span| span.trace_id.as_slice()).filter(|id| id.len() == 16).collect();
        let places = |id: &[u8]| bytes.windows(16).enumerate().filter(|(_, window)| *window == id).map(|(at, _)| at).collect();
        Ok(Body { bytes: bytes.to_vec(), traces: ids.into_iter().map(places).collect(), spans: spans.len() as u64 })
    }

    fn renewed(&self, seed: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (number, places) in (1_u64..).zip(&self.traces) {
            let id = u128::from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number << 40 | 1);
            for &at in places {
                if let Some(place) = bytes.get_mut(at..at + 16) {
                    place.copy_from_slice(&id.to_be_bytes());
                }
            }
        }
        bytes
    }
}

struct Round {
    per_s: f64,
    per_core_s: f64,
    threads_us: BTreeMap<String, f64>,
}

/// Measures it.
pub(crate) async fn measure(plan: &Plan) -> Outcome<Spans> {
    let bodies: Arc<Vec<Body>> = Arc::new(BODIES.iter().map(|bytes| Body::of(bytes)).collect::<Outcome<_>>()?);
    let duration = Duration::from_secs(if plan.quick { 2 } else { 5 });
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let round = round(&bodies, duration).await?;
        progress(&format!("otlp, round {}: {:.0} spans/s, {:.0} a core", number + 1, round.per_s, round.per_core_s));
        rounds.push(round);
    }
    let all = |of: fn(&Round) -> f64| rounds.iter().map(of).collect::<Vec<f64>>();
    let count = bodies.len() as f64;
    Ok(Spans {
        spans_per_s: Distribution::of(&all(|round| round.per_s)),
        spans_per_core_s: Distribution::of(&all(|round| round.per_core_s)),
        spans_per_request: bodies.iter().map(|body| body.spans).sum::<u64>() as f64 / count,
        request_bytes: bodies.iter().map(|body| body.bytes.len()).sum::<usize>() as f64 / count,
        threads_us: rounds.pop().map(|round| round.threads_us).unwrap_or_default(),
    })
}

async fn round(bodies: &Arc<Vec<Body>>, duration: Duration) -> Outcome<Round> {
    let stand = Stand::start().await?;
    let worker = stand.worker().await?;
    let (before, before_threads) = (worker.usage()?, threads(worker.pid)?);
    let began = Instant::now();
    let seed = now_us();
    let mut posting = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        let (bodies, gateway) = (bodies.clone(), worker.gateway.clone());
        posting.spawn(async move { post(&bodies, &gateway, seed.wrapping_add(number << 40), began + duration).await });
    }
    let mut spans = 0;
    while let Some(posted) = posting.join_next().await {
        spans += posted??;
    }
    let took = began.elapsed();
    let last = stand.last_sequence().await?;
    worker.taken(last).await?;
    let used = worker.usage()?.since(&before);
    let threads_us = spent(&before_threads, &threads(worker.pid)?, spans);
    worker.stop().await?;
    stand.stop().await;
    Ok(Round { per_s: spans as f64 / took.as_secs_f64(), per_core_s: spans as f64 / used.cpu_s, threads_us })
}

/// Posts until the time is up; how many spans were acknowledged.
async fn post(bodies: &[Body], gateway: &str, seed: u64, until: Instant) -> Outcome<u64> {
    let mut connection = Connection::open(gateway).await?;
    let mut spans = 0;
    for (number, body) in (0_u64..).zip(bodies.iter().cycle()) {
        if Instant::now() >= until {
            break;
        }
        let (status, answer) = connection.post("/v1/traces", "application/x-protobuf", &body.renewed(seed.wrapping_add(number))).await?;
        let rejected = ExportTraceServiceResponse::decode(answer.as_slice())?.partial_success.map_or(0, |partial| partial.rejected_spans);
        if status != 200 || rejected != 0 {
            return Err(format!("the gateway answered {status} and rejected {rejected} spans").into());
        }
        spans += body.spans;
    }
    Ok(spans)
}
