//! Clocks that jump.

use super::*;
use crate::key_rotation::ACCEPT_CLOCK;
use crate::rig::at;
use expect_test::expect;

/// A key that is due for rotation in an hour.
fn soon() -> Play {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(90 * DAY - HOUR, HOUR).pass(MINUTE, MINUTE);
    play
}

#[test]
fn a_wall_clock_that_jumps_ends_no_key_and_when_it_is_back_everything_goes_on() {
    let mut play = soon();
    play.wall_ahead = 400 * DAY as i64;
    play.pass(2 * HOUR, MINUTE);
    assert_eq!(play.asked(), "");
    assert!(play.view().frozen.is_some());
    play.wall_ahead = 1_000;
    play.pass(HOUR, MINUTE);
    expect![[r#"
        day 90.044: rotate 1
    "#]]
    .assert_eq(&play.asked());
    expect![[r#"
        day 89.96: key_rotation.clock_jumped critical homeostat the machine's wall clock is 400 days ahead; nothing expires and nothing is rotated
        day 90.04: key_rotation.clock_jumped resolved homeostat the clocks agree
    "#]].assert_eq(&play.said());
    play.survives();
}

#[test]
fn log_time_that_jumps_ends_no_key_though_everything_seems_due() {
    let mut play = soon();
    // The bus server's clock: log time is a hundred days on, and not a minute has passed.
    play.log_ahead = 100 * DAY as i64;
    play.outage(100 * DAY).pass(HOUR, MINUTE);
    assert_eq!(play.asked(), "");
    expect![[r#"
        day 189.96: key_rotation.clock_jumped critical homeostat the bus server's clock is 100 days ahead; nothing expires and nothing is rotated
    "#]].assert_eq(&play.said());
    // Log time stands still until the world has caught up.
    play.log_ahead = MINUTE as i64;
    play.pass(HOUR, MINUTE);
    expect![[r#"
        day 190.002: rotate 1
    "#]]
    .assert_eq(&play.asked());
}

#[test]
fn a_restart_and_an_outage_are_no_jump() {
    let mut play = soon();
    play.rig.restart();
    play.outage(3 * DAY);
    play.rig.restart();
    play.pass(HOUR, MINUTE);
    // Another machine takes over.
    play.machine = "boot-2".to_owned();
    play.pass(5 * DAY, HOUR);
    assert!(play.view().frozen.is_none());
    expect![[r#"
        day 92.959: rotate 1
    "#]]
    .assert_eq(&play.asked());
}

#[test]
fn a_clock_that_is_slewed_by_minutes_an_hour_has_not_jumped() {
    let mut play = soon();
    for _ in 0..10 {
        play.wall_ahead += 2 * MINUTE as i64;
        play.pass(HOUR, 10 * MINUTE);
    }
    assert!(play.view().frozen.is_none());
    assert_eq!(play.done(Act::Rotate), 1);
}

#[test]
fn who_is_new_and_says_another_time_is_not_believed_until_somebody_says_so() {
    let mut play = soon();
    play.machine = "boot-2".to_owned();
    play.wall_ahead = -7 * HOUR as i64;
    play.pass(2 * HOUR, MINUTE);
    assert_eq!(play.asked(), "");
    let order =
        |by: &str| json!({"kind": "order", "service": "homeostat", "action": ACCEPT_CLOCK, "target": "clock", "args": {}, "by": by});
    #[allow(clippy::cast_precision_loss)]
    let seconds = |play: &Play| (play.at - START) as f64 / 1000.0;
    let (_, nobody) = at(seconds(&play), order(""));
    play.say(nobody).pass(HOUR, MINUTE);
    assert_eq!(play.asked(), "", "nobody said so");
    let (_, anna) = at(seconds(&play), order("anna"));
    play.say(anna).pass(MINUTE, MINUTE);
    assert_eq!(play.done(Act::Rotate), 1);
    expect![[r#"
        day 89.96: key_rotation.clock_jumped critical homeostat the machine's wall clock, beside the bus server's, is 7 h behind; nothing expires and nothing is rotated
        day 90.08: key_rotation.clock_jumped resolved homeostat the clocks agree
    "#]].assert_eq(&play.said());
    play.survives();
}
