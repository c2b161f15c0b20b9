//! Stories of drift. Windows are minutes here, so that a month takes half an hour of ticks.

use super::*;
use crate::core::{Effect, Settings};
use crate::rig::{Rig, Story, at, message, survives_restart_anywhere};
use crate::stats::seeded::Seeded;
use expect_test::expect;
use homeostat_schemas::{Command, Content, Mode, Outcome, OutcomeStatus};
use serde_json::{Value, json};

const MINUTE: u64 = 60_000;

fn config() -> DriftConfig {
    DriftConfig {
        window_ms: MINUTE,
        watch_ms: MINUTE,
        horizon_ms: 30 * MINUTE,
        baseline_windows: 4,
        baseline_min: 200,
        renew_windows: 2,
        retrain_cooldown_ms: 2 * MINUTE,
        ..DriftConfig::default()
    }
}

fn sample(feature: &str, values: &[Value]) -> Value {
    json!({"kind": "sample", "model": "credit", "feature": feature, "values": values})
}

/// Minutes `from..to`, ten messages of `each` values a minute.
fn minutes(feature: &str, from: u32, to: u32, each: usize, mut value: impl FnMut() -> Value) -> Story {
    let mut story = Vec::new();
    for minute in from..to {
        for part in 0..10 {
            let values: Vec<Value> = (0..each).map(|_| value()).collect();
            story.push(at(f64::from(minute * 60 + part * 6) + 1.0, sample(feature, &values)));
        }
    }
    story
}

/// Numbers round `mean` with a deviation of 1.
fn normal(seed: u64, mean: f64) -> impl FnMut() -> Value {
    let mut seeded = Seeded::new(seed);
    move || json!(((seeded.normal() + mean) * 1e4).round() / 1e4)
}

fn together(stories: impl IntoIterator<Item = Story>) -> Story {
    let mut story: Story = stories.into_iter().flatten().collect();
    story.sort_by_key(|(at, _)| *at);
    story
}

fn rig() -> Rig<DriftCore> {
    Rig::with(config())
}

fn feature(rig: &Rig<DriftCore>, name: &str) -> FeatureView {
    let view = rig.driver().view();
    view.models.iter().flat_map(|model| &model.features).find(|feature| feature.feature == name).unwrap().clone()
}

#[test]
fn what_does_not_change_is_none_and_nothing_is_said() {
    let mut rig = rig();
    let income = minutes("income", 0, 40, 20, normal(1, 50.0));
    let mut levels = Seeded::new(2);
    let method = minutes("method", 0, 40, 20, move || json!(["GET", "POST", "PUT"][usize::try_from(levels.below(3)).unwrap()]));
    rig.feed(together([income, method]));
    assert_eq!(rig.transcript(), "");
    for name in ["income", "method"] {
        let feature = feature(&rig, name);
        assert_eq!((feature.stage, feature.verdict), (Stage::Watching, Verdict::None), "{name}");
        assert!(feature.last.unwrap().p > 1e-3 && feature.baseline.unwrap().version == 1);
    }
}

#[test]
fn a_shift_is_told_once_becomes_critical_and_ends_with_it() {
    let mut rig = rig();
    rig.feed(minutes("income", 0, 12, 20, normal(1, 0.0)));
    rig.feed(minutes("income", 12, 17, 20, normal(2, 0.9)));
    rig.feed(minutes("income", 17, 32, 20, normal(3, 0.0)));
    expect![[r#"
        760s    drift.shifted warning shop income drifts: significant (PSI 0.444)
        820s    drift.shifted critical shop income drifts: critical (PSI 0.849)
        820s    drift.critical critical shop credit no longer sees what it was made for: income
        1120s   drift.shifted resolved shop income looks like its baseline again (PSI 0.086)
        1120s   drift.critical resolved shop no feature of credit is critical any more
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn after_a_retraining_the_baseline_is_renewed_and_the_fall_is_verified() {
    let mut rig = rig();
    rig.feed(minutes("income", 0, 10, 20, normal(1, 0.0)));
    rig.feed(minutes("income", 10, 14, 20, normal(2, 1.5)));
    let command = |id: &str, mode| {
        Content::Command(Box::new(Command {
            id: id.to_owned(),
            action: RETRAIN.to_owned(),
            service: "shop".to_owned(),
            target: "credit".to_owned(),
            mode,
            ..Command::default()
        }))
    };
    let outcome_of = |service: &str, id: &str| {
        let (command, service) = (id.to_owned(), service.to_owned());
        Content::Outcome(Outcome { command, service, status: OutcomeStatus::Done, ..Outcome::default() })
    };
    let outcome = |id: &str| outcome_of("shop", id);
    // Only meant ones count, and only known ones.
    rig.feed([message(845.0, command("c0", Mode::Observe)), message(846.0, outcome("c0")), message(847.0, outcome("c9"))]);
    assert_eq!(feature(&rig, "income").stage, Stage::Watching);
    rig.feed([message(848.0, command("c1", Mode::Act)), message(849.0, outcome_of("till", "c1"))]);
    assert_eq!(feature(&rig, "income").stage, Stage::Watching, "another service has no say in it");
    rig.feed([message(850.0, outcome("c1"))]);
    assert_eq!(feature(&rig, "income").stage, Stage::Gathering);
    rig.feed(minutes("income", 15, 24, 20, normal(3, 1.5)));
    expect![[r#"
        640s    drift.shifted warning shop income drifts: significant (PSI 0.812)
        700s    drift.shifted critical shop income drifts: critical (PSI 2.068)
        700s    drift.critical critical shop credit no longer sees what it was made for: income
        1180s   drift.shifted resolved shop income looks like its baseline again (PSI 0.059)
        1180s   drift.critical resolved shop PSI fell from 1.78 to 0.00 after credit was retrained
    "#]]
    .assert_eq(&rig.transcript());
    let baseline = feature(&rig, "income").baseline.unwrap();
    assert_eq!((baseline.version, baseline.origin), (2, Origin::Renewed));
}

#[test]
fn values_that_are_suddenly_missing_or_unknown_are_critical() {
    let mut rig = rig();
    let mut seeded = Seeded::new(9);
    let method = move || json!(["GET", "POST"][usize::try_from(seeded.below(2)).unwrap()]);
    rig.feed(together([minutes("income", 0, 9, 20, normal(1, 0.0)), minutes("method", 0, 9, 20, method)]));
    let (mut n, mut m, mut income) = (0, 0, normal(2, 0.0));
    let gaps = minutes("income", 9, 10, 20, move || {
        n += 1;
        if n % 5 == 0 { Value::Null } else { income() }
    });
    let unknown = minutes("method", 9, 10, 20, move || {
        m += 1;
        json!(if m % 4 == 0 {
            "PATCH"
        } else if m % 2 == 0 {
            "GET"
        } else {
            "POST"
        })
    });
    rig.feed(together([gaps, unknown])).until(601.0);
    expect![[r#"
        580s    drift.shifted critical shop 14 % of income is missing or unknown, 0 % before
        580s    drift.shifted critical shop 18 % of method is missing or unknown, 0 % before
        580s    drift.critical critical shop credit no longer sees what it was made for: income, method
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_jump_of_missing_values_is_critical_also_where_days_are_known_to_differ() {
    // Windows that differ among themselves, in their level and in how much is missing: a tenth at most.
    let wavering = |from: u32, to: u32, missing: u64| {
        let mut seeded = Seeded::new(u64::from(from) + 1);
        let stories = (from..to).map(move |minute| {
            let level = seeded.normal() * 0.3;
            let gaps = missing + seeded.below(10);
            let mut values = Seeded::new(u64::from(minute));
            minutes("income", minute, minute + 1, 20, move || {
                if values.below(100) < gaps { Value::Null } else { json!(((values.normal() + level) * 1e4).round() / 1e4) }
            })
        });
        together(stories.collect::<Vec<_>>())
    };
    let config = DriftConfig { baseline_windows: 20, ..config() };
    let mut rig = Rig::<DriftCore>::with(config);
    rig.feed(wavering(0, 30, 0));
    assert_eq!(rig.transcript(), "", "what comes and goes by itself is no jump");
    rig.feed(wavering(30, 33, 40));
    let text = rig.transcript();
    assert!(text.contains("drift.critical critical shop credit no longer sees what it was made for: income"), "{text}");
    assert!(!text.contains("resolved"), "{text}");
    rig.feed(wavering(33, 50, 0));
    assert!(rig.transcript().contains("drift.critical resolved"), "{}", rig.transcript());
}

#[test]
fn too_few_values_are_insufficient_and_a_window_waits_for_more() {
    let mut rig = rig();
    rig.feed(minutes("income", 0, 8, 20, normal(1, 0.0)));
    rig.feed(minutes("income", 8, 10, 2, normal(2, 0.0)));
    rig.until(601.0);
    assert_eq!(feature(&rig, "income").verdict, Verdict::Insufficient);
    rig.feed(minutes("income", 11, 16, 4, normal(3, 0.0))).until(961.0);
    let last = feature(&rig, "income").last.unwrap();
    assert_eq!((last.verdict, last.n_current > 90), (Verdict::None, true), "{last:?}");
    assert_eq!(rig.transcript(), "");
}

#[test]
fn an_order_gives_a_baseline_and_another_has_it_learnt_again() {
    let mut seeded = Seeded::new(4);
    let values: Vec<_> = (0..3000).map(|_| homeostat_schemas::event::SampleValue::Number(seeded.normal())).collect();
    let given = Given::new("income", &values, None, &config()).unwrap();
    let order = |seconds: f64, action: &str, args: Value| {
        at(seconds, json!({"kind": "order", "action": action, "target": "credit", "args": args, "by": "ann"}))
    };
    let mut rig = rig();
    rig.feed([order(1.0, GIVE_BASELINE, serde_json::to_value(&given).unwrap())]);
    let baseline = feature(&rig, "income").baseline.unwrap();
    assert_eq!((baseline.origin, baseline.bins.iter().map(|bin| bin.baseline).sum::<u64>()), (Origin::Given, 3000));
    assert!(baseline.bins.iter().all(|bin| bin.baseline == 300), "{:?}", baseline.bins);
    rig.feed(minutes("income", 0, 2, 20, normal(5, 0.8))).until(121.0);
    expect![[r#"
        40s     drift.shifted warning shop income drifts: significant (PSI 0.611)
        100s    drift.shifted critical shop income drifts: critical (PSI 0.744)
        100s    drift.critical critical shop credit no longer sees what it was made for: income
    "#]]
    .assert_eq(&rig.transcript());
    rig.feed([order(130.0, RELEARN, json!({"feature": "income"})), order(131.0, RELEARN, json!({"feature": "nobody"}))]);
    assert_eq!(feature(&rig, "income").stage, Stage::Gathering);
    let mut broken = serde_json::to_value(&given).unwrap();
    broken["counts"][0] = json!(u64::MAX);
    rig.feed([order(132.0, GIVE_BASELINE, broken), order(133.0, GIVE_BASELINE, json!({"feature": 7}))]);
    let view = rig.driver().view();
    assert_eq!(view.refused_orders, 3, "{:?}", view.refusal);
}

#[test]
fn the_compatible_rule_calls_chance_drift_and_the_guarded_does_not() {
    let mut compatible = Rig::<DriftCore>::with(DriftConfig { rule: RuleSet::Compatible, current_windows: 1, ..config() });
    let mut guarded = rig();
    for rig in [&mut compatible, &mut guarded] {
        let features = (0..10).map(|i| minutes(&format!("f{i}"), 0, 20, 5, normal(i, 0.0)));
        rig.feed(together(features));
    }
    assert!(compatible.transcript().lines().count() >= 2, "{}", compatible.transcript());
    assert_eq!(guarded.transcript(), "");
}

/// Values that remember the last one: days differ by themselves.
fn remembering(seed: u64, memory: f64) -> impl FnMut() -> Value {
    let (mut seeded, mut last) = (Seeded::new(seed), 0.0);
    move || {
        last = memory * last + (1.0 - memory * memory).sqrt() * seeded.normal();
        json!((last * 1e4_f64).round() / 1e4)
    }
}

#[test]
fn where_samples_depend_on_each_other_days_are_the_measure() {
    let mut rig = Rig::<DriftCore>::with(DriftConfig { baseline_windows: 14, ..config() });
    rig.feed(minutes("load", 0, 40, 20, remembering(3, 0.98)));
    let spread = feature(&rig, "load").baseline.unwrap().spread.unwrap();
    assert!(spread.dependent && spread.dispersion > 5.0, "{spread:?}");
    assert_eq!(rig.transcript(), "");
}

#[test]
fn seasonal_windows_are_compared_with_their_like() {
    // Windows of a minute do not fill a week in 168 parts; windows of an hour do, but take long. So: a season is a day here.
    let config = DriftConfig { seasonal: true, ..config() };
    let mut rig = Rig::<DriftCore>::with(config);
    rig.feed(minutes("income", 0, 9, 20, normal(1, 0.0))).until(600.0);
    // No part of the week is known: nothing can be said, and that is what is said.
    assert_eq!(feature(&rig, "income").verdict, Verdict::Insufficient);
    assert_eq!(rig.transcript(), "");
}

#[test]
fn a_prediction_that_drifts_is_critical_at_once() {
    let mut rig = rig();
    rig.feed(minutes("y_pred", 0, 8, 20, normal(1, 0.0)));
    rig.feed(minutes("y_pred", 8, 9, 20, normal(2, 1.5))).until(541.0);
    let severe = rig.outputs().iter().any(|output| matches!(&output.effect, Effect::Alert(alert) if alert.rule == "drift.critical"));
    assert!(severe, "{}", rig.transcript());
}

#[test]
fn a_flood_of_names_is_bounded_and_counted() {
    let limits = Limits { features: 5, features_per_model: 3, ..Limits::default() };
    let mut rig = Rig::<DriftCore>::with(DriftConfig { limits, ..config() });
    for i in 0..20 {
        let model = format!("m{}", i % 4);
        rig.feed([at(f64::from(i), json!({"kind": "sample", "model": model, "feature": format!("f{i}"), "value": 1.0}))]);
    }
    let view = rig.driver().view();
    assert_eq!((view.features, view.no_room), (5, 15));
}

#[test]
fn a_feature_takes_less_than_three_kilobytes() {
    let mut rig = Rig::<DriftCore>::with(config());
    rig.feed(minutes("income", 0, 12, 200, normal(1, 50.0)));
    let view = rig.driver().view();
    assert_eq!(feature(&rig, "income").stage, Stage::Watching);
    assert!(feature(&rig, "income").baseline.unwrap().cells > 240);
    assert!(view.bytes <= 3 * 1024, "{} bytes", view.bytes);
}

#[test]
fn it_survives_a_restart_anywhere() {
    let story = together([
        minutes("income", 0, 9, 20, normal(1, 0.0)),
        minutes("income", 9, 12, 20, normal(2, 1.0)),
        minutes("y_pred", 0, 12, 6, normal(3, 0.0)),
    ]);
    survives_restart_anywhere::<DriftCore>(&Settings { config: config(), ..Settings::default() }, &story);
}

/// The columns of a CSV of the data folder, by name.
fn columns(text: &str) -> std::collections::BTreeMap<String, Vec<homeostat_schemas::event::SampleValue>> {
    use homeostat_schemas::event::SampleValue;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut columns = std::collections::BTreeMap::new();
    for line in lines {
        for (name, cell) in names.iter().zip(line.split(',')) {
            let value = cell.parse().map_or_else(|_| SampleValue::Text(cell.to_owned()), SampleValue::Number);
            columns.entry((*name).to_owned()).or_insert_with(Vec::new).push(value);
        }
    }
    columns
}

#[test]
fn the_drifted_half_of_the_car_loans_is_found_and_the_other_is_not() {
    let reference = columns(include_str!("../../tests/data/drift/car_loan_reference.csv"));
    let analysis = columns(include_str!("../../tests/data/drift/car_loan_analysis.csv"));
    let mut rig = rig();
    for feature in ["car_value", "salary_range", "debt_to_income_ratio", "loan_length", "y_pred_proba"] {
        let given = Given::new(feature, &reference[feature], None, &config()).unwrap();
        let order = json!({"kind": "order", "action": GIVE_BASELINE, "target": "credit", "args": given, "by": "ann"});
        rig.feed([at(0.5, order)]);
    }
    let mut found = Vec::new();
    for chunk in 0..10 {
        for (feature, values) in analysis.iter().filter(|(name, _)| *name != "timestamp") {
            let values: Vec<Value> =
                values[chunk * 250..(chunk + 1) * 250].iter().map(|value| serde_json::to_value(value).unwrap()).collect();
            rig.feed([at(60.0 * f64::from(u32::try_from(chunk).unwrap()) + 1.0, sample(feature, &values))]);
        }
        rig.until(60.0 * f64::from(u32::try_from(chunk).unwrap() + 1));
        let view = rig.driver().view();
        found.push(view.models[0].features.iter().any(|feature| feature.last.is_some_and(|last| last.verdict.is_drift())));
    }
    assert_eq!(found, [false, false, false, false, false, true, true, true, true, true], "{}", rig.transcript());
}
