//! What operators load into other programs, checked by those programs themselves (the Debian packages that
//! `scripts/install-test-tools` installs).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "operations/first_look.rs"]
mod first_look;
#[path = "operations/metrics.rs"]
mod metrics;
#[path = "operations/objects.rs"]
mod objects;

use homeostat::export::alert_rules;
use homeostat_schemas::rule::CATALOGUE;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|why| panic!("{program} cannot be run ({why}): `scripts/install-test-tools` installs it"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}\n{said}");
}

#[test]
fn prometheus_takes_the_rules() {
    run("promtool", &["check", "rules", repository().join("docker/prometheus/rules/homeostat.yaml").to_str().unwrap()]);
}

#[test]
fn every_rule_written_for_prometheus_fires_and_every_guard_holds() {
    let tests = repository().join("docker/prometheus/tests");
    let files: Vec<PathBuf> = std::fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap().path()).collect();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for name in alert_rules::names() {
        assert!(text.contains(&format!("alertname: {name}\n")), "no test makes {name} fire");
    }
    for file in files {
        run("promtool", &["test", "rules", file.to_str().unwrap()]);
    }
}

#[test]
fn every_finding_of_the_catalogue_fires_in_prometheus_while_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.json");
    let document = alert_rules::document("docs");
    std::fs::write(&rules, document.to_string()).unwrap();
    let generated = document["groups"].as_array().unwrap().iter().find(|group| group["name"] == "findings").unwrap();
    let generated = generated["rules"].as_array().unwrap();
    assert_eq!(generated.len(), CATALOGUE.len());
    let tests: Vec<Value> = CATALOGUE.iter().zip(generated).map(|(rule, written)| fires(rule.name, written)).collect();
    let test = dir.path().join("test.json");
    let body = json!({ "rule_files": [rules.file_name().unwrap().to_str().unwrap()], "evaluation_interval": "1m", "tests": tests });
    std::fs::write(&test, body.to_string()).unwrap();
    run("promtool", &["test", "rules", test.to_str().unwrap()]);
}

/// Nothing open, then two, of which one becomes critical, then nothing again.
fn fires(rule: &str, written: &Value) -> Value {
    let alert = |count: u8, severity: &str| {
        let (mut labels, mut annotations) = (written["labels"].clone(), written["annotations"].clone());
        labels["severity"] = severity.into();
        annotations["summary"] = annotations["summary"].as_str().unwrap().replace("{{ $value }}", &count.to_string()).into();
        json!({ "exp_labels": labels, "exp_annotations": annotations })
    };
    let series = |rule: &str, severity: &str, values: &str| json!({ "series": format!("homeostat_findings_open{{rule=\"{rule}\", severity=\"{severity}\"}}"), "values": values });
    let at = |time: &str, alerts: Value| json!({ "eval_time": time, "alertname": written["alert"], "exp_alerts": alerts });
    json!({
        "interval": "1m",
        "input_series": [
            series(rule, "info", "_ _ 2 1 0"),
            series(rule, "critical", "_ _ _ 1 0"),
            series("another.one", "warning", "5 5 5 5 5"),
        ],
        "alert_rule_test": [
            at("1m", json!([])),
            at("2m", json!([alert(2, "info")])),
            at("3m", json!([alert(1, "info"), alert(1, "critical")])),
            at("4m", json!([])),
        ],
    })
}

#[test]
fn an_alert_reaches_a_webhook_and_every_panel_has_data() {
    run("python3", &[repository().join("scripts/observe.py").to_str().unwrap(), env!("CARGO_BIN_EXE_homeostat"), "--check"]);
}

#[test]
fn the_dashboards_in_the_repository_are_those_of_the_program() {
    let written = homeostat::export::dashboards().unwrap();
    let dir = repository().join(homeostat::export::DASHBOARDS_DIR);
    let there: BTreeSet<String> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let stale = written.iter().filter(|(name, text)| std::fs::read_to_string(dir.join(name)).ok().as_ref() != Some(*text)).count();
    assert!(
        stale == 0 && there == written.keys().cloned().collect(),
        "write them anew with `homeostat export dashboards --out {}`",
        homeostat::export::DASHBOARDS_DIR
    );
}

#[test]
fn the_rules_in_the_repository_are_those_of_the_program() {
    let path: &Path = &repository().join(homeostat::export::RULES_DIR).join("homeostat.yaml");
    let written = &homeostat::export::alert_rules(alert_rules::RUNBOOKS)["homeostat.yaml"];
    assert!(
        std::fs::read_to_string(path).unwrap() == *written,
        "write them anew with `homeostat export alert-rules --out {}`",
        homeostat::export::RULES_DIR
    );
}
