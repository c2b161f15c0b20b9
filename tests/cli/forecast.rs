//! `homeostat forecast` and `homeostat anomalies`: from a file to what follows it, and to what was wrong in it.

use super::{code, lines, run, stderr, stdout};
use serde_json::Value;
use std::fmt::Write as _;

/// Two weeks of hours with a daily shape; every tenth value is missing.
fn table() -> String {
    let mut text = "timestamp,value\n".to_owned();
    for t in 0..336_u32 {
        let value = 100.0 + 20.0 * (std::f64::consts::TAU * f64::from(t % 24) / 24.0).sin() + f64::from(t * 7 % 5);
        let value = if t % 10 == 3 { String::new() } else { format!("{value:.3}") };
        let _ = writeln!(text, "2026-10-{:02} {:02}:00:00,{value}", 1 + t / 24, t % 24);
    }
    text
}

#[test]
fn a_table_of_times_and_a_list_of_values_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["forecast", "-", "--horizon", "30", "--json"], &table());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let answer = &lines(&output)[0];
    let points = answer["points"].as_array().unwrap();
    assert_eq!((points.len(), &answer["level"], &answer["season"][0]), (30, &Value::from(0.95), &Value::from(24)));
    assert_eq!((points[0]["at"].as_str(), points[29]["at"].as_str()), (Some("2026-10-15 00:00:00"), Some("2026-10-16 05:00:00")));
    for (k, point) in points.iter().enumerate() {
        let [mean, lower, upper] = ["mean", "lower", "upper"].map(|name| point[name].as_f64().unwrap());
        let truth = 102.0 + 20.0 * (std::f64::consts::TAU * (k % 24) as f64 / 24.0).sin();
        assert!(lower <= mean && mean <= upper && (mean - truth).abs() < 4.0, "{k}: {point} and {truth}");
    }
    let values: String = table().lines().skip(1).map(|line| format!("{}\n", line.split(',').nth(1).unwrap())).collect();
    let output = run(dir.path(), &["forecast", "-", "--horizon", "2", "--season", "24", "--level", "0.5", "--json"], &values);
    assert_eq!(lines(&output)[0]["points"][1]["at"], 337);
    let output = run(dir.path(), &["forecast", "-", "--horizon", "3"], &values);
    assert_eq!((code(&output), stdout(&output).lines().count()), (0, 5));
}

#[test]
fn little_is_insufficient_and_nonsense_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for input in ["", "1\n2\n3\n", "at,value\n", "value\n"] {
        let output = run(dir.path(), &["forecast", "-", "--horizon", "5", "--json"], input);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let answer = &lines(&output)[0];
        assert_eq!((answer["model"].as_str(), answer["points"].as_array().map(Vec::len)), (Some("insufficient_history"), Some(0)));
    }
    assert_eq!(code(&run(dir.path(), &["forecast", "-", "--horizon", "5"], "1\nsoon\n")), 1);
    assert_eq!(code(&run(dir.path(), &["forecast", "-"], "1\n")), 2);
    assert_eq!(code(&run(dir.path(), &["forecast", "-", "--horizon", "5", "--level", "95"], "1\n")), 2);
}

#[test]
fn a_spike_is_one_alarm_with_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let usual = table();
    let spiked: String = usual
        .lines()
        .map(|line| if line.starts_with("2026-10-13 02:00:00") { "2026-10-13 02:00:00,250\n".to_owned() } else { format!("{line}\n") })
        .collect();
    let output = run(dir.path(), &["anomalies", "-", "--json", "--check"], &spiked);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let answer = &lines(&output)[0];
    let alarms = answer["alarms"].as_array().unwrap();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!((alarms[0]["start"].as_str(), alarms[0]["value"].as_f64()), (Some("2026-10-13 02:00:00"), Some(250.0)));
    let points = answer["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[3]["value"], &points[3]["p"]), (336, &Value::Null, &Value::Null));
    let output = run(dir.path(), &["anomalies", "-", "--season", "24", "--check"], &usual);
    assert_eq!((code(&output), stdout(&output).lines().count()), (0, 1), "{}", stdout(&output));
    let output = run(dir.path(), &["anomalies", "-"], "");
    assert_eq!(stdout(&output), "0 alarms in 0 judged values; insufficient history\n");
}
