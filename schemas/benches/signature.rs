//! What it costs to sign an alert and to verify it.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use homeostat_schemas::signature::{HEADER, Signed, Signer, Signers};
use std::hint::black_box;

fn signature(c: &mut Criterion) {
    let body = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/alert.firing.json")).unwrap();
    let signer = Signer::from_random([7; 32]).unwrap();
    let trusted = Signers::new([signer.public()]).unwrap();
    let headers = [("ce-id", "k3j9-query-0-17-2"), ("ce-type", "homeostat.alert.query.n_plus_one"), ("content-type", "application/json")];
    let subject = "homeostat.v1.alert.query.n_plus_one.shop";
    let value = signer.sign(&Signed::of(subject, headers, &body)).unwrap();
    let signed: Vec<(&str, &str)> = headers.into_iter().chain([(HEADER, value.as_str())]).collect();
    let stranger = Signers::new([Signer::from_random([8; 32]).unwrap().public()]).unwrap();
    let mut group = c.benchmark_group("signature");
    group.bench_function("canonical form", |b| b.iter(|| Signed::of(subject, black_box(headers), &body).canonical()));
    group.bench_function("sign", |b| b.iter(|| signer.sign(&Signed::of(subject, black_box(headers), &body)).unwrap()));
    group.bench_function("verify", |b| {
        b.iter(|| assert!(trusted.verify(&Signed::of(subject, black_box(&signed).iter().copied(), &body)).is_good()));
    });
    group.bench_function("refuse a stranger", |b| {
        b.iter(|| assert!(!stranger.verify(&Signed::of(subject, black_box(&signed).iter().copied(), &body)).is_good()));
    });
    group.finish();
}

criterion_group!(benches, signature);
criterion_main!(benches);
