//! What can be wrong with settings: where it stands, what is wrong, and what was probably meant.

use super::Config;
use super::schema::{Known, Schema};
use super::sources::{Assignment, Origin, set};
use homeostat_schemas::rule::{CATALOGUE, Rule};
use serde_json::Value;
use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, dotted; empty when it is about a source as a whole.
    pub key: String,
    /// Where it stands.
    pub origin: Option<Origin>,
    /// What it is about: `unknown setting `a.b``, or the setting itself.
    pub what: String,
    /// Why it cannot be used.
    pub why: Option<String>,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A mistake of the whole rather than of one setting.
    #[must_use]
    pub fn whole(what: &str) -> Problem {
        Problem { key: String::new(), origin: None, what: what.to_owned(), why: None, hint: None }
    }

    /// A source that cannot be read.
    #[must_use]
    pub fn source(origin: Origin, what: impl Into<String>) -> Problem {
        Problem { key: String::new(), origin: Some(origin), what: what.into(), why: None, hint: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(origin) = &self.origin {
            write!(f, " in {origin}")?;
        }
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The mistakes, in the order of the sources.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// A single mistake.
    #[must_use]
    pub fn one(problem: Problem) -> ConfigError {
        ConfigError { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for problem in &self.problems {
            if !std::mem::take(&mut first) {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Judges one assignment by itself, over the defaults: so that every mistake is found and each has its own origin.
#[allow(clippy::result_large_err)] // the error is the rare case, and is kept as it is
pub(super) fn check(schema: &Schema, defaults: &Value, assignment: Assignment) -> Result<Assignment, Problem> {
    let path = assignment.path();
    if let Known::Nothing = schema.find(&assignment.keys) {
        // Where the whole is like nothing, the first key that nobody knows may be like something: `actors.qury.anything`.
        let unknown = (1..=assignment.keys.len()).find(|n| matches!(schema.find(&assignment.keys[..*n]), Known::Nothing));
        let begin = unknown.map(|n| assignment.keys[..n].join("."));
        let near = schema.nearest(&path).or_else(|| schema.nearest(&begin?));
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        return Err(Problem { what: format!("unknown setting `{path}`"), key: path, origin: Some(assignment.origin), why: None, hint });
    }
    if let Some(hint) = no_rule(&assignment.keys) {
        let what = format!("unknown rule `{path}`");
        return Err(Problem { what, key: path, origin: Some(assignment.origin), why: None, hint: Some(hint) });
    }
    let fits = |value: &Value| {
        let mut tree = defaults.clone();
        set(&mut tree, &assignment.keys, value.clone());
        Config::from_value(&tree)
    };
    let why = match fits(&assignment.value) {
        Ok(_) => return Ok(assignment),
        Err(why) => why,
    };
    // A variable or flag is text first of all: `HOMEOSTAT_NATS__USER=12` means the user `12`.
    if let Some(text) = &assignment.text {
        let text = Value::String(text.clone());
        if fits(&text).is_ok() {
            return Ok(Assignment { value: text, ..assignment });
        }
    }
    let takes = schema.expected(&assignment.keys);
    // The manual's word for what is expected says more than the parser's.
    let why = match &takes {
        Some(_) => why.split_once(", expected").map_or(why.as_str(), |(why, _)| why),
        None => &why,
    };
    let actor = assignment.keys.get(1).map_or("", String::as_str);
    let why = why.strip_prefix(&format!("actors.{actor}: ")).unwrap_or(why).to_owned();
    let hint = takes.map(|takes| format!("it takes {takes}"));
    Err(Problem { what: format!("`{path}`"), key: path, origin: Some(assignment.origin), why: Some(why), hint })
}

/// Keys of a rule that its actor does not have: what was probably meant, or what there is.
fn no_rule(keys: &[String]) -> Option<String> {
    let [table, actor, rules, rest @ ..] = keys else { return None };
    if table != "actors" || rules != "rules" || rest.is_empty() {
        return None;
    }
    let asked = rest.join(".");
    let own = |rule: &&Rule| rule.name.split_once('.').filter(|(owner, _)| owner == actor).map(|(_, condition)| condition);
    let conditions: Vec<&str> = CATALOGUE.iter().filter_map(own).collect();
    if conditions.contains(&asked.as_str()) {
        return None;
    }
    // Whoever writes the rule's whole name means its condition.
    let bare = asked.strip_prefix(&format!("{actor}.")).unwrap_or(&asked);
    let distance = |condition: &&&str| strsim::damerau_levenshtein(condition, bare);
    let near = conditions.iter().min_by_key(distance).filter(|near| distance(near) <= (bare.chars().count() / 3).max(2));
    Some(match near {
        Some(near) => format!("did you mean `actors.{actor}.rules.{near}`?"),
        None if conditions.is_empty() => format!("`{actor}` has no rules"),
        None => format!("`{actor}` has the rules {}", conditions.join(", ")),
    })
}
