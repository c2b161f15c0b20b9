//! The leak mind on labelled series: how many leaks it confirms, how many it only believes to see, and how long it takes, beside the
//! compatible rule (more than 10 % within an hour).
//!
//! ```sh
//! cargo run --release -p homeostat-actors --example leak_study                          # 50 fresh seeds of every kind
//! cargo run --release -p homeostat-actors --example leak_study -- --seeds 20000..20100
//! cargo run --release -p homeostat-actors --example leak_study -- --open leak_series.json # a file of labelled series
//! cargo run --release -p homeostat-actors --example leak_study -- --csv leak_late 7      # one series for `homeostat leak`
//! ```
//!
//! The detector was tuned on seeds below 1,000; those that are reported by default begin at 10,000.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
// A study is no mind: it may read files and arguments.
#![allow(clippy::disallowed_methods)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, unreachable_pub)]

mod series;

use homeostat_actors::leak::{Assessment, LeakConfig, LeakRule, Sample, Tier, assess};
use serde_json::Value;
use series::{KINDS, Series, series};
use std::ops::Range;

const START_MS: u64 = 1_760_000_000_000;
const MB: f64 = 1e6;

fn ms(minute: f64) -> u64 {
    START_MS + (minute * 60_000.0) as u64
}

fn samples(series: &Series) -> Vec<Sample> {
    let sample = |s: &series::Sample| Sample {
        at_ms: ms(s.minute),
        memory: (s.memory_mb * MB).round(),
        limit: Some(series.limit_mb * MB),
        heap: None,
        load: s.load_rps,
        started_ms: s.started.map(ms),
    };
    series.samples.iter().map(sample).collect()
}

/// What became of the series of one kind under one rule.
#[derive(Default, Clone)]
struct Tally {
    count: usize,
    confirmed: usize,
    suspected: usize,
    confirm_h: Vec<f64>,
    suspect_h: Vec<f64>,
    slope_errors: Vec<f64>,
}

impl Tally {
    fn note(&mut self, series: &Series, answer: &Assessment) {
        let since = |at: u64| (at as f64 - ms(series.leak_start_h * 60.0) as f64) / 3.6e6;
        self.count += 1;
        if let Some(at) = answer.first_confirmed_at {
            self.confirmed += 1;
            self.confirm_h.push(since(at));
        }
        if let Some(at) = answer.first_suspected_at {
            self.suspected += 1;
            self.suspect_h.push(since(at));
        }
        if let (true, Tier::Confirmed, Some(slope)) = (series.leak, answer.verdict, answer.slope_pct_per_h) {
            self.slope_errors.push((slope - series.rate_pct_per_h).abs() / series.rate_pct_per_h);
        }
    }

    fn add(&mut self, other: &Tally) {
        self.count += other.count;
        self.confirmed += other.confirmed;
        self.suspected += other.suspected;
        self.confirm_h.extend(&other.confirm_h);
        self.suspect_h.extend(&other.suspect_h);
        self.slope_errors.extend(&other.slope_errors);
    }
}

/// The median; what never came counts as infinite.
fn median(values: &[f64], count: usize) -> f64 {
    let mut values = values.to_vec();
    values.resize(count.max(values.len()), f64::INFINITY);
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(named: &[(String, bool, Tally)]) {
    println!(
        "{:22} {:>6} {:>10} {:>10} {:>12} {:>12} {:>9}",
        "kind", "series", "confirmed", "suspected", "confirm, h", "suspect, h", "slope"
    );
    let (mut leaks, mut sound) = (Tally::default(), Tally::default());
    for (name, leak, tally) in named {
        if *leak {
            leaks.add(tally)
        } else {
            sound.add(tally)
        }
        let hours = |values: &[f64]| if *leak { format!("{:.2}", median(values, tally.count)) } else { String::new() };
        let slope = if *leak { format!("{:.0} %", 100.0 * median(&tally.slope_errors, 0)) } else { String::new() };
        let (confirm, suspect) = (hours(&tally.confirm_h), hours(&tally.suspect_h));
        println!("{name:22} {:>6} {:>10} {:>10} {confirm:>12} {suspect:>12} {slope:>9}", tally.count, tally.confirmed, tally.suspected);
    }
    let part = |a: usize, b: usize| a as f64 / b.max(1) as f64;
    println!(
        "confirmed: precision {:.3}, recall {:.3}, median delay {:.2} h; first suspicion: median {:.2} h; slope: median error {:.0} %",
        part(leaks.confirmed, leaks.confirmed + sound.confirmed),
        part(leaks.confirmed, leaks.count),
        median(&leaks.confirm_h, leaks.count),
        median(&leaks.suspect_h, leaks.count),
        100.0 * median(&leaks.slope_errors, 0),
    );
    println!("sound series: {} of {} confirmed, {} suspected at some time", sound.confirmed, sound.count, sound.suspected);
}

fn study(seeds: &Range<u64>, rule: LeakRule) {
    let config = LeakConfig { rule, ..LeakConfig::default() };
    let tallies = KINDS.iter().map(|kind| {
        let mut tally = Tally::default();
        let mut leak = false;
        for seed in seeds.clone() {
            let one = series(kind, seed);
            leak = one.leak;
            tally.note(&one, &assess(samples(&one), &config));
        }
        ((*kind).to_owned(), leak, tally)
    });
    report(&tallies.collect::<Vec<_>>());
}

/// Series of a file: `{"series": [{id, label, leak_start_h, rate_pct_per_h, interval_s, limit_mb, restart_idx, load_rps, samples_mb}]}`.
fn read(path: &str) -> Vec<(String, Series)> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{path}: {why}"));
    let file: Value = serde_json::from_str(&text).unwrap();
    let one = |entry: &Value| {
        let interval = entry["interval_s"].as_f64().unwrap_or(60.0) / 60.0;
        let restarts: Vec<usize> =
            entry["restart_idx"].as_array().into_iter().flatten().filter_map(|i| Some(i.as_u64()? as usize)).collect();
        let memory = entry["samples_mb"].as_array().unwrap();
        let samples = memory.iter().enumerate().filter_map(|(index, memory)| {
            let started = restarts.iter().filter(|at| **at <= index).max().copied().unwrap_or(0);
            Some(series::Sample {
                minute: index as f64 * interval,
                memory_mb: memory.as_f64()?,
                load_rps: entry["load_rps"][index].as_f64(),
                started: Some(started as f64 * interval),
            })
        });
        let series = Series {
            leak: entry["label"] == "leak",
            leak_start_h: entry["leak_start_h"].as_f64().unwrap_or(0.0),
            rate_pct_per_h: entry["rate_pct_per_h"].as_f64().unwrap_or(0.0),
            limit_mb: entry["limit_mb"].as_f64().unwrap_or(f64::INFINITY),
            samples: samples.collect(),
        };
        (entry["id"].as_str().unwrap_or("?").to_owned(), series)
    };
    file["series"].as_array().unwrap().iter().map(one).collect()
}

fn open(path: &str, rule: LeakRule) {
    let config = LeakConfig { rule, ..LeakConfig::default() };
    let tallies = read(path).into_iter().map(|(id, one)| {
        let mut tally = Tally::default();
        tally.note(&one, &assess(samples(&one), &config));
        (id, one.leak, tally)
    });
    report(&tallies.collect::<Vec<_>>());
}

fn csv(kind: &str, seed: u64) {
    let kind = KINDS.iter().find(|known| **known == kind).unwrap_or_else(|| panic!("kinds are {KINDS:?}"));
    println!("at_ms,memory_bytes,memory_limit_bytes,load_rps,started_ms");
    for sample in samples(&series(kind, seed)) {
        let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let started = sample.started_ms.map(|at| at.to_string()).unwrap_or_default();
        println!("{},{},{},{},{started}", sample.at_ms, sample.memory, text(sample.limit.map(f64::round)), text(sample.load));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let both = |run: &dyn Fn(LeakRule)| {
        for (rule, name) in [(LeakRule::Robust, "robust"), (LeakRule::Compatible, "compatible")] {
            println!("\n## {name}");
            run(rule);
        }
    };
    match words[..] {
        [] => both(&|rule| study(&(10_000..10_050), rule)),
        ["--seeds", range] => {
            let (from, to) = range.split_once("..").unwrap_or_else(|| panic!("--seeds FROM..TO"));
            let range = from.parse().unwrap()..to.parse().unwrap();
            both(&|rule| study(&range, rule));
        }
        ["--open", path] => both(&|rule| open(path, rule)),
        ["--csv", kind, seed] => csv(kind, seed.parse().unwrap()),
        _ => eprintln!("arguments: [--seeds FROM..TO | --open FILE | --csv KIND SEED]"),
    }
}
