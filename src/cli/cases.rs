//! Files of scripted cases: what `health replay` and `breaker replay` read.

use super::CliError;
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

/// A file of cases is at most this large.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The cases: `{"cases": [...]}`, an array, or one case a line; `-` is standard input.
///
/// # Errors
/// The file cannot be read, or holds no cases.
pub fn read(path: &Path) -> Result<Vec<Value>, CliError> {
    let mut text = String::new();
    let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
    super::query::open(path)?.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let values: Vec<Value> = serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>().map_err(|why| {
        CliError::new(format!("{} holds no cases", path.display())).because(why).advise("write {\"cases\": [...]} or one case a line")
    })?;
    let mut cases = Vec::new();
    for value in values {
        match value {
            Value::Array(all) => cases.extend(all),
            Value::Object(mut map) if map.get("cases").is_some_and(Value::is_array) => {
                if let Some(Value::Array(all)) = map.remove("cases") {
                    cases.extend(all);
                }
            }
            case => cases.push(case),
        }
    }
    Ok(cases)
}
