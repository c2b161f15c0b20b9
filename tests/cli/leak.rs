//! `homeostat leak`.

use super::{code, lines, run, stderr, stdout};
use serde_json::{Value, json};

/// A process of 500 MB that grows by `pct` percent an hour, a sample a minute.
fn memory_csv(hours: u64, pct: f64) -> String {
    let rows = (0..hours * 60).map(|minute| {
        let wobble = f64::from(u32::try_from(minute * 7919 % 97).unwrap()) / 97.0 - 0.5;
        let hour = f64::from(u32::try_from(minute).unwrap()) / 60.0;
        let bytes = 500e6 * (1.0 + pct / 100.0 * hour + 0.01 * wobble);
        format!("{},{bytes:.0},2000000000,,{}\n", 1_795_000_000_000 + minute * 60_000, 1_795_000_000_000_u64)
    });
    format!("at_ms,memory_bytes,memory_limit_bytes,load_rps,started_ms\n{}", rows.collect::<String>())
}

#[test]
fn a_memory_series_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["leak", "-", "--json", "--check"], &memory_csv(14, 5.0));
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let answer = &lines(&output)[0];
    assert_eq!(answer["verdict"], "confirmed");
    let after = |field: &str| answer[field].as_u64().unwrap() - 1_795_000_000_000;
    assert!(after("first_suspected_at") <= 4 * 3_600_000 && after("first_confirmed_at") <= 8 * 3_600_000, "{answer}");
    assert!((answer["slope_pct_per_h"].as_f64().unwrap() - 5.0).abs() < 0.3, "{answer}");
    // (2000 − 850) / 25 an hour.
    assert!((answer["eta_h"].as_f64().unwrap() - 46.0).abs() < 3.0, "{answer}");
    let output = run(dir.path(), &["leak", "-", "--json", "--check"], &memory_csv(14, 0.0));
    assert_eq!((code(&output), &lines(&output)[0]["verdict"], &lines(&output)[0]["eta_h"]), (0, &json!("none"), &Value::Null));
    let output = run(dir.path(), &["leak", "-"], &memory_csv(14, 5.0));
    assert!(stdout(&output).starts_with("leak confirmed\n  growth     5.0"), "{}", stdout(&output));
}

#[test]
fn the_compatible_rule_is_a_setting_away() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["leak", "-", "--json", "--set", "actors.leak.rule=compatible"];
    assert_eq!(lines(&run(dir.path(), &arguments, &memory_csv(14, 5.0)))[0]["verdict"], "none");
    assert_eq!(lines(&run(dir.path(), &arguments, &memory_csv(3, 12.0)))[0]["verdict"], "confirmed");
}

#[test]
fn resource_events_are_a_series_for_each_process() {
    let dir = tempfile::tempdir().unwrap();
    let event = |n: u64, instance: &str, bytes: u64| {
        json!({"kind": "resource", "service": "shop", "instance": instance, "at_ms": n * 60_000, "memory_bytes": bytes}).to_string()
    };
    let mut input: String = (0..840)
        .flat_map(|n| [event(n, "a", 500_000_000 + n * 500_000), event(n, "b", 400_000_000)])
        .fold(String::new(), |all, line| all + &line + "\n");
    input.push_str("{\"kind\":\"heartbeat\",\"service\":\"shop\",\"at_ms\":1,\"up_s\":1,\"interval_s\":1}\nnonsense\n");
    let output = run(dir.path(), &["leak", "-", "--json"], &input);
    let answers: Vec<_> = lines(&output).iter().map(|answer| (answer["instance"].clone(), answer["verdict"].clone())).collect();
    assert_eq!(answers, [(json!("a"), json!("confirmed")), (json!("b"), json!("none"))]);
    assert!(stderr(&output).contains("1 row left out, the first is line 1682"), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_no_memory_series_is_an_error_that_says_what_one_is() {
    let dir = tempfile::tempdir().unwrap();
    for input in ["", "a,b\n1,2\n", "1\n2\n3\n", "at_ms,memory_bytes\n", "{\"kind\":\"heartbeat\"}\n"] {
        let output = run(dir.path(), &["leak", "-"], input);
        assert_eq!((code(&output), stdout(&output).as_str()), (1, ""), "{input:?}");
        assert!(stderr(&output).contains("at_ms,memory_bytes"), "{}", stderr(&output));
    }
}
