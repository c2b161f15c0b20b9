//! What drift costs, per core: a value of a feature that has its baseline, and a look at 1,000 features; beside it a sort of the same
//! values, which is the least that a two-sample test over kept values would do.
//!
//! 1,000 features of one model learn their baselines from 40 days; the checkpoint of that mind is where every round begins. How large
//! it is for each feature is printed first.

#![allow(clippy::print_stderr)] // criterion prints there too, and a size is no time

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use homeostat_actors::core::Settings;
use homeostat_actors::drift::{DriftConfig, DriftCore, Stage};
use homeostat_actors::driver::Driver;
use homeostat_actors::stats::seeded::Seeded;
use homeostat_schemas::event::{Sample, SampleValue};
use homeostat_schemas::time::DAY;
use homeostat_schemas::{Content, Delivery, Event, TraceContext, UnixMs};
use std::hint::black_box;

const FEATURES: usize = 1_000;
const A_DAY: usize = 100;
const START: UnixMs = 20_000 * DAY;

fn delivery(position: u64, at: UnixMs, content: Content) -> Delivery {
    Delivery { position, at, subject: String::new(), content, context: TraceContext::default() }
}

fn event(feature: usize, at_ms: UnixMs, sample: Sample) -> Event {
    Event::Sample(Sample { service: "shop".into(), at_ms, model: "price".into(), feature: format!("feature-{feature}"), ..sample })
}

/// A day of every feature, drawn from a normal distribution.
fn day(source: &mut Seeded) -> Vec<Vec<f64>> {
    (0..FEATURES).map(|_| (0..A_DAY).map(|_| source.normal()).collect()).collect()
}

/// The values of a day as messages: an event holds a feature's values of the day, or only one of them.
fn messages(values: &[Vec<f64>], at: UnixMs, from: u64, one_a_message: bool) -> Vec<Delivery> {
    let numbers = |values: &[f64]| values.iter().copied().map(SampleValue::Number).collect::<Vec<_>>();
    let events: Vec<Event> = if one_a_message {
        (0..A_DAY)
            .flat_map(|n| values.iter().enumerate().map(move |(feature, values)| (feature, values[n])))
            .map(|(feature, value)| event(feature, at, Sample { value: Some(SampleValue::Number(value)), ..Sample::default() }))
            .collect()
    } else {
        let all = values.iter().enumerate();
        all.map(|(feature, values)| event(feature, at, Sample { values: Some(numbers(values)), ..Sample::default() })).collect()
    };
    let chunks = events.chunks(100).map(|chunk| Content::Events(chunk.iter().cloned().map(Ok).collect()));
    chunks.zip(from..).map(|(content, position)| delivery(position, at, content)).collect()
}

/// The checkpoint of a mind that has learnt its baselines, and where it is in the log.
fn learnt(source: &mut Seeded) -> (Vec<u8>, u64, UnixMs) {
    let config = DriftConfig { cells: 256, ..DriftConfig::default() };
    let mut driver: Driver<DriftCore> = Driver::new("bench", Settings { config, ..Settings::default() });
    let (mut position, mut at) = (1, START);
    // Two weeks are counted once the range of the values is known.
    for _ in 0..40 {
        for message in messages(&day(source), at, position, false) {
            position = message.position + 1;
            driver.step(&message);
        }
        at += DAY;
        driver.step(&delivery(position, at, Content::Tick));
        position += 1;
    }
    let view = driver.view();
    let ready = view.models.iter().flat_map(|model| &model.features).filter(|feature| feature.stage == Stage::Watching).count();
    assert_eq!(ready, FEATURES, "every feature has its baseline");
    let checkpoint = driver.save().unwrap_or_default();
    eprintln!("a feature: {} bytes in memory, {} in the checkpoint", view.bytes / FEATURES, checkpoint.len() / FEATURES);
    (checkpoint, position, at)
}

fn benches(criterion: &mut Criterion) {
    let mut source = Seeded::new(1);
    let (checkpoint, position, at) = learnt(&mut source);
    let mind = || Driver::<DriftCore>::load("bench", &checkpoint).unwrap_or_else(|why| unreachable!("{why}"));
    let values = day(&mut source);

    let mut group = criterion.benchmark_group("drift");
    group.sample_size(20).throughput(Throughput::Elements((FEATURES * A_DAY) as u64));
    for (name, one_a_message) in [("a value, 100 an event", false), ("a value, 1 an event", true)] {
        let messages = messages(&values, at + 1, position, one_a_message);
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                mind,
                |driver| messages.iter().map(|message| driver.step(message).len()).sum::<usize>(),
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("a sort of the same values", |bencher| {
        bencher.iter_batched_ref(
            || values.clone(),
            |values| values.iter_mut().for_each(|values| values.sort_unstable_by(f64::total_cmp)),
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let mut group = criterion.benchmark_group("drift/1000 features");
    let full = || {
        let mut driver = mind();
        messages(&values, at + 1, position, false).iter().for_each(|message| drop(driver.step(message)));
        driver
    };
    let end = delivery(position + 100_000, at + DAY, Content::Tick);
    group.sample_size(20).bench_function("a look at a window", |bencher| {
        bencher.iter_batched_ref(full, |driver| black_box(driver.step(&end)), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
