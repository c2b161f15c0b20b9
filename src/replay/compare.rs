//! What other settings would have said, beside what these say.

use homeostat_actors::core::{Effect, Output};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What makes a finding the same finding under two settings: everything but its numbers.
fn key(output: &Output) -> Option<String> {
    match &output.effect {
        Effect::Alert(alert) => Some(json!([alert.rule, alert.service, alert.labels, alert.state]).to_string()),
        Effect::Command(command) => Some(json!([command.action, command.service, command.target]).to_string()),
        Effect::Ask(_) | Effect::Announce(_) => None,
    }
}

/// What only one of two runs said, in the order of log time: `{"only": "new"|"old", …the alert or command}`.
#[must_use]
pub fn difference(old: &[Output], new: &[Output]) -> Vec<Value> {
    let mut old_left: BTreeMap<String, Vec<&Output>> = BTreeMap::new();
    for output in old.iter().rev() {
        if let Some(key) = key(output) {
            old_left.entry(key).or_default().push(output);
        }
    }
    let mut lines = Vec::new();
    for output in new {
        let Some(key) = key(output) else { continue };
        if old_left.get_mut(&key).and_then(Vec::pop).is_none() {
            lines.extend(line("new", output));
        }
    }
    lines.extend(old_left.into_values().flatten().filter_map(|output| line("old", output)));
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn line(only: &str, output: &Output) -> Option<(u64, Value)> {
    let (at, mut value) = match &output.effect {
        Effect::Alert(alert) => (alert.at_ms, serde_json::to_value(alert).ok()?),
        Effect::Command(command) => (command.issued_ms, serde_json::to_value(command).ok()?),
        Effect::Ask(_) | Effect::Announce(_) => return None,
    };
    value.as_object_mut()?.insert("only".to_owned(), only.into());
    Some((at, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::Alert;

    fn alert(rule: &str, at_ms: u64) -> Output {
        Output {
            identity: None,
            effect: Effect::Alert(Box::new(Alert { rule: rule.into(), at_ms, ..Alert::default() })),
            traceparent: None,
        }
    }

    #[test]
    fn a_finding_said_twice_is_not_the_same_as_one_said_once() {
        let old = [alert("a.a", 1), alert("a.b", 2)];
        let new = [alert("a.a", 1), alert("a.a", 5), alert("a.c", 3)];
        let lines: Vec<String> = difference(&old, &new).iter().map(|l| format!("{} {}", l["only"], l["rule"])).collect();
        assert_eq!(lines, [r#""old" "a.b""#, r#""new" "a.c""#, r#""new" "a.a""#]);
    }
}
