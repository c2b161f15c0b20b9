//! What warns and never makes unready: pressure, and what other actors found.

use super::*;
use crate::rig::message;
use homeostat_schemas::{Alert, Content, State, UnixMs};

fn alive(rig: &mut Rig<HealthCore>, from: u32, to: u32) {
    rig.feed(
        (from..to)
            .map(|second| at(f64::from(second), json!({"kind": "heartbeat", "instance": "s1", "up_s": 100 + second, "interval_s": 1}))),
    );
}

fn ready(rig: &Rig<HealthCore>) -> String {
    let verdict = &rig.driver().view().services["shop"].verdict;
    format!("{:?} {} {}", verdict.ready, verdict.http, verdict.why.join(" "))
}

fn found(second: f64, rule: &str, state: State, labels: &[(&str, &str)]) -> (UnixMs, Content) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let incident = format!("{rule}-1");
    let alert = Alert { incident, rule: rule.to_owned(), state, service: "shop".to_owned(), labels, ..Alert::default() };
    message(second, Content::Alert(Box::new(alert)))
}

#[test]
fn pressure_in_three_reports_is_a_warning_and_in_three_it_ends() {
    let mut rig = rig();
    let mut readiness = Vec::new();
    for (n, (memory, throttled)) in
        [(0.2, 0.3), (0.2, 0.1), (0.1, 0.3), (0.3, 0.3), (0.0, 0.3), (0.05, 0.0), (0.09, 0.0)].into_iter().enumerate()
    {
        let second = u32::try_from(n).unwrap() + 1;
        alive(&mut rig, second, second + 1);
        let report =
            json!({"kind": "resource", "instance": "s1", "memory_bytes": 1, "memory_pressure": memory, "cpu_throttled": throttled});
        rig.feed([at(f64::from(second) + 0.5, report)]);
        readiness.push(ready(&rig));
    }
    assert_eq!(readiness[1], "Pass 200 ");
    assert_eq!(readiness[4], "Warn 200 pressure:memory pressure:throttled");
    expect![[r#"
        3.5s    health.pressure warning shop tasks waited for memory in 10 % of the time
        5.5s    health.pressure warning shop its CPU quota throttled it in 30 % of the periods
        7.5s    health.pressure resolved shop tasks waited for memory in 9 % of the time
    "#]]
    .assert_eq(&rig.transcript());
    // What is no longer reported is over.
    for second in (10..800).step_by(2) {
        alive(&mut rig, second, second + 1);
    }
    assert!(rig.transcript().contains("pressure on throttled is no longer reported"), "{}", rig.transcript());
}

#[test]
fn an_open_breaker_and_memory_that_runs_out_soon_are_warnings_while_they_last() {
    let mut rig = rig();
    alive(&mut rig, 1, 4);
    let peer = [("peer", "payments"), ("operation", "charge")];
    rig.feed([found(4.0, "breaker.open", State::Firing, &peer), found(4.0, "leak.limit_near", State::Firing, &[("instance", "s1")])]);
    rig.feed([found(4.0, "query.slow", State::Firing, &[])]);
    alive(&mut rig, 5, 8);
    assert_eq!(ready(&rig), "Warn 200 breaker:payments/charge memory_limit");
    rig.feed([found(9.0, "breaker.open", State::Resolved, &[]), found(9.0, "leak.limit_near", State::Resolved, &[])]);
    assert_eq!(ready(&rig), "Pass 200 ");
    assert_eq!(rig.transcript(), "");
    let story: Story = vec![
        at(1.0, json!({"kind": "heartbeat", "instance": "s1", "up_s": 100, "interval_s": 1})),
        found(2.0, "breaker.open", State::Firing, &peer),
        at(3.0, json!({"kind": "resource", "instance": "s1", "memory_bytes": 1, "io_pressure": 0.9})),
        at(4.0, json!({"kind": "resource", "instance": "s1", "memory_bytes": 1, "io_pressure": 0.9})),
        at(5.0, json!({"kind": "resource", "instance": "s1", "memory_bytes": 1, "io_pressure": 0.9})),
    ];
    survives_restart_anywhere::<HealthCore>(&settings(), &story);
}
