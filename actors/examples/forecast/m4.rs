//! M4 hourly: accuracy, coverage, cost. The measures are those of the competition (Makridakis, Spiliotis and Assimakopoulos 2020).

use super::cpu;
use homeostat_actors::forecast::{Member, Watch, WatchModel, Wish, alone, fit, forecast};
use std::collections::BTreeMap;
use std::path::Path;

struct Case {
    train: Vec<f64>,
    test: Vec<f64>,
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    text.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect()).collect()
}

fn numbers(row: &[String]) -> Vec<f64> {
    row.iter().filter_map(|cell| cell.parse().ok()).collect()
}

fn hours(data: &Path) -> Vec<Case> {
    let read = |name: &str| rows(&data.join("m4_hourly").join(name));
    let test: BTreeMap<String, Vec<f64>> = read("test.csv").iter().map(|row| (row[0].clone(), numbers(&row[1..]))).collect();
    read("train.csv").iter().map(|row| Case { train: numbers(&row[1..]), test: test[&row[0]].clone() }).collect()
}

/// Naive2: the naive forecast of the series without its season where a test at 90 % finds one (as in the competition's code).
fn naive2(train: &[f64], m: usize, horizon: usize) -> Vec<f64> {
    let n = train.len();
    let mean = train.iter().sum::<f64>() / n as f64;
    let variance: f64 = train.iter().map(|v| (v - mean).powi(2)).sum();
    let acf = |lag: usize| train.iter().zip(&train[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / variance;
    let limit = 1.645 * ((1.0 + 2.0 * (1..m).map(|lag| acf(lag).powi(2)).sum::<f64>()) / n as f64).sqrt();
    let mut index = vec![1.0; m];
    if n >= 3 * m && acf(m).abs() > limit {
        let (mut sum, mut count) = (vec![0.0; m], vec![0.0; m]);
        for t in m / 2..n - m / 2 {
            let window = &train[t - m / 2..t + m.div_ceil(2)];
            let even = if m.is_multiple_of(2) { 0.5 * (train[t + m / 2] - train[t - m / 2]) } else { 0.0 };
            sum[t % m] += train[t] / ((window.iter().sum::<f64>() + even) / m as f64);
            count[t % m] += 1.0;
        }
        index = sum.iter().zip(&count).map(|(s, c): (&f64, &f64)| s / c).collect();
        let mean = index.iter().sum::<f64>() / m as f64;
        index.iter_mut().for_each(|s| *s /= mean);
    }
    (0..horizon).map(|k| train[n - 1] / index[(n - 1) % m] * index[(n + k) % m]).collect()
}

/// Sums over series.
#[derive(Default, Clone, Copy)]
struct Score {
    smape: f64,
    mase: f64,
    covered: f64,
    msis: f64,
    n: f64,
}

impl Score {
    fn add(&mut self, case: &Case, m: usize, mean: &[f64], ends: Option<&[(f64, f64)]>) {
        let Case { train, test } = case;
        let scale = train.iter().zip(&train[m..]).map(|(a, b)| (a - b).abs()).sum::<f64>() / (train.len() - m) as f64;
        let h = test.len() as f64;
        self.n += 1.0;
        for (k, (f, y)) in mean.iter().zip(test).enumerate() {
            self.smape += 200.0 * (y - f).abs() / (y.abs() + f.abs()).max(1e-12) / h;
            self.mase += (y - f).abs() / scale / h;
            if let Some((low, high)) = ends.map(|ends| ends[k]) {
                self.covered += f64::from(u8::from((low..=high).contains(y))) / h;
                self.msis += ((high - low) + 40.0 * (low - y).max(0.0) + 40.0 * (y - high).max(0.0)) / scale / h;
            }
        }
    }

    fn line(&self, name: &str, base: Option<&Score>) {
        let owa = base.map(|base| 0.5 * (self.smape / base.smape + self.mase / base.mase));
        let (smape, mase) = (self.smape / self.n, self.mase / self.n);
        let owa = owa.map_or(String::new(), |owa| format!("OWA {owa:.4}"));
        let ends = if self.msis > 0.0 {
            format!("coverage {:.2} %  MSIS {:.2}", 100.0 * self.covered / self.n, self.msis / self.n)
        } else {
            String::new()
        };
        println!("{name:<34} sMAPE {smape:7.3}  MASE {mase:7.4}  {owa}  {ends}");
    }
}

fn study(title: &str, cases: &[Case], m: usize, wish: &Wish) {
    println!("\n{title}");
    let (mut halves, mut bases) = ([Score::default(); 2], [Score::default(); 2]);
    let began = cpu();
    let outlooks: Vec<_> = cases.iter().map(|case| forecast(&case.train, wish).unwrap()).collect();
    let each = (cpu() - began) / cases.len() as f64;
    for (index, (case, outlook)) in cases.iter().zip(&outlooks).enumerate() {
        let means: Vec<f64> = outlook.steps.iter().map(|step| step.mean).collect();
        let ends: Vec<(f64, f64)> = outlook.steps.iter().map(|step| (step.lower, step.upper)).collect();
        halves[index % 2].add(case, m, &means, Some(&ends));
        bases[index % 2].add(case, m, &naive2(&case.train, m, case.test.len()), None);
    }
    let whole = |halves: &[Score; 2]| {
        let [a, b] = halves;
        Score { smape: a.smape + b.smape, mase: a.mase + b.mase, covered: a.covered + b.covered, msis: a.msis + b.msis, n: a.n + b.n }
    };
    let base = whole(&bases);
    base.line("Naive2", Some(&base));
    for member in Member::ALL {
        let Some(periods) = &wish.periods else { break };
        let mut score = Score::default();
        for case in cases {
            let path = alone(member, &case.train, periods, wish.horizon);
            score.add(case, m, &path.or_else(|| alone(Member::SeasonalNaive, &case.train, periods, wish.horizon)).unwrap(), None);
        }
        score.line(&format!("{} alone", member.name()), Some(&base));
    }
    whole(&halves).line("portfolio", Some(&base));
    halves[0].line("  tuned on (every other series)", Some(&bases[0]));
    halves[1].line("  the rest", Some(&bases[1]));
    println!("processor time a series: {:.2} ms", 1e3 * each);
}

pub(crate) fn hourly(data: &Path) {
    let cases = hours(data);
    let wish = Wish { horizon: 48, level: 0.95, periods: Some(vec![24, 168]), step_ms: None };
    study("M4 hourly, 48 hours, seasons given", &cases, 24, &wish);
    study("M4 hourly, 48 hours, seasons found", &cases, 24, &Wish { periods: None, ..wish });
    streaming(&cases);
}

/// Coverage of one-step intervals while the watch learns: p > 0.05 is inside a 95 % interval.
fn streaming(cases: &[Case]) {
    let (mut inside, mut all) = (0_u64, 0_u64);
    for case in cases {
        let mut watch = Watch::default();
        for v in case.train.iter().chain(&case.test) {
            let sight = watch.push(*v, 1e9, 12, 4_096);
            if let Some(p) = sight.p.filter(|_| watch.seen() > 400) {
                all += 1;
                inside += u64::from(p > 0.05);
            }
            if watch.wants_model() {
                match WatchModel::fit(watch.history(), None, None) {
                    Some(model) => watch.learn(model),
                    None => watch.no_model(),
                }
            }
        }
    }
    println!("\nstreaming, one step ahead: {:.2} % of {all} values inside their 95 % interval", 100.0 * inside as f64 / all as f64);
}

pub(crate) fn daily(data: &Path) {
    let mut parts: BTreeMap<String, Case> = BTreeMap::new();
    for row in rows(&data.join("m4_hourly/daily_means.csv")).into_iter().skip(1) {
        let case = parts.entry(row[0].clone()).or_insert_with(|| Case { train: Vec::new(), test: Vec::new() });
        *(if row[1] == "train" { &mut case.train } else { &mut case.test }) = numbers(&row[2..]);
    }
    let cases: Vec<Case> = parts.into_values().collect();
    let wish = Wish { horizon: 7, level: 0.95, periods: Some(vec![7]), step_ms: None };
    study("Daily means, 7 days from 24 to 35 days, season given", &cases, 7, &wish);
}

pub(crate) fn cost(data: &Path) {
    println!("\nCost, processor time");
    let cases = hours(data);
    let timed = |name: &str, times: usize, work: &mut dyn FnMut()| {
        work();
        let began = cpu();
        (0..times).for_each(|_| work());
        println!("{name:<64} {:10.2} µs", 1e6 * (cpu() - began) / (times * cases.len()) as f64);
    };
    let periods = [24, 168];
    timed("seasonal autoregression, fit and 48 steps", 20, &mut || {
        for case in &cases {
            std::hint::black_box(alone(Member::SarRaw, &case.train, &periods, 48));
        }
    });
    timed("full portfolio, seasons given, 48 steps with interval", 2, &mut || {
        for case in &cases {
            std::hint::black_box(
                forecast(&case.train, &Wish { horizon: 48, level: 0.95, periods: Some(periods.to_vec()), step_ms: None }).unwrap(),
            );
        }
    });
    let asks: Vec<_> = cases
        .iter()
        .map(|case| {
            let list: Vec<Option<f64>> = case.train.iter().map(|v| Some(*v)).collect();
            serde_json::json!({ "step_ms": 300_000, "cells": list, "hours": list, "horizon": 168, "level": 0.95, "limit": null })
        })
        .collect();
    timed("what a hand does: watch model, portfolio, 168 steps, JSON both ways", 2, &mut || {
        for ask in &asks {
            std::hint::black_box(fit(ask).unwrap());
        }
    });
    let mut watches: Vec<Watch> = Vec::new();
    for case in &cases {
        let mut watch = Watch::default();
        case.train.iter().for_each(|v| {
            watch.push(*v, 1e9, 144, 1_200);
        });
        if let Some(model) = WatchModel::fit(watch.history(), Some(&periods), None) {
            watch.learn(model);
        }
        watches.push(watch);
    }
    timed("one value: expected, p-value, evidence, learning", 500, &mut || {
        for (watch, case) in watches.iter_mut().zip(&cases) {
            let place = usize::try_from(watch.seen()).unwrap_or_default() % case.train.len();
            std::hint::black_box(watch.push(case.train[place], 1e9, 144, 1_200));
        }
    });
}
