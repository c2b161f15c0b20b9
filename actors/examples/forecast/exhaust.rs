//! Time to exhaustion beside `predict_linear`: a line through the last day.
//!
//! Disks and memories of three weeks of hours with a daily wave of 5 to 20 % of the limit and noise of 0.5 %. Half of them grow so that
//! they reach the limit 12 to 60 hours after a look, half do not grow. At every sixth hour of the last week both are asked: will the
//! limit be reached within 24 hours?

use super::chance::Chance;
use homeostat_actors::forecast::{Wish, exhaustion, forecast};

const SERIES: u64 = 60;
const HOURS: usize = 24 * 21;

pub(crate) fn run(seed: u64) {
    println!("\nTime to exhaustion, seed {seed}: {} series, looked at every sixth hour of a week", 2 * SERIES);
    let (mut false_own, mut false_line, mut own, mut line, mut due) = (0_u32, 0_u32, 0_u32, 0_u32, 0_u32);
    let (mut off_own, mut off_line, mut in_band) = (Vec::new(), Vec::new(), 0_u32);
    let (mut looks_quiet, mut bands) = (0_u32, 0_u32);
    for number in 0..2 * SERIES {
        let mut chance = Chance::new(seed * 7_777_777 + number);
        let grows = number % 2 == 0;
        let wave = 0.05 + 0.15 * chance.unit();
        let phase = chance.unit();
        let start = if grows { 0.2 } else { 0.3 + (0.62 - wave) * chance.unit() };
        let slope = if grows { (1.0 - wave - start) / (HOURS as f64 - 48.0 + 60.0 * chance.unit()) } else { 0.0 };
        let values: Vec<f64> = (0..HOURS + 72)
            .map(|t| {
                let turn = std::f64::consts::TAU * (t as f64 / 24.0 + phase);
                start + slope * t as f64 + wave * turn.sin() + 0.005 * chance.normal()
            })
            .collect();
        let first = values.iter().position(|v| *v >= 1.0).unwrap_or(usize::MAX);
        for now in (HOURS - 168..HOURS).step_by(6).take_while(|now| *now < first) {
            let past = &values[..now];
            let truth = first.saturating_sub(now);
            let outlook = forecast(past, &Wish { horizon: 72, level: 0.95, periods: Some(vec![24]), step_ms: None }).unwrap();
            let means: Vec<f64> = outlook.steps.iter().map(|step| step.mean).collect();
            let found = exhaustion(past, &[24], &means, 1.0).unwrap();
            let ours = found.p50.map(|hours| hours as usize);
            let linear = predict_linear(&past[past.len() - 24..], 1.0);
            if truth <= 24 {
                due += 1;
                own += u32::from(ours.is_some_and(|hours| hours <= 24));
                line += u32::from(linear.is_some_and(|hours| hours <= 24.0));
                off_own.push(ours.map_or(72.0, |hours| (hours as f64 - truth as f64).abs()));
                off_line.push(linear.map_or(72.0, |hours| (hours - truth as f64).abs().min(72.0)));
                bands += 1;
                let early = found.p10.is_some_and(|hours| hours as usize <= truth + 1);
                in_band += u32::from(early && found.p90.is_none_or(|hours| hours as usize + 1 >= truth));
            } else if truth > 72 {
                looks_quiet += 1;
                false_own += u32::from(ours.is_some_and(|hours| hours <= 24));
                false_line += u32::from(linear.is_some_and(|hours| hours <= 24.0));
            }
        }
    }
    let median = |list: &mut Vec<f64>| {
        list.sort_unstable_by(f64::total_cmp);
        list.get(list.len() / 2).copied().unwrap_or(f64::NAN)
    };
    println!("{due} looks within 24 h of the limit; {looks_quiet} with more than 72 h or no end");
    println!(
        "paths           found {own}, false {false_own}, median error {:.1} h, 10 to 90 % around the truth in {in_band} of {bands}",
        median(&mut off_own)
    );
    println!("predict_linear  found {line}, false {false_line}, median error {:.1} h", median(&mut off_line));
}

/// Hours until a least-squares line reaches the limit.
fn predict_linear(values: &[f64], limit: f64) -> Option<f64> {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (t, v) in values.iter().enumerate() {
        xy += (t as f64 - middle) * (v - mean);
        xx += (t as f64 - middle).powi(2);
    }
    let slope = xy / xx;
    let end = mean + slope * middle;
    (slope > 0.0).then(|| ((limit - end) / slope).max(0.0))
}
