//! What a permitted call costs at the breaker, beside other breakers, from one thread and from two at once.
//!
//! `cargo bench -p homeostat-reflexes --bench breaker`. The call itself does nothing; nobody measures its time (`untimed`), or the
//! caller does (`timed`, two readings of the monotonic clock), which our clients do anyway for their telemetry. Failsafe reads
//! the clock by itself; recloser and tower-resilience-circuitbreaker as they are by default. Of two threads the slower counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

use criterion::{Criterion, criterion_group, criterion_main};
use failsafe::CircuitBreaker as _;
use homeostat_reflexes::breaker::{Attempt, Clock, Config, Gate, Outcome};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tower::{Layer as _, Service, service_fn};

/// A monotonic clock, and a generator of chance that costs nothing, as it is not asked for here.
struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
    fn chance(&self) -> f64 {
        0.5
    }
}

/// Runs `call` so many times on each of two threads, and gives the time of the slower.
fn two_threads(times: u64, call: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            let began = Instant::now();
            (0..times).for_each(|_| call());
            began.elapsed()
        };
        let other = scope.spawn(run);
        run().max(other.join().unwrap())
    })
}

/// A future that is ready is polled once; one that waits for the lock of another thread is polled until it has it.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::thread::yield_now();
    }
}

fn breaker(c: &mut Criterion) {
    let clock = Monotonic(Instant::now());
    let gate = Gate::new(Config::default(), None, None, &clock);
    let ours = || {
        let permit = gate.acquire(Attempt::First, &clock).unwrap();
        black_box(());
        gate.succeed(permit, &clock);
    };
    let timed = || {
        let permit = gate.acquire(Attempt::First, &clock).unwrap();
        let began = Instant::now();
        black_box(());
        gate.settle(permit, Outcome::Success, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), &clock);
    };
    let recloser = recloser::Recloser::default();
    let recloser = || {
        let _ = black_box(recloser.call(|| Ok::<u32, ()>(black_box(1))));
    };
    let failsafe = failsafe::Config::new().build();
    let failsafe = || {
        let _ = black_box(failsafe.call(|| Ok::<u32, ()>(black_box(1))));
    };
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder().build().unwrap();
    let service = layer.layer(service_fn(|()| async { Ok::<u32, std::io::Error>(black_box(1)) }));
    // A tower service is called through `&mut`: every caller has a clone, and the state behind it is shared.
    let tower = |times: u64| {
        let mut service = service.clone();
        for _ in 0..times {
            ready(std::future::poll_fn(|cx| Service::poll_ready(&mut service, cx))).unwrap();
            let _ = black_box(ready(service.call(())));
        }
    };

    let mut group = c.benchmark_group("breaker/permitted");
    group.bench_function("homeostat", |b| b.iter(ours));
    group.bench_function("homeostat_timed", |b| b.iter(timed));
    group.bench_function("recloser", |b| b.iter(recloser));
    group.bench_function("failsafe", |b| b.iter(failsafe));
    group.bench_function("tower_resilience", |b| {
        b.iter_custom(|times| {
            let began = Instant::now();
            tower(times);
            began.elapsed()
        });
    });
    group.finish();

    let mut group = c.benchmark_group("breaker/two_threads");
    group.bench_function("homeostat", |b| b.iter_custom(|times| two_threads(times, ours)));
    group.bench_function("recloser", |b| b.iter_custom(|times| two_threads(times, recloser)));
    group.bench_function("failsafe", |b| b.iter_custom(|times| two_threads(times, failsafe)));
    group.bench_function("tower_resilience", |b| {
        b.iter_custom(|times| {
            let barrier = Barrier::new(2);
            std::thread::scope(|scope| {
                let run = || {
                    barrier.wait();
                    let began = Instant::now();
                    tower(times);
                    began.elapsed()
                };
                let other = scope.spawn(run);
                run().max(other.join().unwrap())
            })
        });
    });
    group.finish();

    // What an open breaker costs: the refusal of a call.
    let mut group = c.benchmark_group("breaker/refused");
    let open = Gate::new(Config::default(), None, None, &clock);
    open.operate(homeostat_reflexes::breaker::Operation::ForceOpen, &clock);
    group.bench_function("homeostat", |b| b.iter(|| black_box(open.acquire(Attempt::First, &clock)).is_err()));
    group.finish();
}

criterion_group!(benches, breaker);
criterion_main!(benches);
