//! Memory series with labels: what processes that leak and processes that do not look like.
//!
//! Every series is a function of its kind and seed. Memory is in MB (10^6 bytes), a leak's rate in percent an hour of the level that
//! the process settles at.

use std::f64::consts::TAU;

/// A seeded source of numbers (SplitMix64).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    fn one_of(&mut self, values: &[f64]) -> f64 {
        values[(self.unit() * values.len() as f64) as usize % values.len()]
    }
}

/// One sample; memory is missing where a scrape failed.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub minute: f64,
    pub memory_mb: f64,
    pub load_rps: Option<f64>,
    /// Minute at which the process started, when it says so.
    pub started: Option<f64>,
}

/// A series and what is true of it.
#[derive(Debug, Clone)]
pub struct Series {
    pub leak: bool,
    /// Hours from the beginning.
    pub leak_start_h: f64,
    pub rate_pct_per_h: f64,
    pub limit_mb: f64,
    pub samples: Vec<Sample>,
}

pub const KINDS: &[&str] = &[
    "flat",
    "noisy",
    "gc_sawtooth",
    "gc_generations",
    "seasonal",
    "seasonal_skewed",
    "working_hours",
    "warmup",
    "fragmentation",
    "cache_fill",
    "steps",
    "mean_reverting",
    "restarts",
    "load_ramp",
    "load_daily",
    "batch_spikes",
    "leak_linear",
    "leak_steep",
    "leak_under_gc",
    "leak_seasonal",
    "leak_after_warmup",
    "leak_restarts",
    "leak_late",
    "leak_staircase",
    "leak_accelerating",
    "leak_with_load",
    "leak_gaps",
    "leak_noisy",
];

/// Samples with first-order correlated noise about a curve.
struct Plan<'a> {
    draw: &'a mut Draw,
    hours: f64,
    interval_min: f64,
    noise: f64,
    rho: f64,
}

impl Plan<'_> {
    fn run(self, mut level: impl FnMut(f64, &mut Draw) -> f64) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut error = 0.0;
        let mut minute = 0.0;
        while minute < self.hours * 60.0 {
            error = self.rho * error + (1.0 - self.rho * self.rho).sqrt() * self.draw.normal();
            let value = level(minute / 60.0, self.draw) * (1.0 + self.noise * error);
            samples.push(Sample { minute, memory_mb: value.max(1.0), load_rps: None, started: Some(0.0) });
            minute += self.interval_min;
        }
        samples
    }
}

/// Garbage between collections: grows with its own pace each cycle, falls to nothing at its end.
struct Garbage {
    size: f64,
    cycle_min: f64,
    at: f64,
    length: f64,
}

impl Garbage {
    fn new(draw: &mut Draw, size: (f64, f64), cycle_min: (f64, f64)) -> Garbage {
        let (size, cycle_min) = (draw.between(size.0, size.1), draw.between(cycle_min.0, cycle_min.1));
        Garbage { size, cycle_min, at: draw.unit() * cycle_min, length: cycle_min * draw.between(0.7, 1.3) }
    }
    fn step(&mut self, draw: &mut Draw, minutes: f64) -> f64 {
        self.at += minutes;
        if self.at >= self.length {
            self.at = 0.0;
            self.length = self.cycle_min * draw.between(0.7, 1.3);
        }
        self.size * self.at / self.length
    }
}

fn daily(h: f64, phase: f64) -> f64 {
    0.5 - 0.5 * (TAU * (h - phase) / 24.0).cos()
}

/// The series of a kind with a seed.
pub fn series(kind: &'static str, seed: u64) -> Series {
    let index = KINDS.iter().position(|k| *k == kind).unwrap_or(0) as u64;
    let draw = &mut Draw::new(seed.wrapping_mul(1_000).wrapping_add(index));
    let base = draw.between(150.0, 900.0);
    let noise = draw.between(0.004, 0.013);
    let rho = draw.between(0.3, 0.8);
    let mut rate: f64 = draw.one_of(&[1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]);
    let mut start_h = 0.0;
    let mut interval = draw.one_of(&[1.0, 1.0, 1.0, 0.5, 2.0, 5.0]);
    let mut leak = kind.starts_with("leak");
    macro_rules! plan {
        ($hours:expr, $noise:expr, $level:expr) => {
            Plan { draw: &mut *draw, hours: $hours, interval_min: interval, noise: $noise, rho }.run($level)
        };
    }
    let mut samples = match kind {
        "flat" => plan!(24.0, noise, |_, _| base),
        "noisy" => {
            let noise = draw.between(0.02, 0.06);
            plan!(24.0, noise, |_, _| base)
        }
        "gc_sawtooth" => {
            let mut garbage = Garbage::new(draw, (base * 0.2, base * 0.6), (4.0, 50.0));
            plan!(24.0, noise, |_, d| base + garbage.step(d, interval))
        }
        "gc_generations" => {
            let mut young = Garbage::new(draw, (base * 0.15, base * 0.15), (3.0, 15.0));
            let mut old = Garbage::new(draw, (base * 0.15, base * 0.4), (60.0, 180.0));
            plan!(30.0, noise, |_, d| base + young.step(d, interval) + old.step(d, interval))
        }
        "seasonal" => {
            let (swing, phase) = (draw.between(0.1, 0.6), draw.between(0.0, 24.0));
            let mut garbage = Garbage::new(draw, (0.0, base * 0.2), (5.0, 30.0));
            plan!(60.0, noise, |h, d| base * (1.0 + swing * daily(h, phase)) + garbage.step(d, interval))
        }
        "seasonal_skewed" => {
            let (swing, phase, skew) = (draw.between(0.1, 0.5), draw.between(0.0, 24.0), draw.between(-0.3, 0.3));
            plan!(60.0, noise, |h, _| {
                let turn = TAU * (h - phase) / 24.0;
                base * (1.0 + swing * (0.5 - 0.5 * (turn + skew * turn.sin()).cos()))
            })
        }
        "working_hours" => {
            let (swing, phase, ramp) = (draw.between(0.1, 0.5), draw.between(0.0, 24.0), draw.between(1.0, 3.5));
            plan!(72.0, noise, |h, _| {
                let hour = (h + phase).rem_euclid(24.0);
                let part = ((hour - 8.0) / ramp).clamp(0.0, 1.0) * ((20.0 - hour) / ramp).clamp(0.0, 1.0);
                base * (1.0 + swing * part)
            })
        }
        "warmup" => {
            let (from, tau) = (draw.between(0.35, 0.7), draw.one_of(&[0.15, 0.3, 0.5, 1.0, 2.0, 3.0, 4.0]));
            plan!(24.0, noise, |h, _| base * (1.0 - (1.0 - from) * (-h / tau).exp()))
        }
        "fragmentation" => {
            let (scale, tau) = (draw.between(0.12, 0.3), draw.between(0.3, 1.0));
            plan!(40.0, noise, |h, _| base * (1.0 + scale * (h / tau).ln_1p()))
        }
        "cache_fill" => {
            let (fill, full) = (draw.between(2.0, 5.0), draw.between(0.2, 0.8));
            plan!(24.0, noise, |h, _| base * (1.0 + full * (h / fill).min(1.0)))
        }
        "steps" => {
            let count = 1 + (draw.unit() * 3.0) as usize;
            let at: Vec<(f64, f64)> =
                (0..count).map(|n| (draw.between(1.0, 7.0) + 7.5 * n as f64, base * draw.between(0.08, 0.35))).collect();
            plan!(26.0, noise, |h, _| base + at.iter().filter(|(t, _)| h >= *t).map(|(_, size)| size).sum::<f64>())
        }
        "mean_reverting" => {
            let (tau, spread) = (draw.between(0.7, 4.0), draw.between(0.015, 0.04));
            let mut x = 0.0;
            plan!(36.0, noise / 2.0, |_, d| {
                let keep: f64 = (-interval / 60.0 / tau).exp();
                x = keep * x + (1.0 - keep * keep).sqrt() * d.normal();
                base * (1.0 + spread * x)
            })
        }
        "restarts" => {
            let (from, tau) = (draw.between(0.4, 0.7), draw.between(0.2, 0.8));
            let mut lives = vec![0.0];
            while lives.last().copied().unwrap_or(99.0) < 26.0 {
                let last = lives.last().copied().unwrap_or(0.0);
                lives.push(last + draw.between(2.5, 6.0));
            }
            let life = |h: f64| lives.iter().copied().filter(|start| *start <= h).fold(0.0, f64::max);
            let mut samples = plan!(26.0, noise, |h, _| base * (1.0 - (1.0 - from) * (-(h - life(h)) / tau).exp()));
            let told = draw.unit() < 0.6;
            samples.iter_mut().for_each(|s| s.started = told.then(|| life(s.minute / 60.0) * 60.0));
            samples
        }
        "load_ramp" => {
            let (at, over, more) = (draw.between(1.0, 6.0), draw.between(3.0, 9.0), draw.between(0.5, 3.0));
            let slope = base * draw.between(0.15, 0.35);
            let load = |h: f64| 100.0 * (1.0 + more * ((h - at) / over).clamp(0.0, 1.0));
            let mut samples = plan!(22.0, noise, |h, _| base + slope * (load(h) / 100.0 - 1.0));
            for s in &mut samples {
                s.load_rps = Some(load(s.minute / 60.0) * (1.0 + 0.03 * draw.normal()));
            }
            samples
        }
        "load_daily" | "leak_with_load" => {
            let (phase, lag) = (draw.between(0.0, 24.0), draw.one_of(&[0.0, 0.0, 0.25, 0.5]));
            let slope = base * draw.between(0.1, 0.4);
            let load = |h: f64| 0.2 + daily(h, phase);
            let grows = if leak { base * rate / 100.0 } else { 0.0 };
            let mut samples = plan!(30.0, noise, |h, _| base + slope * load(h - lag) + grows * h);
            for s in &mut samples {
                s.load_rps = Some(300.0 * load(s.minute / 60.0) * (1.0 + 0.04 * draw.normal()));
            }
            samples
        }
        "batch_spikes" => {
            let (every, long, size) = (draw.between(2.0, 6.0), draw.between(0.2, 1.0), draw.between(0.2, 0.8));
            plan!(30.0, noise, |h, _| base * (1.0 + if h.rem_euclid(every) < long { size } else { 0.0 }))
        }
        "leak_linear" => plan!(24.0, noise, |h, _| base * (1.0 + rate / 100.0 * h)),
        "leak_steep" => {
            rate = draw.between(10.0, 25.0);
            plan!(9.0, noise, |h, _| base * (1.0 + rate / 100.0 * h))
        }
        "leak_under_gc" => {
            let mut garbage = Garbage::new(draw, (base * 0.2, base * 0.6), (4.0, 40.0));
            plan!(24.0, noise, |h, d| base * (1.0 + rate / 100.0 * h) + garbage.step(d, interval))
        }
        "leak_seasonal" => {
            rate = rate.max(2.0);
            let (swing, phase) = (draw.between(0.1, 0.6), draw.between(0.0, 24.0));
            plan!(60.0, noise, |h, _| base * (1.0 + swing * daily(h, phase) + rate / 100.0 * h))
        }
        "leak_after_warmup" => {
            let (from, tau) = (draw.between(0.4, 0.7), draw.between(0.2, 1.2));
            plan!(20.0, noise, |h, _| base * (1.0 - (1.0 - from) * (-h / tau).exp() + rate / 100.0 * h))
        }
        "leak_restarts" => {
            rate = draw.between(6.0, 15.0);
            let life = draw.between(10.0, 14.0);
            let told = draw.unit() < 0.6;
            let mut samples = plan!(30.0, noise, |h, _| {
                let age = h.rem_euclid(life);
                base * (1.0 - 0.4 * (-age / 0.4).exp() + rate / 100.0 * age)
            });
            samples.iter_mut().for_each(|s| s.started = told.then(|| (s.minute / 60.0 / life).floor() * life * 60.0));
            samples
        }
        "leak_late" => {
            start_h = draw.between(4.0, 12.0);
            rate = rate.max(2.5);
            plan!(start_h + 18.0, noise, |h, _| base * (1.0 + rate / 100.0 * (h - start_h).max(0.0)))
        }
        "leak_staircase" => {
            let every = draw.one_of(&[0.5, 1.0, 1.0, 2.0]);
            plan!(24.0, noise, |h, _| base * (1.0 + rate / 100.0 * (h / every).floor() * every))
        }
        "leak_accelerating" => plan!(18.0, noise, |h, _| base * (1.0 + rate / 100.0 * h * h / 18.0)),
        "leak_gaps" => plan!(24.0, noise, |h, _| base * (1.0 + rate / 100.0 * h)),
        "leak_noisy" => {
            rate = rate.max(2.0);
            let noise = draw.between(0.015, 0.04);
            plan!(26.0, noise, |h, _| base * (1.0 + rate / 100.0 * h))
        }
        _ => {
            leak = false;
            interval = 1.0;
            plan!(24.0, noise, |_, _| base)
        }
    };
    if kind == "leak_gaps" {
        let (from, long) = (draw.between(2.0, 10.0) * 60.0, draw.between(0.5, 3.0) * 60.0);
        samples.retain(|s| !(from..from + long).contains(&s.minute) && draw.unit() > 0.3);
        for n in 1..samples.len() {
            if draw.unit() < 0.05 {
                samples.swap(n - 1, n);
            }
        }
    }
    if !leak {
        rate = 0.0;
    }
    let top = samples.iter().map(|s| s.memory_mb).fold(0.0, f64::max);
    Series { leak, leak_start_h: start_h, rate_pct_per_h: rate, limit_mb: top * 1.3, samples }
}
