//! Spans a second on one core, from the bytes of a real export request to events: `cargo bench --bench otlp`.

#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use homeostat::otlp::{Encoding, Mapper, decode};
use std::hint::black_box;

/// Within a day of the captures.
const NOW: u64 = 1_795_350_000_000;

const BODIES: [(&str, Encoding, &[u8]); 3] = [
    ("protobuf_node", Encoding::Protobuf, include_bytes!("../tests/data/otlp/node_pg_pb_dup/0001_v1_traces.pb")),
    ("protobuf_python", Encoding::Protobuf, include_bytes!("../tests/data/otlp/py_psycopg2_dup/0002_v1_traces.pb")),
    ("json_node", Encoding::Json, include_bytes!("../tests/data/otlp/node_pg_json_new/0001_v1_traces.json")),
];

fn otlp(criterion: &mut Criterion) {
    let mapper = Mapper::default();
    let mut group = criterion.benchmark_group("otlp");
    for (name, encoding, body) in BODIES {
        let Ok(batch) = decode(encoding, body) else { continue };
        group.throughput(Throughput::Elements(batch.spans.len() as u64));
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| decode(encoding, black_box(body)).map(|batch| batch.spans.len()))
        });
        group.bench_function(format!("decode_and_map/{name}"), |bencher| {
            bencher.iter(|| decode(encoding, black_box(body)).map(|batch| mapper.map(&batch, NOW).groups.len()));
        });
    }
    group.finish();
}

criterion_group!(benches, otlp);
criterion_main!(benches);
