//! Labelled series (`tests/data/leak/PROVENANCE.md`), judged as `homeostat leak` judges them.

use crate::leak::{Assessment, LeakConfig, LeakRule, Sample, Tier, assess};
use serde_json::Value;

const DATA: &str = include_str!("../../../tests/data/leak/leak_series.json");

fn series() -> Vec<Value> {
    let file: Value = serde_json::from_str(DATA).unwrap();
    file["series"].as_array().unwrap().clone()
}

/// Samples every minute from a time on; `told` says whether the process tells when it started.
fn samples(series: &Value, told: bool) -> Vec<Sample> {
    let restarts: Vec<u64> = series["restart_idx"].as_array().unwrap().iter().map(|index| index.as_u64().unwrap()).collect();
    let memory = series["samples_mb"].as_array().unwrap().iter().map(|memory| memory.as_f64().unwrap());
    let sample = |(index, memory): (usize, f64)| {
        let started = restarts.iter().filter(|restart| **restart <= index as u64).max().copied().unwrap_or(0);
        let at = |index: u64| 1_760_000_000_000 + index * 60_000;
        Sample {
            at_ms: at(index as u64),
            memory: memory * 1e6,
            limit: series["limit_mb"].as_f64().map(|limit| limit * 1e6),
            heap: None,
            load: series["load_rps"][index].as_f64(),
            started_ms: told.then(|| at(started)),
        }
    };
    memory.enumerate().map(sample).collect()
}

fn right(series: &Value, answer: &Assessment) -> bool {
    (series["label"] == "leak") == (answer.verdict == Tier::Confirmed) && answer.first_confirmed_at.is_some() == (series["label"] == "leak")
}

fn hours(at: Option<u64>, series: &Value) -> f64 {
    let start = series["leak_start_h"].as_f64().unwrap();
    at.map_or(f64::INFINITY, |at| (at - 1_760_000_000_000) as f64 / 3.6e6 - start)
}

#[test]
fn every_leak_is_confirmed_and_nothing_else_is() {
    let (mut confirm, mut suspect) = (Vec::new(), Vec::new());
    for series in series() {
        // Who does not say when it started is told by its memory.
        let restarts = series["restart_idx"].as_array().is_some_and(|restarts| !restarts.is_empty());
        for told in [true, false].into_iter().filter(|told| *told || restarts) {
            let answer = assess(samples(&series, told), &LeakConfig::default());
            assert!(right(&series, &answer), "{} (told {told}): {answer:?}", series["id"]);
            if told && series["label"] == "leak" {
                confirm.push(hours(answer.first_confirmed_at, &series));
                suspect.push(hours(answer.first_suspected_at, &series));
            }
        }
    }
    confirm.sort_by(f64::total_cmp);
    suspect.sort_by(f64::total_cmp);
    assert!(confirm[confirm.len() / 2] <= 8.0, "{confirm:?}");
    assert!(suspect[suspect.len() / 2] <= 4.0, "{suspect:?}");
}

#[test]
fn missing_late_and_failed_samples_change_no_verdict() {
    for series in series().into_iter().step_by(2) {
        let mut kept: Vec<Sample> = Vec::new();
        for (index, sample) in samples(&series, true).into_iter().enumerate() {
            match index % 7 {
                // Failed scrapes report nothing, zero, or nonsense.
                1 => kept.push(Sample { memory: 0.0, ..sample }),
                2 => kept.push(Sample { memory: f64::NAN, ..sample }),
                3 if index / 60 % 9 == 4 => {}
                _ => kept.push(sample),
            }
        }
        for pair in kept.chunks_mut(5) {
            pair.reverse();
        }
        let answer = assess(kept, &LeakConfig::default());
        assert!(right(&series, &answer), "{}: {answer:?}", series["id"]);
        assert!(answer.ignored > 0);
    }
}

#[test]
fn the_unit_does_not_matter() {
    for series in series().iter().step_by(5) {
        let before = assess(samples(series, true), &LeakConfig::default());
        let scaled = samples(series, true).into_iter().map(|sample| Sample {
            memory: sample.memory / 1024.0,
            limit: sample.limit.map(|limit| limit / 1024.0),
            ..sample
        });
        let after = assess(scaled.collect(), &LeakConfig::default());
        let told = |answer: &Assessment| (answer.verdict, answer.first_suspected_at, answer.first_confirmed_at);
        assert_eq!(told(&before), told(&after), "{}", series["id"]);
    }
}

#[test]
fn the_growth_that_is_told_is_the_one_there_is() {
    for series in series().iter().filter(|series| series["kind"] == "linear_leak") {
        let answer = assess(samples(series, true), &LeakConfig::default());
        let (rate, found) = (series["rate_pct_per_h"].as_f64().unwrap(), answer.slope_pct_per_h.unwrap());
        assert!((found / rate - 1.0).abs() < 0.2, "{}: {found}", series["id"]);
        let limit = series["limit_mb"].as_f64().unwrap() * 1e6;
        let hours = (limit - answer.memory_bytes) / (rate / 100.0 * 500e6);
        assert!((answer.eta_h.unwrap() / hours - 1.0).abs() < 0.2, "{}: {answer:?}, {hours}", series["id"]);
    }
}

#[test]
fn the_compatible_rule_is_what_everybody_knows() {
    let config = LeakConfig { rule: LeakRule::Compatible, ..LeakConfig::default() };
    let (mut hits, mut false_alarms) = (0, 0);
    for series in series() {
        let confirmed = assess(samples(&series, true), &config).first_confirmed_at.is_some();
        if series["label"] == "leak" { hits += u32::from(confirmed) } else { false_alarms += u32::from(confirmed) }
    }
    // Precision about one half: it takes warm-ups and steps for leaks.
    assert!(false_alarms >= 5 && hits >= 5, "{hits} {false_alarms}");
}
