//! A key's life.

use super::*;
use expect_test::expect;
use homeostat_schemas::Mode;
use homeostat_schemas::key::RecipientChange;

#[test]
fn a_key_is_rotated_its_old_version_ends_and_is_purged() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(130 * DAY, HOUR);
    expect![[r#"
        day 90.042: rotate 1
        day 97.042: expire 1
        day 127.042: purge 1
    "#]]
    .assert_eq(&play.asked());
    play.survives();
}

#[test]
fn rotations_go_on_for_ever() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(370 * DAY, HOUR);
    assert_eq!((play.done(Act::Rotate), play.done(Act::Expire), play.done(Act::Purge)), (4, 4, 3));
}

#[test]
fn an_end_is_said_at_fourteen_seven_and_one_days_and_nothing_puts_it_off() {
    let mut play = Play::new();
    let mut record = key();
    record.expires_ms = Some(START + 60 * DAY);
    record.versions[0].expires_ms = record.expires_ms;
    play.fact(&record, KeyChange::Created, Vec::new()).pass(59 * DAY, HOUR);
    // Facts that come again say nothing again.
    play.fact(&record, KeyChange::Noted, used(1, 9, START + 59 * DAY)).pass(2 * DAY, HOUR);
    let mut expired = play.keys[ID].clone();
    expired.generation += 1;
    play.fact(&expired, KeyChange::Expired, Vec::new());
    expect![[r#"
        day 46.04: key_rotation.expires_soon info shop it ends in 13 days, and that is not put off
        day 53.04: key_rotation.expires_soon warning shop it ends in 6 days, and that is not put off
        day 59.00: key_rotation.expires_soon critical shop it ends in 24 h, and that is not put off
        day 60.04: key_rotation.expires_soon resolved shop it has ended
        day 61.00: key_rotation.expired warning shop no version of it is accepted any more
    "#]]
    .assert_eq(&play.said());
    expect![[r#"
        day 60.042: expire 1
    "#]]
    .assert_eq(&play.asked());
    play.survives();
}

#[test]
fn after_an_outage_only_the_latest_notice_is_said() {
    let mut play = Play::new();
    let mut record = key();
    record.expires_ms = Some(START + 60 * DAY);
    record.versions[0].expires_ms = record.expires_ms;
    play.fact(&record, KeyChange::Created, Vec::new()).pass(DAY, HOUR).outage(58 * DAY + 12 * HOUR).pass(HOUR, MINUTE);
    expect![[r#"
        day 59.50: key_rotation.expires_soon critical shop it ends in 12 h, and that is not put off
    "#]]
    .assert_eq(&play.said());
}

#[test]
fn a_key_that_lives_for_two_days_is_told_of_one_day_before_and_one_that_lives_for_an_hour_is_not() {
    let mut play = Play::new();
    for (id, life) in [("aaaaaaaaaaaa", 2 * DAY), ("bbbbbbbbbbbb", HOUR)] {
        let mut record = KeyRecord { id: id.to_owned(), expires_ms: Some(START + life), ..key() };
        record.versions[0].expires_ms = record.expires_ms;
        play.fact(&record, KeyChange::Created, Vec::new());
    }
    play.pass(30 * HOUR, MINUTE);
    expect![[r#"
        day 1.00: key_rotation.expires_soon critical shop it ends in 23 h, and that is not put off
    "#]]
    .assert_eq(&play.said());
}

#[test]
fn the_owner_who_still_uses_the_old_version_is_told_three_times() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(90 * DAY + HOUR, HOUR);
    for day in 0..7_u64 {
        let record = play.keys[ID].clone();
        let at = play.at;
        play.fact(&record, KeyChange::Noted, used(1, 100 * (day + 1), at)).pass(DAY, HOUR / 2);
    }
    expect![[r#"
        day 94.04: key_rotation.old_version_in_use info shop version 1 ends in 3 days and was used 500 times, last from 192.0.2.7
        day 95.04: key_rotation.old_version_in_use resolved shop the old version was not used for a day
        day 96.04: key_rotation.old_version_in_use warning shop version 1 ends in 24 h and was used 700 times, last from 192.0.2.7
        day 97.02: key_rotation.old_version_in_use critical shop version 1 ends in 30 min and was used 700 times, last from 192.0.2.7
        day 97.04: key_rotation.old_version_in_use resolved shop the old version was not used for a day
    "#]]
    .assert_eq(&play.said());
    play.survives();
}

#[test]
fn an_old_version_that_nobody_uses_any_more_is_no_news() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(90 * DAY + HOUR, HOUR);
    let record = play.keys[ID].clone();
    let at = play.at;
    play.fact(&record, KeyChange::Noted, used(1, 5, at)).pass(7 * DAY, HOUR);
    expect![[""]].assert_eq(&play.said());
}

#[test]
fn without_a_recipient_nothing_is_rotated_and_people_are_told() {
    let mut play = Play::new();
    let record = KeyRecord { recipient: None, ..key() };
    play.fact(&record, KeyChange::Created, Vec::new()).pass(91 * DAY, HOUR);
    assert_eq!(play.asked(), "");
    let named = KeyRecord { recipient: Some("XB".to_owned()), generation: 2, ..record };
    play.fact(&named, KeyChange::Recipient, Vec::new()).pass(HOUR, MINUTE);
    expect![[r#"
        day 90.04: key_rotation.overdue warning shop it should have a new version: no recipient is named to whom a new secret could be sealed
        day 91.00: key_rotation.overdue resolved shop it is no longer due
    "#]].assert_eq(&play.said());
    expect![[r#"
        day 91.000: rotate 1
    "#]]
    .assert_eq(&play.asked());
}

#[test]
fn a_key_that_ends_soon_anyway_is_not_rotated() {
    let mut play = Play::new();
    let mut record = key();
    record.expires_ms = Some(START + 95 * DAY);
    record.versions[0].expires_ms = record.expires_ms;
    play.fact(&record, KeyChange::Created, Vec::new()).pass(94 * DAY, HOUR);
    assert_eq!(play.asked(), "");
}

#[test]
fn another_recipient_is_told_at_once_and_counts_after_its_time() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(DAY, HOUR);
    let change = RecipientChange { recipient: Some("XOTHER".to_owned()), from_ms: play.at + DAY, by: "mallory".to_owned() };
    let asked = KeyRecord { recipient_change: Some(change), generation: 2, ..key() };
    play.fact(&asked, KeyChange::Recipient, Vec::new()).pass(2 * DAY, HOUR);
    expect![[r#"
        day 1.00: key_rotation.recipient_changes warning shop mallory asked for another recipient of its secrets
        day 2.04: key_rotation.recipient_changes resolved shop no change is waiting
    "#]]
    .assert_eq(&play.said());
    expect![[r#"
        day 2.042: recipient 0
    "#]]
    .assert_eq(&play.asked());
    assert_eq!(play.keys[ID].recipient.as_deref(), Some("XOTHER"));
    play.survives();
}

#[test]
fn a_compromised_key_is_critical_at_once() {
    let mut play = Play::new();
    let mut record = key();
    play.fact(&record, KeyChange::Created, used(1, 3, START));
    record.generation = 2;
    record.versions[0] =
        KeyVersion { state: KeyState::Revoked, revoked_ms: Some(START + HOUR), compromised: true, ..record.versions[0].clone() };
    play.pass(HOUR, MINUTE).fact(&record, KeyChange::Revoked, Vec::new()).pass(32 * DAY, HOUR);
    expect![[r#"
        day 0.04: key_rotation.revoked critical shop the key was taken back by anna: somebody else may know it
        day 1.04: key_rotation.revoked resolved shop quiet for 1440 min, seen once
    "#]]
    .assert_eq(&play.said());
    expect![[r#"
        day 30.042: purge 1
    "#]]
    .assert_eq(&play.asked());
}

#[test]
fn who_observes_tells_and_does_nothing() {
    let mut settings = Settings::<KeyRotationConfig>::default();
    settings.modes.actor = Mode::Observe;
    let mut play = Play::with_settings(settings);
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(98 * DAY, HOUR);
    assert_eq!(play.asked(), "");
    expect![[r#"
        day 89.04: key_rotation.overdue warning shop it should have a new version: the actor key_rotation observes and does not act
    "#]]
    .assert_eq(&play.said());
}

#[test]
fn what_was_created_together_is_not_rotated_together() {
    let mut play = Play::with(KeyRotationConfig { rotations_per_min: 1, ..KeyRotationConfig::default() });
    for number in 0..50 {
        let record = KeyRecord { id: format!("aaaaaaaaaa{number:02}"), ..key() };
        play.fact(&record, KeyChange::Created, Vec::new());
    }
    play.pass(88 * DAY, HOUR).pass(2 * DAY, MINUTE);
    let times: Vec<UnixMs> = play.asked.iter().map(|(at, ..)| *at).collect();
    assert_eq!(times.len(), 50);
    let span = times.iter().max().unwrap() - times.iter().min().unwrap();
    assert!(span > 20 * HOUR, "{span}");
    assert!(times.iter().all(|at| *at <= START + 90 * DAY + MINUTE), "never later than due");
}
