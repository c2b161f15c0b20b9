//! Silence, in its many forms.

use super::*;

/// Heartbeats of one service every `interval` s from `from` to `to` inclusive, the process having started at `from`.
fn beats(service: &str, instance: &str, interval: f64, from: f64, to: f64) -> Story {
    let mut story = Vec::new();
    let mut seconds = from;
    while seconds <= to {
        let beat = json!({
            "kind": "heartbeat", "service": service, "instance": instance, "up_s": seconds - from, "interval_s": interval,
        });
        story.push(at(seconds, beat));
        seconds += interval;
    }
    story
}

/// Several stories in the order of time.
fn together(stories: impl IntoIterator<Item = Story>) -> Story {
    let mut story: Story = stories.into_iter().flatten().collect();
    story.sort_by_key(|(at, _)| *at);
    story
}

fn order(target: &str) -> Value {
    json!({"kind": "order", "service": "console", "action": "health.retire", "target": target, "args": {}, "by": "ann"})
}

#[test]
fn a_second_interval_shows_silence_within_five_seconds_and_the_next_heartbeat_ends_it() {
    let mut rig = rig();
    rig.feed(beats("shop", "a", 1.0, 1.0, 10.0)).feed([at(30.0, beat("a", 29.0))]);
    expect![[r#"
        14s     health.silent critical shop silent for 4 intervals of 1 s
        30s     health.silent resolved shop heard again after 20 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn who_never_sent_a_heartbeat_is_not_waited_for() {
    let mut rig = rig();
    rig.feed([at(1.0, request(200)), at(1.0, json!({"kind": "resource", "instance": "a", "memory_bytes": 1}))]).until(1000.0);
    assert_eq!(rig.transcript(), "");
}

#[test]
fn each_is_waited_for_by_the_interval_it_announces_and_may_change_it() {
    let mut rig = rig();
    rig.feed(together([beats("slow", "", 30.0, 1.0, 31.0), beats("shop", "", 5.0, 1.0, 200.0)]));
    rig.feed([at(201.0, beat_of("shop", 200.0, 1))]).until(210.0);
    expect![[r#"
        122s    health.silent critical slow silent for 3 intervals of 30 s
        205s    health.silent critical shop silent for 4 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn one_of_several_is_a_warning_and_is_retired_in_time() {
    let mut rig = rig();
    rig.feed(together([beats("shop", "a", 1.0, 1.0, 10.0), beats("shop", "b", 1.0, 1.5, 700.0)])).until(700.0);
    expect![[r#"
        14s     health.silent warning shop silent for 4 intervals of 1 s
        614s    health.silent resolved shop retired: silent for 10 min while others of its service live
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn the_last_instance_of_a_service_is_never_forgotten_for_its_silence() {
    let mut rig = rig();
    rig.feed(beats("shop", "a", 1.0, 1.0, 3.0)).until(100_000.0);
    expect![[r#"
        7s      health.silent critical shop silent for 4 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_process_that_started_after_the_last_heartbeat_takes_the_place() {
    let mut rig = rig();
    // Recreated within the patience of the first: nothing to say.
    rig.feed(beats("shop", "a", 10.0, 0.0, 50.0)).feed(beats("shop", "b", 10.0, 65.0, 200.0));
    // Recreated too late: the alert ends with the replacement.
    rig.feed(beats("shop", "c", 10.0, 300.0, 320.0)).until(330.0);
    expect![[r#"
        226s    health.silent critical shop silent for 3 intervals of 10 s
        300s    health.silent resolved shop replaced by c
    "#]]
    .assert_eq(&rig.transcript());
    assert_eq!(rig.driver().view().totals.replaced, 2);
}

#[test]
fn one_newcomer_takes_one_place() {
    let mut rig = rig();
    let old = together([beats("shop", "a", 10.0, 0.0, 50.0), beats("shop", "b", 10.0, 0.0, 50.0)]);
    rig.feed(old).feed(beats("shop", "c", 10.0, 55.0, 95.0));
    expect![[r#"
        81s     health.silent warning shop silent for 3 intervals of 10 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_process_that_was_there_before_takes_nobodys_place() {
    let mut rig = rig();
    rig.feed(together([beats("shop", "a", 1.0, 0.0, 10.0), beats("shop", "b", 1.0, 5.5, 20.5)])).until(20.0);
    expect![[r#"
        14s     health.silent warning shop silent for 4 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn who_is_retired_is_forgotten_until_it_speaks_again() {
    let mut rig = rig();
    rig.feed(together([beats("shop", "a", 1.0, 1.0, 10.0), beats("a/b", "", 1.0, 1.5, 10.5)]));
    rig.feed([at(11.0, order("shop/a")), at(11.0, order("a/b")), at(11.0, order("nobody"))]).until(60.0);
    assert_eq!(rig.transcript(), "", "a process that stops on purpose says so");
    rig.feed(beats("shop", "a", 1.0, 61.0, 62.0)).until(70.0).feed([at(71.0, order("shop"))]).until(80.0);
    expect![[r#"
        66s     health.silent critical shop silent for 4 intervals of 1 s
        71s     health.silent resolved shop retired by ann
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_silent_bus_is_one_alert_and_not_one_per_service() {
    let mut rig = rig();
    let fleet = (0..50).map(|n| beats(&format!("s{n:02}"), "", 1.0, 1.0 + f64::from(n) * 0.02, 20.0));
    rig.feed(together(fleet)).until(40.0);
    expect![[r#"
        23.25s  health.bus_silent critical homeostat 50 services fell silent together 3 s ago
    "#]]
    .assert_eq(&rig.transcript());
    // The bus is back, but two did not survive: they are waited for anew, and then named.
    let back = (2..50).map(|n| beats(&format!("s{n:02}"), "", 1.0, 60.0 + f64::from(n) * 0.02, 80.0));
    rig.feed(together(back)).until(80.0);
    expect![[r#"
        23.25s  health.bus_silent critical homeostat 50 services fell silent together 3 s ago
        60.04s  health.bus_silent resolved homeostat heard again after 40 s
        64.25s  health.silent critical s00 silent for 44 intervals of 1 s
        64.25s  health.silent critical s01 silent for 45 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn services_of_different_intervals_that_fall_silent_together_end_as_one_alert() {
    let mut rig = rig();
    rig.feed(together([beats("fast", "", 1.0, 1.0, 100.0), beats("slow", "", 30.0, 1.0, 100.0)])).until(250.0);
    expect![[r#"
        104s    health.silent critical fast silent for 4 intervals of 1 s
        182s    health.bus_silent critical homeostat 2 services fell silent together 82 s ago
        182s    health.silent resolved fast part of the silence of the whole bus
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn services_that_fall_silent_one_after_the_other_are_not_the_bus() {
    let mut rig = rig();
    rig.feed(together([beats("a", "", 1.0, 1.0, 10.0), beats("b", "", 1.0, 1.0, 20.0), beats("c", "", 1.0, 1.0, 30.0)])).until(40.0);
    expect![[r#"
        14s     health.silent critical a silent for 4 intervals of 1 s
        24s     health.silent critical b silent for 4 intervals of 1 s
        34s     health.silent critical c silent for 4 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn one_service_alone_is_never_the_bus() {
    let mut rig = rig();
    rig.feed(together([beats("shop", "a", 1.0, 1.0, 10.0), beats("shop", "b", 1.0, 1.0, 10.0)])).until(20.0);
    expect![[r#"
        14s     health.silent warning shop silent for 4 intervals of 1 s
        14s     health.silent critical shop silent for 4 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn our_own_outage_is_nobodys_silence() {
    let mut rig = rig();
    rig.feed(together([beats("shop", "a", 1.0, 1.0, 10.0), beats("db", "", 1.0, 1.0, 10.0)]));
    rig.outage_until(70.0).until(72.0);
    assert_eq!(rig.transcript(), "", "a minute without ticks");
    assert_eq!(rig.driver().view().totals.outages, 1);
    rig.feed(together([beats("db", "", 1.0, 73.0, 90.0)])).until(80.0);
    expect![[r#"
        74s     health.silent critical shop silent for 64 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_service_that_must_speak_is_missed_though_it_never_spoke() {
    let mut settings = settings();
    settings.config.expected = vec!["shop".to_owned(), "billing".to_owned()];
    let mut rig = Rig::<HealthCore>::with_settings(settings);
    rig.feed(beats("shop", "a", 10.0, 5.0, 200.0)).feed(beats("billing", "b", 10.0, 201.0, 205.0)).until(205.0);
    expect![[r#"
        91.25s  health.silent critical billing expected, but not heard for 91 s
        201s    health.silent resolved billing b is heard
    "#]]
    .assert_eq(&rig.transcript());
}

#[test]
fn a_service_taken_off_the_list_is_no_longer_missed() {
    let table = |expected: Value| json!({"health": {"expected": expected, "probes": []}});
    let mut rig = rig();
    rig.feed([crate::rig::message(1.0, homeostat_schemas::Content::Settings(table(json!(["shop"]))))]).until(100.0);
    rig.feed([crate::rig::message(101.0, homeostat_schemas::Content::Settings(table(json!([]))))]).until(110.0);
    expect![[r#"
        92.25s  health.silent critical shop expected, but not heard for 91 s
        101.25s health.silent resolved shop no longer expected
    "#]]
    .assert_eq(&rig.transcript());
    assert!(rig.driver().view().services["shop"].components.is_empty());
}

#[test]
fn a_heartbeat_that_comes_again_or_late_is_no_sign_of_life() {
    let check = |at_s: u64, up_s: f64, status: &str| {
        let checks = json!([{"name": "db", "status": status}]);
        json!({"kind": "heartbeat", "at_ms": START + at_s * 1000, "up_s": up_s, "interval_s": 1, "checks": checks})
    };
    let mut rig = rig();
    rig.feed([at(1.0, check(1, 100.0, "up")), at(2.0, check(2, 101.0, "down"))]);
    // The same, again and again, and the one before it: three downs in a row they are not.
    rig.feed([at(3.0, check(2, 101.0, "down")), at(3.0, check(1, 100.0, "up")), at(3.5, check(2, 101.0, "down"))]).until(7.0);
    expect![[r#"
        6s      health.silent critical shop silent for 4 intervals of 1 s
    "#]]
    .assert_eq(&rig.transcript());
    assert_eq!(rig.driver().view().totals.duplicates, 3);
}

#[test]
fn a_clock_set_back_is_not_taken_for_redelivery() {
    let beat = |at_s: u64, up_s: f64| json!({"kind": "heartbeat", "at_ms": START - 3_600_000 + at_s * 1000, "up_s": up_s, "interval_s": 1});
    let mut rig = rig();
    rig.feed(beats("shop", "", 1.0, 1.0, 5.0));
    rig.feed((6..20).map(|s| at(f64::from(s), beat(u64::try_from(s).unwrap(), f64::from(s - 1))))).until(20.0);
    assert_eq!(rig.transcript(), "");
}

#[test]
fn presence_survives_a_restart_anywhere() {
    let fleet = (0..4).map(|n| beats(&format!("s{n}"), "", 2.0, 1.0 + f64::from(n) * 0.3, 20.0));
    let back = (0..3).map(|n| beats(&format!("s{n}"), "x", 2.0, 60.0 + f64::from(n) * 0.3, 80.0));
    let mut story = together(fleet.chain(back));
    story.push(at(90.0, order("s3")));
    survives_restart_anywhere::<HealthCore>(&settings(), &story);
}

#[test]
fn whoever_speaks_once_a_week_is_waited_for_by_the_week() {
    let week = 604_800.0;
    // Three weeks in a few ticks, none of which is an outage.
    let mut rig = Rig::<HealthCore>::with(HealthConfig { outage_ms: u64::MAX, ..HealthConfig::default() });
    rig.feed([at(0.0, json!({"kind": "heartbeat", "up_s": 1, "interval_s": week}))]);
    let raised = |rig: &Rig<HealthCore>| rig.transcript().lines().filter(|line| line.contains("health.silent")).count();
    rig.outage_until(3.0 * week - 1.0);
    assert_eq!(raised(&rig), 0);
    rig.outage_until(3.0 * week + 2.0);
    assert_eq!(raised(&rig), 1);
}
