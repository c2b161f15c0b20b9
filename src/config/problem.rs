//! What can be wrong with settings: where it stands, what is wrong, and what was probably meant.

use super::Config;
use super::schema::{Known, Schema};
use super::sources::{Assignment, Origin, set};
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
        let hint = schema.nearest(&path).map(|near| format!("did you mean `{near}`?"));
        return Err(Problem { what: format!("unknown setting `{path}`"), key: path, origin: Some(assignment.origin), why: None, hint });
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
