//! JSON values as YAML: blocks, so that a difference is a difference of lines. Every text is written so that no reader takes it
//! for anything else.

use serde_json::Value;

/// A value as a YAML document.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(text, depth);
                text.push_str(&scalar(key));
                text.push(':');
                after(text, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(text, depth);
                text.push('-');
                after(text, item, depth + 1);
            }
        }
        value => {
            indent(text, depth);
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
}

/// What stands behind a key or a dash: on the same line, or as a block below.
fn after(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => text.push('\n'),
        Value::Array(items) if !items.is_empty() => text.push('\n'),
        value => {
            text.push(' ');
            text.push_str(&inline(value));
            text.push('\n');
            return;
        }
    }
    block(text, value, depth);
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        value => value.to_string(),
    }
}

fn indent(text: &mut String, depth: usize) {
    (0..depth).for_each(|_| text.push_str("  "));
}

/// A text: bare when it is a plain word that no version of YAML takes for something else, else in double quotes as in JSON.
fn scalar(text: &str) -> String {
    let word = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | ' ' | '(' | ')' | ',' | ';' | '$' | '=' | '<' | '>' | '`' | '\'')
    };
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
        && text.chars().all(word)
        && !text.ends_with(' ')
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::write;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn what_a_reader_might_take_for_something_else_is_quoted() {
        let value =
            json!({ "a": [1, true, null, "no", "1", "x: y", "- z", "ü\n", ""], "empty": {}, "none": [], "nested": [{ "b": [[2]] }] });
        expect![[r#"
            a:
              - 1
              - true
              - null
              - "no"
              - "1"
              - "x: y"
              - "- z"
              - "ü\n"
              - ""
            empty: {}
            nested:
              -
                b:
                  -
                    - 2
            none: []
        "#]]
        .assert_eq(&write(&value));
    }
}
