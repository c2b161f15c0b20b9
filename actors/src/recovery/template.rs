//! From an alert to the target and the arguments of a command.

use homeostat_schemas::Alert;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest text that a template may become, bytes.
const TEXT_MAX: usize = 1_000;
/// Largest value of evidence that is taken over, in bytes of its JSON.
const VALUE_MAX: usize = 2_000;

/// A template filled in; nothing when one of its placeholders is missing, or when it became too long.
pub(super) fn text(template: &str, alert: &Alert) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        let close = open + rest[open..].find('}')?;
        match value(&rest[open + 1..close], alert)? {
            Value::String(text) => filled.push_str(&text),
            Value::Null => return None,
            other => filled.push_str(&other.to_string()),
        }
        rest = &rest[close + 1..];
    }
    filled.push_str(rest);
    (filled.len() <= TEXT_MAX).then_some(filled)
}

/// The arguments, filled in. One whose placeholder is missing is left out: the action has a default for it or says that it has none.
pub(super) fn args(templates: &BTreeMap<String, Value>, alert: &Alert) -> Map<String, Value> {
    let fill = |template: &Value| match template {
        Value::String(template) => {
            let only = template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.contains(['{', '}']));
            match only {
                Some(name) => value(name, alert),
                None => text(template, alert).map(Value::String),
            }
        }
        other => Some(other.clone()),
    };
    let small = |value: &Value| value.to_string().len() <= VALUE_MAX;
    templates.iter().filter_map(|(name, template)| Some((name.clone(), fill(template).filter(small)?))).collect()
}

fn value(name: &str, alert: &Alert) -> Option<Value> {
    if let Some(name) = name.strip_prefix("evidence.") {
        return alert.evidence.get(name).cloned();
    }
    if let Some(label) = alert.labels.get(name) {
        return Some(label.as_str().into());
    }
    Some(match name {
        "service" => alert.service.as_str().into(),
        "rule" => alert.rule.as_str().into(),
        "incident" => alert.incident.as_str().into(),
        "severity" => alert.severity.to_string().into(),
        _ => return None,
    })
}

/// Does a name fit a pattern in which `*` stands for anything?
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn alert() -> Alert {
        Alert {
            service: "shop".into(),
            rule: "health.pool_exhausted".into(),
            labels: BTreeMap::from([("pool".into(), "db".into()), ("instance".into(), "s1".into())]),
            evidence: BTreeMap::from([("advised_size".into(), json!(26))]),
            ..Alert::default()
        }
    }

    #[test]
    fn templates_take_labels_evidence_and_what_the_alert_is() {
        assert_eq!(text("{pool} of {service}/{instance}", &alert()).as_deref(), Some("db of shop/s1"));
        assert_eq!(text("{evidence.advised_size} connections", &alert()).as_deref(), Some("26 connections"));
        assert_eq!(text("plain", &alert()).as_deref(), Some("plain"));
        for missing in ["{cache}", "{evidence.nothing}", "{", "a{b", "{}"] {
            assert_eq!(text(missing, &alert()), None, "{missing}");
        }
        let templates = BTreeMap::from([
            ("size".to_owned(), json!("{evidence.advised_size}")),
            ("why".to_owned(), json!("for {pool}")),
            ("none".to_owned(), json!("{cache}")),
            ("n".to_owned(), json!(3)),
        ]);
        assert_eq!(Value::Object(args(&templates, &alert())), json!({ "size": 26, "why": "for db", "n": 3 }));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in
            [("shop", "shop"), ("*", ""), ("*", "x"), ("shop-*", "shop-"), ("*-eu", "a-eu"), ("a*b*c", "aXbYc"), ("a*a", "aa")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("shop", "shop1"), ("", "x"), ("shop-*", "shop"), ("*-eu", "eu"), ("a*b*c", "aXc"), ("a*a", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
