//! Faults put into series whose truth is known: which are found, how soon, and how often nothing is called something.
//!
//! Series: a level of 1 to 10,000, a daily wave with an overtone of 10 to 50 % of it, for half of them weaker at weekends, noise of 1 to
//! 6 %, correlated from value to value by 0, 0.3, 0.6 or 0.9; for three in ten with the heavy tails of Student's t with four degrees of
//! freedom. One fault a series, in the second half.

use super::chance::Chance;
use super::cpu;
use super::oracle::{Oracle, Truth};
use homeostat_actors::forecast::{anomalies, quiet, threshold};

const SERIES: u64 = 100;
const DAY: u64 = 86_400_000;

pub(crate) fn run(seed: u64) {
    println!("\nFaults of known place, seed {seed}, {SERIES} series a row");
    println!("fault      step    recall   normal noise   heavy tails   false/series-month  delay, steps");
    let (began, mut values) = (cpu(), 0);
    for kind in ["none", "shift", "spike", "leak", "variance", "dropout", "season"] {
        for (name, step, day) in [("5 min", 300_000, 288_usize), ("hour", 3_600_000, 24)] {
            let n = day * if day == 288 { 21 } else { 90 };
            let from = day * if day == 288 { 8 } else { 21 };
            let (mut hit, mut all) = ([0_u32; 2], [0_u32; 2]);
            let (mut wrong, mut months, mut delays) = (0_u32, 0.0, Vec::new());
            let mut best = Best::of(kind, step);
            for number in 0..SERIES {
                let mut chance = Chance::new(seed * 1_000_003 + number * 7_919 + day as u64);
                let (mut series, truth) = make(&mut chance, n, day);
                let heavy = truth.heavy;
                let fault = put(kind, &mut chance, &mut series, truth.noise, day, from);
                let seen = anomalies(&series, None, Some(step), threshold(Some(step), 1.0));
                values += n;
                months += (n - from) as f64 * step as f64 / (30 * DAY) as f64;
                let mut found = false;
                for start in seen.incidents.iter().map(|found| usize::try_from(found.start).unwrap()).filter(|start| *start >= from) {
                    match fault {
                        Some((at, until, _)) if (at.saturating_sub(2)..=until).contains(&start) => {
                            if !found {
                                delays.push(start as i64 - at as i64);
                            }
                            found = true;
                        }
                        // The rest of a fault that was found, and its end.
                        Some((at, _, over)) if (at..=over).contains(&start) => {}
                        _ => wrong += 1,
                    }
                }
                if fault.is_some() {
                    all[usize::from(heavy)] += 1;
                    hit[usize::from(heavy)] += u32::from(found);
                }
                best.look(&series, &truth, fault, from, step);
            }
            delays.sort_unstable();
            println!(
                "{kind:<10} {name:<6} {:>7} {:>14} {:>13} {:>20.3} {:>13}",
                share(hit[0] + hit[1], all[0] + all[1]),
                share(hit[0], all[0]),
                share(hit[1], all[1]),
                f64::from(wrong) / months,
                delays.get(delays.len() / 2).map_or("-".to_owned(), ToString::to_string)
            );
            best.print(months);
        }
    }
    println!("processor time a value, fits included: {:.2} µs", 1e6 * (cpu() - began) / values as f64);
}

/// What an oracle finds in the same series, where there is one for the fault.
struct Best {
    oracles: Vec<Oracle>,
    hit: [u32; 2],
    all: [u32; 2],
    wrong: u32,
}

impl Best {
    fn of(kind: &str, step: u64) -> Best {
        let values = usize::try_from(30 * DAY / step).unwrap();
        let kinds = KEPT.into_iter().flat_map(|kept| [(kept, false), (kept, true)]);
        let oracles =
            if kind == "spike" { kinds.map(|(kept, heavy)| Oracle::of_spikes(kept, heavy, values)).collect() } else { Vec::new() };
        Best { oracles, hit: [0; 2], all: [0; 2], wrong: 0 }
    }

    fn look(&mut self, series: &[f64], truth: &Truth, fault: Option<(usize, usize, usize)>, from: usize, step: u64) {
        let Some((oracle, (at, until, over))) = self.oracles.iter().find(|oracle| oracle.knows(truth)).zip(fault) else { return };
        let alarms = oracle.alarms(series, truth, from, quiet(Some(step)));
        let inside = |range: std::ops::RangeInclusive<usize>| alarms.iter().filter(|alarm| range.contains(alarm)).count();
        self.all[usize::from(truth.heavy)] += 1;
        self.hit[usize::from(truth.heavy)] += u32::from(inside(at.saturating_sub(2)..=until) > 0);
        self.wrong += u32::try_from(alarms.len() - inside(at.saturating_sub(2)..=over)).unwrap();
    }

    fn print(&self, months: f64) {
        if !self.oracles.is_empty() {
            let [normal, heavy] = [0, 1].map(|k| share(self.hit[k], self.all[k]));
            let whole = share(self.hit[0] + self.hit[1], self.all[0] + self.all[1]);
            println!("{:<17} {whole:>7} {normal:>14} {heavy:>13} {:>20.3}", "  oracle", f64::from(self.wrong) / months);
        }
    }
}

fn share(hit: u32, all: u32) -> String {
    if all == 0 { "-".to_owned() } else { format!("{:.3}", f64::from(hit) / f64::from(all)) }
}

/// How much of the noise is kept from value to value.
const KEPT: [f64; 4] = [0.0, 0.3, 0.6, 0.9];

fn make(chance: &mut Chance, n: usize, day: usize) -> (Vec<f64>, Truth) {
    let level = 10_f64.powf(4.0 * chance.unit());
    let wave = level * (0.1 + 0.4 * chance.unit());
    let noise = level * (0.01 + 0.05 * chance.unit());
    let kept = KEPT[(4.0 * chance.unit()) as usize];
    let (heavy, week, phase) = (chance.unit() < 0.3, chance.unit() < 0.5, chance.unit());
    let fresh = (1.0 - kept * kept).sqrt();
    let mut error = 0.0;
    let (mut series, mut means) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for t in 0..n {
        error = kept * error + fresh * if heavy { chance.heavy() } else { chance.normal() };
        let turn = std::f64::consts::TAU * (t as f64 / day as f64 + phase);
        let weekend = if week && t / day % 7 >= 5 { 0.6 } else { 1.0 };
        let mean = level + wave * weekend * (turn.sin() + 0.3 * (2.0 * turn).sin());
        series.push(mean + noise * error);
        means.push(mean);
    }
    (series, Truth { means, noise, kept, heavy })
}

/// Where a fault begins, until when it counts as found, and until when nothing is called false; all in steps.
fn put(kind: &str, chance: &mut Chance, series: &mut [f64], noise: f64, day: usize, from: usize) -> Option<(usize, usize, usize)> {
    let n = series.len();
    let length = match kind {
        "spike" => 1 + (2.0 * chance.unit()) as usize,
        "shift" | "leak" => n,
        "variance" => day,
        "dropout" => 6 + (20.0 * chance.unit()) as usize,
        "season" => 2 * day,
        _ => return None,
    };
    let at = from + day + ((n - from - 4 * day) as f64 * chance.unit()) as usize;
    let end = (at + length).min(n);
    let sign = if chance.unit() < 0.5 { -1.0 } else { 1.0 };
    let size = (if kind == "spike" { 8.0 } else { 5.0 } + 4.0 * chance.unit()) * noise;
    let mean = series.iter().sum::<f64>() / n as f64;
    for (t, value) in series[..end].iter_mut().enumerate().skip(at) {
        match kind {
            "spike" | "shift" => *value += sign * size,
            "leak" => *value += size * (t - at) as f64 / (2 * day) as f64,
            "variance" => *value += 4.0 * noise * chance.normal(),
            "dropout" => *value = 0.0,
            _ => *value = mean + noise * chance.normal(),
        }
    }
    let grace = match kind {
        "leak" | "season" | "variance" => 2 * day,
        "shift" => day.min(24),
        _ => 3,
    };
    Some((at, (at + length.min(grace) + grace).min(n), (end + 2 * day).min(n)))
}
