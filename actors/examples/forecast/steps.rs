//! Forecasts soon after a level changed: four weeks of a daily wave, for half of the rows another one at weekends, and a step of −50 %, −30 %,
//! +30 % or +100 % of the whole (the wave with it) or of the level alone, half a day to three days before the end. Beside it the seasonal
//! naive forecasts by day and by week.

use super::chance::Chance;
use homeostat_actors::forecast::{Wish, forecast};

const SERIES: u64 = 24;

pub(crate) fn run(seed: u64) {
    println!("\nForecasts after a step, seed {seed}, {SERIES} series a row; medians of the mean absolute error in units of the noise");
    println!("step   season    days since   ours   naive, day   naive, week   ours/better naive   covered of 95 %");
    for (name, step, day, ahead) in [("hour", 3_600_000, 24, 48), ("5 min", 300_000, 288, 288)] {
        for week in [false, true] {
            for since in [None, Some(0.5), Some(1.0), Some(2.0), Some(3.0)] {
                let (mut errors, mut ratios, mut covered) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new(), 0_usize);
                for number in 0..SERIES {
                    let mut chance = Chance::new(seed * 1_000_003 + number * 7_919 + day as u64 + u64::from(week));
                    let (values, noise) = make(&mut chance, day, ahead, week, since);
                    let (past, truth) = values.split_at(28 * day);
                    let wish = Wish { horizon: ahead, level: 0.95, periods: None, step_ms: Some(step) };
                    let outlook = forecast(past, &wish).unwrap();
                    let naive = |m: usize| truth.iter().enumerate().map(|(k, v)| (v - past[past.len() - m + k % m]).abs()).sum::<f64>();
                    let ours: f64 = truth.iter().zip(&outlook.steps).map(|(v, step)| (v - step.mean).abs()).sum();
                    covered += truth.iter().zip(&outlook.steps).filter(|(v, step)| (step.lower..=step.upper).contains(v)).count();
                    let (by_day, by_week) = (naive(day), naive(7 * day));
                    ratios.push(ours / by_day.min(by_week));
                    for (list, error) in errors.iter_mut().zip([ours, by_day, by_week]) {
                        list.push(error / ahead as f64 / noise);
                    }
                }
                let [ours, by_day, by_week] = errors.map(middle);
                println!(
                    "{name:<6} {:<9} {:>10} {ours:>6.2} {by_day:>12.2} {by_week:>13.2} {:>19.2} {:>15.1} %",
                    if week { "day, week" } else { "day" },
                    since.map_or("never".to_owned(), |days: f64| days.to_string()),
                    middle(ratios),
                    100.0 * covered as f64 / (SERIES as usize * ahead) as f64
                );
            }
        }
    }
}

fn make(chance: &mut Chance, day: usize, ahead: usize, week: bool, since: Option<f64>) -> (Vec<f64>, f64) {
    let level = 10_f64.powf(4.0 * chance.unit());
    let wave = level * (0.1 + 0.4 * chance.unit());
    let noise = level * (0.01 + 0.04 * chance.unit());
    let kept: f64 = [0.0, 0.3, 0.6, 0.9][(4.0 * chance.unit()) as usize];
    let (phase, factor, whole) = (chance.unit(), [0.5, 0.7, 1.3, 2.0][(4.0 * chance.unit()) as usize], chance.unit() < 0.5);
    // The end lies anywhere in a week.
    let shift = (7.0 * chance.unit()) as usize;
    let fresh = (1.0 - kept * kept).sqrt();
    let at = since.map_or(usize::MAX, |days| 28 * day - (days * day as f64) as usize);
    let mut error = 0.0;
    let values = (0..28 * day + ahead).map(|t| {
        error = kept * error + fresh * chance.normal();
        let turn = std::f64::consts::TAU * (t as f64 / day as f64 + phase);
        let weekend = if week && (t / day + shift) % 7 >= 5 { 0.6 } else { 1.0 };
        let mean = level + wave * weekend * (turn.sin() + 0.3 * (2.0 * turn).sin());
        let mean = if t < at {
            mean
        } else if whole {
            mean * factor
        } else {
            mean + level * (factor - 1.0)
        };
        mean + noise * error
    });
    (values.collect(), noise)
}

fn middle(mut list: Vec<f64>) -> f64 {
    list.sort_unstable_by(f64::total_cmp);
    list[list.len() / 2]
}
