//! Hands that fail, commands, limits, lists.

use super::*;
use crate::key_rotation::ROTATE;
use expect_test::expect;
use homeostat_schemas::{Command, Mode};

#[test]
fn what_fails_is_tried_again_with_growing_pauses_and_told_from_the_third_time_on() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(90 * DAY - MINUTE, HOUR);
    play.refuses = true;
    play.pass(10 * MINUTE, 250);
    let tries: Vec<u64> = play.asked.windows(2).map(|pair| (pair[1].0 - pair[0].0) / 1_000).collect();
    expect!["[5, 10, 20, 40, 80, 160]"].assert_eq(&format!("{tries:?}"));
    play.refuses = false;
    play.pass(10 * MINUTE, 1_000);
    assert_eq!(play.done(Act::Rotate), 1);
    expect![[r#"
        day 90.00: key_rotation.failed critical shop rotate failed: the database refused
        day 90.01: key_rotation.failed resolved shop it works again
    "#]]
    .assert_eq(&play.said());
    play.survives();
}

#[test]
fn a_hand_that_does_not_answer_is_asked_again() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(90 * DAY - MINUTE, HOUR);
    play.away = true;
    play.pass(5 * MINUTE, 1_000);
    let asked = play.asked.len();
    assert!((3..10).contains(&asked), "{asked}");
    assert!(play.asked.iter().all(|(_, what, args)| what == "rotate" && args["version"] == 1), "the same version: it happens once");
    play.away = false;
    play.pass(15 * MINUTE, 1_000);
    assert_eq!(play.done(Act::Rotate), 1);
}

fn command(play: &Play, fence: u64) -> Command {
    Command {
        id: format!("command-{fence}"),
        action: ROTATE.to_owned(),
        service: "shop".to_owned(),
        target: ID.to_owned(),
        fence,
        issued_ms: play.at,
        expires_ms: play.at + MINUTE,
        mode: Mode::Act,
        ..Command::default()
    }
}

#[test]
fn a_command_rotates_at_once_and_an_old_foreign_or_late_one_is_refused() {
    let mut play = Play::new();
    play.fact(&key(), KeyChange::Created, Vec::new()).pass(DAY, HOUR);
    let good = command(&play, 7);
    for command in [
        Command { mode: Mode::Observe, ..good.clone() },
        Command { service: "bank".to_owned(), ..good.clone() },
        Command { target: "aaaaaaaaaaaa".to_owned(), ..good.clone() },
        Command { expires_ms: play.at - 1, ..good.clone() },
        good.clone(),
        good,
    ] {
        play.say(Content::Command(Box::new(command)));
    }
    let asked: Vec<String> = play.asked.iter().map(|(_, what, args)| format!("{what} {args}\n")).collect();
    expect![[r#"
        refuse {"command":"command-7","service":"bank","why":"the key belongs to another service"}
        refuse {"command":"command-7","service":"shop","why":"there is no such key"}
        refuse {"command":"command-7","service":"shop","why":"it came too late"}
        rotate {"command":"command-7","compromised":false,"key":"aB3dE6gH9jK2","service":"shop","version":1}
        refuse {"command":"command-7","service":"shop","why":"a newer command was seen"}
    "#]]
    .assert_eq(&asked.concat());
    play.survives();
}

#[test]
fn keys_that_were_never_heard_of_are_found_in_the_list_and_those_that_are_gone_are_forgotten() {
    let mut play = Play::new();
    play.keys.insert(ID.to_owned(), key());
    play.pass(MINUTE, 250);
    assert_eq!(play.view().totals.keys, 1);
    play.keys.clear();
    play.pass(2 * DAY, HOUR);
    assert_eq!(play.view().totals.keys, 0);
    play.survives();
}

#[test]
fn an_older_record_changes_nothing() {
    let mut play = Play::new();
    let newer = KeyRecord { generation: 5, owner: "bank".to_owned(), ..key() };
    play.fact(&newer, KeyChange::Created, Vec::new());
    play.fact(&key(), KeyChange::Created, Vec::new());
    assert_eq!(play.view().keys[0].owner, "bank");
}

#[test]
fn a_key_for_which_there_is_no_room_is_an_alert() {
    let mut play = Play::with(KeyRotationConfig { keys: 1, ..KeyRotationConfig::default() });
    play.fact(&key(), KeyChange::Created, Vec::new());
    play.fact(&KeyRecord { id: "aaaaaaaaaaaa".to_owned(), ..key() }, KeyChange::Created, Vec::new());
    expect![[r#"
        day 0.00: key_rotation.failed critical homeostat room failed: there is room for 1 keys (actors.key_rotation.keys)
    "#]]
    .assert_eq(&play.said());
}
