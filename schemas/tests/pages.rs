//! The pages say what the types say: every rule of the catalogue stands on `docs/alerts.md`, every kind of event with its fields
//! on `docs/events.md`, and nothing stands there that is gone. A failure prints what the page lacks, ready to be pasted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use homeostat_schemas::rule::{CATALOGUE, Nature, Rule};
use homeostat_schemas::{EventKind, event};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines under a heading, up to the next heading of any level.
fn section<'a>(page: &'a str, heading: &str) -> Option<Vec<&'a str>> {
    let mut lines = page.lines().skip_while(|line| *line != heading);
    lines.next()?;
    Some(lines.take_while(|line| !line.starts_with('#')).collect())
}

fn nature(rule: &Rule) -> String {
    match rule.nature {
        Nature::State => "state".to_owned(),
        Nature::Occurrence { quiet_ms } if quiet_ms % 3_600_000 == 0 => format!("occurrence, quiet for {} h", quiet_ms / 3_600_000),
        Nature::Occurrence { quiet_ms } => format!("occurrence, quiet for {} min", quiet_ms / 60_000),
    }
}

/// The row of a rule in the table of the catalogue.
fn row(rule: &Rule) -> String {
    let labels: Vec<String> = rule.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    let name = rule.name;
    // As GitHub and everybody after it makes an anchor of a heading: the dot goes.
    let anchor = name.replace('.', "");
    format!("| [`{name}`](#{anchor}) | {} | {} | {labels} |", rule.severity, nature(rule))
}

/// The section of a rule, as far as the catalogue says it.
fn told(rule: &Rule) -> Vec<String> {
    let evidence = rule.evidence.iter().map(|(name, meaning)| format!("| `{name}` | {meaning} |"));
    [rule.meaning.to_owned()]
        .into_iter()
        .chain(evidence)
        .chain([format!("*What to look at:* {}", rule.look), format!("*What to do:* {}", rule.advice)])
        .collect()
}

#[test]
fn every_rule_stands_on_its_page_as_the_catalogue_says_it() {
    let page = page("alerts.md");
    let mut missing = Vec::new();
    for rule in CATALOGUE {
        if !page.lines().any(|line| line == row(rule)) {
            missing.push(format!("in the table under `## The catalogue`:\n{}", row(rule)));
        }
        let heading = format!("### `{}`", rule.name);
        // The page may say more, and break lines where it likes.
        let found = section(&page, &heading).unwrap_or_default().join(" ");
        let lacks = told(rule).into_iter().filter(|line| !found.contains(line.as_str()));
        let lacks: Vec<String> = lacks.collect();
        if !lacks.is_empty() {
            missing.push(format!("under the heading {heading}:\n{}", lacks.join("\n")));
        }
    }
    let known: Vec<&str> = CATALOGUE.iter().map(|rule| rule.name).collect();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    missing.extend(headings.filter(|name| !known.contains(name)).map(|name| format!("nothing about `{name}`: there is no such rule")));
    assert!(missing.is_empty(), "docs/alerts.md is not what schemas/src/rule.rs says. It needs\n\n{}\n", missing.join("\n\n"));
}

/// Of every kind its fields beside those that all share, and whether they must be there.
fn fields(kind: EventKind) -> BTreeMap<String, bool> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("json/event.{kind}.schema.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let required: Vec<&str> = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let shared = ["kind", "service", "at_ms", "instance", "zone"];
    let own = schema["properties"].as_object().unwrap().keys().filter(|name| !shared.contains(&name.as_str()));
    own.map(|name| (name.clone(), required.contains(&name.as_str()))).collect()
}

/// The fields that a section has a row for, and whether the row says that they must be there.
fn rows(lines: &[&str]) -> BTreeMap<String, bool> {
    let cells = lines.iter().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    cells.map(|(name, rest)| (name.to_owned(), rest.starts_with(" **required** |"))).collect()
}

#[test]
fn every_field_of_every_event_stands_on_its_page() {
    let page = page("events.md");
    let mut wrong = Vec::new();
    for kind in EventKind::ALL {
        let heading = format!("## `{kind}`");
        let Some(lines) = section(&page, &heading) else {
            wrong.push(format!("a section {heading}"));
            continue;
        };
        let (wanted, found) = (fields(*kind), rows(&lines));
        let word = |required: bool| if required { " **required**" } else { "" };
        for (name, required) in &wanted {
            if found.get(name) != Some(required) {
                wrong.push(format!("in the table under {heading} a row that begins: | `{name}`{} |", word(*required)));
            }
        }
        wrong.extend(found.keys().filter(|name| !wanted.contains_key(*name)).map(|name| format!("no row `{name}` under {heading}")));
    }
    assert!(wrong.is_empty(), "docs/events.md is not what schemas/src/event/kinds.rs says. It needs\n\n{}\n", wrong.join("\n"));
}

/// The limits stand in the text of the page, too.
#[test]
fn the_limits_of_events_stand_on_the_page() {
    let page = page("events.md");
    let days = event::DURATION_MAX_MS / 86_400_000;
    let week = event::INTERVAL_S.end() / 86_400.0;
    for said in [
        format!("above {days} days"),
        format!("outside {} s to {week} days", event::INTERVAL_S.start()),
        format!("above {:.0} years", event::UP_MAX_S / 86_400.0 / 365.25),
        format!("1 to {} bytes", event::SERVICE_MAX),
    ] {
        assert!(page.contains(&said), "docs/events.md should say \"{said}\": schemas/src/event/limits.rs does");
    }
}
