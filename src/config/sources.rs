//! Files, variables and flags into assignments, each with its origin.

use super::problem::Problem;
use serde_json::{Map, Value};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The file that is read when it is there and no other is named.
pub const DEFAULT_FILE: &str = "homeostat.toml";

/// What every variable of ours begins with.
pub const PREFIX: &str = "HOMEOSTAT_";

/// Variables with our prefix that are no settings.
pub const RESERVED: &[(&str, &str)] = &[
    ("HOMEOSTAT_CONFIG", "the settings file, as `--config` names it"),
    ("HOMEOSTAT_KEY", "the API key that `homeostat keys` shows to a gateway"),
    ("HOMEOSTAT_NATS__INBOX_PREFIX", "under which subjects client libraries wait for answers"),
    ("HOMEOSTAT_FAULT", "kills the process at a named point; for tests of the once-only promise"),
];

/// Variables that begin so belong to tests, to scripts around the program, and to client libraries.
pub const RESERVED_PREFIXES: &[&str] = &["HOMEOSTAT_TEST_", "HOMEOSTAT_CHAOS_", "HOMEOSTAT_DEMO_", "HOMEOSTAT_CLIENT_"];

/// Short names of settings that are often set for one run.
pub const SHORT: &[(&str, &str)] = &[("HOMEOSTAT_LOG", "telemetry.log"), ("HOMEOSTAT_NATS", "nats.url")];

/// A settings file is at most this large.
const FILE_MAX: u64 = 1024 * 1024;

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// Where in it, from 1; 0 when it is about the file as a whole.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
    /// Somebody changed it on the running system.
    RunTime,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("the defaults"),
            Origin::File { path, line: 0 } => write!(f, "{}", path.display()),
            Origin::File { path, line } => write!(f, "{} (line {line})", path.display()),
            Origin::Variable(name) => write!(f, "the variable {name}"),
            Origin::Flag(flag) => write!(f, "the flag {flag}"),
            Origin::RunTime => f.write_str("`config set` on the running system"),
        }
    }
}

/// The settings of a tree that are not the same in another, with their values; a table is taken apart.
pub(super) fn leaves(tree: &Map<String, Value>, other: &Map<String, Value>) -> Vec<(Vec<String>, Value)> {
    let mut found = Vec::new();
    for (key, value) in tree {
        match (value, other.get(key)) {
            (value, Some(there)) if value == there => {}
            (Value::Object(table), Some(Value::Object(there))) => {
                found.extend(leaves(table, there).into_iter().map(|(mut keys, value)| {
                    keys.insert(0, key.clone());
                    (keys, value)
                }));
            }
            (value, _) => found.push((vec![key.clone()], value.clone())),
        }
    }
    found
}

/// One setting given one value by one source. Tables are taken apart, so the value is never a table with something in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The keys from the outermost table inwards.
    pub keys: Vec<String>,
    /// The value.
    pub value: Value,
    /// The value as it was written, where it was written as text.
    pub text: Option<String>,
    /// Who said it.
    pub origin: Origin,
}

impl Assignment {
    /// The setting, dotted.
    #[must_use]
    pub fn path(&self) -> String {
        self.keys.join(".")
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that must be there, or nothing.
    pub file: Option<PathBuf>,
    /// The variables of the environment, all of them; others' are passed over.
    pub variables: Vec<(String, String)>,
    /// `KEY=VALUE` as given by `--set`, and the dedicated flags as `(flag, key, value)`.
    pub flags: Vec<Flag>,
}

/// One flag that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// How it was written: `--set`, `--nats`.
    pub name: String,
    /// The setting, dotted.
    pub key: String,
    /// Its value, as text.
    pub value: String,
}

impl Sources {
    /// The sources of a run: `file`, else `HOMEOSTAT_CONFIG`, else `homeostat.toml` when it is there; the environment; the flags.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Sources {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        let variables: Vec<_> = std::env::vars_os().filter_map(text).collect();
        let named = variables.iter().find(|(name, value)| name == "HOMEOSTAT_CONFIG" && !value.is_empty());
        let file = file
            .or_else(|| named.map(|(_, value)| PathBuf::from(value)))
            .or_else(|| Path::new(DEFAULT_FILE).exists().then(|| PathBuf::from(DEFAULT_FILE)));
        Sources { file, variables, flags }
    }

    /// A file alone.
    #[must_use]
    pub fn of_file(file: PathBuf) -> Sources {
        Sources { file: Some(file), ..Sources::default() }
    }

    /// Everything the sources say, weakest first, and what is wrong with them.
    pub(super) fn read(&self) -> (Vec<Assignment>, Vec<Problem>) {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        if let Some(path) = &self.file {
            match read_file(path) {
                Ok(text) => file(path, &text, &mut found, &mut problems),
                Err(why) => problems.push(Problem {
                    hint: Some("name another one with --config, or leave it out".to_owned()),
                    ..Problem::source(Origin::File { path: path.clone(), line: 0 }, format!("the settings cannot be read ({why})"))
                }),
            }
        }
        let mut variables: Vec<_> = self.variables.iter().filter(|(name, _)| is_setting(name)).collect();
        // The environment has no order; a wider variable comes before a narrower one.
        variables.sort();
        for (name, value) in variables {
            let keys = match SHORT.iter().find(|(short, _)| short == name) {
                Some((_, key)) => key.split('.').map(str::to_owned).collect(),
                None => name.strip_prefix(PREFIX).unwrap_or(name).split("__").map(str::to_ascii_lowercase).collect(),
            };
            from_text(keys, value, &Origin::Variable(name.clone()), &mut found);
        }
        for flag in &self.flags {
            let origin = Origin::Flag(flag.name.clone());
            let keys: Vec<String> = flag.key.split('.').map(|key| key.trim().to_owned()).collect();
            if keys.iter().any(String::is_empty) {
                problems.push(Problem {
                    hint: Some("write KEY=VALUE, such as actors.query.slow_ms=50".to_owned()),
                    ..Problem::source(origin, format!("`{}` names no setting", flag.key))
                });
                continue;
            }
            from_text(keys, &flag.value, &origin, &mut found);
        }
        (found, problems)
    }
}

fn is_setting(name: &str) -> bool {
    name.starts_with(PREFIX)
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !RESERVED.iter().any(|(reserved, _)| *reserved == name)
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|why| why.to_string())?;
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|why| why.to_string())?;
    if text.len() as u64 > FILE_MAX { Err("it is larger than 1 MiB".to_owned()) } else { Ok(text) }
}

fn file(path: &Path, text: &str, found: &mut Vec<Assignment>, problems: &mut Vec<Problem>) {
    let line = |at: usize| text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
    let origin = |at: usize| Origin::File { path: path.to_owned(), line: line(at) };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        problems.push(Problem::source(origin(at), format!("not TOML: {}", error.message())));
    }
    let mut own = Vec::new();
    walk(table.get_ref(), &mut Vec::new(), &origin, &mut own);
    // The parser sorts by key; people read by line.
    own.sort_by_key(|assignment| match &assignment.origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    });
    found.append(&mut own);
}

fn walk(table: &DeTable<'_>, keys: &mut Vec<String>, origin: &dyn Fn(usize) -> Origin, found: &mut Vec<Assignment>) {
    for (key, value) in table {
        keys.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => walk(inner, keys, origin, found),
            other => found.push(Assignment { keys: keys.clone(), value: json(other), text: None, origin: origin(key.span().start) }),
        }
        keys.pop();
    }
}

/// A value written as text: TOML if it is TOML, else the text itself.
fn from_text(mut keys: Vec<String>, text: &str, origin: &Origin, found: &mut Vec<Assignment>) {
    match DeValue::parse(text.trim()) {
        Ok(value) => match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => walk(inner, &mut keys, &|_| origin.clone(), found),
            other => found.push(Assignment { keys, value: json(other), text: Some(text.to_owned()), origin: origin.clone() }),
        },
        Err(_) => {
            let value = Value::String(text.to_owned());
            found.push(Assignment { keys, value, text: Some(text.to_owned()), origin: origin.clone() });
        }
    }
}

/// TOML as JSON. What JSON does not have (dates, not-a-number, integers beyond 64 bits) becomes its text, which no number accepts.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::from)
            .or_else(|_| u64::from_str_radix(integer.as_str(), integer.radix()).map(Value::from))
            .unwrap_or_else(|_| Value::String(integer.as_str().to_owned())),
        DeValue::Float(float) => match float.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => Value::Number(number),
            None => Value::String(float.as_str().to_owned()),
        },
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| json(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect::<Map<_, _>>())
        }
    }
}

/// Puts a value into a tree; whatever is in the way of a table makes room for one.
pub(crate) fn set(tree: &mut Value, keys: &[String], value: Value) {
    let Some((key, rest)) = keys.split_first() else {
        *tree = value;
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(map) = tree {
        if rest.is_empty() {
            map.insert(key.clone(), value);
        } else {
            set(map.entry(key.clone()).or_insert(Value::Null), rest, value);
        }
    }
}
