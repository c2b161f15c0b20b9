//! The portfolio: series that are known to trip forecasters.

use crate::forecast::{Outlook, Wish, forecast};
use proptest::prelude::*;

fn wish(horizon: usize) -> Wish {
    Wish { horizon, level: 0.95, periods: None, step_ms: None }
}

/// Numbers that look like chance, the same every time.
pub(crate) fn chance(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// About a normal variable.
pub(crate) fn normal(draw: &mut impl FnMut() -> f64) -> f64 {
    (0..12).map(|_| draw()).sum::<f64>() - 6.0
}

fn daily(n: usize, at: f64, size: f64, noise: f64) -> Vec<f64> {
    let mut draw = chance(11);
    (0..n).map(|t| at + size * (std::f64::consts::TAU * t as f64 / 24.0).sin() + noise * normal(&mut draw)).collect()
}

fn sound(outlook: &Outlook, horizon: usize) {
    assert_eq!(outlook.steps.len(), horizon);
    for step in &outlook.steps {
        assert!(step.mean.is_finite() && step.lower.is_finite() && step.upper.is_finite(), "{step:?}");
        assert!(step.lower <= step.mean && step.mean <= step.upper, "{step:?}");
    }
    assert!(outlook.trials.iter().any(|trial| trial.used));
}

#[test]
fn a_daily_wave_goes_on_and_its_noise_is_the_interval() {
    let values = daily(24 * 21, 100.0, 20.0, 2.0);
    let outlook = forecast(&values, &wish(48)).unwrap();
    sound(&outlook, 48);
    assert_eq!(outlook.periods, [24]);
    for (k, step) in outlook.steps.iter().enumerate() {
        let truth = 100.0 + 20.0 * (std::f64::consts::TAU * (values.len() + k) as f64 / 24.0).sin();
        assert!((step.mean - truth).abs() < 3.0, "{k}: {step:?} is far from {truth}");
        assert!((5.0..14.0).contains(&(step.upper - step.lower)), "{k}: {step:?}");
    }
}

#[test]
fn a_large_offset_costs_no_precision() {
    let values = daily(24 * 21, 1e12, 20.0, 2.0);
    let outlook = forecast(&values, &wish(24)).unwrap();
    sound(&outlook, 24);
    for (k, step) in outlook.steps.iter().enumerate() {
        let truth = 1e12 + 20.0 * (std::f64::consts::TAU * (values.len() + k) as f64 / 24.0).sin();
        assert!((step.mean - truth).abs() < 4.0, "{k}: {} off", step.mean - truth);
    }
}

#[test]
fn a_line_goes_on_and_a_constant_stays() {
    let line: Vec<f64> = (0..200).map(|t| 5.0 + 0.5 * f64::from(t)).collect();
    let outlook = forecast(&line, &wish(20)).unwrap();
    sound(&outlook, 20);
    assert!((outlook.steps[19].mean - (5.0 + 0.5 * 219.0)).abs() < 3.0, "{:?}", outlook.steps[19]);
    for value in [0.0, 7.0, -3.0, 1e12, 1e300, 1e-300] {
        let outlook = forecast(&[value; 60], &wish(5)).unwrap();
        sound(&outlook, 5);
        assert!(outlook.steps.iter().all(|step| (step.mean - value).abs() <= value.abs() * 1e-9), "{value}: {:?}", outlook.steps[0]);
    }
}

#[test]
fn what_was_never_negative_is_not_expected_to_be() {
    let mut draw = chance(3);
    let values: Vec<f64> = (0..300).map(|_| if draw() < 0.7 { 0.0 } else { (10.0 * draw()).floor() }).collect();
    let outlook = forecast(&values, &wish(24)).unwrap();
    sound(&outlook, 24);
    assert!(outlook.steps.iter().all(|step| step.lower >= 0.0));
}

#[test]
fn gaps_and_one_spike_leave_the_rest_in_place() {
    let mut values = daily(24 * 21, 100.0, 20.0, 1.0);
    for gap in [30..42, 200..203, 400..430] {
        values[gap].fill(f64::NAN);
    }
    values[300] = 1e4;
    let outlook = forecast(&values, &wish(24)).unwrap();
    sound(&outlook, 24);
    for (k, step) in outlook.steps.iter().enumerate() {
        let truth = 100.0 + 20.0 * (std::f64::consts::TAU * (values.len() + k) as f64 / 24.0).sin();
        assert!((step.mean - truth).abs() < 15.0, "{k}: {step:?} is far from {truth}");
    }
}

#[test]
fn after_a_new_level_the_season_goes_on_from_there() {
    for back in [24, 48, 72] {
        for (factor, by) in [(2.0, 0.0), (0.5, 0.0), (1.3, 0.0), (1.0, 40.0), (1.0, -40.0)] {
            let mut values = daily(24 * 28 + 48, 100.0, 20.0, 2.0);
            values[24 * 28 - back..].iter_mut().for_each(|v| *v = *v * factor + by);
            let (past, truth) = values.split_at(24 * 28);
            let outlook = forecast(past, &Wish { step_ms: Some(3_600_000), ..wish(48) }).unwrap();
            sound(&outlook, 48);
            let off = |means: &mut dyn Iterator<Item = f64>| means.zip(truth).map(|(mean, v)| (mean - v).abs()).sum::<f64>() / 48.0;
            let ours = off(&mut outlook.steps.iter().map(|step| step.mean));
            let naive = off(&mut (0..48).map(|k| past[past.len() - 24 + k % 24]));
            assert!(ours <= naive, "{back} hours after times {factor} and {by}: {ours}, seasonal naive {naive}, {}", outlook.model());
        }
    }
}

#[test]
fn too_little_is_said_to_be_too_little() {
    for n in 0..8 {
        assert!(forecast(&vec![1.0; n], &wish(3)).is_err(), "{n}");
    }
    assert_eq!(
        forecast(&[f64::NAN, 1.0, 2.0], &wish(3)).unwrap_err().to_string(),
        "insufficient history: 2 known values, and 8 are needed"
    );
    for n in 8..40 {
        sound(&forecast(&daily(n, 10.0, 1.0, 1.0), &wish(12)).unwrap(), 12);
    }
}

#[test]
fn a_wrong_season_costs_little() {
    let values = daily(24 * 21, 100.0, 20.0, 2.0);
    for periods in [vec![10], vec![1], vec![7, 33, 250], vec![400], vec![0, 5_000_000], vec![24, 24, 168, 12, 6, 3]] {
        let outlook = forecast(&values, &Wish { periods: Some(periods.clone()), ..wish(24) }).unwrap();
        sound(&outlook, 24);
        let off = outlook
            .steps
            .iter()
            .enumerate()
            .map(|(k, step)| (step.mean - 100.0 - 20.0 * (std::f64::consts::TAU * (values.len() + k) as f64 / 24.0).sin()).abs());
        assert!(off.sum::<f64>() / 24.0 < 15.0, "{periods:?}: {}", outlook.model());
    }
}

#[test]
fn the_same_values_give_the_same_bits() {
    let values = daily(24 * 21, 100.0, 20.0, 2.0);
    let (a, b) = (forecast(&values, &wish(48)).unwrap(), forecast(&values, &wish(48)).unwrap());
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1e3..1e3_f64,
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 1e-308, 1e12, -1e12]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_extreme_makes_a_forecast_that_is_not_a_number(
        values in prop::collection::vec(value(), 0..120),
        horizon in 1_usize..60,
        periods in prop::option::of(prop::collection::vec(0_usize..50, 0..4)),
        step_ms in prop::option::of(prop::sample::select(vec![0_u64, 1, 60_000, 3_600_000, 86_400_000, u64::MAX])),
        level in 0.01..0.999_f64,
    ) {
        if let Ok(outlook) = forecast(&values, &Wish { horizon, level, periods, step_ms }) {
            prop_assert_eq!(outlook.steps.len(), horizon);
            for step in outlook.steps {
                prop_assert!(step.mean.is_finite() && step.lower <= step.mean && step.mean <= step.upper, "{:?}", step);
            }
        }
    }
}
