//! What the drift mind's promises are worth: false alarms without drift, delays with it, and two known data sets.
//!
//! ```sh
//! cargo run --release -p homeostat-actors --example drift_study -- false-alarms [HORIZONS] [SEED] [WORLD]
//! cargo run --release -p homeostat-actors --example drift_study -- delays [HORIZONS] [SEED]
//! cargo run --release -p homeostat-actors --example drift_study -- data DIR
//! ```
//!
//! A horizon is 30 days of 20 features with 300 values a day each, after a baseline of 14 days; the mind looks six times a day and
//! at the end of each. Everything goes through the mind itself: what is counted are its alerts. DIR holds `elec2.csv.gz` and
//! `nannyml_car_loan_{reference,analysis}.csv.gz`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use homeostat_actors::core::{Effect, Settings};
use homeostat_actors::drift::{DriftConfig, DriftCore, GIVE_BASELINE, Given, RuleSet};
use homeostat_actors::driver::Driver;
use homeostat_actors::stats::seeded::Seeded;
use homeostat_schemas::event::{Order, Sample, SampleValue};
use homeostat_schemas::time::DAY;
use homeostat_schemas::{Alert, Content, Delivery, Event, State, TraceContext, UnixMs};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

const START: UnixMs = 20_000 * DAY;
const FEATURES: u64 = 20;
const DAYS: u64 = 30;
const BASELINE_DAYS: u64 = 14;
const A_DAY: usize = 300;
const PARTS: u64 = 6;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| arguments.get(at).map_or(otherwise, |text| text.parse().expect("a number"));
    match arguments.first().map(String::as_str) {
        Some("false-alarms") => false_alarms(number(1, 2_000), number(2, 1), arguments.get(3)),
        Some("delays") => delays(number(1, 200), number(2, 1)),
        Some("data") => data(Path::new(arguments.get(1).expect("a folder"))),
        _ => println!("false-alarms [HORIZONS] [SEED] [WORLD] | delays [HORIZONS] [SEED] | data DIR"),
    }
}

/// A mind, and what it said.
struct Stand {
    driver: Driver<DriftCore>,
    position: u64,
    alerts: Vec<Alert>,
}

impl Stand {
    fn new(config: DriftConfig) -> Stand {
        Stand { driver: Driver::new("study", Settings { config, ..Settings::default() }), position: 0, alerts: Vec::new() }
    }

    fn feed(&mut self, at: UnixMs, content: Content) {
        self.position += 1;
        let delivery = Delivery { position: self.position, at, subject: String::new(), content, context: TraceContext::default() };
        for output in self.driver.step(&delivery) {
            if let Effect::Alert(alert) = output.effect {
                self.alerts.push(*alert);
            }
        }
    }

    fn give(&mut self, at: UnixMs, given: &Given) {
        let args = serde_json::to_value(given).unwrap();
        let order =
            Order { service: "study".into(), at_ms: at, action: GIVE_BASELINE.into(), target: "model".into(), args, ..Order::default() };
        self.feed(at, Content::Events(vec![Ok(order.into())]));
    }

    fn values(&mut self, at: UnixMs, features: impl IntoIterator<Item = (String, Vec<SampleValue>)>) {
        let events = features.into_iter().map(|(feature, values)| {
            let sample =
                Sample { service: "study".into(), at_ms: at, model: "model".into(), feature, values: Some(values), ..Sample::default() };
            Ok(Event::from(sample))
        });
        self.feed(at, Content::Events(events.collect()));
    }

    fn tick(&mut self, at: UnixMs) {
        self.feed(at, Content::Tick);
    }

    fn fired(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.state == State::Firing && alert.rule == "drift.shifted")
    }
}

/// What values look like when nothing changes.
#[derive(Clone, Copy)]
enum World {
    Normal,
    Lognormal,
    Pareto,
    Ties,
    Remembers(f64),
}

const WORLDS: [(&str, World); 6] = [
    ("normal", World::Normal),
    ("lognormal(0, 1.5)", World::Lognormal),
    ("Pareto(1.1)", World::Pareto),
    ("five whole numbers", World::Ties),
    ("AR(0.5)", World::Remembers(0.5)),
    ("AR(0.9)", World::Remembers(0.9)),
];

/// One feature's values, one after the other.
struct Source {
    world: World,
    seeded: Seeded,
    last: f64,
}

impl Source {
    fn new(world: World, seed: u64) -> Source {
        let mut seeded = Seeded::new(seed);
        let last = seeded.normal();
        Source { world, seeded, last }
    }

    fn next(&mut self, shift: f64) -> f64 {
        match self.world {
            World::Normal => self.seeded.normal() + shift,
            World::Lognormal => (1.5 * (self.seeded.normal() + shift)).exp(),
            World::Pareto => self.seeded.unit().powf(-1.0 / 1.1),
            World::Ties => [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 4.0][self.seeded.below(8) as usize],
            World::Remembers(memory) => {
                self.last = memory * self.last + (1.0 - memory * memory).sqrt() * self.seeded.normal();
                self.last + shift
            }
        }
    }

    fn day(&mut self, values: usize, shift: f64) -> Vec<SampleValue> {
        (0..values).map(|_| SampleValue::Number(self.next(shift))).collect()
    }
}

/// One horizon: baseline, then days; `shift` of the first feature from the beginning of a day on.
fn horizon(world: World, seed: u64, shift: Option<(f64, u64)>, a_day: usize, config: DriftConfig) -> Stand {
    let mut stand = Stand::new(config);
    let mut sources: Vec<Source> =
        (0..FEATURES).map(|feature| Source::new(world, seed.wrapping_mul(1_000_003).wrapping_add(feature))).collect();
    let config = stand.driver.settings().config.clone();
    for (feature, source) in sources.iter_mut().enumerate() {
        let values = source.day(a_day * BASELINE_DAYS as usize, 0.0);
        let at: Vec<UnixMs> = (0..values.len()).map(|i| START - BASELINE_DAYS * DAY + (i / a_day) as u64 * DAY).collect();
        stand.give(START, &Given::new(&format!("f{feature}"), &values, Some(&at), &config).unwrap());
    }
    stand.tick(START);
    for part in 0..DAYS * PARTS {
        let at = START + part * DAY / PARTS;
        let events: Vec<_> = sources
            .iter_mut()
            .enumerate()
            .map(|(feature, source)| {
                let by = shift.filter(|(_, day)| feature == 0 && part / PARTS >= *day).map_or(0.0, |(by, _)| by);
                (format!("f{feature}"), source.day(a_day / PARTS as usize, by))
            })
            .collect();
        stand.values(at + 1_000, events);
        stand.tick(at + DAY / PARTS);
    }
    stand
}

fn config(rule: RuleSet) -> DriftConfig {
    DriftConfig { rule, watch_ms: DAY / PARTS, ..DriftConfig::default() }
}

fn false_alarms(horizons: u64, seed: u64, only: Option<&String>) {
    println!("share of {horizons} horizons with any false alarm, seed {seed} (promise of the guarded rule: 0.05)");
    println!("{:<20} {:>8} {:>8} {:>10} {:>24}", "world", "guarded", "windows", "e-process", "compatible: any / a day");
    for (name, world) in WORLDS.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)) {
        let (mut any, mut windows, mut piled) = (0, 0, 0);
        for i in 0..horizons {
            let stand = horizon(world, seed.wrapping_add(i), None, A_DAY, config(RuleSet::Guarded));
            any += u64::from(stand.fired().next().is_some());
            windows += u64::from(stand.fired().any(|alert| alert.evidence.contains_key("ks_p")));
            piled += u64::from(stand.fired().any(|alert| alert.evidence.contains_key("e_value")));
        }
        // The compatible rule alarms so often that a tenth of the horizons tells it.
        let few = (horizons / 10).max(1);
        let (mut compatible, mut days) = (0, 0);
        for i in 0..few {
            let stand =
                horizon(world, seed.wrapping_add(i), None, A_DAY, DriftConfig { current_windows: 1, ..config(RuleSet::Compatible) });
            compatible += u64::from(stand.fired().next().is_some());
            days += stand.fired().map(|alert| alert.at_ms / DAY).collect::<BTreeSet<_>>().len();
        }
        let share = |n: u64, of: u64| n as f64 / of as f64;
        println!(
            "{name:<20} {:>8.4} {:>8.4} {:>10.4} {:>15.3} / {:.3}",
            share(any, horizons),
            share(windows, horizons),
            share(piled, horizons),
            share(compatible, few),
            share(days as u64, few * DAYS)
        );
    }
}

fn delays(horizons: u64, seed: u64) {
    println!("one of 20 features shifts at the beginning of day 10; {horizons} horizons each, seed {seed}");
    println!("{:<10} {:>8} {:>8} {:>8} {:>14} {:>14}", "world", "a day", "shift", "found", "median delay", "90 % delay");
    for (name, world, a_day) in [("normal", World::Normal, 300), ("normal", World::Normal, 3_000), ("AR(0.5)", World::Remembers(0.5), 300)]
    {
        for shift in [0.1, 0.25, 0.5] {
            let mut found: Vec<f64> = Vec::new();
            for i in 0..horizons {
                let stand = horizon(world, seed.wrapping_add(i), Some((shift, 10)), a_day, config(RuleSet::Guarded));
                let begin = START + 10 * DAY;
                let first = stand.fired().find(|alert| alert.labels["feature"] == "f0" && alert.at_ms >= begin);
                found.extend(first.map(|alert| (alert.at_ms - begin) as f64 / 3_600_000.0));
            }
            found.sort_by(f64::total_cmp);
            // Those that were never found come last.
            let at = |share: f64| {
                let place = (share * horizons as f64) as usize;
                found.get(place).map_or("> 20 days".to_owned(), |hours| format!("{hours:.0} h"))
            };
            println!("{name:<10} {a_day:>8} {shift:>6} σ {:>8.3} {:>14} {:>14}", found.len() as f64 / horizons as f64, at(0.5), at(0.9));
        }
    }
}

/// A gzipped CSV: header and rows.
fn read(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let file = std::fs::File::open(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    (header, lines.collect())
}

fn value(cell: &str) -> SampleValue {
    match cell.parse() {
        Ok(number) => SampleValue::Number(number),
        Err(_) if cell.is_empty() => SampleValue::Null,
        Err(_) => SampleValue::Text(cell.to_owned()),
    }
}

fn data(folder: &Path) {
    car_loan(folder);
    elec2(folder);
}

/// Ten chunks of 5,000 applications: the first five are as the reference, the last five are not.
fn car_loan(folder: &Path) {
    let (header, reference) = read(&folder.join("nannyml_car_loan_reference.csv.gz"));
    let (names, analysis) = read(&folder.join("nannyml_car_loan_analysis.csv.gz"));
    let column = |names: &[String], rows: &[Vec<String>], name: &str| -> Vec<SampleValue> {
        let at = names.iter().position(|known| known == name).unwrap();
        rows.iter().map(|row| value(&row[at])).collect()
    };
    let features: Vec<String> = names.iter().filter(|name| header.contains(name) && *name != "timestamp").cloned().collect();
    for rule in [RuleSet::Guarded, RuleSet::Compatible] {
        // A window is a chunk: its number is its time.
        let config = DriftConfig { watch_ms: DAY, current_windows: 1, ..config(rule) };
        let mut stand = Stand::new(config.clone());
        for name in &features {
            let values = column(&header, &reference, name);
            let at: Vec<UnixMs> = (0..values.len()).map(|i| START - 10 * DAY + (i / 5_000) as u64 * DAY).collect();
            stand.give(START, &Given::new(name, &values, Some(&at), &config).unwrap());
        }
        stand.tick(START);
        println!("car loan, {rule:?}: verdicts of 10 chunks of 5,000 (the last five are drifted)");
        for (chunk, rows) in analysis.chunks(5_000).enumerate() {
            let at = START + chunk as u64 * DAY;
            stand.values(at + 1_000, features.iter().map(|name| (name.clone(), column(&names, rows, name))).collect::<Vec<_>>());
            stand.tick(at + DAY);
            let view = stand.driver.view();
            let drifted: Vec<String> = view.models[0]
                .features
                .iter()
                .filter_map(|feature| Some((feature, feature.last?)))
                .filter(|(_, last)| last.verdict.is_drift())
                .map(|(feature, last)| format!("{} {} ({:.3})", feature.feature, last.verdict.name(), last.psi))
                .collect();
            println!("  chunk {}: {}", chunk + 1, if drifted.is_empty() { "none".to_owned() } else { drifted.join(", ") });
        }
    }
}

/// Half-hourly prices: until row 17,424 the prices of one state are constant.
fn elec2(folder: &Path) {
    let (names, rows) = read(&folder.join("elec2.csv.gz"));
    let features: Vec<(usize, &String)> =
        names.iter().enumerate().filter(|(_, name)| !["period", "class"].contains(&name.as_str())).collect();
    let config = config(RuleSet::Guarded);
    let mut stand = Stand::new(config.clone());
    let baseline = 48 * 7 * 26;
    for (at, name) in &features {
        let values: Vec<SampleValue> = rows[..baseline].iter().map(|row| value(&row[*at])).collect();
        let times: Vec<UnixMs> = (0..baseline).map(|i| START - 182 * DAY + i as u64 * DAY / 48).collect();
        stand.give(START, &Given::new(name, &values, Some(&times), &config).unwrap());
    }
    stand.tick(START);
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate().skip(baseline) {
        let at = START + (i - baseline) as u64 * DAY / 48;
        stand.values(at + 1_000, features.iter().map(|(at, name)| ((*name).clone(), vec![value(&row[*at])])).collect::<Vec<_>>());
        stand.tick(at + DAY / 48);
        for alert in stand.fired() {
            first.entry(alert.labels["feature"].clone()).or_insert(i);
        }
    }
    println!("Elec2, baseline 26 weeks: first alert of each feature (the change is at row 17,424, counted from 0)");
    let view = stand.driver.view();
    for feature in &view.models[0].features {
        let spread = feature.baseline.as_ref().and_then(|baseline| baseline.spread);
        let spread = spread.map_or("unknown".to_owned(), |spread| format!("{:.1}", spread.dispersion));
        let row = first.get(&feature.feature).map_or("never".to_owned(), |row| format!("row {row}"));
        println!("  {:<12} {row:<10} dispersion of days {spread}", feature.feature);
    }
}
