//! What holds whatever happens.

use super::*;
use crate::core::{Effect, Output};
use crate::driver::Driver;
use crate::rig::message;
use homeostat_schemas::{Alert, Content, Delivery, State, TraceContext};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn alerts(outputs: &[Output]) -> Vec<&Alert> {
    outputs.iter().filter_map(|o| if let Effect::Alert(alert) = &o.effect { Some(&**alert) } else { None }).collect()
}

fn limits(size: usize) -> Limits {
    Limits { services: size, instances: size + 2, instances_per_service: size / 2 + 1, checks: size / 2, pools: 1, caches: 1, told: 1 }
}

/// Something that happens: an event of some name, an order, other limits.
fn happening() -> impl Strategy<Value = Value> {
    let service = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let instance = prop::sample::select(vec!["", "i", "j", "k", "l"]);
    (service, instance, 0..8_u8, 0..200_u64).prop_map(|(service, instance, kind, n)| {
        let status = ["up", "warn", "down", "unknown"][(n % 4) as usize];
        let check = format!("c{}", n % 5);
        let mut event = match kind {
            0..=2 => json!({"kind": "heartbeat", "up_s": n, "interval_s": 1 + n % 3, "checks": [{"name": check, "status": status, "required": n % 2 == 0}]}),
            3 => json!({"kind": "request", "route": "GET /", "status": if n % 3 == 0 { 500 } else { 200 }, "took_us": 1}),
            4 => json!({"kind": "resource", "memory_bytes": n, "memory_limit_bytes": 100, "oom_kills": n / 50}),
            5 => json!({"kind": "pool", "name": check, "used": n, "max": 100}),
            6 => json!({"kind": "cache", "name": check, "hits": n, "misses": 1, "over_ms": 1}),
            _ => json!({"kind": "order", "action": "health.retire", "target": format!("{service}/{instance}"), "args": {}, "by": "x"}),
        };
        event["service"] = service.into();
        event["instance"] = instance.into();
        event
    })
}

#[derive(Debug, Clone)]
enum Step {
    Happens(Value),
    Limits(usize),
    Outage(u8),
    Waits(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => happening().prop_map(Step::Happens),
        1 => (0..8_usize).prop_map(Step::Limits),
        1 => (3..60_u8).prop_map(Step::Outage),
        3 => (1..20_u8).prop_map(Step::Waits),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// The rig checks every promise after every message; here the story is arbitrary.
    #[test]
    fn promises_hold_and_every_end_had_a_beginning(steps in steps()) {
        let table = |size| json!({"health": {"limits": limits(size), "retire_after_ms": 20_000, "probes": []}});
        let mut rig = Rig::<HealthCore>::with(HealthConfig { limits: limits(4), retire_after_ms: 20_000, ..HealthConfig::default() });
        let mut seconds = 0.0;
        for step in steps {
            seconds += 0.1;
            match step {
                Step::Happens(event) => drop(rig.feed([at(seconds, event)])),
                Step::Limits(size) => drop(rig.feed([message(seconds, Content::Settings(table(size)))])),
                Step::Outage(length) => {
                    seconds += f64::from(length);
                    let before = alerts(rig.outputs()).len();
                    rig.outage_until(seconds);
                    let raised = alerts(rig.outputs())[before..].iter().filter(|a| a.state == State::Firing).count();
                    prop_assert_eq!(raised, 0, "an outage of our own raises nothing");
                }
                Step::Waits(length) => {
                    seconds += f64::from(length);
                    rig.until(seconds);
                }
            }
            let view = rig.driver().view();
            for service in view.services.values() {
                prop_assert_eq!(service.verdict.http == 503, service.verdict.ready == Level::Fail);
                prop_assert!(service.verdict.live == Level::Pass || service.verdict.ready == Level::Fail);
            }
        }
        let mut open: BTreeMap<&str, u32> = BTreeMap::new();
        for alert in alerts(rig.outputs()) {
            match alert.state {
                State::Firing => *open.entry(&alert.incident).or_default() += 1,
                State::Resolved => prop_assert!(open.remove(alert.incident.as_str()).is_some(), "{} ended without a beginning", alert.rule),
            }
        }
        prop_assert_eq!(open.len(), rig.driver().core().incidents().len());
    }

    /// Silence is raised when three intervals are missed, and no later than two seconds after.
    #[test]
    fn silence_is_noticed_within_three_intervals_and_two_seconds(interval_ms in 100_u32..20_000, beats in 1..6_u32, phase_ms in 0..1000_u32) {
        let interval = f64::from(interval_ms) / 1000.0;
        let mut rig = rig();
        let mut last = 0.0;
        for n in 0..beats {
            last = f64::from(phase_ms) / 1000.0 + 1.0 + f64::from(n) * interval;
            rig.feed([at(last, json!({"kind": "heartbeat", "up_s": last, "interval_s": interval}))]);
        }
        rig.until(last + 3.0 * interval + 0.249);
        prop_assert!(alerts(rig.outputs()).is_empty());
        rig.until(last + 3.0 * interval + 2.0);
        prop_assert_eq!(alerts(rig.outputs()).len(), 1);
    }

    /// Every heartbeat delivered again, at once and a little later, changes nothing.
    #[test]
    fn redelivery_changes_nothing(pattern in prop::collection::vec((1..4_u64, prop::sample::select(vec!["up", "down", "warn", "unknown"])), 1..40)) {
        let run = |again: bool| {
            let mut rig = rig();
            let (mut second, mut before) = (0, None);
            for (gap, status) in &pattern {
                second += gap;
                let beat = json!({"kind": "heartbeat", "at_ms": START + second * 1000, "up_s": 100 + second, "interval_s": 2, "checks": [{"name": "db", "status": status}]});
                #[allow(clippy::cast_precision_loss)]
                rig.feed([at(second as f64, beat.clone())]);
                if again {
                    #[allow(clippy::cast_precision_loss)]
                    rig.feed(before.into_iter().chain([beat.clone()]).map(|event| at(second as f64, event)));
                }
                before = Some(beat);
            }
            rig.until(200.0).transcript()
        };
        prop_assert_eq!(run(true), run(false));
    }

    #[test]
    fn a_window_counts_what_a_walk_over_the_minute_counts(gaps in prop::collection::vec((0..5_000_u64, any::<bool>()), 0..300)) {
        let (mut window, mut all, mut now) = (error_rate::Window::default(), Vec::new(), START);
        for (gap, error) in gaps {
            now += gap;
            window.add(now, error);
            all.push((now / 1000, error));
            for later in [now, now + 30_000, now + 59_000, now + 120_000] {
                let inside = all.iter().filter(|(second, _)| second + 60 > later / 1000);
                let expected = Requests { total: inside.clone().count() as u64, errors: inside.filter(|(_, error)| *error).count() as u64 };
                prop_assert_eq!(window.at(later), expected);
            }
            prop_assert!(window.buckets() <= 60);
        }
    }

    #[test]
    fn the_lower_bound_lies_under_the_share_and_rises_with_evidence(errors in 0..1000_u64, rest in 0..1000_u64) {
        let one = Requests { total: errors + rest, errors };
        let ten = Requests { total: 10 * one.total, errors: 10 * errors };
        prop_assert!((0.0..=1.0).contains(&one.lower_bound()));
        prop_assert!(one.lower_bound() <= one.ratio());
        prop_assert!(ten.lower_bound() >= one.lower_bound());
    }

    /// A state is set exactly when the last results, as many as the threshold of their kind, are alike.
    #[test]
    fn a_streak_sets_what_the_last_results_agree_on(results in prop::collection::vec(any::<bool>(), 0..40), failures in 1..5_u32, successes in 1..5_u32) {
        let mut streak = Streak::new(None);
        let mut state = None;
        for (index, &good) in results.iter().enumerate() {
            let needed = if good { successes } else { failures } as usize;
            let agree = index + 1 >= needed && results[index + 1 - needed..=index].iter().all(|&r| r == good);
            prop_assert_eq!(streak.take(good, failures, successes), agree);
            if agree {
                state = Some(good);
            }
            prop_assert_eq!(streak.state(), state);
        }
    }

    /// Whatever a case says, there is an answer or an error.
    #[test]
    fn a_case_never_panics(kind in prop::sample::select(vec!["aggregate", "threshold", "composite", "edge", "x"]), text in ".{0,12}", number in any::<f64>(), depth in 0..6_usize) {
        let mut node = json!({"status": text, "criticality": text, "age_s": number});
        for _ in 0..depth {
            node = json!({"components": {"a": node, "b": text}});
        }
        let case = json!({
            "kind": kind, "components": {"x": node, "y": number, "z": text}, "probe": "startup", "results": text, "period_s": 7,
            "samples": if depth % 2 == 0 { json!([{"db_ms": number, "mem_pct": number, "err": 5, "calls": 2, "uptime_s": null}]) } else { Value::Null },
            "config": {"err_pct_max": number, "stale_s": number},
        });
        let _ = replay_case(&case);
    }
}

#[test]
fn lower_bounds_agree_with_the_tables() {
    // statsmodels.stats.proportion.proportion_confint(count, nobs, method="wilson")
    for (errors, total, bound) in [(1, 10, 0.017_876), (2, 20, 0.027_867), (5, 20, 0.111_862), (0, 50, 0.0), (50, 50, 0.928_652)] {
        let found = Requests { total, errors }.lower_bound();
        assert!((found - bound).abs() < 5e-6, "{errors} of {total}: {found}");
    }
}

fn deliver(driver: &mut Driver<HealthCore>, position: u64, at: u64, event: Value) {
    let mut event = event;
    event["at_ms"] = at.into();
    let event = Event::from_json(event.to_string().as_bytes()).unwrap();
    let content = Content::Events(vec![Ok(event)]);
    driver.step(&Delivery { position, at, subject: String::new(), content, context: TraceContext::default() });
}

#[test]
fn no_flood_of_names_pushes_out_a_living_service() {
    let config = HealthConfig {
        limits: Limits { services: 100, instances: 200, instances_per_service: 10, ..Limits::default() },
        ..HealthConfig::default()
    };
    let mut driver = Driver::<HealthCore>::new("rig", Settings { config, ..Settings::default() });
    // Its name comes first in every order, so that no tie spares it.
    let alive = |second| json!({"kind": "heartbeat", "service": "a", "instance": "a", "up_s": 100 + second, "interval_s": 30});
    let mut position = 0;
    for n in 0..30_000_u64 {
        let now = START + n * 10;
        if n % 1000 == 0 {
            deliver(&mut driver, position, now, alive(n / 100));
        }
        position += 2;
        let name = format!("flood{n}");
        let event = match n % 4 {
            0 => json!({"kind": "heartbeat", "service": name, "up_s": 1, "interval_s": 1}),
            1 => json!({"kind": "resource", "service": "a", "instance": name, "memory_bytes": 1}),
            2 => json!({"kind": "pool", "service": name, "instance": name, "name": "p", "used": 1, "max": 1}),
            _ => json!({"kind": "request", "service": name, "route": "/", "status": 500, "took_us": 1}),
        };
        deliver(&mut driver, position, now, event);
        if n % 100 == 0 {
            assert_eq!(driver.broken_promise(), None);
        }
    }
    let view = driver.view();
    assert!(view.services["a"].alive == 1, "the living one stays");
    assert_eq!(view.totals.services, 100);
    assert!(view.totals.evicted > 0 && view.totals.refused > 0, "and what found no room is counted: {:?}", view.totals);
}
