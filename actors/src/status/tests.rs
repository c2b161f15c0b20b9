//! Stories of status.

mod silences;

use super::*;
use crate::core::Settings;
use crate::rig::{Rig, START, Story, message, survives_restart_anywhere};
use homeostat_schemas::{Command, Content, Mode, Outcome, OutcomeStatus, State};
use proptest::prelude::*;

fn alert(second: u32, incident: &str, severity: Severity, state: State) -> (UnixMs, Content) {
    let at_ms = START + u64::from(second) * 1000;
    let alert = Alert {
        id: format!("{incident}-{second}-{state}"),
        incident: incident.to_owned(),
        rule: "query.slow".to_owned(),
        severity,
        state,
        service: "shop".to_owned(),
        since_ms: at_ms,
        at_ms,
        ..Alert::default()
    };
    message(f64::from(second), Content::Alert(Box::new(alert)))
}

fn command(second: u32, id: &str, mode: Mode, expires_s: u64) -> (UnixMs, Content) {
    let command =
        Command { id: id.to_owned(), action: "cache.warm".into(), mode, expires_ms: START + expires_s * 1000, ..Command::default() };
    message(f64::from(second), Content::Command(Box::new(command)))
}

fn outcome(second: u32, command: &str, instance: &str, status: OutcomeStatus) -> (UnixMs, Content) {
    let outcome = Outcome { command: command.to_owned(), status, instance: Some(instance.to_owned()), ..Outcome::default() };
    message(f64::from(second), Content::Outcome(outcome))
}

fn judged(second: u32, rule: &str, command: &str) -> (UnixMs, Content) {
    let (at, content) = alert(second, &format!("judge-{command}-{rule}"), Severity::Info, State::Firing);
    let Content::Alert(mut alert) = content else { panic!("it is an alert") };
    alert.rule = rule.to_owned();
    alert.cause = vec![command.to_owned()];
    (at, Content::Alert(alert))
}

fn with(config: StatusConfig) -> Rig<StatusCore> {
    Rig::with(config)
}

fn open(view: &StatusView) -> Vec<&str> {
    view.open.iter().map(|alert| alert.incident.as_str()).collect()
}

fn resolved(view: &StatusView) -> Vec<&str> {
    view.resolved.iter().map(|alert| alert.incident.as_str()).collect()
}

fn states(rig: &Rig<StatusCore>) -> Vec<(String, CommandState)> {
    rig.driver().view().commands.iter().map(|c| (c.command.id.clone(), c.state)).collect()
}

#[test]
fn an_incident_is_open_until_it_is_resolved_and_shown_by_urgency() {
    let mut rig = with(StatusConfig::default());
    rig.feed([
        alert(1, "a", Severity::Warning, State::Firing),
        alert(2, "b", Severity::Critical, State::Firing),
        alert(3, "c", Severity::Warning, State::Firing),
        alert(4, "a", Severity::Critical, State::Firing),
    ]);
    let view = rig.driver().view();
    assert_eq!(open(&view), ["b", "a", "c"], "critical first, then the oldest");
    assert_eq!(view.open_by_severity[&Severity::Critical], 2);
    assert_eq!(view.rules["query.slow"], Count { fired: 3, resolved: 0, open: 3 });
    rig.feed([alert(5, "b", Severity::Critical, State::Resolved)]);
    let view = rig.driver().view();
    assert_eq!((open(&view), resolved(&view)), (vec!["a", "c"], vec!["b"]));
    assert_eq!(view.rules["query.slow"], Count { fired: 3, resolved: 1, open: 2 });
    assert_eq!(view.open_by_service["shop"], 2);
    assert_eq!(rig.outputs().len(), 0, "status finds nothing itself");
}

#[test]
fn a_message_that_comes_again_changes_nothing() {
    let mut rig = with(StatusConfig::default());
    let (fired, ended) = (alert(1, "a", Severity::Warning, State::Firing), alert(2, "a", Severity::Warning, State::Resolved));
    rig.feed([fired.clone(), fired.clone(), ended.clone(), ended, fired]);
    let view = rig.driver().view();
    assert_eq!((open(&view).len(), resolved(&view).len()), (0, 1));
    assert_eq!(view.rules["query.slow"], Count { fired: 1, resolved: 1, open: 0 });
}

#[test]
fn resolved_incidents_make_room_first_and_then_the_oldest() {
    let mut rig = with(StatusConfig { incidents_max: 3, ..StatusConfig::default() });
    rig.feed([
        alert(1, "a", Severity::Warning, State::Firing),
        alert(2, "b", Severity::Warning, State::Firing),
        alert(3, "b", Severity::Warning, State::Resolved),
        alert(4, "c", Severity::Warning, State::Firing),
        alert(5, "d", Severity::Warning, State::Firing),
        alert(6, "e", Severity::Warning, State::Firing),
    ]);
    let view = rig.driver().view();
    assert_eq!(open(&view), ["c", "d", "e"]);
    assert_eq!(view.dropped, Dropped { open: 1, resolved: 1, ..Dropped::default() });
    assert_eq!(view.rules["query.slow"].open, 3);
}

#[test]
fn a_command_goes_from_issued_to_verified() {
    let mut rig = with(StatusConfig::default());
    let mut seen = Vec::new();
    for step in [
        command(1, "c1", Mode::Act, 60),
        outcome(2, "c1", "i1", OutcomeStatus::Accepted),
        outcome(3, "c1", "i1", OutcomeStatus::Done),
        outcome(4, "c1", "i1", OutcomeStatus::Accepted),
        judged(5, "recovery.verified", "c1"),
    ] {
        rig.feed([step]);
        seen.push(states(&rig)[0].1);
    }
    use CommandState::{Accepted, Done, Issued, Verified};
    assert_eq!(seen, [Issued, Accepted, Done, Done, Verified]);
    let view = rig.driver().view();
    assert_eq!(view.commands[0].outcomes.len(), 2, "an outcome that comes again is one");
    assert!(view.commands[0].verdict.is_some());
}

#[test]
fn a_command_that_nobody_takes_up_expires_and_one_to_look_at_does_not() {
    let mut rig = with(StatusConfig::default());
    rig.feed([command(1, "c1", Mode::Act, 10), command(2, "c2", Mode::Observe, 10), command(3, "c3", Mode::Act, 10)]);
    rig.feed([outcome(9, "c3", "i", OutcomeStatus::Accepted)]).until(10.0);
    assert_eq!(states(&rig)[2], ("c1".into(), CommandState::Issued));
    rig.until(10.5);
    assert_eq!(
        states(&rig),
        [("c3".into(), CommandState::Accepted), ("c2".into(), CommandState::Observed), ("c1".into(), CommandState::Expired)]
    );
}

#[test]
fn outcomes_of_unknown_commands_are_counted() {
    let mut rig = with(StatusConfig { outcomes_max: 1, ..StatusConfig::default() });
    rig.feed([outcome(1, "nobody", "i", OutcomeStatus::Done), command(2, "c", Mode::Act, 100)]);
    rig.feed([outcome(3, "c", "i", OutcomeStatus::Accepted), outcome(4, "c", "j", OutcomeStatus::Done)]);
    let view = rig.driver().view();
    assert_eq!(view.dropped.outcomes, 2);
    assert_eq!(view.commands[0].state, CommandState::Done, "what finds no room is still heard");
}

#[test]
fn settled_commands_make_room_first() {
    let mut rig = with(StatusConfig { commands_max: 2, ..StatusConfig::default() });
    rig.feed([command(1, "a", Mode::Act, 100), command(2, "b", Mode::Observe, 100), command(3, "c", Mode::Act, 100)]);
    assert_eq!(states(&rig).into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ["c", "a"]);
    assert_eq!(rig.driver().view().dropped.commands, 0);
    rig.feed([command(4, "d", Mode::Act, 100)]);
    assert_eq!(rig.driver().view().dropped.commands, 1, "one was not settled");
}

fn story() -> Story {
    let mut story = Vec::new();
    for n in 0..30_u32 {
        story.push(alert(4 * n, &format!("i{}", n % 7), Severity::Warning, if n % 3 == 0 { State::Resolved } else { State::Firing }));
        story.push(command(4 * n, &format!("c{n}"), if n % 5 == 0 { Mode::Observe } else { Mode::Act }, u64::from(4 * n + 5)));
        story.push(outcome(4 * n + 1, &format!("c{}", n / 2), "i", if n % 2 == 0 { OutcomeStatus::Accepted } else { OutcomeStatus::Done }));
    }
    story
}

#[test]
fn status_survives_a_restart_anywhere() {
    let settings =
        Settings { config: StatusConfig { incidents_max: 5, commands_max: 5, ..StatusConfig::default() }, ..Settings::default() };
    survives_restart_anywhere::<StatusCore>(&settings, &story());
    // It says nothing, so what it shows is compared too.
    let shown = |restart: bool| {
        let mut rig = Rig::<StatusCore>::with_settings(settings.clone());
        for step in story() {
            rig.feed([step]);
            if restart {
                rig.restart();
            }
        }
        rig.driver().view()
    };
    assert_eq!(shown(true), shown(false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The rig checks S-1 and S-2 after every message, whatever comes.
    #[test]
    fn promises_hold_whatever_comes(steps in prop::collection::vec((0..5_u8, 0..6_u8, 0..6_u32), 0..150), room in 0..5_usize) {
        let config = StatusConfig { incidents_max: room, commands_max: room, outcomes_max: 1, rules_max: 1, recent_max: 2, silences_max: 2 };
        let mut rig = with(config);
        let mut second = 0;
        for (what, name, gap) in steps {
            second += gap;
            let (incident, id) = (format!("i{name}"), format!("c{name}"));
            rig.feed([match what {
                0 => alert(second, &incident, Severity::Critical, State::Firing),
                1 => alert(second, &incident, Severity::Critical, State::Resolved),
                2 => command(second, &id, Mode::Act, u64::from(second) + 7),
                3 => outcome(second, &id, &incident, OutcomeStatus::Failed),
                _ => judged(second, "recovery.ineffective", &id),
            }]);
            let view = rig.driver().view();
            let counted: u64 = view.rules.values().map(|count| count.open).sum();
            prop_assert_eq!(counted, view.open.len() as u64, "the counts and the list agree");
        }
    }
}

#[test]
fn rules_beyond_a_limit_that_fell_are_counted_together() {
    let of = |second: u32, rule: &str, state| {
        let (at, content) = alert(second, &format!("incident of {rule}"), Severity::Info, state);
        let Content::Alert(mut alert) = content else { panic!("it is an alert") };
        alert.rule = rule.to_owned();
        (at, Content::Alert(alert))
    };
    let mut rig = with(StatusConfig::default());
    rig.feed([of(1, "a.open", State::Firing), of(2, "b.over", State::Firing), of(3, "b.over", State::Resolved)]);
    rig.feed([of(4, "c.open", State::Firing), of(5, "d.over", State::Firing), of(6, "d.over", State::Resolved)]);
    rig.feed([message(7.0, Content::Settings(serde_json::json!({ "status": { "rules_max": 2 } })))]).until(8.0);
    let rules = rig.driver().view().rules;
    let counts: Vec<_> = rules.iter().map(|(rule, count)| (rule.as_str(), count.fired, count.open)).collect();
    assert_eq!(counts, [("__other__", 2, 0), ("a.open", 1, 1), ("c.open", 1, 1)]);
}
