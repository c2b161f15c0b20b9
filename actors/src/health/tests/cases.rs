//! Scripted cases.

use super::*;

fn result(case: Value) -> Value {
    replay_case(&case).unwrap()
}

#[test]
fn every_case_of_the_reference_is_reproduced() {
    let all: Value = serde_json::from_str(include_str!("../../../tests/data/health/cases.json")).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let expected = match case.get("samples") {
            Some(samples) => samples.as_array().unwrap().iter().map(|sample| sample["expect"].clone()).collect(),
            None => case["expect"].clone(),
        };
        assert_eq!(result(case.clone()), expected, "{}", case["id"]);
        // Without the answer in sight it is the same.
        let mut blind = case.clone();
        blind.as_object_mut().unwrap().remove("expect");
        if let Some(samples) = blind.get_mut("samples") {
            samples.as_array_mut().unwrap().iter_mut().for_each(|sample| drop(sample.as_object_mut().unwrap().remove("expect")));
        }
        assert_eq!(result(blind), expected, "{} without its answer", case["id"]);
    }
}

#[test]
fn statuses_add_up_in_the_order_down_out_of_service_up_unknown() {
    let of = |words: &[&str]| {
        let components: serde_json::Map<String, Value> = words.iter().enumerate().map(|(i, w)| (format!("c{i}"), json!(w))).collect();
        let result = result(json!({"kind": "aggregate", "components": components}));
        (result["status"].as_str().unwrap().to_owned(), result["http"].as_u64().unwrap())
    };
    assert_eq!(of(&["UP", "OUT_OF_SERVICE", "UNKNOWN"]), ("OUT_OF_SERVICE".into(), 503));
    assert_eq!(of(&["UNKNOWN", "UP"]), ("UP".into(), 200));
    assert_eq!(of(&["UNKNOWN", "MAINTENANCE"]), ("UNKNOWN".into(), 200));
    assert_eq!(of(&["UP", "FATAL"]), ("UP".into(), 200), "a foreign word does not count");
    assert_eq!(of(&["up", "out-of-service"]), ("out-of-service".into(), 503), "spelling is kept, case and punctuation do not count");
}

#[test]
fn a_composite_within_a_composite_adds_its_own_sum() {
    let case = json!({"kind": "aggregate", "components": {"a": {"status": "UP"}, "b": {"components": {"c": "UP", "d": "DOWN"}}, "e": 7}});
    assert_eq!(result(case), json!({"status": "DOWN", "http": 503}));
}

#[test]
fn during_the_initial_delay_nothing_is_probed() {
    let case =
        json!({"kind": "threshold", "probe": "liveness", "period_s": 5, "failure_threshold": 1, "initial_delay_s": 10, "results": "FFFS"});
    assert_eq!(result(case), json!([[0, "S", "initial_delay"], [5, "S", "initial_delay"], [10, "F", "RESTART"], [15, "F", "on_hold"]]));
}

#[test]
fn a_startup_probe_decides_once() {
    let case = |results: &str| result(json!({"kind": "threshold", "probe": "startup", "failure_threshold": 2, "results": results}));
    assert_eq!(case("FSF"), json!([[0, "U", "below_threshold"], [10, "S", "set"], [20, "S", "on_hold"]]));
    assert_eq!(case("FFS"), json!([[0, "U", "below_threshold"], [10, "F", "RESTART"], [20, "F", "on_hold"]]));
}

#[test]
fn an_error_of_the_prober_is_thrown_away_and_breaks_no_run() {
    let case = json!({"kind": "threshold", "probe": "readiness", "failure_threshold": 2, "results": "SFEF"});
    assert_eq!(result(case), json!([[0, "S", "set"], [10, "S", "below_threshold"], [20, "S", "error"], [30, "F", "set"]]));
}

#[test]
fn only_what_is_required_takes_a_service_out() {
    let of = |components: Value| {
        result(json!({"kind": "composite", "components": components, "expect": {"live": 0, "ready": 0, "http": 0, "why": 0, "status": 0}}))
    };
    assert_eq!(
        of(json!({"breaker:search": "open", "cache": {"status": "down", "criticality": "optional"}, "db": "pass"})),
        json!({"live": "pass", "ready": "warn", "http": 200, "why": ["breaker:search", "cache"], "status": "UP"})
    );
    assert_eq!(
        of(json!({"breaker:search": {"status": "open", "criticality": "required"}})),
        json!({"live": "pass", "ready": "fail", "http": 503, "why": ["breaker:search"], "status": "DOWN"})
    );
    assert_eq!(
        of(
            json!({"db": {"status": "pass", "age_s": 91}, "cache": {"status": "pass", "age_s": 91, "required": false}, "bus": {"status": "pass", "age_s": 90}})
        ),
        json!({"live": "pass", "ready": "fail", "http": 503, "why": ["cache", "db"], "status": "OUT_OF_SERVICE"}),
        "a result older than 90 s is unknown"
    );
    assert_eq!(of(json!({})), json!({"live": "pass", "ready": "pass", "http": 200, "why": [], "status": "UNKNOWN"}));
    assert_eq!(of(json!({"db": "degraded"})), json!({"live": "pass", "ready": "warn", "http": 200, "why": ["db"], "status": "UP"}));
}

#[test]
fn thresholds_of_a_case_are_exact() {
    let of = |config: Value, sample: Value| result(json!({"kind": "composite", "config": config, "samples": [sample]}))[0].clone();
    let strict = json!({"db_ms_max": 100, "mem_pct_max": 75, "min_uptime_s": 5, "err_pct_max": 5, "min_calls": 10, "db_ms_warn": 50});
    assert_eq!(
        of(strict.clone(), json!({"db_ms": 50, "mem_pct": 74.9, "uptime_s": 5.1})),
        json!({"live": "pass", "ready": "warn", "http": 200, "why": ["db"]})
    );
    assert_eq!(
        of(strict.clone(), json!({"db_ms": 100, "mem_pct": 75, "uptime_s": 5, "err": 9, "calls": 10})),
        json!({"live": "pass", "ready": "fail", "http": 503, "why": ["db", "memory", "starting", "error_rate"]})
    );
    assert_eq!(
        of(strict.clone(), json!({"db_ms": null})),
        json!({"live": "pass", "ready": "fail", "http": 503, "why": ["db"]}),
        "measured, but unknown"
    );
    assert_eq!(of(strict, json!({})), json!({"live": "pass", "ready": "pass", "http": 200}), "nothing is measured");
    // 30 % of 20 is beyond doubt with ten times the requests.
    assert_eq!(of(json!({}), json!({"err": 6, "calls": 20}))["ready"], "fail");
    assert_eq!(of(json!({}), json!({"err": 5, "calls": 20}))["ready"], "fail");
    assert_eq!(of(json!({}), json!({"err": 4, "calls": 20}))["ready"], "warn");
}

#[test]
fn nonsense_is_an_error_that_says_what_is_wrong() {
    for (case, word) in [
        (json!({"kind": "oracle"}), "no such kind"),
        (json!([]), "no such kind"),
        (json!({"kind": "threshold", "probe": "magic", "results": ""}), "magic"),
        (json!({"kind": "threshold", "probe": "liveness"}), "results"),
        (json!({"kind": "composite"}), "samples"),
        (json!({"kind": "composite", "samples": [{"db_ms": "fast"}]}), "fast"),
    ] {
        let error = replay_case(&case).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
