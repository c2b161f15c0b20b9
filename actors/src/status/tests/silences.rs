//! Stories of silences and acknowledgements.

use super::*;
use homeostat_schemas::event::Order;
use homeostat_schemas::silence::{ACKNOWLEDGE, CREATE, EXPIRE, UNACKNOWLEDGE};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn order(second: f64, action: &str, target: &str, args: Value) -> (UnixMs, Content) {
    let order = Order {
        service: "homeostat".to_owned(),
        action: action.to_owned(),
        target: target.to_owned(),
        args,
        by: "ann".to_owned(),
        reason: Some("deployment".to_owned()),
        ..Order::default()
    };
    message(second, Content::Events(vec![Ok(order.into())]))
}

fn silence(second: f64, id: &str, matchers: &[&str], seconds: u64) -> (UnixMs, Content) {
    order(second, CREATE, id, json!({ "matchers": matchers, "duration_ms": seconds * 1000 }))
}

/// An alert about a route.
fn on_route(second: u32, incident: &str, route: &str) -> (UnixMs, Content) {
    let (at, content) = alert(second, incident, Severity::Warning, State::Firing);
    let Content::Alert(mut alert) = content else { panic!("it is an alert") };
    alert.labels.insert("route".to_owned(), route.to_owned());
    (at, Content::Alert(alert))
}

fn silenced(view: &StatusView) -> Vec<(&str, Vec<&str>)> {
    let by = |mark: &'_ Mark| !mark.silenced_by.is_empty();
    let marks = view.marks.iter().filter(|(_, mark)| by(mark));
    marks.map(|(incident, mark)| (incident.as_str(), mark.silenced_by.iter().map(String::as_str).collect())).collect()
}

fn refusals(rig: &Rig<StatusCore>) -> Vec<String> {
    rig.driver().view().refused_orders.iter().map(|refusal| format!("{} {}: {}", refusal.action, refusal.target, refusal.why)).collect()
}

#[test]
fn a_silence_covers_what_is_open_and_what_comes_until_its_time_is_over() {
    let mut rig = with(StatusConfig::default());
    rig.feed([
        on_route(1, "a", "GET /a"),
        on_route(2, "b", "GET /b"),
        silence(3.0, "s", &["rule=~query\\..*", "route!=GET /b"], 10),
        on_route(4, "c", "GET /c"),
    ]);
    assert_eq!(silenced(&rig.driver().view()), [("a", vec!["s"]), ("c", vec!["s"])]);
    let view = &rig.driver().view().silences[0];
    assert_eq!((view.state, view.covers, view.by.as_str()), (SilenceState::Active, 2, "ann"));
    assert_eq!(open(&rig.driver().view()).len(), 3, "what is silenced is open all the same");
    rig.until(12.5);
    assert_eq!(silenced(&rig.driver().view()).len(), 2);
    rig.until(13.0);
    assert_eq!(silenced(&rig.driver().view()), []);
    assert_eq!(rig.driver().view().silences[0].state, SilenceState::Ended);
}

#[test]
fn a_silence_may_begin_later_and_be_ended_before_its_time() {
    let mut rig = with(StatusConfig::default());
    rig.feed([
        alert(1, "a", Severity::Warning, State::Firing),
        order(2.0, CREATE, "s", json!({ "matchers": ["service=shop"], "starts_ms": START + 10_000, "ends_ms": START + 100_000 })),
    ]);
    assert_eq!((rig.driver().view().silences[0].state, silenced(&rig.driver().view()).len()), (SilenceState::Pending, 0));
    rig.until(10.0);
    assert_eq!(silenced(&rig.driver().view()), [("a", vec!["s"])]);
    rig.feed([order(20.0, EXPIRE, "s", Value::Null), order(21.0, EXPIRE, "s", Value::Null), order(22.0, EXPIRE, "t", Value::Null)]);
    let view = rig.driver().view();
    assert_eq!((silenced(&view).len(), view.silences[0].state), (0, SilenceState::Ended));
    assert_eq!(view.silences[0].expired_by.as_deref(), Some("ann"));
    assert_eq!(refusals(&rig), ["silence.expire t: there is no such silence", "silence.expire s: it is over already"]);
}

#[test]
fn a_maintenance_window_comes_again_every_day() {
    let mut rig = with(StatusConfig::default());
    // The window opens a minute after the story begins, for a minute, by the clock of Kathmandu.
    let clock = |seconds: u64| {
        let there = (START / 1000 + seconds + 5 * 3600 + 45 * 60) % 86_400;
        format!("{:02}:{:02}", there / 3600, there % 3600 / 60)
    };
    let opens = 120 - START / 1000 % 60;
    let window = json!({ "from": clock(opens), "to": clock(opens + 60), "zone": "Asia/Kathmandu" });
    rig.feed([
        alert(1, "a", Severity::Warning, State::Firing),
        order(2.0, CREATE, "nightly", json!({ "matchers": ["service=shop"], "window": window })),
    ]);
    let from = rig.driver().view().silences[0].from_ms.unwrap();
    assert_eq!((from, rig.driver().view().silences[0].to_ms), (START / 60_000 * 60_000 + 120_000, Some(from + 60_000)));
    for day in 0..2 {
        let opens = f64::from(day) * 86_400.0 + (from - START) as f64 / 1000.0;
        rig.feed([silence(opens - 1.0, "other", &["service=none"], 60)]);
        assert_eq!(silenced(&rig.driver().view()), [], "day {day}");
        rig.feed([silence(opens, "other", &["service=none"], 60)]);
        assert_eq!(silenced(&rig.driver().view()), [("a", vec!["nightly"])], "day {day}");
        rig.feed([silence(opens + 60.0, "other", &["service=none"], 60)]);
        assert_eq!(silenced(&rig.driver().view()), [], "day {day}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_with_a_reason() {
    let mut rig = with(StatusConfig::default());
    let create = |id: &str, args: Value| order(1.0, CREATE, id, args);
    rig.feed([
        create("s", json!({ "matchers": ["service=shop"] })),
        create("s", json!({ "matchers": [], "duration_ms": 1000 })),
        create("s", json!({ "matchers": ["service=~.*", "zone!=x"], "duration_ms": 1000 })),
        create("s", json!({ "matchers": ["service=~("], "duration_ms": 1000 })),
        create("s", json!({ "matchers": ["service=shop"], "duration_ms": 1000, "ends_ms": 5 })),
        create("s", json!({ "matchers": ["service=shop"], "ends_ms": START })),
        create("s", json!({ "matchers": ["service=shop"], "ends_ms": u64::MAX })),
        create("s", json!({ "matchers": ["service=shop"], "window": { "from": "02:00", "to": "04:00", "zone": "Middle/Earth" } })),
        create(
            "s",
            json!({ "matchers": ["service=shop"], "duration_ms": 1000, "window": { "from": "02:00", "to": "04:00", "days": ["sat"] } }),
        ),
        create("", json!({ "matchers": ["service=shop"], "duration_ms": 1000 })),
        create("s", json!("all")),
        order(1.0, ACKNOWLEDGE, "nothing", Value::Null),
        order(1.0, "recovery.pause", "all", Value::Null),
    ]);
    assert_eq!(rig.driver().view().silences, []);
    let said = refusals(&rig);
    assert_eq!(said.len(), 12, "an order for another mind is none of ours: {said:#?}");
    for word in [
        "it has to end",
        "1 to 16 matchers",
        "everything",
        "not both",
        "over already",
        "year 10000",
        "Middle/Earth",
        "does not open",
        "its id",
        "no such incident",
    ] {
        assert!(said.iter().any(|line| line.contains(word)), "{word}: {said:#?}");
    }
}

#[test]
fn an_expression_takes_no_more_than_it_may() {
    let mut rig = with(StatusConfig::default());
    let nested = format!("{}a{}", "(".repeat(200), ")".repeat(200));
    for (id, expression) in [("big", "(a{1000}){1000}"), ("deep", nested.as_str())] {
        rig.feed([silence(1.0, id, &[&format!("service=~{expression}")], 10)]);
    }
    assert_eq!((rig.driver().view().silences.len(), refusals(&rig).len()), (0, 2), "{:?}", refusals(&rig));
}

#[test]
fn those_that_are_over_make_room_and_those_in_force_do_not() {
    let mut rig = with(StatusConfig { silences_max: 2, ..StatusConfig::default() });
    rig.feed([
        silence(1.0, "a", &["service=shop"], 5),
        silence(2.0, "b", &["service=shop"], 100),
        silence(3.0, "c", &["service=shop"], 100),
        silence(10.0, "d", &["service=shop"], 100),
        silence(11.0, "b", &["service=till"], 100),
    ]);
    let ids: Vec<String> = rig.driver().view().silences.into_iter().map(|silence| silence.id).collect();
    assert_eq!(ids, ["d", "b"]);
    assert_eq!(refusals(&rig), ["silence.create c: there are 2 silences already, and none of them is over"]);
}

#[test]
fn an_acknowledgement_holds_until_the_incident_ends_or_grows() {
    let mut rig = with(StatusConfig::default());
    let by = |rig: &Rig<StatusCore>, incident: &str| {
        rig.driver().view().marks.get(incident).and_then(|mark| mark.acknowledged.clone()).map(|said| (said.by, said.reason))
    };
    let ann = Some(("ann".to_owned(), "deployment".to_owned()));
    rig.feed([
        alert(1, "a", Severity::Warning, State::Firing),
        alert(1, "b", Severity::Warning, State::Firing),
        order(2.0, ACKNOWLEDGE, "a", Value::Null),
        order(2.0, ACKNOWLEDGE, "b-1-firing", Value::Null),
    ]);
    assert_eq!((by(&rig, "a"), by(&rig, "b")), (ann.clone(), ann.clone()), "by incident, and by the id of its alert");
    rig.feed([alert(3, "a", Severity::Critical, State::Firing), order(4.0, UNACKNOWLEDGE, "b", Value::Null)]);
    assert_eq!((by(&rig, "a"), by(&rig, "b")), (None, None), "what grew has to be looked at again");
    assert_eq!(rig.driver().view().marks["a"].first.as_deref(), Some("a-1-firing"));
    rig.feed([order(5.0, ACKNOWLEDGE, "a", Value::Null), alert(6, "a", Severity::Critical, State::Resolved)]);
    rig.feed([order(7.0, ACKNOWLEDGE, "a", Value::Null)]);
    assert_eq!(rig.driver().view().marks.len(), 0);
    assert_eq!(refusals(&rig), ["alert.acknowledge a: no such incident is open"]);
}

fn words() -> Story {
    let mut story = Vec::new();
    for n in 0..40_u32 {
        let second = f64::from(n * 3);
        story.push(on_route(3 * n, &format!("i{}", n % 6), &format!("GET /{}", n % 3)));
        story.push(silence(second, &format!("s{}", n % 4), &[&format!("route=~GET /[{}]", n % 3)], u64::from(n % 7) + 1));
        story.push(order(second + 1.0, if n % 3 == 0 { EXPIRE } else { ACKNOWLEDGE }, &format!("i{}", n % 6), Value::Null));
        if n % 5 == 0 {
            story.push(order(second + 2.0, EXPIRE, &format!("s{}", n % 4), Value::Null));
            story.push(alert(3 * n + 2, &format!("i{}", n % 6), Severity::Warning, State::Resolved));
        }
    }
    story
}

#[test]
fn silences_survive_a_restart_anywhere() {
    let config = StatusConfig { incidents_max: 4, silences_max: 3, ..StatusConfig::default() };
    let settings = Settings { config, ..Settings::default() };
    let shown = |restart: bool| {
        let mut rig = Rig::<StatusCore>::with_settings(settings.clone());
        let mut shown = Vec::new();
        for step in words() {
            rig.feed([step]);
            if restart {
                rig.restart();
            }
            shown.push(rig.driver().view());
        }
        shown
    };
    let (whole, broken) = (shown(false), shown(true));
    assert!(whole.iter().any(|view| view.marks.values().any(|mark| !mark.silenced_by.is_empty())));
    assert!(whole == broken);
}

#[test]
fn who_asks_about_a_few_incidents_hears_what_all_see() {
    let mut rig = with(StatusConfig { incidents_max: 4, silences_max: 3, ..StatusConfig::default() });
    let (mut silenced, mut acknowledged) = (0, 0);
    for step in words() {
        rig.feed([step]);
        let (status, now) = (rig.driver().core(), rig.driver().now());
        let view = rig.driver().view();
        let all: Vec<String> = (0..7).map(|n| format!("i{n}")).collect();
        let marks = status.marks(&all, now);
        let open: BTreeSet<&String> = view.open.iter().map(|alert| &alert.incident).collect();
        assert_eq!(marks.keys().collect::<BTreeSet<_>>(), open);
        for (incident, mark) in marks {
            assert_eq!(mark, view.marks.get(&incident).cloned().unwrap_or_default());
            silenced += usize::from(!mark.silenced_by.is_empty());
        }
        let said = status.said(now);
        assert_eq!(said.at_ms, view.at_ms);
        let spans = |silences: &[SilenceView]| silences.iter().map(|one| (one.id.clone(), one.from_ms, one.to_ms)).collect::<Vec<_>>();
        assert_eq!(spans(&said.silences), spans(&view.silences));
        for (alert, by) in &said.acknowledged {
            assert_eq!(view.marks[&alert.incident].acknowledged.as_ref(), Some(by));
            acknowledged += 1;
        }
        assert_eq!(said.acknowledged.len(), view.acknowledged());
    }
    assert!(silenced > 0 && acknowledged > 0, "the story says too little");
}
