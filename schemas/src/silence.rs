//! Silences: what people say about alerts that they do not want to hear of for a while, or that they look after. They travel as
//! `order` events, and the status actor keeps them; whoever tells people about alerts honours them.
//!
//! | order | `target` | `args` |
//! |---|---|---|
//! | [`CREATE`] | the silence's id, chosen by whoever makes it; one that is there is replaced | [`SilenceArgs`] |
//! | [`EXPIRE`] | the silence's id | nothing |
//! | [`ACKNOWLEDGE`], [`UNACKNOWLEDGE`] | an incident, or its last alert | nothing |

use crate::alert::Alert;
use crate::time::{Ms, UnixMs};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The order that makes a silence.
pub const CREATE: &str = "silence.create";
/// The order that ends one.
pub const EXPIRE: &str = "silence.expire";
/// The order that says: somebody looks after this incident.
pub const ACKNOWLEDGE: &str = "alert.acknowledge";
/// The order that takes that back.
pub const UNACKNOWLEDGE: &str = "alert.unacknowledge";
/// All of them.
pub const ORDERS: [&str; 4] = [CREATE, EXPIRE, ACKNOWLEDGE, UNACKNOWLEDGE];

/// Most matchers of a silence.
pub const MATCHERS_MAX: usize = 16;
/// Longest name of a label in a matcher, bytes.
pub const NAME_MAX: usize = 128;
/// Longest value of a matcher, bytes.
pub const VALUE_MAX: usize = 512;
/// Longest id of a silence, bytes: letters, digits, `_`, `-` and `.`.
pub const ID_MAX: usize = 64;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `=`: is exactly this.
    Equal,
    /// `!=`: is anything but this.
    NotEqual,
    /// `=~`: the whole value is what this regular expression says.
    Matches,
    /// `!~`: it is not.
    MatchesNot,
}

impl Operator {
    const fn sign(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Matches => "=~",
            Operator::MatchesNot => "!~",
        }
    }
}

/// One condition on an alert, as Alertmanager writes it: `service=shop`, `rule=~"query\..+"`, `zone!=b`. Names are `rule` (or
/// `alertname`), `service`, `severity`, or a label of the alert; a label that is not there is an empty text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matcher {
    /// What is compared.
    pub name: String,
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: String,
}

impl Matcher {
    /// What it compares of an alert.
    #[must_use]
    pub fn subject<'a>(&self, alert: &'a Alert) -> Cow<'a, str> {
        match self.name.as_str() {
            "rule" | "alertname" => Cow::Borrowed(&alert.rule),
            "service" => Cow::Borrowed(&alert.service),
            "severity" => Cow::Owned(alert.severity.to_string()),
            name => alert.labels.get(name).map_or(Cow::Borrowed(""), |value| Cow::Borrowed(value)),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\"", self.name, self.operator.sign())?;
        for character in self.value.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                other => write!(f, "{other}")?,
            }
        }
        f.write_str("\"")
    }
}

/// A text that is no matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no matcher ({why}): write NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX")]
pub struct BadMatcher {
    text: String,
    why: &'static str,
}

impl FromStr for Matcher {
    type Err = BadMatcher;

    fn from_str(text: &str) -> Result<Self, BadMatcher> {
        let bad = |why| BadMatcher { text: text.chars().take(64).collect(), why };
        let at = text.find(['=', '!']).ok_or_else(|| bad("it has no operator"))?;
        let (name, rest) = text.split_at(at);
        let operators = [Operator::Matches, Operator::MatchesNot, Operator::NotEqual, Operator::Equal];
        let found = operators.into_iter().find_map(|operator| Some((operator, rest.strip_prefix(operator.sign())?)));
        let (operator, value) = found.ok_or_else(|| bad("it has no operator"))?;
        let name = name.trim();
        if !(1..=NAME_MAX).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(bad("a name has 1 to 128 bytes"));
        }
        let value = unquoted(value.trim()).ok_or_else(|| bad("its quotation does not end"))?;
        if value.len() > VALUE_MAX {
            return Err(bad("a value has at most 512 bytes"));
        }
        Ok(Matcher { name: name.to_owned(), operator, value })
    }
}

/// The text in double quotes, with `\"`, `\\` and `\n` for what they stand for; without quotes, the text as it is.
fn unquoted(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                // As in a regular expression, where it is the expression's own.
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    characters.next().is_none().then_some(value)
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Matcher {
    fn schema_name() -> Cow<'static, str> {
        "Matcher".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A condition as Alertmanager writes it: NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX, the value in double \
                            quotes or without. Names are rule, service, severity, or a label of the alert. Expressions are anchored.",
            "examples": ["service=shop", "rule=~\"query\\..+\""],
        })
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// All seven, Monday first.
    pub const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
}

/// A maintenance window that comes again: on these days, from one time of day to another, where somebody lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days it begins on; every day, when there are none.
    #[serde(default)]
    pub days: Vec<Day>,
    /// When it begins, `HH:MM`.
    pub from: String,
    /// When it ends, `HH:MM`; on the next day, when that is not later than `from`.
    pub to: String,
    /// The time zone, as in the IANA database: `Europe/Berlin`. UTC when not said.
    #[serde(default = "utc")]
    pub zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What a silence is made of: `args` of the order [`CREATE`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceArgs {
    /// What it covers: alerts for which all of these hold. At least one of them must not hold for an empty text.
    pub matchers: Vec<Matcher>,
    /// When it begins, Unix milliseconds; when the order stands on the log, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_ms: Option<UnixMs>,
    /// When it ends, Unix milliseconds. One without a window has to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<UnixMs>,
    /// Instead of `ends_ms`: how long it lasts from its beginning, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Ms>,
    /// Only while this window is open, again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// May a silence be called this?
#[must_use]
pub fn is_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (String, Operator, String) {
        let matcher: Matcher = text.parse().unwrap();
        (matcher.name, matcher.operator, matcher.value)
    }

    #[test]
    fn matchers_are_read_as_alertmanager_writes_them() {
        let is = |text, name: &str, operator, value: &str| assert_eq!(parsed(text), (name.into(), operator, value.into()), "{text}");
        is("service=shop", "service", Operator::Equal, "shop");
        is("service = \"my shop\"", "service", Operator::Equal, "my shop");
        is("route!=GET /a=b", "route", Operator::NotEqual, "GET /a=b");
        is(r#"rule=~"query\..+""#, "rule", Operator::Matches, r"query\..+");
        is("zone!~a|b", "zone", Operator::MatchesNot, "a|b");
        is(r#"label="say \"hi\" \\ \n""#, "label", Operator::Equal, "say \"hi\" \\ \n");
        is("pool=", "pool", Operator::Equal, "");
        for bad in ["", "service", "=shop", "service!shop", "service=\"shop", "service=\"shop\" and", &format!("a={}", "x".repeat(513))] {
            assert!(bad.parse::<Matcher>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_was_meant(name in "[a-z_.]{1,20}", which in 0..4_usize, value in "[^\u{0}]{0,40}") {
            let operator = [Operator::Equal, Operator::NotEqual, Operator::Matches, Operator::MatchesNot][which];
            let matcher = Matcher { name, operator, value };
            prop_assert_eq!(matcher.to_string().parse::<Matcher>().unwrap(), matcher);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,60}") {
            let _ = text.parse::<Matcher>();
        }
    }

    #[test]
    fn arguments_of_an_order_are_strict() {
        let args = serde_json::json!({ "matchers": ["service=shop"], "duration_ms": 60_000 });
        assert_eq!(serde_json::from_value::<SilenceArgs>(args).unwrap().duration_ms, Some(60_000));
        for bad in [
            serde_json::json!({ "matchers": ["service"] }),
            serde_json::json!({ "matchers": ["a=b"], "until": 5 }),
            serde_json::json!({ "matchers": ["a=b"], "window": { "from": "1:00", "to": "2:00", "days": ["monday"] } }),
        ] {
            assert!(serde_json::from_value::<SilenceArgs>(bad.clone()).is_err(), "{bad}");
        }
    }
}
