//! Which settings there are, what they take and what they mean: from the types and their doc comments, by way of JSON Schema.

use super::Config;
use crate::roster::ActorSettings;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::collections::BTreeMap;

/// How deeply tables may nest; a type that contains itself ends here.
const DEPTH_MAX: usize = 12;

/// All settings as a tree of tables.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    meaning: String,
    takes: String,
    fields: BTreeMap<String, Node>,
    /// What every key not named takes; without it there are no others.
    others: Option<Box<Node>>,
    /// Is it a table at all?
    table: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A setting.
    Setting,
    /// A table of settings.
    Table,
    /// Nothing.
    Nothing,
}

/// One setting as the manual describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The setting, dotted.
    pub path: String,
    /// What it takes: `an integer of at least 1`, `one of off, observe, act`.
    pub takes: String,
    /// What it means.
    pub meaning: String,
}

impl Schema {
    /// The settings of [`Config`], with one table an actor.
    #[must_use]
    pub fn of_config() -> Schema {
        let schema = SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<Config>();
        let mut root = Node::read(schema.as_value(), schema.as_value(), DEPTH_MAX);
        let mut actors = Node {
            meaning: root.fields.get("actors").map(|node| node.meaning.clone()).unwrap_or_default(),
            table: true,
            ..Node::default()
        };
        for (name, schema) in ActorSettings::schemas() {
            let mut actor = Node::read(schema.as_value(), schema.as_value(), DEPTH_MAX);
            let mode = Node { takes: "one of off, observe, act".to_owned(), ..Node::default() };
            let meaning = "What the actor may do: `off` neither looks nor speaks, `observe` marks its commands as not to be executed, `act` means them.";
            actor.fields.insert("mode".to_owned(), Node { meaning: meaning.to_owned(), ..mode.clone() });
            let meaning = "What single rules may do, by condition (`slow = \"observe\"`); never more than the actor.";
            let rules = Node {
                meaning: meaning.to_owned(),
                takes: "a table".to_owned(),
                table: true,
                others: Some(Box::new(mode)),
                ..Node::default()
            };
            actor.fields.insert("rules".to_owned(), rules);
            actor.table = true;
            actors.fields.insert(name.to_owned(), actor);
        }
        root.fields.insert("actors".to_owned(), actors);
        Schema { root }
    }

    fn node(&self, keys: &[String]) -> Option<&Node> {
        keys.iter().try_fold(&self.root, |node, key| node.fields.get(key).or(node.others.as_deref()))
    }

    /// What these keys lead to.
    #[must_use]
    pub fn find(&self, keys: &[String]) -> Known {
        match self.node(keys) {
            Some(node) if node.table => Known::Table,
            Some(_) => Known::Setting,
            None => Known::Nothing,
        }
    }

    /// What the setting takes, in words.
    #[must_use]
    pub fn expected(&self, keys: &[String]) -> Option<String> {
        self.node(keys).map(|node| node.takes.clone()).filter(|takes| !takes.is_empty())
    }

    /// The setting or table whose name is most like this one, if any is.
    #[must_use]
    pub fn nearest(&self, path: &str) -> Option<String> {
        let mut names = self.entries("").into_iter().map(|entry| entry.path).collect::<Vec<_>>();
        self.root.tables(String::new(), &mut names);
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let distance = |name: &String| strsim::damerau_levenshtein(path, name);
        let close = |name: &&String| distance(name) <= (last(path).chars().count() / 3).max(2);
        let near = names.iter().filter(close).min_by_key(|name| distance(name));
        // The right word in the wrong table.
        let elsewhere = || {
            let word = last(path);
            let same = |name: &&String| strsim::damerau_levenshtein(&last(name), &word) <= usize::from(word.len() > 4);
            names.iter().filter(same).min_by_key(|name| (strsim::damerau_levenshtein(&last(name), &word), distance(name)))
        };
        near.or_else(elsewhere).cloned()
    }

    /// Every setting at or below a path (all of them for the empty one), in order.
    #[must_use]
    pub fn entries(&self, below: &str) -> Vec<Entry> {
        let keys: Vec<String> = below.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let mut entries = Vec::new();
        if let Some(node) = self.node(&keys) {
            node.list(keys.join("."), &mut entries);
        }
        entries
    }

    /// What a table is for.
    #[must_use]
    pub fn meaning(&self, path: &str) -> Option<&str> {
        let keys: Vec<String> = path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        self.node(&keys).map(|node| node.meaning.as_str()).filter(|meaning| !meaning.is_empty())
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Node {
    fn list(&self, path: String, entries: &mut Vec<Entry>) {
        // An open table is a setting itself: nobody can list its keys.
        if !self.table || self.others.is_some() {
            entries.push(Entry { path: path.clone(), takes: self.takes.clone(), meaning: self.meaning.clone() });
        }
        // A table's own settings before its tables, as in a settings file.
        let (tables, settings): (Vec<_>, Vec<_>) = self.fields.iter().partition(|(_, node)| node.table && node.others.is_none());
        for (key, node) in settings.into_iter().chain(tables) {
            node.list(join(&path, key), entries);
        }
    }

    fn tables(&self, path: String, names: &mut Vec<String>) {
        for (key, node) in self.fields.iter().filter(|(_, node)| node.table) {
            let path = join(&path, key);
            node.tables(path.clone(), names);
            names.push(path);
        }
    }

    fn read(schema: &Value, root: &Value, depth: usize) -> Node {
        let meaning = schema.get("description").and_then(Value::as_str).map(first_paragraph);
        let mut node = Node::read_type(schema, root, depth);
        if let Some(meaning) = meaning {
            node.meaning = meaning;
        }
        node
    }

    fn read_type(schema: &Value, root: &Value, depth: usize) -> Node {
        let anything = || Node { takes: "any value".to_owned(), ..Node::default() };
        let Some(depth) = depth.checked_sub(1) else { return anything() };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|name| root.pointer(name.strip_prefix('#')?)) {
            return Node::read(target, root, depth);
        }
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            return Node::read_choice(choices, root, depth);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return Node { takes: one_of(words.iter()), ..Node::default() };
        }
        if let Some(word) = schema.get("const") {
            return Node { takes: one_of(std::iter::once(word)), ..Node::default() };
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => return anything(),
        };
        let mut node = Node::default();
        let mut words = Vec::new();
        for one in types.iter().filter(|one| **one != "null") {
            words.push(match *one {
                "object" => {
                    node.table = true;
                    let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                    node.fields = fields.map(|(key, schema)| (key.clone(), Node::read(schema, root, depth))).collect();
                    node.others = match schema.get("additionalProperties") {
                        Some(Value::Bool(false)) => None,
                        Some(schema) => Some(Box::new(Node::read(schema, root, depth))),
                        None if node.fields.is_empty() => Some(Box::new(anything())),
                        None => None,
                    };
                    "a table".to_owned()
                }
                "array" => {
                    let items = schema.get("items").map(|items| Node::read(items, root, depth).takes).unwrap_or_default();
                    if items.is_empty() { "a list".to_owned() } else { format!("a list of {items}") }
                }
                "integer" => match schema.get("minimum").and_then(Value::as_i64) {
                    Some(least) => format!("an integer of at least {least}"),
                    None => "an integer".to_owned(),
                },
                "string" => "text".to_owned(),
                "boolean" => "true or false".to_owned(),
                "number" => "a number".to_owned(),
                other => other.to_owned(),
            });
        }
        node.takes = words.join(" or ");
        if types.contains(&"null") {
            node.takes.push_str(", or not set");
        }
        node
    }

    /// `Option<T>` is a choice between `T` and nothing; an enumeration is one between its words.
    fn read_choice(choices: &[Value], root: &Value, depth: usize) -> Node {
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        let real: Vec<&Value> = choices.iter().filter(|choice| !is_null(choice)).collect();
        let nullable = real.len() < choices.len();
        let words: Option<Vec<&Value>> = real.iter().map(|choice| choice.get("const")).collect();
        let mut node = match (words, real.as_slice()) {
            (Some(words), _) if !words.is_empty() => Node { takes: one_of(words.into_iter()), ..Node::default() },
            (_, [one]) => Node::read(one, root, depth),
            (_, several) => {
                let takes: Vec<String> = several.iter().map(|choice| Node::read(choice, root, depth).takes).collect();
                Node { takes: takes.join(" or "), ..Node::default() }
            }
        };
        if nullable {
            node.takes.push_str(", or not set");
        }
        node
    }
}

fn one_of<'a>(words: impl Iterator<Item = &'a Value>) -> String {
    let words: Vec<String> = words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect();
    format!("one of {}", words.join(", "))
}

/// The lines of a doc comment joined; what follows an empty line is for those who read the code.
fn first_paragraph(text: &str) -> String {
    text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
