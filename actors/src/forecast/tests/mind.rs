//! The mind: stories of series, with a hand that fits at once.

use super::outlook::{chance, normal};
use crate::core::{Core as _, Effect, Settings};
use crate::forecast::{ForecastConfig, ForecastCore, HAND, fit};
use crate::rig::{Rig, Story, batch, survives_restart_anywhere};
use expect_test::expect;
use homeostat_schemas::{Answer, Ask};
use serde_json::{Value, json};

/// The hand, as the body has it.
fn hand(ask: &Ask) -> Option<Answer> {
    let found = fit(&ask.args).ok()?;
    Some(Answer {
        ask: ask.id.clone(),
        actor: ask.actor.clone(),
        hand: HAND.to_owned(),
        what: ask.what.clone(),
        ok: true,
        found,
        ..Answer::default()
    })
}

fn config() -> ForecastConfig {
    ForecastConfig { step_ms: 60_000, requests_min: 1, ..ForecastConfig::default() }
}

fn rig() -> Rig<ForecastCore> {
    let mut rig = Rig::<ForecastCore>::with(config());
    rig.hand = Some(hand);
    rig
}

/// One value a minute.
fn minutes(n: usize, value: impl Fn(usize, f64) -> Value) -> Story {
    let mut draw = chance(31);
    (0..n).map(|t| batch(60.0 * t as f64 + 1.0, [value(t, normal(&mut draw))])).collect()
}

fn queue(value: f64) -> Value {
    json!({ "kind": "metric", "name": "queue", "value": value })
}

#[test]
fn a_jump_is_one_alert_and_its_end_another() {
    let mut rig = rig();
    rig.feed(minutes(600, |t, noise| queue(if t == 400 { 900.0 } else { 100.0 + noise }))).until(60.0 * 650.0);
    let transcript = rig.transcript();
    let lines: Vec<&str> = transcript.lines().collect();
    assert!(lines.first().is_some_and(|line| line.starts_with("24040")), "{transcript}");
    assert_eq!(lines.iter().filter(|line| line.contains("forecast.anomaly warning")).count(), 1, "{transcript}");
    assert!(lines[0].contains("queue is 900.000, expected"), "{transcript}");
}

#[test]
fn success_is_a_rate_and_its_fall_is_seen() {
    let mut rig = rig();
    let story: Story = (0..420)
        .map(|t| {
            let failing = t >= 400;
            batch(
                60.0 * f64::from(t) + 1.0,
                (0..50).map(|n| json!({ "kind": "request", "route": "GET /", "status": if n % 25 == t % 25 || failing && n % 2 == 0 { 503 } else { 200 }, "took_us": 2_000 + 10 * n })),
            )
        })
        .collect();
    rig.feed(story).until(60.0 * 425.0);
    let alerts: Vec<_> =
        rig.outputs().iter().filter_map(|o| if let Effect::Alert(alert) = &o.effect { Some(alert) } else { None }).collect();
    assert_eq!(alerts.len(), 1, "{}", rig.transcript());
    assert_eq!((alerts[0].rule.as_str(), alerts[0].labels["metric"].as_str()), ("forecast.anomaly", "success_rate"));
    let (value, expected) = (alerts[0].evidence["value"].as_f64().unwrap(), alerts[0].evidence["expected"].as_f64().unwrap());
    assert!((0.4..0.6).contains(&value) && (0.9..1.0).contains(&expected), "{value} {expected}");
}

#[test]
fn a_limit_that_comes_near_is_told_with_its_time() {
    let mut rig = rig();
    let story = minutes(
        60 * 30,
        |t, noise| json!({ "kind": "resource", "instance": "web-1", "memory_bytes": (4e8 + 4e5 * t as f64 + 1e5 * noise) as u64, "memory_limit_bytes": 1_500_000_000_u64 }),
    );
    rig.feed(story);
    let alert = rig.outputs().iter().find_map(|o| match &o.effect {
        Effect::Alert(alert) if alert.rule == "forecast.exhaustion" => Some(alert.clone()),
        _ => None,
    });
    let alert = alert.unwrap_or_else(|| panic!("{}", rig.transcript()));
    assert_eq!(alert.labels["instance"], "web-1");
    // 1.1e9 bytes at 4e5 a minute are 2,750 minutes from the start.
    let at = alert.evidence["p50_ms"].as_u64().unwrap();
    let truth = crate::rig::START + 2_750 * 60_000;
    assert!(at.abs_diff(truth) < 8 * 3_600_000, "{} h off", (at as f64 - truth as f64) / 3.6e6);
    let view = rig.driver().view();
    let series = &view.series[0];
    assert_eq!((series.metric.as_str(), series.insufficient.as_deref()), ("memory_bytes", None));
    assert!(series.points.len() > 100 && series.exhaustion.is_some());
}

#[test]
fn a_hand_that_never_answers_costs_nothing_but_the_forecast() {
    let mut rig = Rig::<ForecastCore>::with(config());
    rig.feed(minutes(300, |t, noise| queue(if t == 250 { 900.0 } else { 100.0 + noise })));
    expect![[""]].assert_eq(&rig.transcript());
    let view = rig.driver().view();
    assert!(view.series[0].insufficient.is_some() && view.series[0].points.is_empty());
    assert!(view.fits <= 1);
}

#[test]
fn no_flood_of_names_takes_more_than_its_room() {
    let mut rig = Rig::<ForecastCore>::with(ForecastConfig { series_max: 5, ..config() });
    rig.feed((0..40).map(|n| batch(f64::from(n), [json!({ "kind": "metric", "name": format!("m{n}"), "value": 1 })])));
    assert_eq!((rig.driver().view().series.len(), rig.driver().view().refused), (5, 35));
}

#[test]
fn it_survives_a_restart_anywhere() {
    let settings = Settings { config: ForecastConfig { step_ms: 1_000, fit_timeout_ms: 3_000, ..config() }, ..Settings::default() };
    let mut draw = chance(7);
    let story: Story = (0..120).map(|t| batch(f64::from(t), [queue(if t == 90 { 50.0 } else { normal(&mut draw) })])).collect();
    survives_restart_anywhere::<ForecastCore>(&settings, &story);
}

#[test]
fn its_name_is_its_folder() {
    assert_eq!(ForecastCore::NAME, "forecast");
}
