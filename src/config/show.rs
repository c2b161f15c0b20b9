//! The settings in force, for people and machines, without secrets.

use super::schema::{Entry, Schema};
use super::{Config, Loaded};
use serde_json::{Map, Value};

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// One setting with its value and its story.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Explained {
    /// The setting, dotted.
    pub key: String,
    /// Its value now; secrets hidden.
    pub value: Value,
    /// Its default.
    pub default: Value,
    /// Who decided.
    pub from: String,
    /// What it takes.
    pub takes: String,
    /// What it means.
    pub meaning: String,
}

impl Loaded {
    /// The settings in force as a tree, secrets hidden.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut tree = serde_json::to_value(&self.config).unwrap_or_default();
        hide(&mut tree, "");
        tree
    }

    /// The settings in force as a settings file. What is not set stands as a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        if let Value::Object(map) = self.shown() {
            table(&mut text, "", &map);
        }
        text
    }

    /// The settings at or below a path (all for the empty one); none when there is no such path.
    #[must_use]
    pub fn explain(&self, path: &str) -> Vec<Explained> {
        let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
        let shown = self.shown();
        let of = |tree: &Value, path: &str| path.split('.').try_fold(tree, |tree, key| tree.get(key)).cloned().unwrap_or_default();
        let explain = |Entry { path, takes, meaning }: Entry| Explained {
            value: of(&shown, &path),
            default: of(&defaults, &path),
            from: self.origin(&path).to_string(),
            key: path,
            takes,
            meaning,
        };
        Schema::of_config().entries(path).into_iter().map(explain).collect()
    }
}

/// Hides what must not be read over a shoulder: passwords in addresses, and whatever a key calls a secret.
fn hide(tree: &mut Value, key: &str) {
    match tree {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| hide(value, key)),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, key)),
        Value::String(text) => {
            if is_secret(key) {
                *text = HIDDEN.to_owned();
            } else {
                *text = text.split(',').map(without_password).collect::<Vec<_>>().join(",");
            }
        }
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    ["password", "token", "secret", "seed", "authorization"].iter().any(|word| key == *word || key.ends_with(&format!("_{word}")))
}

/// An address without the password in it: `nats://user:***@host`.
#[must_use]
pub fn without_password(address: &str) -> String {
    let hidden = || {
        let (scheme, rest) = address.split_once("://")?;
        // The password may contain `@`, a host cannot.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (user, host) = rest.get(..end)?.rsplit_once('@')?;
        let tail = rest.get(end..)?;
        // Without a colon, what stands before the `@` is a user name in an address of a database, a token in one of the bus.
        let user = match user.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}"),
            None if scheme.starts_with("postgres") => user.to_owned(),
            None => HIDDEN.to_owned(),
        };
        Some(format!("{scheme}://{user}@{host}{tail}"))
    };
    hidden().unwrap_or_else(|| address.to_owned())
}

/// A table as TOML: its own values first, then its tables.
fn table(text: &mut String, path: &str, map: &Map<String, Value>) {
    let (tables, values): (Vec<_>, Vec<_>) = map.iter().partition(|(_, value)| value.is_object());
    if !path.is_empty() && (!values.is_empty() || tables.is_empty()) {
        text.push_str(&format!("{}[{path}]\n", if text.is_empty() { "" } else { "\n" }));
    }
    for (key, value) in values {
        match value {
            Value::Null => text.push_str(&format!("# {} is not set\n", word(key))),
            value => text.push_str(&format!("{} = {}\n", word(key), written(value))),
        }
    }
    for (key, value) in tables {
        if let Value::Object(inner) = value {
            let path = if path.is_empty() { word(key) } else { format!("{path}.{}", word(key)) };
            table(text, &path, inner);
        }
    }
}

/// A key as TOML writes it.
fn word(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() }
}

/// A value as TOML writes it.
#[must_use]
pub fn written(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        // A number beyond TOML's integers can only have come from a default; text keeps all of it.
        Value::Number(number) if number.as_i64().is_none() && number.as_u64().is_some() => format!("\"{number}\""),
        value => toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        for (address, shown) in [
            ("postgres://ann:s3cret@db/shop", "postgres://ann:***@db/shop"),
            ("postgres://ann:p@ss@db/shop?x=a@b", "postgres://ann:***@db/shop?x=a@b"),
            ("postgres://ann@db/shop", "postgres://ann@db/shop"),
            ("nats://t0ken@127.0.0.1:4222", "nats://***@127.0.0.1:4222"),
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://host/a@b", "http://host/a@b"),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }
}
