//! Lives of processes, told in reports every five minutes.

use super::{noise, resource};
use crate::core::{Effect, Modes, Output, Settings};
use crate::leak::{LeakConfig, LeakCore, LeakRule, Tier};
use crate::rig::{Rig, START, Story, at, survives_restart_anywhere};
use expect_test::expect;
use homeostat_schemas::{Alert, Mode};
use serde_json::json;

const HOUR: f64 = 3600.0;

/// Memory (MB) at hours, every five minutes from `from` to `to`.
fn reports(instance: &str, from: f64, to: f64, memory: impl Fn(f64) -> f64) -> Story {
    (0..((to - from) * 12.0) as u64)
        .map(|n| {
            let hour = from + n as f64 / 12.0;
            at(hour * HOUR, resource(instance, memory(hour) * (1.0 + 0.004 * noise(n))))
        })
        .collect()
}

fn tell(config: LeakConfig, story: Story) -> Rig<LeakCore> {
    let mut rig = Rig::with(config);
    rig.feed(story);
    rig
}

fn alerts(rig: &Rig<LeakCore>) -> Vec<Alert> {
    let alert = |output: &Output| if let Effect::Alert(alert) = &output.effect { Some((**alert).clone()) } else { None };
    rig.outputs().iter().filter_map(alert).collect()
}

#[test]
fn a_leak_is_suspected_then_confirmed_and_ends_with_its_process() {
    let mut story = reports("web-1", 0.0, 16.0, |h| 500.0 + 40.0 * h);
    story.extend((0..4).map(|n| {
        let mut report = resource("web-1", 400.0);
        report["started_ms"] = (START + 57_600_000).into();
        at(16.0 * HOUR + f64::from(n) * 60.0, report)
    }));
    let rig = tell(LeakConfig::default(), story);
    expect![[r#"
        10800s  leak.suspected info shop memory grows by 7.6 % an hour, for 2.1 h now; at its limit in 33.7 h
        25200s  leak.suspected resolved shop it is confirmed
        25200s  leak.confirmed warning shop memory grows by 8.1 % an hour, for 6.1 h now; at its limit in 30.7 h
        57600s  leak.confirmed resolved shop another process has taken its place
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_process_near_its_limit_says_so_in_time() {
    let rig = tell(LeakConfig::default(), reports("web-1", 0.0, 9.0, |h| 500.0 + 160.0 * h));
    expect![[r#"
        10800s  leak.suspected info shop memory grows by 23.8 % an hour, for 2.1 h now; at its limit in 6.5 h
        25200s  leak.suspected resolved shop it is confirmed
        25200s  leak.confirmed warning shop memory grows by 33.4 % an hour, for 6.1 h now; at its limit in 2.6 h
        27900s  leak.limit_near critical shop memory reaches its limit in 1.9 h
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn memory_that_is_given_back_ends_the_finding() {
    let rig = tell(LeakConfig::default(), reports("web-1", 0.0, 14.0, |h| if h < 10.0 { 500.0 + 40.0 * h } else { 510.0 }));
    expect![[r#"
        10800s  leak.suspected info shop memory grows by 7.6 % an hour, for 2.1 h now; at its limit in 33.7 h
        25200s  leak.suspected resolved shop it is confirmed
        25200s  leak.confirmed warning shop memory grows by 8.1 % an hour, for 6.1 h now; at its limit in 30.7 h
        37800s  leak.confirmed resolved shop memory was given back
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_cache_that_fills_is_a_suspicion_at_most() {
    let rig = tell(LeakConfig::default(), reports("web-1", 0.0, 20.0, |h| 500.0 + 300.0 * (h / 5.0).min(1.0)));
    expect![[r#"
        10800s  leak.suspected info shop memory grows by 10.8 % an hour, for 2.1 h now; at its limit in 21.8 h
        24300s  leak.suspected resolved shop it has stopped growing
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn the_compatible_rule_takes_a_warm_up_for_a_leak() {
    let config = LeakConfig { rule: LeakRule::Compatible, ..LeakConfig::default() };
    let rig = tell(config, reports("web-1", 0.0, 6.0, |h| 500.0 - 250.0 * (-h / 0.7).exp()));
    expect![[r#"
        3600s   leak.confirmed warning shop memory grows by 76.1 % an hour, for 1.0 h now; at its limit in 8.3 h
        7800s   leak.confirmed resolved shop it has stopped growing
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn evidence_says_whether_a_snapshot_may_be_taken() {
    let mut story = reports("web-1", 0.0, 9.0, |h| 500.0 + 40.0 * h);
    for (_, content) in &mut story {
        let homeostat_schemas::Content::Events(events) = content else { continue };
        if let Some(Ok(homeostat_schemas::Event::Resource(event))) = events.first_mut() {
            event.heap_bytes = Some(400_000_000);
        }
    }
    let rig = tell(LeakConfig::default(), story);
    let alerts = alerts(&rig);
    let confirmed = alerts.iter().find(|alert| alert.rule == "leak.confirmed").unwrap();
    assert_eq!(confirmed.evidence["snapshot_possible"], json!(true));
    assert_eq!(confirmed.evidence["snapshot_needs_bytes"], json!(800_000_000));
    assert_eq!(confirmed.labels["instance"], "web-1");
    assert!(confirmed.since_ms < confirmed.at_ms - 5 * 3_600_000, "it began when the growth did");
}

#[test]
fn a_process_that_falls_silent_is_forgotten() {
    let mut rig = tell(LeakConfig::default(), reports("web-1", 0.0, 9.0, |h| 500.0 + 40.0 * h));
    assert_eq!(rig.driver().view().totals.processes, 1);
    rig.until(12.1 * HOUR);
    assert_eq!(rig.driver().view().totals.processes, 0);
    assert!(rig.transcript().trim_end().ends_with("it no longer reports"), "{}", rig.transcript());
}

#[test]
fn a_rule_that_is_off_says_nothing_and_the_others_go_on() {
    let modes = Modes { rules: [("suspected".to_owned(), Mode::Off)].into(), ..Modes::default() };
    let settings = Settings::<LeakConfig> { modes, ..Settings::default() };
    let mut rig = Rig::<LeakCore>::with_settings(settings);
    rig.feed(reports("web-1", 0.0, 9.0, |h| 500.0 + 40.0 * h));
    let rules: Vec<String> = alerts(&rig).iter().map(|alert| alert.rule.clone()).collect();
    assert_eq!(rules, ["leak.confirmed"]);
}

#[test]
fn more_processes_than_there_is_room_for_are_counted() {
    let config = LeakConfig { processes: 2, ..LeakConfig::default() };
    let story = (0..5).map(|n| at(f64::from(n), resource(&format!("web-{n}"), 100.0))).collect::<Story>();
    let mut rig = tell(config, story);
    let totals = rig.driver().view().totals;
    assert_eq!((totals.processes, totals.refused), (2, 3));
    // Eleven minutes later the silent make room.
    rig.feed([at(700.0, resource("web-9", 100.0))]);
    let totals = rig.driver().view().totals;
    assert_eq!((totals.processes, totals.forgotten), (2, 1));
}

#[test]
fn the_view_shows_the_worst_first() {
    let mut story = reports("a-steady", 0.0, 9.0, |_| 500.0);
    story.extend(reports("b-leaks", 0.0, 9.0, |h| 500.0 + 40.0 * h));
    story.sort_by_key(|(at, _)| *at);
    let view = tell(LeakConfig::default(), story).driver().view();
    let verdicts: Vec<_> = view.processes.iter().map(|row| (row.instance.as_deref().unwrap(), row.verdict)).collect();
    assert_eq!(verdicts, [("b-leaks", Tier::Confirmed), ("a-steady", Tier::None)]);
    let eta = view.processes[0].to_limit.unwrap();
    assert!(eta.earliest < eta.hours && eta.hours < eta.latest.unwrap(), "{eta:?}");
    // (2000 − 860) / 40 an hour.
    assert!((eta.hours - 28.5).abs() < 2.0, "{eta:?}");
}

#[test]
fn a_restart_of_the_mind_changes_nothing() {
    let mut story = Vec::new();
    for n in 0..48_u64 {
        let hour = n as f64 * 0.25;
        let mut report = resource("web-1", 500.0 + 45.0 * (hour % 10.0) + noise(n));
        report["started_ms"] = (START + if hour < 10.0 { 0 } else { 36_000_000 }).into();
        report["load_rps"] = (100.0 + noise(n)).into();
        story.push((START + n * 900_000, at(hour * HOUR, report).1));
    }
    // A quarter of an hour is as long as a second to whoever is told so.
    let scale = |(at, content): &(u64, homeostat_schemas::Content)| (START + (at - START) / 900, content.clone());
    survives_restart_anywhere::<LeakCore>(&Settings::default(), &story.iter().map(scale).collect());
}
