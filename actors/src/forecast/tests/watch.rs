//! The watch: what is an incident, and what is not.

use super::outlook::{chance, normal};
use crate::forecast::{Anomalies, Turn, Watch, anomalies, threshold};
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;

fn daily(n: usize) -> Vec<f64> {
    let mut draw = chance(23);
    (0..n).map(|t| 100.0 + 20.0 * (std::f64::consts::TAU * t as f64 / 24.0).sin() + 2.0 * normal(&mut draw)).collect()
}

fn watch(values: &[f64]) -> Anomalies {
    anomalies(values, None, Some(HOUR), threshold(Some(HOUR), 1.0))
}

/// Starts of incidents after the first three weeks.
fn starts(values: &[f64]) -> Vec<u64> {
    watch(values).incidents.iter().map(|incident| incident.start).filter(|start| *start >= 24 * 21).collect()
}

#[test]
fn an_undisturbed_year_is_quiet() {
    assert!(starts(&daily(24 * 365)).len() <= 4, "{:?}", starts(&daily(24 * 365)));
}

#[test]
fn a_spike_is_one_incident_and_echoes_nowhere() {
    let mut values = daily(24 * 60);
    values[1_000] += 30.0;
    let seen = watch(&values);
    let found: Vec<_> = seen.incidents.iter().filter(|incident| incident.start > 504).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].start, found[0].end, found[0].value), (1_000, 1_000, values[1_000]));
    assert!((found[0].expected - (values[1_000] - 30.0)).abs() < 10.0 && found[0].p < 1e-5, "{:?}", found[0]);
    assert!(seen.p[1_024].unwrap() > 1e-4);
}

#[test]
fn alarms_on_even_p_values_keep_to_the_budget() {
    for (seed, distance) in [(1, 720.0_f64), (2, 2_000.0), (3, 8_640.0)] {
        let (mut watch, mut draw, mut alarms) = (Watch::default(), chance(seed), 0_u32);
        for place in 0..1_000_000 {
            if watch.weigh(place, draw().max(1e-15), 0.0, 0.0, distance.ln(), 12) == Turn::Began {
                // Anew: what the last one asks of the next is another matter.
                (watch, alarms) = (Watch::default(), alarms + 1);
            }
        }
        let share = f64::from(alarms) * distance / 1e6;
        assert!((0.5..=1.05).contains(&share), "{alarms} alarms at one in {distance}: {share} of the budget");
    }
}

#[test]
fn a_value_that_shows_an_incident_by_itself_is_where_it_begins() {
    let mut watch = Watch::default();
    for place in 0..3 {
        assert_eq!(watch.weigh(place, 0.01, 0.0, 0.0, 9.0, 12), Turn::None);
    }
    assert_eq!(watch.weigh(3, 1e-9, 7.0, 0.0, 9.0, 12), Turn::Began);
    assert_eq!(watch.incident().map(|incident| (incident.start, incident.value)), Some((3, 7.0)));
}

#[test]
fn a_new_level_is_one_incident_and_then_the_way_things_are() {
    let mut values = daily(24 * 60);
    values[1_000..].iter_mut().for_each(|v| *v += 40.0);
    let found = watch(&values).incidents;
    let found: Vec<_> = found.iter().filter(|incident| incident.start > 504).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].start.abs_diff(1_000) <= 1 && found[0].end < 1_100, "{:?}", found[0]);
}

#[test]
fn a_gap_is_no_incident() {
    let mut values = daily(24 * 60);
    for gap in [700..701, 800..803, 900..960] {
        values[gap].fill(f64::NAN);
    }
    assert_eq!(starts(&values), [0_u64; 0]);
    let seen = watch(&values);
    assert!(seen.p[700].is_none() && seen.expected[700].is_some());
}

#[test]
fn what_never_moved_and_then_does_is_seen() {
    let mut values = vec![5.0; 600];
    assert_eq!(watch(&values).incidents, []);
    values[500] = 7.0;
    let found = watch(&values).incidents;
    assert_eq!(found.iter().map(|incident| (incident.start, incident.end)).collect::<Vec<_>>(), [(500, 500)]);
}

#[test]
fn a_large_offset_changes_nothing() {
    let mut values: Vec<f64> = daily(24 * 60).iter().map(|v| v + 1e12).collect();
    values[1_000] += 30.0;
    assert_eq!(starts(&values), [1_000]);
}

#[test]
fn too_little_to_say_is_nothing_said() {
    for n in 0..30 {
        let seen = watch(&daily(n));
        assert!(seen.p.len() == n && seen.p.iter().all(Option::is_none) && seen.incidents.is_empty());
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -10.0..10.0_f64,
        1 => prop::sample::select(vec![0.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, 1e99, -1e99, 1e-308, 1e12]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_extreme_breaks_a_promise(values in prop::collection::vec(value(), 0..400), wild in 0_usize..3) {
        // Some series are wild all along, some only now and then.
        let values: Vec<f64> = values.iter().enumerate().map(|(t, v)| if wild == 0 || t % 17 == 0 { *v } else { (t % 12) as f64 }).collect();
        let seen = anomalies(&values, None, None, 5.0);
        prop_assert!(seen.p.iter().flatten().all(|p| *p > 0.0 && *p <= 1.0));
        prop_assert!(seen.expected.iter().flatten().all(|v| v.is_finite()));
        let mut watch = Watch::default();
        for value in values {
            watch.push(value, 5.0, 6, 64);
            if watch.wants_model() {
                match crate::forecast::WatchModel::fit(watch.history(), None, None) {
                    Some(model) => watch.learn(model),
                    None => watch.no_model(),
                }
            }
            prop_assert_eq!(watch.broken_promise(64), None);
        }
    }
}
